"""Rows of benchmarks/structure_frontier.py: one per cell ever run, one per structure ever timed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grid_cells import DENSE, Cell
from grid_results import Artifacts, Row, common_row
from structure_frontier_grid import CUT

__all__ = ["IDENTITY", "LATENCY_IDENTITY", "row_of", "shape_words"]

IDENTITY = ("method", "share", "seed", "key")
LATENCY_IDENTITY = ("original", "structure", "batch", "length", "threads", "runtime", "cpu")


def row_of(cell: Cell, artifacts: Artifacts, threads: int | None) -> Row:
    """What the table, the plot and later readers need of a cell's artifacts.

    Args:
        cell: The cell.
        artifacts: Of `finetune` for an original, else of the cut and of what trains.
        threads: How many they were made with; None if that is not known.
    """
    row = {
        **common_row(cell, artifacts, threads),
        "share": cell.level,
        "settings": {step: artifact.ingredients["config"] for step, artifact in artifacts.items()},
    }
    if cell.method == DENSE:
        return row
    cut = artifacts[CUT].record
    hidden, layers = cut["hidden"], cut["layers"]
    whole = [(layer["all_heads"], layer["all_rows"]) for layer in layers]
    left = [(len(layer["heads"]), layer["rows"]) for layer in layers if layer["there"]]
    told = ("heads", "rows", "encoder_parameters", "flops", "parameters", "importance_kept")
    return row | {
        "cut_quality": cut["quality"],
        "original": shape_words(hidden["before"], whole),
        "structure": shape_words(hidden["after"], left),
        **{name: cut[name] for name in told},
    }


def shape_words(hidden: int, layers: Sequence[tuple[Any, Any]]) -> str:
    """All that decides how long a model takes: `384 wide: 12/1536 6/256`, heads / FFN rows of each layer."""
    return f"{hidden} wide: {' '.join(f'{heads}/{rows}' for heads, rows in layers)}"
