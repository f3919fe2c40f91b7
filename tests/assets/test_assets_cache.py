from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from assets_kit import MODEL_FILES, Resolver, Wheel, make_wheel, write_files

from edgeprune.assets import Attempt, lookup
from edgeprune.assets.cache import DamagedEntry, Entry, entry_for
from edgeprune.assets.uri import HubSource, WheelSource, parse
from edgeprune.errors import AssetError

PATIENCE_SECONDS = 60


@pytest.fixture
def entry(cache: Path) -> Entry:
    """A cached model, published as a fetch would."""
    entry = entry_for(HubSource("hub://o/tiny", "model", "o/tiny"), cache)
    with entry.locked(pytest.fail), entry.staging() as folder:
        staged = folder / "entry"
        write_files(entry.payload(staged), MODEL_FILES)
        entry.publish(staged, (Attempt("file://tiny", "was not there"),), "commit c0ffee")
    return entry


def test_what_is_published_is_read_back(entry: Entry, cache: Path) -> None:
    asset = entry.read()
    assert asset is not None
    assert asset.path == entry.folder / "content/tiny"
    assert {path.name: path.read_bytes() for path in asset.path.iterdir()} == MODEL_FILES
    assert (asset.detail, asset.tried) == ("commit c0ffee", (Attempt("file://tiny", "was not there"),))
    assert list((cache / "assets/.partial").iterdir()) == []


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("content/tiny/model.safetensors", b"Weights", "model.safetensors has SHA-256"),
        ("content/tiny/model.safetensors", b"weight", "model.safetensors has 6 bytes, not 7"),
        ("content/tiny/model.safetensors", None, "model.safetensors is missing"),
        ("content/tiny/extra", b"", "extra was not there when it was fetched"),
        ("content/tiny", None, "tiny: No such file"),
        ("record.json", b"{", "record.json cannot be read"),
        ("record.json", b"[]", "record.json cannot be read"),
        ("record.json", b'{"format": "edgeprune.asset/0"}', "record.json has the format 'edgeprune.asset/0'"),
        ("record.json", None, "record.json: No such file"),
    ],
)
def test_a_damaged_copy_is_never_served(
    file: str, text: bytes | None, says: str, entry: Entry, tmp_path: Path, cache: Path
) -> None:
    place = entry.folder / file
    if text is not None:
        place.write_bytes(text)
    elif place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink()
    with pytest.raises(DamagedEntry, match=re.escape(says)):
        entry.read()
    assert lookup(["hub://o/tiny"], kind="model", cache=cache, base=tmp_path) is None


def test_a_record_of_something_else_is_damage(entry: Entry) -> None:
    record = entry.folder / "record.json"
    record.write_bytes(record.read_bytes().replace(b"hub://o/tiny", b"hub://o/huge"))
    with pytest.raises(DamagedEntry, match="describes something else"):
        entry.read()


def test_a_damaged_copy_is_fetched_again_before_a_mirror_serves(
    index: Path, tmp_path: Path, cache: Path, resolve_here: Resolver
) -> None:
    wheel = make_wheel(index, {"tinydata/a.csv": b"rows"})
    uri = wheel.uri("tinydata/a.csv")
    (tmp_path / "mirror.csv").write_bytes(b"rows")
    first = resolve_here(uri)
    first.path.write_bytes(b"mice")
    seen = lookup([uri, "file://mirror.csv"], kind="dataset", cache=cache, base=tmp_path)
    assert seen is not None
    assert seen.uri == "file://mirror.csv"
    assert "its cached copy is damaged (a.csv has SHA-256" in seen.tried[0].reason

    again = resolve_here(uri, "file://mirror.csv")
    assert (again.uri, again.path, again.sha256) == (uri, first.path, first.sha256)
    (attempt,) = again.tried
    assert attempt.uri == uri
    assert "its cached copy was damaged (a.csv has SHA-256" in attempt.reason
    assert lookup([uri], kind="dataset", cache=cache, base=tmp_path) == again


def test_a_cache_that_cannot_be_written_is_told_so(index: Path, cache: Path, resolve_here: Resolver) -> None:
    wheel = make_wheel(index, {"tinydata/a.csv": b"rows"})
    cache.write_bytes(b"a file where the cache's folder should be")
    with pytest.raises(AssetError, match=r"the cache .*/cache/assets cannot be used: Not a directory"):
        resolve_here(wheel.uri("tinydata/a.csv"))


class SlowIndex:
    """A package index over HTTP that hands out a wheel only when told to, and counts."""

    def __init__(self, wheel: Wheel) -> None:
        self.asked = threading.Event()
        self.release = threading.Event()
        self.served = 0
        index = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

            def do_GET(self) -> None:
                body = f'<a href="/{wheel.path.name}">{wheel.path.name}</a>'.encode()
                if self.path.endswith(".whl"):
                    index.asked.set()
                    index.release.wait(PATIENCE_SECONDS)
                    index.served += 1
                    body = wheel.path.read_bytes()
                self.send_response(200)
                self.send_header(
                    "Content-Type", "application/octet-stream" if index.asked.is_set() else "text/html"
                )
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/simple/"


@contextmanager
def slow_index(wheel: Wheel, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowIndex]:
    index = SlowIndex(wheel)
    thread = threading.Thread(target=index.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    try:
        yield index
    finally:
        index.release.set()
        index.server.shutdown()
        thread.join()
        index.server.server_close()


PROGRAM = """
import sys
from pathlib import Path
from edgeprune.assets import resolve
uri, cache = sys.argv[1:]
say = lambda line: print(line, flush=True)
print(resolve([uri], kind="dataset", cache=Path(cache), base=Path(cache), progress=say))
"""


def start(uri: str, cache: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, uri, str(cache)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def test_of_two_processes_one_fetches_and_both_have_it(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = make_wheel(tmp_path, {"tinydata/a.csv": b"rows"})
    uri = wheel.uri("tinydata/a.csv")
    with slow_index(wheel, monkeypatch) as index, start(uri, cache) as first:
        assert index.asked.wait(PATIENCE_SECONDS)
        with start(uri, cache) as second:
            assert second.stdout is not None
            assert second.stdout.readline() == f"{uri}: waiting for another process that fetches it\n"
            index.release.set()
            of_first, _ = first.communicate(timeout=PATIENCE_SECONDS)
            of_second, _ = second.communicate(timeout=PATIENCE_SECONDS)
    assert of_first == f"{uri}: fetching\n{of_second}"
    assert of_second.startswith(f"Asset(uri='{uri}'")
    assert index.served == 1


def test_what_a_killed_process_left_is_cleaned(
    tmp_path: Path, index: Path, cache: Path, resolve_here: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = make_wheel(index, {"tinydata/a.csv": b"rows", "tinydata/b.csv": b"more"})
    partial = cache / "assets/.partial"
    with (
        monkeypatch.context() as patch,
        slow_index(wheel, patch) as slow,
        start(wheel.uri("tinydata/a.csv"), cache) as killed,
    ):
        assert slow.asked.wait(PATIENCE_SECONDS)
        os.killpg(killed.pid, signal.SIGKILL)
        killed.communicate(timeout=PATIENCE_SECONDS)
    assert len(list(partial.iterdir())) == 1
    assert lookup([wheel.uri("tinydata/a.csv")], kind="dataset", cache=cache, base=tmp_path) is None

    other = parse(wheel.uri("tinydata/b.csv"), "dataset")
    assert isinstance(other, WheelSource)
    (partial / f"{entry_for(other, cache).name}.older").mkdir()
    assert resolve_here(other.uri).path.read_bytes() == b"more"
    assert list(partial.iterdir()) == []
