"""Dockerfile and compose.yaml: well written, and what they run works as plain commands, without a container."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from clipseg.client import Client
from clipseg.server.settings import Limits

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
KNOWN = {
    "FROM", "ARG", "WORKDIR", "COPY", "RUN", "ENV", "USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD",
}  # fmt: skip


def instructions() -> list[tuple[str, str]]:
    """-> each instruction and its arguments, lines that go on joined."""
    lines = [line for line in TEXT.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in joined.splitlines()]


def of(name: str) -> list[str]:
    return [arguments for instruction, arguments in instructions() if instruction == name]


def test_the_dockerfile_is_well_written() -> None:
    assert {name for name, _ in instructions()} <= KNOWN
    for image in of("FROM"):
        assert re.match(r"[\w/]+:\d+\.\d+\.\d+-[\w-]+( AS \w+)?$", image), "images are named by their whole version"
    for command in of("RUN"):
        assert "sudo" not in command
        assert "apt-get upgrade" not in command
        assert "cd " not in command, "WORKDIR says where"
        if "pip install" in command:
            assert "--no-cache-dir" in command
            assert "--constraint constraints.txt" in command
        if "apt-get install" in command:
            assert "--no-install-recommends" in command
    for directory in of("WORKDIR"):
        assert directory.startswith("/")
    assert not re.search(r"(?i)(token|password|secret)\s*=", " ".join(of("ENV") + of("ARG")))
    assert of("USER")[-1] not in ("root", "0")
    assert int(of("USER")[-1]) >= 1000
    assert len(of("CMD")) == len(of("ENTRYPOINT")) == len(of("HEALTHCHECK")) == 1
    last_stage = [name for name, _ in instructions()][-8:]
    assert "USER" in last_stage, "what is run belongs to nobody with rights"
    for command in (of("CMD")[0], of("ENTRYPOINT")[0], of("HEALTHCHECK")[0].partition("CMD ")[2]):
        assert json.loads(command), "in the form that needs no shell, and passes signals on"


def test_what_is_copied_is_there() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for sources in of("COPY"):
        if sources.startswith("--from"):
            continue
        for source in sources.split()[:-1]:
            assert (ROOT / source).exists()
            assert f"!{source.removeprefix('./')}" in ignored
    assert ignored[0] == "*", "nothing else is sent to the builder"


def test_the_compose_file_is_well_written() -> None:
    assert set(COMPOSE) == {"services", "volumes"}
    (service,) = COMPOSE["services"].values()
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"]), "no other machine reaches it unasked"
    assert service["environment"]["CLIPSEG_TOKEN"].startswith("${CLIPSEG_TOKEN:?"), "without a token it does not start"
    assert "privileged" not in service
    assert {volume.partition(":")[0] for volume in service["volumes"]} == set(COMPOSE["volumes"])
    assert int(service["stop_grace_period"].removesuffix("s")) > Limits().seconds
    assert service["command"][:-1] == json.loads(of("CMD")[0])[:-1]


HADOLINT = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.skipif(HADOLINT is None, reason="there is no hadolint for this kind of machine")
def test_hadolint() -> None:
    found = subprocess.run([str(HADOLINT), ROOT / "Dockerfile"], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


def test_the_command_runs(tmp_path: Path) -> None:
    """The command and the check of the Dockerfile, but on a port that is free."""
    entry, command = json.loads(of("ENTRYPOINT")[0]), json.loads(of("CMD")[0])
    assert entry == ["clipseg"]
    command[command.index("--port") + 1] = "0"
    environment = {
        **os.environ, "CLIPSEG_TOKEN": "a token for this test", "HOME": str(tmp_path), "HF_HOME": str(tmp_path),
        "CLIPSEG_PROMPT_CACHE": "off", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    arguments = [sys.executable, "-m", "clipseg", *command]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            address = json.loads(process.stdout.readline())["address"]
            check = json.loads(of("HEALTHCHECK")[0].partition("CMD ")[2])
            code = check[2].replace("http://127.0.0.1:8000", address)
            subprocess.run([sys.executable, *check[1:2], code], check=True, timeout=60)
            with Client(address, "a token for this test") as client:
                client.wait()
                assert client.ask("/v1/models")["models"][0]["name"] == "nano"
            with pytest.raises(urllib.error.HTTPError, match="401"):
                urllib.request.urlopen(f"{address}/v1/models")
            process.terminate()
            assert process.wait(60) == 0
        finally:
            process.kill()
    assert list(tmp_path.iterdir()) == [], "nothing is written"
