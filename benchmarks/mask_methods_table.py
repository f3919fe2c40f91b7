"""The table of benchmarks/mask_methods.py: from rows of single cells to a line per method and density."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean

from grid_results import Row
from grid_table import aligned, by_seed, groups_of, machine_words, points, size, spread, to_dense

__all__ = ["table"]

_HEADER = ("method", "kept %", "trained", "new/task", "", "n", "points to dense", "seconds")


def table(rows: Sequence[Row], methods: Sequence[str], metric: str) -> str:
    """One line for the originals, then one per density and method, larger densities first.

    Args:
        rows: Results of cells, at most one per method, density and seed.
        methods: Names of the methods in the order of the grid.
        metric: Name of the score in each row's `quality` that is shown.
    """
    if not rows:
        return "no results yet\n"
    dense = by_seed(rows)
    header = [cell or f"{metric} %" for cell in _HEADER]
    lines = [header, *(_line(group, dense, metric) for group in groups_of(rows, "density", methods))]
    return f"\n{_legend(rows, metric)}\n\n{aligned(lines)}\n"


def _line(rows: Sequence[Row], dense: Mapping[int, Row], metric: str) -> list[str]:
    first = rows[0]
    return [
        first["method"],
        spread([100 * row["kept"] for row in rows], ".2f", alike=True),
        size(first["trained_parameters"]),
        size(first["new_parameters"]),
        spread([points(row, metric) for row in rows], ".2f"),
        str(len(rows)),
        to_dense(rows, dense, metric),
        f"{mean(row['seconds'] for row in rows):.0f}",
    ]


def _legend(rows: Sequence[Row], metric: str) -> str:
    examples = ", ".join(f"{number:,}" for number in sorted({row["quality"]["n"] for row in rows}))
    return (
        f"{metric} on {examples} validation examples, mean ± sample standard deviation over n seeds\n"
        "points: difference to the original of the same seed; kept: of the weights that a method can mask\n"
        "new/task: parameters that a task adds to the pre-trained model\n"
        f"seconds: of the stage, mean; {machine_words(rows)}"
    )
