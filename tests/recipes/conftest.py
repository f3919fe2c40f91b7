"""One run of the whole command line, shared by all tests that look at its results or repeat it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from recipes_kit import Done, Project, write_project


@dataclass(frozen=True)
class Finished:
    """A project after its first run.

    Attributes:
        project: Where to run it again.
        done: What the first run said.
        report: The first run's report.
        events: The first run's events.
    """

    project: Project
    done: Done
    report: dict[str, Any]
    events: list[dict[str, Any]]


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe of a tiny project."""
    return write_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def finished(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The project, run once from nothing."""
    folder = tmp_path_factory.mktemp("finished")
    project = Project(recipe, folder / "cache", folder / "runs")
    done = project.run()
    assert done.code == 0, done.err
    return Finished(project, done, project.report(), project.events())
