"""What the tables of grids share: spreads over seeds, sizes, differences to the original, columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from grid_cells import DENSE
from grid_results import Row

__all__ = ["aligned", "by_seed", "groups_of", "machine_words", "points", "size", "spread", "to_dense"]


def groups_of(rows: Sequence[Row], level: str, methods: Sequence[str]) -> list[list[Row]]:
    """Rows that differ in their seed alone: the originals first, then larger levels first.

    Args:
        rows: At most one per method, level and seed.
        level: Its column.
        methods: In the order of the grid.
    """
    order = {name: position for position, name in enumerate([DENSE, *methods])}
    groups: dict[tuple[str, float], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["method"], row[level]), []).append(row)
    names = sorted(groups, key=lambda group: (group[0] != DENSE, -group[1], order[group[0]]))
    return [groups[name] for name in names]


def by_seed(rows: Sequence[Row]) -> dict[int, Row]:
    """Seed to the row of its original."""
    return {row["seed"]: row for row in rows if row["method"] == DENSE}


def points(row: Row, metric: str, part: str = "quality") -> float:
    """A score of a row, times 100."""
    return 100 * float(row[part][metric])


def to_dense(rows: Sequence[Row], dense: Mapping[int, Row], metric: str) -> str:
    """Difference to the original of the same seed, over the seeds that have one."""
    differences = [
        points(row, metric) - points(dense[row["seed"]], metric) for row in rows if row["seed"] in dense
    ]
    if rows[0]["method"] == DENSE or not differences:
        return "–"
    compared = spread(differences, "+.2f")
    return compared if len(differences) == len(rows) else f"{compared} (n {len(differences)})"


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


def size(number: float) -> str:
    """A number of parameters or operations with three digits: `1.43 G`, `22.7 M`, `769 k`."""
    for unit, words in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= unit:
            return f"{number / unit:#.3g}".rstrip(".") + words
    return f"{number:g}"


def machine_words(rows: Sequence[Row]) -> str:
    """Threads and processors that rows were made with."""
    threads = sorted({row["threads"] for row in rows if row["threads"]})
    cpus = ", ".join(sorted({row["cpu"] for row in rows}))
    return f"threads a cell: {', '.join(map(str, threads)) or 'not known'}, {cpus}"


def aligned(lines: Sequence[Sequence[str]], names: int = 1) -> str:
    """Lines in columns: so many of names to the left, then numbers to the right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rows = [
        [f"{text:<{width}}" if column < names else f"{text:>{width}}"
         for column, (text, width) in enumerate(zip(line, widths, strict=True))]
        for line in lines
    ]  # fmt: skip
    return "\n".join("  ".join(row) for row in rows)
