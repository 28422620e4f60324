"""`clipseg doctor`: on this machine all is well, and whatever is not is told, with its way out and an exit code."""

from __future__ import annotations

import importlib.metadata
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import ready
from clipseg.checkpoints import hub
from clipseg.cli import doctor as command
from clipseg.cli import health, machine, selftest
from clipseg.cli.health import FAILED, MISSING, NOTE, OK, Finding, Requirement, read_requirement
from clipseg.data import pictograms
from clipseg.errors import MissingPackageError, PromptError

tomllib = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def named(findings: Any) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


@pytest.fixture
def sections(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`sections(a=[Finding(…)])` replaces all that is looked at."""

    def sections(**found: Any) -> None:
        looks = {name: (value if callable(value) else lambda value=value: iter(value)) for name, value in found.items()}
        monkeypatch.setattr(command, "SECTIONS", looks)

    return sections


# -- the command -------------------------------------------------------------------------------------------------------


def test_all_is_well_here_and_soon_told(process) -> None:
    begin = time.monotonic()
    outcome = process("doctor")
    assert time.monotonic() - begin < 30  # seldom more than 5 seconds on an idle machine
    assert (outcome.code, outcome.err) == (0, "")
    assert {record["section"] for record in outcome.records} == set(command.SECTIONS)
    assert all(set(record) == {"section", "name", "value", "state", "hint"} for record in outcome.records)
    by_name = {(record["section"], record["name"]): record for record in outcome.records}
    assert by_name["versions", "torch"]["value"] == torch.__version__
    assert by_name["places", "offline"]["state"] == NOTE
    assert by_name["settings", "HF_ENDPOINT"]["value"] == "http://127.0.0.1:9"
    assert by_name["self-test", "cpu"]["state"] == OK
    assert not [record for record in outcome.records if record["state"] == FAILED]


def test_the_network_is_not_asked(call, hub_server, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise AssertionError("a connection was made")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert call("doctor").code == 0
    assert hub_server.requests == []


def test_tables_on_a_terminal(call, hub_server, terminal_out, sections) -> None:
    sections(first=[Finding("thing", "1.0"), Finding("other", "odd", NOTE, "mend it")], nothing=[])
    outcome = call("doctor")
    assert outcome.code == 0
    assert [line.split() for line in outcome.out.splitlines()] == [
        ["first"], ["thing", "1.0"], ["other", "note:", "odd", "(mend", "it)"],
    ]  # fmt: skip
    assert outcome.err == "all that is needed is here and works\n"
    assert [record["state"] for record in call("doctor", "--json").records] == [OK, NOTE]


def test_what_fails_is_told_with_the_code_of_the_first(call, sections) -> None:
    sections(
        a=[Finding("x", "old", MISSING, "never mind"), Finding("y", "gone", FAILED, "get it", 10)],
        b=[Finding("z", "wrong", FAILED, "mend it", 6)],
    )
    outcome = call("doctor")
    assert outcome.code == 10
    assert outcome.err == "error: y: gone; get it\nerror: z: wrong; mend it\n"
    assert len(outcome.records) == 3


@pytest.mark.parametrize(
    ("error", "code"), [(ImportError("no\nsuch library"), 10), (PromptError("no such library"), 4), (OSError(), 10)]
)
def test_a_section_that_breaks_is_a_finding(call, sections, error: Exception, code: int) -> None:
    def broken():
        yield Finding("fine", "yes")
        raise error

    sections(a=broken, b=[Finding("after", "yes")])
    outcome = call("doctor")
    assert outcome.code == code
    reason = "no such library" if str(error) else "OSError"
    assert outcome.error == f"a: does not work: {reason}; {health.REPAIR}"
    assert [record["name"] for record in outcome.records] == ["fine", "a", "after"]


def test_its_arguments(call) -> None:
    outcome = call("doctor", "--fast")
    assert outcome.code == 2
    assert "--fast" in outcome.error


# -- packages ----------------------------------------------------------------------------------------------------------


def test_requirements_are_those_of_the_project() -> None:
    """Every line of pyproject.toml is read whole, whatever the installed package says."""
    for extra, lines in {None: PROJECT["dependencies"], **PROJECT["optional-dependencies"]}.items():
        for line in lines:
            found = read_requirement(line if extra is None else f'{line}; extra == "{extra}"')
            if found is None:
                assert line.startswith("tomli")
                continue
            assert found.name == line.split(">=")[0].split("[")[0]
            assert found.least == line.split(">=")[1].split(";")[0].strip()
            assert found.extra == extra


def test_requirements_of_other_pythons() -> None:
    assert read_requirement('tomli>=2.0; python_version < "3.0"') is None
    assert read_requirement('tomli>=2.0; python_version < "99.0"') == Requirement("tomli", "2.0", None)
    assert read_requirement("") is None


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`installed(torch="2.0")`: these packages and no others are installed."""

    def installed(**versions: str) -> None:
        def version(name: str) -> str:
            try:
                return versions[name]
            except KeyError:
                raise importlib.metadata.PackageNotFoundError(name) from None

        monkeypatch.setattr(health.metadata, "version", version)

    return installed


@pytest.mark.parametrize(
    ("version", "state"),
    [
        ("2.6", OK),
        ("2.6.0", OK),
        ("2.6.0+cpu", OK),
        ("2.13.1", OK),
        ("3.0rc1", OK),
        ("2.5.9", FAILED),
        ("1.99", FAILED),
    ],
)
def test_versions_are_compared_as_numbers(monkeypatch, installed, version: str, state: str) -> None:
    installed(torch=version)
    monkeypatch.setattr(health, "requirements", lambda: [Requirement("torch", "2.6", None)])
    assert named(health.versions())["torch"].state == state


def test_a_package_that_is_missing(monkeypatch, installed) -> None:
    installed()
    monkeypatch.setattr(health, "requirements", lambda: [Requirement("scipy", "1.11", None)])
    found = named(health.versions())["scipy"]
    assert found == Finding("scipy", "not installed", FAILED, "pip install 'scipy>=1.11'", 10)


def test_extras_name_what_they_lack(monkeypatch, installed) -> None:
    installed(onnx="1.17", av="11.0")
    needed = [("onnx", "1.16", "onnx"), ("onnxruntime", "1.19", "onnx"), ("av", "12", "video"), ("mypy", "1", "test")]
    monkeypatch.setattr(health, "requirements", lambda: [Requirement(*one) for one in needed])
    found = named(health.extras())
    assert found["onnx"] == Finding("onnx", "onnxruntime not installed", MISSING, "pip install 'clipseg[onnx]'")
    assert found["video"] == Finding("video", "av 11.0 is older than 12", MISSING, "pip install 'clipseg[video]'")
    assert "test" not in found
    installed(onnx="1.17", onnxruntime="1.20", av="12.0")
    assert named(health.extras())["onnx"] == Finding("onnx", "onnx 1.17, onnxruntime 1.20")


def test_system_packages_of_scenes(monkeypatch) -> None:
    def missing(*_arguments: object) -> None:
        raise MissingPackageError("install the font")

    monkeypatch.setattr(pictograms, "sprites", missing)
    monkeypatch.setattr(pictograms, "pictograms", lambda _: [])
    assert named(health.extras())["scenes"].hint == "install the font"


def test_run_from_its_source(monkeypatch) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(health.metadata, "requires", missing)
    assert named(health.versions())["packages"].state == NOTE
    assert set(named(health.extras())) == {"scenes"}


# -- devices -----------------------------------------------------------------------------------------------------------


def test_processor_and_threads(monkeypatch) -> None:
    monkeypatch.setattr(machine, "instruction_sets", lambda: ("avx2", "amx_bf16"))
    monkeypatch.setattr(machine, "granted_cores", lambda: None)
    found = named(health.devices())
    assert found["instructions"].value.endswith(": avx2, amx_bf16")
    assert found["bfloat16"].value == "native"
    assert found["threads"] == Finding("threads", str(torch.get_num_threads()))
    monkeypatch.setattr(machine, "instruction_sets", lambda: ("avx2",))
    assert "slower" in named(health.devices())["bfloat16"].value
    monkeypatch.setattr(machine, "instruction_sets", lambda: None)
    monkeypatch.setattr(machine, "memory_bytes", lambda: None)
    found = named(health.devices())
    assert "bfloat16" not in found
    assert found["memory"].value == "not known"


def test_more_threads_than_a_container_grants(monkeypatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(machine, "granted_cores", lambda: 1.5)
    found = named(health.devices())["threads"]
    assert (found.state, found.hint) == (NOTE, "set OMP_NUM_THREADS=2")


def test_gpus(monkeypatch) -> None:
    cards = [
        SimpleNamespace(name="A", total_memory=24e9, major=8),
        SimpleNamespace(name="B", total_memory=8e9, major=7),
    ]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", cards.__getitem__)
    found = named(health.devices())
    assert found["cuda:0"].value == "A, 24 GB, bfloat16 native"
    assert found["cuda:1"].value.startswith("B, 8.0 GB, float16")


def test_gpus_that_cannot_be_used(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(machine, "has_nvidia", lambda: True)
    assert named(health.devices())["cuda"].hint == "install a build of torch for CUDA"
    monkeypatch.setattr(machine, "has_nvidia", lambda: False)
    assert "cuda" not in named(health.devices())

    def unavailable() -> bool:
        import warnings

        warnings.warn("the driver is too old\nupdate it", stacklevel=1)
        return False

    monkeypatch.setattr(torch.version, "cuda", "12.6")
    monkeypatch.setattr(torch.cuda, "is_available", unavailable)
    assert named(health.devices())["cuda"].value == "no GPU that torch can use: the driver is too old"


def test_torch_that_does_not_load(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    found = list(health.devices())[-1]
    assert (found.name, found.state, found.code) == ("torch", FAILED, 10)


# -- settings and places -----------------------------------------------------------------------------------------------


def test_settings_tell_no_secrets(monkeypatch) -> None:
    for name in health.SETTINGS:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    assert list(health.settings()) == []
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("https_proxy", "http://me:secret@proxy:3128")
    monkeypatch.setenv("HF_HOME", "/models")
    assert {one.name: one.value for one in health.settings()} == {
        "HF_TOKEN": "set", "HTTPS_PROXY": "http://…@proxy:3128", "HF_HOME": "/models",
    }  # fmt: skip


def test_caches_and_models(hub_server, tmp_path) -> None:
    found = named(health.places())
    assert found["hub cache"].value == f"{tmp_path / 'hub'}, empty"
    assert found["room for models"].value.endswith(f"free in {tmp_path}")
    assert found["CIDAS/clipseg-rd64-refined"].hint == "clipseg models pull CIDAS/clipseg-rd64-refined"
    assert found["nano"].value.startswith("bundled, ")
    hub_server.repositories["CIDAS/clipseg-rd64-refined"] = {"model.safetensors": bytes(2_600_000)}
    hub.find_file("CIDAS/clipseg-rd64-refined", "model.safetensors")
    found = named(health.places())
    assert found["hub cache"].value == f"{tmp_path / 'hub'}, 2.6 MB"
    assert found["CIDAS/clipseg-rd64-refined"] == Finding("CIDAS/clipseg-rd64-refined", "cached, 2.6 MB")
    assert "offline" not in found


def test_a_cache_too_large_to_be_counted(hub_server, tmp_path, monkeypatch) -> None:
    hub_server.repositories["a/b"] = {"config.json": b"{}" * 600}
    hub.find_file("a/b", "config.json")
    monkeypatch.setattr(health, "LONGEST", -1)
    assert named(health.places())["hub cache"].value == f"{tmp_path / 'hub'}, more than 1.2 kB"


def test_places_that_cannot_be_written_into(hub_server, monkeypatch) -> None:
    def refuse(**_given: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    found = named(health.places())
    assert (found["room for models"].state, found["room for models"].code) == (NOTE, 0)
    assert (found["temporary files"].state, found["temporary files"].code) == (FAILED, 7)
    assert "Permission denied" in found["temporary files"].value


@pytest.mark.parametrize("below", ["", "x", "x/y"])
def test_a_file_where_the_cache_should_be(hub_server, tmp_path, monkeypatch, below: str) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "file" / below))
    found = named(health.places())
    room = found["room for models"]
    assert (room.state, room.code, room.hint) == (NOTE, 0, "set HF_HOME to another place")
    assert room.value == f"{tmp_path / 'file'} cannot be written into (Not a directory)"
    assert found["temporary files"].state == OK


def test_a_cache_that_cannot_be_read(hub_server, tmp_path, monkeypatch) -> None:
    def refuse(*_given: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "hub").mkdir()
    monkeypatch.setattr(Path, "glob", refuse)
    assert health._held(tmp_path / "hub") == "cannot be counted (Permission denied)"


def test_a_disk_that_is_nearly_full(hub_server, monkeypatch) -> None:
    monkeypatch.setattr(health.shutil, "disk_usage", lambda _: SimpleNamespace(free=3e8))
    found = named(health.places())["room for models"]
    assert (found.state, found.hint) == (NOTE, "set HF_HOME to another place")
    assert found.value.startswith("only 300 MB free")


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (999, "999 B"), (1200, "1.2 kB"), (6.03e8, "603 MB"), (2e12, "2.0 TB"), (5e15, "5000 TB")],
)
def test_sizes(number: float, text: str) -> None:
    assert health.sized(number) == text


# -- the self-test -----------------------------------------------------------------------------------------------------


def test_the_drawn_star_is_its_mask() -> None:
    picture, mask = selftest.scene()
    inside = np.asarray(mask)
    assert 1000 < inside.sum() < 128 * 128 / 4
    assert ((np.asarray(picture) == selftest.COLOUR).all(2) == inside).all()


def test_a_model_that_finds_something_else(monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(hub.BUNDLED, "nano", ready.folder(tmp_path / "other"))
    (found,) = selftest.self_test()
    assert (found.name, found.state, found.code) == ("cpu", FAILED, 6)
    assert "finds something else" in found.value


def test_a_model_that_is_broken(monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(hub.BUNDLED, "nano", tmp_path)
    found = list(selftest.self_test())
    assert [one.name for one in found] == ["cpu", "auto"]
    assert all((one.state, one.code) == (FAILED, 6) and "config.json" in one.value for one in found)
