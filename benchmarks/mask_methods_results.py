"""Results of benchmarks/mask_methods.py on disk: a row per cell that was ever run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mask_methods_grid import DENSE, Cell

from edgeprune.durable import write_text
from edgeprune.pipeline.store import Artifact
from edgeprune.runner.cpu import describe

__all__ = ["Results", "Row", "row_of"]

Row = dict[str, Any]


class Results:
    """Rows on disk: one per method, density, seed and artifact key that was ever made for the grid.

    Args:
        path: The JSON file; made when the first row comes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows = self._read()

    def find(self, cell: Cell, key: str | None) -> Row | None:
        """The row of a cell whose artifact has that key."""
        return self._rows.get((cell.method, cell.density, cell.seed, key or ""))

    def add(self, row: Row) -> None:
        """Append a row; the file is whole at every moment, and may have grown meanwhile."""
        self._rows = self._read() | {_identity(row): row}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self._path, json.dumps({"rows": list(self._rows.values())}, indent=1) + "\n")

    def _read(self) -> dict[tuple[str, float, int, str], Row]:
        if not self._path.is_file():
            return {}
        rows = json.loads(self._path.read_text(encoding="utf-8"))["rows"]
        return {_identity(row): row for row in rows}


def _identity(row: Row) -> tuple[str, float, int, str]:
    return row["method"], row["density"], row["seed"], row["key"]


def row_of(cell: Cell, artifact: Artifact, threads: int | None) -> Row:
    """What the table and later readers need of a cell's artifact.

    Args:
        cell: The cell.
        artifact: Of `finetune` for an original, else of `learn_masks`.
        threads: How many it was made with; None if that is not known.
    """
    record = artifact.record
    dense = cell.method == DENSE
    return {
        "method": cell.method,
        "density": cell.density,
        "seed": cell.seed,
        "key": artifact.key,
        "quality": record["quality"],
        "kept": 1.0 if dense else record["density"]["kept"],
        "kept_of_encoder": 1.0 if dense else record["density"]["encoder"],
        "trained_parameters": record["parameters" if dense else "trained_parameters"],
        "new_parameters": record["parameters" if dense else "new_parameters"],
        "pack": record.get("pack"),
        "steps": record["steps"],
        "seconds": artifact.seconds,
        "threads": threads,
        "cpu": describe().model,
        "created": artifact.created,
        "settings": artifact.ingredients["config"],
    }
