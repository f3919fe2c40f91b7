"""A machine of its own for each test: no index but a local folder, no Hub but a closed port, no caches."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from assets_kit import Resolver

from edgeprune.assets import Asset, Kind, resolve


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


@pytest.fixture
def resolve_here(tmp_path: Path, cache: Path) -> Resolver:
    """`resolve` with this test's cache and base."""

    def run(*sources: str, kind: Kind = "dataset", refresh: bool = False) -> Asset:
        return resolve(sources, kind=kind, cache=cache, base=tmp_path, refresh=refresh)

    return run
