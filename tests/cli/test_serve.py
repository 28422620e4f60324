"""`clipseg serve`: in a process of its own, from the line it prints to the end by a signal."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import ready
from clipseg.client import Client
from clipseg.server import serving


@contextmanager
def started(*arguments: object, **environment: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """`clipseg serve` -> its process, and what it says of itself."""
    command = [sys.executable, "-m", "clipseg", "serve", "--port", "0", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **environment}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            yield process, json.loads(line or "{}")
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_from_beginning_to_end(model: Path, number: int) -> None:
    with started("--model", model) as (process, said):
        assert said == {"address": said["address"], "model": model.name, "page": True}
        with Client(said["address"]) as client:
            client.wait()
            assert client.ask("/v1/models")["models"][0]["name"] == model.name
            picture = client.upload(ready_file())
            assert client.segment(picture, "a cat").masks[0].label == "a cat"
            assert str(model.parent) not in json.dumps([client.ask(path) for path in ("/v1/models", "/ready", "/v2")])
        process.send_signal(number)
        assert process.wait(60) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_waits_for_nothing(model: Path, number: int) -> None:
    with started("--model", model) as (process, said):
        host, port = urlsplit(said["address"]).netloc.split(":")
        with socket.create_connection((host, int(port))) as connection:
            head = f"POST /v1/pictures HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\n"
            connection.sendall(head.encode())  # what follows is waited for
            with Client(said["address"]) as client:
                client.wait()
            process.send_signal(number)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1)
            process.send_signal(number)
            assert process.wait(5) == -number


def test_warnings_about_prompts_are_not_collected() -> None:
    def warned() -> int:
        return len(sys.modules["clipseg.segmenter"].__dict__.get("__warningregistry__", ()))

    segmenter = ready.segmenter()
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        with serving.untold_warnings():
            segmenter.embed(["long " * 100])
            before = warned()
            segmenter.embed([f"{number} {'long ' * 100}" for number in range(5)])
    assert warned() <= before


def ready_file() -> bytes:
    from http_files import file_of

    return file_of()


def test_a_token_from_the_environment(model: Path) -> None:
    with started("--model", model, "--host", "0.0.0.0", CLIPSEG_TOKEN="long enough") as (_, said):
        with Client(said["address"], "long enough") as client:
            client.wait()
            assert client.ask("/v1/models")
        with Client(said["address"]) as client, pytest.raises(Exception, match="token"):
            client.ask("/v1/models")


def test_a_model_that_cannot_be_loaded_ends_it(tmp_path: Path) -> None:
    ready.folder(tmp_path / "broken")
    (tmp_path / "broken" / "config.json").write_text("{")
    with started("--model", tmp_path / "broken") as (process, _):
        assert process.wait(60) == 6
        assert process.stderr is not None
        assert process.stderr.read().startswith("error: ")


def test_an_open_door_is_refused(call: Callable[..., Any]) -> None:
    outcome = call("serve", "--host", "0.0.0.0", "--model", "nano")
    assert outcome.code == 2
    assert "a token is needed: give --token" in outcome.error
    assert call("serve", "--host", "0.0.0.0", "--token", "short").code == 2
    assert "no origin" in call("serve", "--allow-origin", "example.org").error
    assert call("serve", "--max-megabytes", "0").code == 2
    assert call("serve", "--model", "no/such/model/at/all").code == 6


@pytest.mark.parametrize("option", ["--max-megabytes", "--max-megapixels", "--max-seconds", "--cache-megabytes"])
@pytest.mark.parametrize("value", ["nan", "inf", "1e300", "-1"])
def test_numbers_that_are_none(call: Callable[..., Any], option: str, value: str) -> None:
    outcome = call("serve", "--model", "nano", option, value)
    assert outcome.code == 2
    assert option in outcome.error


def test_names_that_are_none(call: Callable[..., Any]) -> None:
    outcome = call("serve", "--model", "nano", "--host", "a..b", "--token", "long enough")
    assert (outcome.code, outcome.error) == (2, "'a..b' is no name of a host and no address; see --host")
    for name in ("", "example.org:8000", "https://example.org", "a b"):
        outcome = call("serve", "--model", "nano", "--allow-host", name)
        assert outcome.code == 2
        assert "without a port" in outcome.error
    for origin in ("https://a:b", "https://me@example.org", "https://example.org#x", "https://a b"):
        assert "no origin" in call("serve", "--model", "nano", "--allow-origin", origin).error
    assert "no space" in call("serve", "--model", "nano", "--token", "long enough ").error


def test_origins_as_browsers_send_them() -> None:
    given = ("https://Example.org:443/", "http://localhost:80", "http://localhost:3000", "http://[::1]:443")
    expected = {"https://example.org", "http://localhost", "http://localhost:3000", "http://[::1]:443"}
    assert serving.origins_of(given) == expected


def test_a_port_in_use_is_one_line(call: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        outcome = call("serve", "--model", "nano", "--port", port)
    assert (outcome.code, outcome.error) == (2, f"port {port} is in use; choose another with --port, or 0 for any")
    outcome = call("serve", "--model", "nano", "--host", "192.0.2.1", "--token", "long enough")
    assert outcome.code == 2
    assert "cannot be listened on" in outcome.error


def test_without_its_packages(call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    outcome = call("serve", "--model", "nano")
    assert outcome.code == 10
    assert "pip install 'clipseg[serve]'" in outcome.error


def test_what_is_passed_on(call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, terminal_out: None) -> None:
    """The options become limits and access; a browser is opened only if asked to."""
    opened: list[str] = []
    found: dict[str, Any] = {}

    def serve(app: Any, service: Any, listening: socket.socket, begun: Callable[[], None]) -> None:
        found.update(service=service, app=app, address=serving.address_of(listening))
        begun()

    monkeypatch.setattr(serving, "serve", serve)
    monkeypatch.setattr("webbrowser.open", opened.append)
    outcome = call(
        "serve", "--model", "nano", "--port", 0, "--token", "a secret thing", "--open", "--max-megabytes", 100,
        "--max-megapixels", 3, "--max-prompts", 7, "--max-queue", 5, "--max-seconds", 9, "--cache-megabytes", 8,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    limits = found["service"].limits
    assert (limits.bytes, limits.pixels, limits.prompts, limits.queue, limits.seconds) == (100 * 2**20, 3e6, 7, 5, 9)
    assert (limits.features_bytes, limits.store_bytes, limits.bodies_bytes) == (8 * 2**20, 100 * 2**20, 800 * 2**20)
    assert opened == [f"{found['address']}/#token=a%20secret%20thing"]
    assert f"{found['address']}/#token=a%20secret%20thing is ready for a browser" in outcome.out
    opened.clear()
    assert call("serve", "--model", "nano", "--port", 0).code == 0
    assert opened == []


@pytest.mark.parametrize(
    ("host", "given", "expected"),
    [
        ("127.0.0.1", (), {"localhost", "127.0.0.1", "::1"}),
        ("localhost", ("My.Box",), {"localhost", "127.0.0.1", "::1", "my.box"}),
        ("::1", (), {"localhost", "127.0.0.1", "::1"}),
        ("0.0.0.0", (), None),
        ("::1", ("[FE80::1]",), {"localhost", "127.0.0.1", "::1", "fe80::1"}),
        ("192.168.1.5", ("box",), {"localhost", "127.0.0.1", "::1", "192.168.1.5", "box"}),
    ],
)
def test_names(host: str, given: tuple[str, ...], expected: set[str] | None) -> None:
    assert serving.names_of(host, given) == expected


def test_how_far_a_download_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from clipseg.cli.serve import _download_of
    from clipseg.errors import CheckpointNotFoundError

    def missing(_: str) -> int:
        raise CheckpointNotFoundError("not here")

    name = "CIDAS/clipseg-rd64-refined"
    monkeypatch.setattr("clipseg.checkpoints.hub_cache.cached_bytes", lambda _: 301_500_000)
    assert _download_of(name)() == pytest.approx(0.5)
    assert _download_of("somebody/else")() == 0
    monkeypatch.setattr("clipseg.checkpoints.hub_cache.cached_bytes", missing)
    assert _download_of(name)() == 0


def test_no_thread_stays() -> None:
    assert not [one for one in threading.enumerate() if one.name == "serve-watch"]


def test_answers_do_not_wait_to_be_confirmed() -> None:
    """asyncio sends small packets at once only on sockets that are named as TCP."""
    with serving.bound("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, serving.SPINS), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_threads_sleep_soon_unless_the_environment_says_how(
    given: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", dict(given))
    serving.spin_briefly()
    assert os.environ.get("GOMP_SPINCOUNT") == expected
