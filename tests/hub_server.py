"""A model hub on 127.0.0.1, for tests: it speaks the parts of the Hugging Face Hub's protocol that we use.

    with HubServer({"org/model": {"config.json": b"{}"}}) as hub:
        ...                     # HF_ENDPOINT = hub.url; hub.requests lists what was asked
        hub.cut["model.safetensors"] = 3    # the next three answers of that file stop half-way

Repositories whose name starts with `gated/` answer as gated ones do. Uploads need a token; they end up in
`repositories`, those to a branch under "org/model@branch" and proposed ones under "org/model@proposed", and their
messages in `messages`.
"""

import base64
import hashlib
import json
import re
import socket
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

_API = re.compile(r"^/api/models/(?P<repo>[^/]+/[^/]+)/(?P<action>branch|preupload|commit)/(?P<revision>[^/?]+)")
_RESOLVE = re.compile(r"^/(?P<repo>[^/]+(?:/[^/]+)?)/resolve/(?P<revision>[^/]+)/(?P<file>.+)$")


class HubServer:
    """Serves `repositories` (id -> file -> bytes) from a thread between `start` and `stop`; counts every request."""

    def __init__(self, repositories: Mapping[str, Mapping[str, bytes]]) -> None:
        self.repositories = {name: dict(files) for name, files in repositories.items()}
        self.requests: list[tuple[str, str]] = []
        self.cut: dict[str, int] = {}
        self.tokens: list[str | None] = []
        self.status: int | None = None  # answer everything with this
        self.messages: list[tuple[str, str, str]] = []  # repository, summary and description of each commit
        self.private: set[str] = set()
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        assert self._server is not None, "the hub is not running"
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def commit(self, name: str) -> str:
        """The commit that `main` of a repository stands at: another one as soon as a file changes."""
        digest = hashlib.sha1()
        for file, content in sorted(self.repositories.get(name, {}).items()):
            digest.update(f"{file}\n{len(content)}\n".encode())
            digest.update(content)
        return digest.hexdigest()

    def count(self, method: str, file: str = "") -> int:
        """How many requests with this method ended in this file name."""
        return sum(asked == method and path.endswith(file) for asked, path in self.requests)

    def environment(self, home: Any) -> dict[str, str]:
        """The environment variables that point a fresh process at this hub, with its cache under `home`."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "NO_PROXY": "127.0.0.1",
        }

    def start(self) -> "HubServer":
        hub = self

        class Handler(_Handler):
            owner = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stops listening; `url` stays readable, so that tests can ask a hub that is gone."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

    def __enter__(self) -> "HubServer":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Handler(BaseHTTPRequestHandler):
    owner: HubServer
    protocol_version = "HTTP/1.0"  # one answer per connection: a cut one ends it

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_POST(self) -> None:
        hub = self.owner
        hub.requests.append((self.command, self.path))
        hub.tokens.append(self.headers.get("Authorization"))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if hub.status is not None:
            return self._refuse(hub.status, None)
        if self.headers.get("Authorization") is None:
            return self._refuse(401, None)
        if self.path == "/api/repos/create":
            return self._create(json.loads(body))
        match = _API.match(self.path)
        if match is None or match["repo"] not in hub.repositories:
            return self._refuse(404, "RepoNotFound")
        branch = match["repo"] if match["revision"] == "main" else f"{match['repo']}@{match['revision']}"
        if self.path.endswith("create_pr=1"):
            branch += "@proposed"
            hub.repositories.setdefault(branch, {})
        if match["action"] == "branch":
            if branch in hub.repositories:
                return self._refuse(409, None)
            hub.repositories[branch] = dict(hub.repositories[match["repo"]])
            return self._tell({})
        if branch not in hub.repositories:
            return self._refuse(404, "RevisionNotFound")
        if match["action"] == "preupload":
            files = json.loads(body)["files"]
            modes = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in files]
            return self._tell({"files": modes})
        return self._commit(branch, [json.loads(line) for line in body.splitlines()])

    def _create(self, wish: dict[str, Any]) -> None:
        name = "/".join(filter(None, (wish.get("organization") or "someone", wish["name"])))
        status = 409 if name in self.owner.repositories else 200
        if status == 200:
            self.owner.repositories[name] = {}
            if wish.get("private") or wish.get("visibility") == "private":
                self.owner.private.add(name)
        self._tell({"url": f"{self.owner.url}/{name}"}, status)

    def _commit(self, branch: str, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                self.owner.messages.append((branch, value["summary"], value["description"]))
            else:
                assert (line["key"], value["encoding"]) == ("file", "base64"), line["key"]
                self.owner.repositories[branch][value["path"]] = base64.b64decode(value["content"])
        commit = self.owner.commit(branch)
        address = f"{self.owner.url}/{branch}"
        proposed = {"pullRequestUrl": f"{address}/discussions/1"} if branch.endswith("@proposed") else {}
        self._tell({"commitUrl": f"{address}/commit/{commit}", "commitOid": commit, **proposed})

    def _tell(self, answer: dict[str, Any], status: int = 200) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        """Silent."""

    def _answer(self, *, body: bool) -> None:
        hub = self.owner
        hub.requests.append((self.command, self.path))
        hub.tokens.append(self.headers.get("Authorization"))
        match = _RESOLVE.match(self.path.split("?")[0])
        if hub.status is not None:
            return self._refuse(hub.status, None)
        if match is None or match["repo"] not in hub.repositories:
            return self._refuse(401 if match is None else 404, "RepoNotFound")
        if match["repo"].startswith("gated/"):
            return self._refuse(403, "GatedRepo")
        if match["revision"] not in ("main", hub.commit(match["repo"])):
            return self._refuse(404, "RevisionNotFound")
        content = hub.repositories[match["repo"]].get(match["file"])
        if content is None:
            return self._refuse(404, "EntryNotFound")
        return self._serve(match["file"], content, body)

    def _serve(self, file: str, content: bytes, body: bool) -> None:
        span = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(span[1]) if span else 0
        self.send_response(206 if span else 200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", self.owner.commit(self.path.partition("/resolve/")[0][1:]))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - start))
        if span:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if not body:
            return
        rest = content[start:]
        if self.owner.cut.get(file, 0) > 0:
            self.owner.cut[file] -= 1
            # The first cut answer gives half, a resumed one gives nothing more: no progress, so retries run out.
            self.wfile.write(b"" if span else rest[: len(rest) // 2])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self.wfile.write(rest)

    def _refuse(self, status: int, code: str | None) -> None:
        self.send_response(status)
        self.send_header("X-Repo-Commit", self.owner.commit(self.path.partition("/resolve/")[0][1:]))
        if code is not None:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()
