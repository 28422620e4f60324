"""The server on a port: one that is free, until a signal ends it, and no work that was taken is lost."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from clipseg.errors import MissingPackageError, UsageError
from clipseg.server.settings import LOOPBACK

if TYPE_CHECKING:
    from types import FrameType

    from starlette.types import ASGIApp

    from clipseg.server.service import Service
    from clipseg.server.settings import Limits

CONNECTIONS = 1000
"""At once; the next is refused."""

TURN = 1e-4
"""Seconds after which a thread that is busy in Python gives way to another. The model takes hundreds of short steps,
and after each it waits for its turn: beside a thread always busy Python's own 5 ms made 1.4 s of 45 ms of decoding."""

SPINS = "30000"
"""How often a thread of the model's looks for more to compute before it sleeps. OpenMP's own number, ten times as many,
keeps a processor for milliseconds after each answer, on which masks could be finished and requests be read."""

KEEP_ALIVE = 20
"""Seconds that a connection may wait for its next request."""


PORTS: Mapping[str, str] = {"http": ":80", "https": ":443"}
"""Schemes, and the ports that browsers leave out of origins."""

_NAME = re.compile(r"[\w.-]+", re.ASCII)
_NETLOC = re.compile(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+)(:\d{1,5})?", re.ASCII)


def check_packages() -> None:
    """Raises MissingPackageError where the extra `serve` is not installed."""
    try:
        for name in ("fastapi", "uvicorn", "python_multipart"):
            import_module(name)
    except ImportError as error:
        raise MissingPackageError(
            f"the server's packages cannot be imported ({error}); install them with: pip install 'clipseg[serve]'"
        ) from error


def spin_briefly() -> None:
    """Have OpenMP's threads sleep sooner than they would, unless the environment says how. Before torch is imported."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address or name."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_door(host: str, token: str | None) -> None:
    """Where the server is to listen, and its token. Raises UsageError for an open door."""
    if token is None and not is_loopback(host):
        raise UsageError(
            f"{host} can be reached from other machines, so a token is needed: give --token, such as what "
            "`openssl rand -hex 16` prints, or set CLIPSEG_TOKEN; or stay on this machine with --host 127.0.0.1"
        )


def bound(host: str, port: int) -> socket.socket:
    """An address and a port, 0 for any that is free -> a socket that listens there. Raises UsageError."""
    try:
        stream = {"type": socket.SOCK_STREAM, "proto": socket.IPPROTO_TCP}
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, **stream)[0]
        # Named as TCP, or asyncio lets answers wait for the client to confirm what came before: 40 ms each.
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(128)
        except BaseException:
            listening.close()
            raise
    except UnicodeError:  # of a name that is none, such as "a..b"
        raise UsageError(f"{host!r} is no name of a host and no address; see --host") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"port {port} is in use; choose another with --port, or 0 for any") from error
        reason = error.strerror or error
        raise UsageError(f"{host}:{port} cannot be listened on ({reason}); see --host and --port") from error
    return listening


def names_of(host: str, given: Iterable[str]) -> frozenset[str] | None:
    """Where the server listens, and further names of it -> those it answers to; None for any.

    On this machine alone it answers to none that others gave it. Reached from elsewhere, under names that are not known
    here, it is the token that keeps strangers out. Raises UsageError for what no header Host can say.
    """
    names = {_host_name(name) for name in given}
    if not names and not is_loopback(host):
        return None
    return LOOPBACK | names | {host.strip("[]").lower()}


def _host_name(text: str) -> str:
    """A name as people write it -> as it is compared. An empty one would let every header in that cannot be read."""
    name = text.strip("[]").lower()
    if not _NAME.fullmatch(name) and not _is_address(name):
        raise UsageError(f"{text!r} is no name of a host; expected one such as example.org, without a port")
    return name


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def origins_of(given: Iterable[str]) -> frozenset[str]:
    """Origins of pages, as people write them -> as browsers do. Raises UsageError."""
    origins = set()
    for text in given:
        parts = urlsplit(text)
        if parts.scheme not in PORTS or not _NETLOC.fullmatch(parts.netloc) or any(parts[3:]) or parts.path.strip("/"):
            raise UsageError(f"{text!r} is no origin; expected one such as https://example.org")
        origins.add(f"{parts.scheme}://{parts.netloc.lower().removesuffix(PORTS[parts.scheme])}")
    return frozenset(origins)


def address_of(listening: socket.socket) -> str:
    """A socket -> where a browser on this machine finds it."""
    host, port = listening.getsockname()[:2]
    host = "127.0.0.1" if host == "0.0.0.0" else "::1" if host == "::" else host  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def entry_of(address: str, token: str | None) -> str:
    """An address and a token -> what opens the page; browsers keep what is behind # to themselves."""
    return address if token is None else f"{address}/#token={quote(token, safe='')}"


def serve(app: ASGIApp, service: Service, listening: socket.socket, begun: Callable[[], None] = lambda: None) -> None:
    """Answer on a socket until SIGTERM or Ctrl-C; `begun` is called once requests are taken.

    What was taken then is finished; a second signal does not wait for it. Raises what the model could not be loaded
    for.
    """
    with _quiet_signals(), _quick_turns(), untold_warnings():
        server = _server(app, service.limits, begun)
        watch = threading.Thread(target=_end_on_failure, args=(server, service), name="serve-watch", daemon=True)
        watch.start()
        server.run(sockets=[listening])
    if service.engine.failure is not None:
        raise service.engine.failure


@contextmanager
def running(app: ASGIApp, limits: Limits) -> Iterator[str]:
    """-> the address of a server in a thread of its own, on a free port of this machine; it ends with the block."""
    listening = bound("127.0.0.1", 0)
    ready = threading.Event()
    server = _server(app, limits, ready.set)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])), name="serve-server")
    thread.start()
    ready.wait(30)
    try:
        yield address_of(listening)
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def _server(app: ASGIApp, limits: Limits, begun: Callable[[], None]) -> Any:
    import uvicorn

    from clipseg.server.protocol import PatientProtocol

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            begun()

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            if self.should_exit:  # the second: as if nobody listened to it, or threads at work would be waited for
                signal.signal(sig, signal.SIG_DFL)
                signal.raise_signal(sig)
            super().handle_exit(sig, frame)

    return Server(
        uvicorn.Config(
            app,
            http=PatientProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=int(limits.seconds) + 1,
        )
    )


def _end_on_failure(server: Any, service: Service) -> None:
    """End the server where there is no model to serve."""
    service.engine.loaded.wait()
    if service.engine.failure is not None:
        server.should_exit = True


@contextmanager
def _quick_turns() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(TURN)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@contextmanager
def untold_warnings() -> Iterator[None]:
    """Within it nobody is warned of prompts that are cut off: each text would be remembered, for ever, and logged."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"prompt .* tokens and the model reads")
        yield


@contextmanager
def _quiet_signals() -> Iterator[None]:
    """Uvicorn hands the signals on that ended it; here an end that was asked for is a good one."""
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(kind, lambda *_: None) for kind in kinds]
    try:
        yield
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)
