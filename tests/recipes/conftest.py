"""One run of the whole command line, shared by all tests that look at its results or repeat it."""

from __future__ import annotations

from pathlib import Path

import pytest
from recipes_kit import Finished, finish, write_project


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe of a tiny project."""
    return write_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def finished(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The project, run once from nothing."""
    return finish(recipe, tmp_path_factory.mktemp("finished"))
