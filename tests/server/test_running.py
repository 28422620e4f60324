"""Requests in threads: busy, out of time, deserted; and the end, which waits for them."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from clipseg.client import Client, ServiceError
from clipseg.server.tickets import Ticket
from http_files import asked, connected, file_of, head, posted


class Held:
    """A service whose pictures are only looked at once it is let go."""

    def __init__(self, service, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go, self.tickets = threading.Event(), threading.Event(), []
        upload = service.upload

        def held(content: bytes, ticket: Ticket):
            self.tickets.append(ticket)
            self.begun.set()
            assert self.go.wait(30)
            return upload(content, ticket)

        monkeypatch.setattr(service, "upload", held)


def test_busy(serving, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(queue=1) as (service, client), ThreadPoolExecutor(2) as threads:
        held = Held(service, monkeypatch)
        first = threads.submit(asked, client.url, "POST", "/v1/pictures", file_of(), content_type="image/png")
        assert held.begun.wait(30)
        status, headers, told = asked(client.url, "POST", "/v1/pictures", file_of(), content_type="image/png")
        assert (status, told["error"]["kind"]) == (429, "BusyError")
        assert int(headers["retry-after"]) >= 1
        assert asked(client.url, "GET", "/health")[0] == 200
        with Client(client.url) as other:
            second = threads.submit(other.upload, file_of(1))  # which comes again when it is told to
            time.sleep(0.3)
            held.go.set()
            assert first.result(30)[0] == 200
            assert second.result(30).width == 40
        assert service.gate.inside == 0


def test_out_of_time(serving, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(seconds=0.2) as (service, client):
        picture = service.pictures.add(file_of())
        service.engine._submit = lambda _: None  # nobody answers
        status, told = posted(client.url, "/v1/segment", {"picture": picture.id, "prompts": ["a cat"]})
    assert (status, told["error"]["kind"]) == (503, "TimeLimitError")
    assert "0.2 seconds" in told["error"]["message"]


def test_work_that_notices_nothing_is_not_waited_for(serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipseg.server.running.GRACE", 0.1)
    with serving(seconds=0.1) as (service, client):
        held = Held(service, monkeypatch)
        status, _, told = asked(client.url, "POST", "/v1/pictures", file_of(), content_type="image/png")
        assert (status, told["error"]["kind"]) == (503, "TimeLimitError")
        assert service.gate.inside == 1  # its thread still is
        held.go.set()
    assert service.gate.inside == 0


def test_expressions_end_with_their_time(serving) -> None:
    with serving(seconds=1.0) as (service, client):
        picture = service.pictures.add(file_of(width=400, height=300))
        request = {"picture": picture.id, "prompts": ["a" + "{+9999}" * 99] * 20, "results": ["scores"]}
        status, told = posted(client.url, "/v1/segment", request)
        assert (status, told["error"]["kind"]) == (503, "TimeLimitError")
        until = time.monotonic() + 2
        while service.gate.inside and time.monotonic() < until:
            time.sleep(0.01)
        assert service.gate.inside == 0


def test_a_client_that_leaves(serving, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as (service, client):
        held = Held(service, monkeypatch)
        with connected(client.url) as connection:
            content = file_of()
            lines = head(client.url, "POST", "/v1/pictures", content_type="image/png", content_length=len(content))
            connection.sendall(lines + content)
            assert held.begun.wait(30)
        (ticket,) = held.tickets
        until = time.monotonic() + 10
        while not ticket._gone.is_set() and time.monotonic() < until:
            time.sleep(0.01)
        assert ticket._gone.is_set()
        held.go.set()
    assert len(service.pictures.files) == 0


def test_the_end_waits_for_what_was_taken(serving, monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadPoolExecutor(1) as threads:
        with serving() as (service, client):
            held = Held(service, monkeypatch)
            first = threads.submit(asked, client.url, "POST", "/v1/pictures", file_of(), content_type="image/png")
            assert held.begun.wait(30)
            threading.Timer(0.3, held.go.set).start()
        assert first.result(1)[0] == 200
    assert not service.engine.ready
    assert service.status()["status"] == "ending"


def test_a_model_that_is_still_loading(segmenter, serving) -> None:
    from clipseg.server.app import application
    from clipseg.server.service import Service
    from clipseg.server.serving import running
    from clipseg.server.settings import Access, Limits

    go = threading.Event()

    def load():
        assert go.wait(30)
        return segmenter

    service = Service(load, "tiny", Limits(), progress=lambda: 0.25)
    with running(application(service, Access()), Limits()) as url, Client(url) as client:
        assert not client.ready()
        status, _, told = asked(url, "GET", "/ready")
        assert status == 503
        assert told == {"status": "loading", "progress": 0.25, "message": "downloading tiny"}
        assert asked(url, "GET", "/v2/health/ready")[0] == 503
        assert client.ask("/v1/models")["models"][0]["loaded"] is False
        picture = client.upload(file_of())
        with pytest.raises(ServiceError, match="not loaded yet") as caught:
            client.segment(picture, "a cat")
        assert caught.value.status == 503
        with pytest.raises(ServiceError, match="downloading tiny"):
            client.wait(0)
        go.set()
        client.wait()
        assert client.segment(picture, "a cat").masks


def test_sixteen_clients_share_their_decoding(serving) -> None:
    with serving() as (service, client), ThreadPoolExecutor(16) as threads:
        picture = client.upload(file_of(50))
        body = json.dumps({"picture": picture.id, "prompts": ["a cat"], "results": ["scores"]}).encode()

        def ask(number: int) -> dict:
            return asked(client.url, "POST", "/v1/segment", body, content_type="application/json")[2]

        answers = list(threads.map(ask, range(64)))
        assert len({json.dumps(one["masks"]) for one in answers}) == 1
        assert service.metrics.encoded.value() == 1
        assert service.metrics.decoded.value() < 64
