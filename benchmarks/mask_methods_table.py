"""The table of benchmarks/mask_methods.py: from rows of single cells to a line per method and density."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev

from mask_methods_grid import DENSE
from mask_methods_results import Row

__all__ = ["size", "spread", "table"]

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
    order = {name: position for position, name in enumerate([DENSE, *methods])}
    groups: dict[tuple[str, float], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["method"], row["density"]), []).append(row)
    names = sorted(groups, key=lambda group: (group[0] != DENSE, -group[1], order[group[0]]))
    dense = {row["seed"]: row for row in rows if row["method"] == DENSE}
    header = [cell or f"{metric} %" for cell in _HEADER]
    lines = [header, *(_line(groups[name], dense, metric) for name in names)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    text = "\n".join(_aligned(line, widths) for line in lines)
    return f"\n{_legend(rows, metric)}\n\n{text}\n"


def _line(rows: Sequence[Row], dense: dict[int, Row], metric: str) -> list[str]:
    first = rows[0]
    differences = [
        _points(row, metric) - _points(dense[row["seed"]], metric) for row in rows if row["seed"] in dense
    ]
    compared = "–" if first["method"] == DENSE or not differences else spread(differences, "+.2f")
    if 0 < len(differences) < len(rows):
        compared += f" (n {len(differences)})"
    return [
        first["method"],
        spread([100 * row["kept"] for row in rows], ".2f", alike=True),
        size(first["trained_parameters"]),
        size(first["new_parameters"]),
        spread([_points(row, metric) for row in rows], ".2f"),
        str(len(rows)),
        compared,
        f"{mean(row['seconds'] for row in rows):.0f}",
    ]


def _points(row: Row, metric: str) -> float:
    return 100 * float(row["quality"][metric])


def spread(values: Sequence[float], form: str, *, alike: bool = False) -> str:
    """Mean ± sample standard deviation (divisor n - 1).

    Args:
        values: At least one; a single one has no deviation.
        form: Format of the mean, e.g. ``.2f``.
        alike: Leave the deviation out if it would read 0.00.
    """
    text = format(mean(values), form)
    if len(values) < 2:
        return text
    deviation = f"{stdev(values):.2f}"
    return text if alike and deviation == "0.00" else f"{text} ± {deviation}"


def size(parameters: int) -> str:
    """A number of parameters with three digits: `22.7 M`, `769 k`."""
    for unit, words in ((1e6, " M"), (1e3, " k")):
        if parameters >= unit:
            return f"{parameters / unit:#.3g}".rstrip(".") + words
    return str(parameters)


def _legend(rows: Sequence[Row], metric: str) -> str:
    examples = ", ".join(f"{number:,}" for number in sorted({row["quality"]["n"] for row in rows}))
    threads = sorted({row["threads"] for row in rows if row["threads"]})
    count = f"threads a cell: {', '.join(map(str, threads)) or 'not known'}"
    cpus = ", ".join(sorted({row["cpu"] for row in rows}))
    return (
        f"{metric} on {examples} validation examples, mean ± sample standard deviation over n seeds\n"
        "points: difference to the original of the same seed; kept: of the weights that a method can mask\n"
        "new/task: parameters that a task adds to the pre-trained model\n"
        f"seconds: of the stage, mean; {count}, {cpus}"
    )


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    name, *numbers = line
    cells = [f"{text:>{width}}" for text, width in zip(numbers, widths[1:], strict=True)]
    return "  ".join([f"{name:<{widths[0]}}", *cells])
