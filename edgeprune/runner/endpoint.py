"""A small HTTP server that answers texts: one model, one answer at a time, limits on all that comes in."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, List, Tuple

from .answering import Answerer
from .examples import Example, InputError, parse_example, parse_json
from .variant import RunnerError

__all__ = ["BATCH_LIMIT", "BODY_LIMIT", "Endpoint"]

BODY_LIMIT = 1 << 20
BATCH_LIMIT = 64
IDLE_SECONDS = 30.0
# What is thrown away of a body that is not wanted, and for how long: a sender that is still sending when the
# connection is closed does not get to read why.
UNWANTED_BYTES, UNWANTED_SECONDS = 16 * BODY_LIMIT, 5.0

# Path to the one method that it takes.
PATHS = {"/predict": "POST", "/health": "GET"}


class RefusedError(Exception):
    """A request that is not answered."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class Endpoint(ThreadingHTTPServer):
    """Answers ``POST /predict`` and ``GET /health``.

    Attributes:
        answerer: Answers, for one request at a time.
    """

    daemon_threads = False  # closing waits for the answers that are under way
    request_queue_size = 64

    def __init__(self, address: Tuple[str, int], family: socket.AddressFamily, answerer: Answerer) -> None:
        self.address_family = family
        self.answerer = answerer
        self._model = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._changing = threading.Lock()
        super().__init__(address, _Handler)

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self.server_address[:2]
        name = str(host)
        return f"http://{f'[{name}]' if ':' in name else name}:{port}"

    def health(self) -> dict[str, str]:
        """What is served."""
        manifest = self.answerer.manifest
        return {
            "status": "ok",
            "name": manifest.name,
            "version": manifest.version,
            "variant": manifest.variant,
        }

    def predict(self, body: Any) -> dict[str, Any]:
        """Answers to the texts of a request.

        Each is answered by itself: what else is asked at the same time does not change an answer.

        Raises:
            RefusedError: It is not a request of ours, or has too many texts.
            RunnerError: The model fails.
        """
        examples = self._examples(body)
        rows = []
        for example in examples:
            with self._model:
                rows.append(self.answerer.answer([example])[0].row())
        return {"answers": rows}

    def stop(self) -> None:
        """Ends `serve_forever` of another thread, and connections that wait for requests."""
        self.shutdown()
        with self._changing:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RD)
                except OSError:
                    continue  # it was closed from the other side

    def server_bind(self) -> None:
        """Binds without asking a name server who we are, which takes long where there is none."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Gives one connection to a thread of its own."""
        with self._changing:
            self._connections.add(request)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serves one connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._changing:
                self._connections.discard(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says in one line what ended a connection; that its other side left is not worth one."""
        error = sys.exc_info()[1]
        if not isinstance(error, (ConnectionError, TimeoutError, socket.timeout)):
            sys.stderr.write(f"error: a connection ended by {type(error).__name__}: {error}\n")

    def _examples(self, body: Any) -> List[Example]:
        columns = self.answerer.manifest.columns
        if not isinstance(body, dict):
            raise RefusedError(
                HTTPStatus.BAD_REQUEST, f'the body is {type(body).__name__}; send {{"texts": […]}}'
            )
        if "texts" not in body:
            asked = [("the body", body)]
        elif not isinstance(body["texts"], list):
            raise RefusedError(
                HTTPStatus.BAD_REQUEST, f"'texts' is {type(body['texts']).__name__}, not a list"
            )
        else:
            asked = [(f"text {index}", value) for index, value in enumerate(body["texts"])]
        if len(asked) > BATCH_LIMIT:
            message = f"{len(asked)} texts are more than the {BATCH_LIMIT} that one request may have"
            raise RefusedError(HTTPStatus.BAD_REQUEST, message)
        examples = []
        for name, value in asked:
            try:
                examples.append(parse_example(value, columns))
            except InputError as error:
                raise RefusedError(HTTPStatus.BAD_REQUEST, f"{name} {error}") from error
        return examples


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Endpoint
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "edgeprune", ""
    timeout = IDLE_SECONDS
    # Head and body of an answer leave together and at once: in two pieces they would wait for each other.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answers what has no body."""
        self._answer("GET")

    def do_POST(self) -> None:
        """Answers what has a body."""
        self._answer("POST")

    def handle_expect_100(self) -> bool:
        """Asks for the body only if it will be read."""
        try:
            self._length()
        except RefusedError as error:
            self._reply(error.status, {"error": str(error)}, last=True)
            return False
        return super().handle_expect_100()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class refuses gets the form of all other answers."""
        status = HTTPStatus(code)
        self._reply(status, {"error": message or explain or status.phrase}, last=True)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Says nothing of requests: whom they are from and what they ask is nobody's business."""

    def _answer(self, method: str) -> None:
        self._unread = method == "POST" or "Content-Length" in self.headers
        try:
            self._reply(HTTPStatus.OK, self._found(method), last=self._unread)
        except RefusedError as error:
            self._reply(error.status, {"error": str(error)}, last=self._unread)
        except RunnerError as error:
            sys.stderr.write(f"error: {error}\n")
            self._reply(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": str(error)}, last=self._unread)
        if self._unread:
            self._throw_away()

    def _found(self, method: str) -> dict[str, Any]:
        path = self.path.partition("?")[0]
        if path not in PATHS:
            raise RefusedError(HTTPStatus.NOT_FOUND, f"there is no {path}; there are {', '.join(PATHS)}")
        if PATHS[path] != method:
            raise RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, f"{path} takes {PATHS[path]}, not {method}")
        return self.server.health() if path == "/health" else self.server.predict(self._body())

    def _length(self) -> int:
        """Bytes of the body."""
        text = self.headers.get("Content-Length")
        if text is None:
            raise RefusedError(
                HTTPStatus.LENGTH_REQUIRED, "the request does not say how long it is (Content-Length)"
            )
        if not (text.isascii() and text.isdigit()):
            raise RefusedError(
                HTTPStatus.BAD_REQUEST, f"Content-Length is {text!r}, which is no number of bytes"
            )
        if len(text) > len(str(BODY_LIMIT)) or int(text) > BODY_LIMIT:
            message = f"{text} bytes are more than the {BODY_LIMIT} that a request may have"
            raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)
        return int(text)

    def _body(self) -> Any:
        length = self._length()
        content = self.rfile.read(length)
        if len(content) < length:
            raise RefusedError(
                HTTPStatus.BAD_REQUEST, f"the body ends after {len(content)} of {length} bytes"
            )
        self._unread = False
        try:
            return parse_json(content.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"the body is not UTF-8: {error.reason}") from error
        except InputError as error:
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"the body {error}") from error

    def _reply(self, status: HTTPStatus, value: Any, last: bool = False) -> None:
        content = json.dumps(value).encode("ascii") + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", PATHS[self.path.partition("?")[0]])
        if last:
            self.send_header("Connection", "close")  # the base class then closes
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _throw_away(self) -> None:
        """Reads what is still sent until the other side has read our answer and leaves."""
        self.wfile.flush()
        left, end = UNWANTED_BYTES, time.monotonic() + UNWANTED_SECONDS
        try:
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(1.0)
            while left > 0 and time.monotonic() < end:
                thrown = len(self.rfile.read1(1 << 16))
                if not thrown:
                    break
                left -= thrown
        except OSError:
            return  # it left, or went silent
