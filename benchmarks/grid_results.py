"""Rows of numbers on disk that several runs of a benchmark add to."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from grid_cells import Cell

from edgeprune.durable import write_text
from edgeprune.pipeline.store import Artifact
from edgeprune.runner.cpu import describe

__all__ = ["Artifacts", "Results", "Row", "common_row"]

Row = dict[str, Any]
Artifacts = Mapping[str, Artifact]
"""Name of each of a cell's steps to what it made."""


class Results:
    """Rows on disk; a row that is alike in all identifying columns is replaced.

    Args:
        path: The JSON file; made when the first row comes.
        identity: The identifying columns, e.g. method, density, seed and key of the artifact.
    """

    def __init__(self, path: Path, identity: tuple[str, ...]) -> None:
        self._path = path
        self._identity = identity
        self._rows = self._read()

    def find(self, *identity: Hashable) -> Row | None:
        """The row with these values in the identifying columns."""
        return self._rows.get(identity)

    def add(self, row: Row) -> None:
        """Append a row; the file is whole at every moment, and may have grown meanwhile."""
        self._rows = self._read() | {self._of(row): row}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self._path, json.dumps({"rows": list(self._rows.values())}, indent=1) + "\n")

    def _read(self) -> dict[tuple[Hashable, ...], Row]:
        if not self._path.is_file():
            return {}
        rows = json.loads(self._path.read_text(encoding="utf-8"))["rows"]
        return {self._of(row): row for row in rows}

    def _of(self, row: Row) -> tuple[Hashable, ...]:
        return tuple(row[name] for name in self._identity)


def common_row(cell: Cell, artifacts: Artifacts, threads: int | None) -> Row:
    """What every grid's row tells, beside its level.

    Args:
        cell: The cell.
        artifacts: Of its steps.
        threads: How many they were made with; None if that is not known.
    """
    last = artifacts[cell.step]
    return {
        "method": cell.method,
        "seed": cell.seed,
        "key": last.key,
        "quality": last.record["quality"],
        "steps": sum(item.record.get("steps", 0) for item in artifacts.values()),
        "seconds": sum(item.seconds for item in artifacts.values()),
        "threads": threads,
        "cpu": describe().model,
        "created": last.created,
    }
