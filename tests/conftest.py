"""What all tests share: nothing is fetched, nothing is written to the user's folders."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# The first example of a property test may import a library, which takes seconds on a busy machine.
settings.register_profile("without-deadline", deadline=None)
settings.load_profile("without-deadline")

# Read by the libraries when they are imported, so set before any test module is.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(tmp_path_factory.getbasetemp() / "edgeprune-cache"))
