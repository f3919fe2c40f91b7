"""One bundle for all tests that only read it."""

from __future__ import annotations

from pathlib import Path

import pytest
import runner_bundle_kit


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runner_bundle_kit.save_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="session")
def pair_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runner_bundle_kit.save_bundle(tmp_path_factory.mktemp("pairs"), columns=("premise", "claim"))
