"""Small tasks and files that the tests of this room share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeprune.recipe.schema import TaskConfig


def task_config(**changes: Any) -> TaskConfig:
    """A two-class task with a validation file; `changes` replace whole fields."""
    fields: dict[str, Any] = {
        "type": "text-classification",
        "train": "file://train.tsv",
        "columns": {"text": "text", "label": "label"},
        "labels": {"0": "negative", "1": "positive"},
        "max_unusable": 0.5,
    }
    if "split" not in changes:
        fields["validation"] = "file://validation.tsv"
    return TaskConfig.model_validate({**fields, **changes})


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    """Write a text file without touching its line ends."""
    path.write_bytes(text.encode(encoding))
    return path
