"""A server on a free port of this machine with a tiny model, and a client for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

import ready
from clipseg.client import Client
from clipseg.segmenter import Segmenter
from clipseg.server.app import application
from clipseg.server.service import Service
from clipseg.server.serving import running
from clipseg.server.settings import Access, Limits

Serving = Callable[..., AbstractContextManager[tuple[Service, Client]]]


@pytest.fixture(scope="session")
def segmenter() -> Segmenter:
    return ready.segmenter()


@contextmanager
def served(
    load: Callable[[], Segmenter], access: Access | None = None, **limits: Any
) -> Iterator[tuple[Service, Client]]:
    """A server of its own -> what it serves, and a client of it that waits for the model."""
    allowed = Limits(**limits)
    service = Service(load, "tiny", allowed)
    access = access or Access()
    with running(application(service, access), allowed) as url, Client(url, access.token, 30) as client:
        client.wait()
        yield service, client


@pytest.fixture(scope="session")
def everyone(segmenter: Segmenter) -> Iterator[tuple[Service, Client]]:
    """A server for all tests that leave its limits alone."""
    with served(lambda: segmenter) as found:
        yield found


@pytest.fixture
def client(everyone: tuple[Service, Client]) -> Client:
    return everyone[1]


@pytest.fixture
def service(everyone: tuple[Service, Client]) -> Service:
    return everyone[0]


@pytest.fixture
def url(client: Client) -> str:
    return client.url


@pytest.fixture(scope="session")
def serving(segmenter: Segmenter) -> Serving:
    """`with serving(queue=1) as (service, client)`: a server of one's own."""

    def serving(access: Access | None = None, load: Callable[[], Segmenter] | None = None, **limits: Any) -> Any:
        return served(load or (lambda: segmenter), access, **limits)

    return serving
