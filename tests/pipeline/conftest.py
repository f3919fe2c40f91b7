"""A project on disk; imitated stages; a machine that is the same everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pipeline_kit
import pytest

from edgeprune import backends, stages
from edgeprune.backends import nvidia_gpu, tensorrt
from edgeprune.pipeline import examining, reporting
from edgeprune.report import html
from edgeprune.runner import cpu


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Path of a recipe with everything that it names."""
    return pipeline_kit.write_project(tmp_path / "project")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test's machine is `pipeline_kit.MACHINE`, and every backend is installed on it."""
    for module in (cpu, backends, examining, reporting):
        monkeypatch.setattr(module, "describe", lambda: pipeline_kit.MACHINE)
    for module in (backends, tensorrt):
        monkeypatch.setattr(module, "find_spec", lambda name: object())
    monkeypatch.setattr(nvidia_gpu, "compute_capability", lambda: None)


@pytest.fixture
def imitated(machine: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The table has the stages of `pipeline_kit` instead of the real ones."""
    monkeypatch.setattr(stages, "TABLE", pipeline_kit.TABLE)
    monkeypatch.setattr(html, "render", pipeline_kit.no_html)
    stages.get.cache_clear()
    yield
    stages.get.cache_clear()
