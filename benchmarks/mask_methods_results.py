"""Rows of benchmarks/mask_methods.py: one per cell that was ever run."""

from __future__ import annotations

from grid_cells import DENSE, Cell
from grid_results import Artifacts, Row, common_row

__all__ = ["IDENTITY", "row_of"]

IDENTITY = ("method", "density", "seed", "key")


def row_of(cell: Cell, artifacts: Artifacts, threads: int | None) -> Row:
    """What the table and later readers need of a cell's artifact.

    Args:
        cell: The cell.
        artifacts: Of `finetune` for an original, else of `learn_masks`.
        threads: How many it was made with; None if that is not known.
    """
    artifact = artifacts[cell.step]
    record = artifact.record
    dense = cell.method == DENSE
    return {
        **common_row(cell, artifacts, threads),
        "density": cell.level,
        "kept": 1.0 if dense else record["density"]["kept"],
        "kept_of_encoder": 1.0 if dense else record["density"]["encoder"],
        "trained_parameters": record["parameters" if dense else "trained_parameters"],
        "new_parameters": record["parameters" if dense else "new_parameters"],
        "pack": record.get("pack"),
        "settings": artifact.ingredients["config"],
    }
