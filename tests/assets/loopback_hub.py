"""A Hugging Face Hub of a few repositories on a loopback port: the endpoints that its real clients call."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@dataclass
class Repository:
    """Files per commit, and the names of commits. A commit is any 40 hexadecimal digits."""

    commits: dict[str, dict[str, bytes]]
    refs: dict[str, str]
    gated: bool = False
    token: str | None = None

    def commit_of(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.refs.get(revision)


@dataclass
class Hub:
    """The server's state. Keys of `repositories` are ``models/owner/name`` and ``datasets/owner/name``."""

    repositories: dict[str, Repository]
    url: str = ""
    requests: list[str] = field(default_factory=list)
    forbidden_files: set[str] = field(default_factory=set)


@contextmanager
def serve_hub(repositories: dict[str, Repository]) -> Iterator[Hub]:
    hub = Hub(repositories)
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        self.hub.requests.append(f"{self.command} {self.path}")

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(body)

    def _answer(self, body: bytes = b"") -> None:
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        if parts[0] == "api":
            self._api(parts[1:], body)
        elif "resolve" in parts:
            self._file(parts if parts[0] == "datasets" else ["models", *parts])
        else:
            self._send(HTTPStatus.NOT_FOUND)

    def _api(self, parts: list[str], body: bytes) -> None:
        repository = self._repository(parts)
        if repository is None:
            return
        verb, rest = (parts[3], parts[4:]) if len(parts) > 3 else ("revision", ["main"])
        revision, below = (rest[0], "/".join(rest[1:])) if rest else ("main", "")
        commit = repository.commit_of(revision)
        if commit is None:
            self._send(HTTPStatus.NOT_FOUND, {"X-Error-Code": "RevisionNotFound"})
            return
        files = repository.commits[commit]
        if verb == "revision":
            siblings = [{"rfilename": name} for name in files]
            self._json({"id": "/".join(parts[1:3]), "sha": commit, "siblings": siblings, "tags": []})
        elif verb == "tree":
            inside = {name: text for name, text in files.items() if not below or name.startswith(below + "/")}
            self._json([_tree_row(name, text) for name, text in inside.items()])
        elif verb == "paths-info":
            asked = json.loads(body)["paths"] if body.startswith(b"{") else _form_paths(body)
            self._json([_tree_row(name, files[name]) for name in asked if name in files])
        else:
            self._send(HTTPStatus.NOT_FOUND)

    def _file(self, parts: list[str]) -> None:
        repository = self._repository(parts)
        if repository is None:
            return
        commit, name = repository.commit_of(parts[4]), "/".join(parts[5:])
        text = repository.commits.get(commit or "", {}).get(name)
        if commit is None or text is None:
            self._send(HTTPStatus.NOT_FOUND, {"X-Error-Code": "EntryNotFound"})
        elif name in self.hub.forbidden_files:
            self._send(HTTPStatus.FORBIDDEN)
        else:
            self._send(HTTPStatus.OK, {"ETag": f'"{_etag(text)}"', "X-Repo-Commit": commit}, text)

    def _repository(self, parts: list[str]) -> Repository | None:
        repository = self.hub.repositories.get("/".join(parts[:3]))
        if repository is None:
            self._send(HTTPStatus.UNAUTHORIZED, {"X-Error-Code": "RepoNotFound"})
        elif repository.token and self.headers.get("Authorization") != f"Bearer {repository.token}":
            self._send(HTTPStatus.UNAUTHORIZED, {"X-Error-Code": "RepoNotFound"})
            return None
        elif repository.gated:
            self._send(HTTPStatus.FORBIDDEN, {"X-Error-Code": "GatedRepo"})
            return None
        return repository

    def _json(self, document: object) -> None:
        self._send(HTTPStatus.OK, {"Content-Type": "application/json"}, json.dumps(document).encode())

    def _send(self, status: HTTPStatus, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _etag(text: bytes) -> str:
    return hashlib.sha1(text, usedforsecurity=False).hexdigest()


def _tree_row(name: str, text: bytes) -> dict[str, object]:
    return {"type": "file", "path": name, "size": len(text), "oid": _etag(text)}


def _form_paths(body: bytes) -> list[str]:
    pairs = (pair.partition("=") for pair in body.decode().split("&"))
    return [unquote(value.replace("+", " ")) for name, _, value in pairs if name == "paths"]
