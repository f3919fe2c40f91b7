"""The HTTP endpoint: answers, limits, and a clean end. All on loopback."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runner_bundle_kit

from edgeprune.runner.__main__ import main
from edgeprune.runner.endpoint import BATCH_LIMIT, BODY_LIMIT, Endpoint
from edgeprune.runner.examples import InputError
from edgeprune.runner.serve import resolve


@contextmanager
def _serving(bundle: Path, model: Any = None, host: str = "127.0.0.1") -> Iterator[Endpoint]:
    answerer = runner_bundle_kit.answerer(bundle)
    if model is not None:
        answerer.session = model
    family, address = resolve(host, 0)
    with Endpoint(address, family, answerer) as endpoint:
        loop = threading.Thread(target=endpoint.serve_forever, kwargs={"poll_interval": 0.01})
        loop.start()
        try:
            yield endpoint
        finally:
            endpoint.stop()
            loop.join(20)


@pytest.fixture(scope="module")
def endpoint(bundle: Path) -> Iterator[Endpoint]:
    with _serving(bundle) as found:
        yield found


@contextmanager
def _client(endpoint: Endpoint) -> Iterator[http.client.HTTPConnection]:
    host, port = endpoint.server_address[:2]
    connection = http.client.HTTPConnection(str(host), int(port), timeout=20)
    try:
        yield connection
    finally:
        connection.close()


def _ask(endpoint: Endpoint, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """Status and value of the answer to one request."""
    content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    with _client(endpoint) as connection:
        connection.request(method, path, content, headers)
        response = connection.getresponse()
        assert response.headers["Content-Type"] == "application/json"
        return response.status, json.loads(response.read())


def _raw(endpoint: Endpoint, request: bytes) -> bytes:
    """Everything that comes back for these bytes, after which nothing more is sent."""
    with socket.create_connection(endpoint.server_address[:2], timeout=20) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_answers_are_those_of_predict(endpoint: Endpoint, bundle: Path) -> None:
    answerer = runner_bundle_kit.answerer(bundle)
    wanted = [answerer.answer([(text,)])[0].row() for text in runner_bundle_kit.TEXTS]
    assert _ask(endpoint, "POST", "/predict", {"texts": runner_bundle_kit.TEXTS}) == (
        200,
        {"answers": wanted},
    )
    for body in ({"text": runner_bundle_kit.TEXTS[0]}, {"sentence": runner_bundle_kit.TEXTS[0]}):
        assert _ask(endpoint, "POST", "/predict", body) == (200, {"answers": wanted[:1]})
    assert _ask(endpoint, "POST", "/predict?x=1", {"texts": []}) == (200, {"answers": []})


def test_pairs(pair_bundle: Path) -> None:
    one, two = runner_bundle_kit.PAIRS[0]
    wanted = runner_bundle_kit.answerer(pair_bundle).answer([(one, two)])[0].row()
    pairs = [[one, two], {"text": one, "text_pair": two}, {"premise": one, "claim": two}]
    with _serving(pair_bundle) as endpoint:
        assert _ask(endpoint, "POST", "/predict", {"texts": pairs}) == (200, {"answers": [wanted] * 3})
        status, value = _ask(endpoint, "POST", "/predict", {"texts": [one]})
        assert (status, value["error"][:19]) == (400, "text 0 has 1 text(s")


def test_health(endpoint: Endpoint, bundle: Path) -> None:
    status, value = _ask(endpoint, "GET", "/health")
    assert status == 200
    assert value.items() >= {"status": "ok", "name": "films-test", "variant": "onnxruntime/fp32"}.items()


def test_one_connection_takes_many_requests(endpoint: Endpoint) -> None:
    with _client(endpoint) as connection:
        for body in ({"text": "good"}, {"text": 3}, {"texts": ["bad"]}):
            connection.request("POST", "/predict", json.dumps(body))
            first = connection.sock
            assert connection.getresponse().read()
        assert connection.sock is first is not None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "the body is not JSON: "),
        (b"", "the body is empty"),
        (b"\xff", "the body is not UTF-8: "),
        (b"[" * 100_000, "the body is nested too deeply"),
        ([], "the body is list; send "),
        ({}, "the body lacks 'sentence'"),
        ({"texts": "good"}, "'texts' is str, not a list"),
        ({"texts": ["good", 3]}, "text 1 is int"),
        ({"text": None}, "the body has NoneType where a text should be"),
        ({"texts": ["a"] * (BATCH_LIMIT + 1)}, f"65 texts are more than the {BATCH_LIMIT} that one request"),
        (b'{"text": "\\ud800"}', "the body has half a character"),
    ],
)
def test_what_is_no_request_is_400(endpoint: Endpoint, body: Any, message: str) -> None:
    status, value = _ask(endpoint, "POST", "/predict", body)
    assert status == 400
    assert value["error"].startswith(message)


@pytest.mark.parametrize("size", [BODY_LIMIT + 1, 8 * BODY_LIMIT])
def test_a_body_that_is_too_long_is_413_and_its_sender_reads_so(endpoint: Endpoint, size: int) -> None:
    status, value = _ask(endpoint, "POST", "/predict", b"x" * size)
    assert (status, value["error"]) == (
        413,
        f"{size} bytes are more than the {BODY_LIMIT} that a request may have",
    )


def test_who_asks_first_need_not_send_a_body_that_is_too_long(endpoint: Endpoint) -> None:
    head = "POST /predict HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n"
    assert _raw(endpoint, head.format(BODY_LIMIT + 1).encode()).startswith(b"HTTP/1.1 413 ")
    body = b'{"text": "good"}'
    answered = _raw(endpoint, head.format(len(body)).encode() + body)
    assert answered.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"POST /predict HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /predict HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 413),
        (b'POST /predict HTTP/1.1\r\nContent-Length: 99\r\n\r\n{"text"', 400),
        (b"GET /predict HTTP/1.1\r\n\r\n", 405),
        (b"POST /health HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", 405),
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"POST /x HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", 404),
        (b"DELETE /predict HTTP/1.1\r\n\r\n", 501),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", 200),
    ],
)
def test_other_requests_get_one_answer_in_json(endpoint: Endpoint, request_: bytes, status: int) -> None:
    answered = _raw(endpoint, request_)
    head, _, body = answered.rpartition(b"\r\n\r\n")
    if request_ == b"nonsense\r\n\r\n":  # HTTP before 1.0 had no heads
        assert b"Bad request syntax" in answered
        return
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert answered.count(b"HTTP/1.1") == 1
    assert isinstance(json.loads(body), dict)
    assert (b"Allow: " in head) == (status == 405)


class Slow:
    """A model that notes whether it was asked twice at once, and waits to be let go."""

    def __init__(self) -> None:
        self.asked, self.go = threading.Event(), threading.Event()
        self.inside, self.most = 0, 0

    def run(self, ids: np.ndarray, mask: np.ndarray, types: np.ndarray) -> np.ndarray:
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.asked.set()
        assert self.go.wait(20)
        self.inside -= 1
        return np.zeros((1, 3), np.float32)


def test_the_model_is_asked_one_thing_at_a_time_and_health_does_not_wait(bundle: Path) -> None:
    model = Slow()
    with _serving(bundle, model) as endpoint:
        found: list[int] = []
        askers = [
            threading.Thread(
                target=lambda: found.append(_ask(endpoint, "POST", "/predict", {"text": "a"})[0])
            )
            for _ in range(5)
        ]
        for asker in askers:
            asker.start()
        assert model.asked.wait(20)
        assert _ask(endpoint, "GET", "/health")[0] == 200
        model.go.set()
        for asker in askers:
            asker.join(20)
    assert (found, model.most) == ([200] * 5, 1)


def test_stopping_gives_answers_that_are_under_way_and_lets_idle_connections_go(bundle: Path) -> None:
    model = Slow()
    found: list[int] = []
    with _serving(bundle, model) as endpoint, _client(endpoint) as idle:
        idle.request("GET", "/health")
        assert idle.getresponse().read()
        asker = threading.Thread(
            target=lambda: found.append(_ask(endpoint, "POST", "/predict", {"text": "a"})[0])
        )
        asker.start()
        assert model.asked.wait(20)
        stopping = threading.Thread(target=endpoint.stop)
        stopping.start()
        stopping.join(20)
        model.go.set()
        asker.join(20)
    assert found == [200]


class Broken:
    """A model that fails."""

    def run(self, ids: np.ndarray, mask: np.ndarray, types: np.ndarray) -> np.ndarray:
        raise MemoryError("no room")


def test_a_model_that_fails_is_500_and_the_next_request_is_served(
    bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with _serving(bundle, Broken()) as endpoint:
        status, value = _ask(endpoint, "POST", "/predict", {"text": "a"})
        assert (status, value) == (500, {"error": "onnxruntime failed: no room"})
        assert _ask(endpoint, "GET", "/health")[0] == 200
    assert capfd.readouterr().err == "error: onnxruntime failed: no room\n"


def test_addresses_of_both_kinds(bundle: Path) -> None:
    if not socket.has_ipv6:
        pytest.skip("this Python has no IPv6")
    try:
        with _serving(bundle, host="::1") as endpoint:
            assert endpoint.url.startswith("http://[::1]:")
            assert _ask(endpoint, "GET", "/health")[0] == 200
    except OSError as error:
        pytest.skip(f"this machine has no IPv6: {error}")


def test_a_host_that_is_none_and_a_port_that_is_taken(
    bundle: Path, endpoint: Endpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match="'no host' is no address of this machine"):
        resolve("no host", 0)
    port = str(endpoint.server_address[1])
    assert main(["serve", "--bundle", str(bundle), "--port", port]) == 2
    assert f"127.0.0.1:{port} cannot be listened on: Address already in use" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_the_program_from_start_to_sigterm(bundle: Path, host: str) -> None:
    command = [sys.executable, "-P", str(bundle / "runner"), "serve", "--port", "0", "--host", host]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        if host == "0.0.0.0":
            assert line.startswith("warning: 0.0.0.0 can be reached from other machines")
            line = process.stderr.readline()
        assert line.startswith("serving films-test (onnxruntime/fp32) at http://")
        connection = http.client.HTTPConnection("127.0.0.1", int(line.rpartition(":")[2]), timeout=20)
        connection.request("POST", "/predict", json.dumps({"text": "good"}))
        assert connection.getresponse().status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stderr.read() == ""
        connection.close()
