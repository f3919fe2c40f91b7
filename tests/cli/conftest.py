"""These tests use the project and the imitated stages of tests/pipeline."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "pipeline"))


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Path of a recipe with everything that it names."""
    import pipeline_kit

    return pipeline_kit.write_project(tmp_path / "project")
