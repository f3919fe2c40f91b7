"""The table of benchmarks/structure_frontier.py: from rows of cells to a line per measure and share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean

from grid_cells import DENSE
from grid_results import Row
from grid_table import aligned, by_seed, groups_of, machine_words, points, size, spread, to_dense
from structure_frontier_latency import QUIET

__all__ = ["Timed", "table"]

Timed = Mapping[str, Row]
"""Key of a cell's artifact to how long its structure takes."""

_HEADER = (
    "importance", "heads, rows %", "n", "{metric} % cut", "{metric} % distilled", "points to dense", "steps",
    "encoder", "FLOPs", "times faster",
)  # fmt: skip


def table(rows: Sequence[Row], timed: Timed, methods: Sequence[str], metric: str) -> str:
    """One line for the originals, then one per share and importance measure, larger shares first.

    Args:
        rows: Results of cells, at most one per method, share and seed.
        timed: Latencies that there are.
        methods: Names of the methods in the order of the grid.
        metric: Name of the score in each row's `quality` that is shown.
    """
    if not rows:
        return "no results yet\n"
    dense = by_seed(rows)
    whole = next((row for row in rows if row["method"] != DENSE), None)
    lines = [[name.format(metric=metric) for name in _HEADER]]
    lines += [
        _dense_line(group, whole, metric)
        if group[0]["method"] == DENSE
        else _line(group, timed, dense, metric)
        for group in groups_of(rows, "share", methods)
    ]
    return f"\n{_legend(rows, timed, metric)}\n\n{aligned(lines)}\n"


def _dense_line(rows: Sequence[Row], cut: Row | None, metric: str) -> list[str]:
    """The originals; what a cut model was before tells how large they are."""
    sizes = [size(cut[name]["before"]) if cut else "–" for name in ("encoder_parameters", "flops")]
    return [DENSE, "100", str(len(rows)), "–", _scores(rows, metric), "–", _steps(rows), *sizes, "1"]


def _line(rows: Sequence[Row], timed: Timed, dense: Mapping[int, Row], metric: str) -> list[str]:
    first = rows[0]
    return [
        first["method"],
        f"{100 * first['share']:g}",
        str(len(rows)),
        _scores(rows, metric, "cut_quality"),
        _scores(rows, metric),
        to_dense(rows, dense, metric),
        _steps(rows),
        *(size(mean(row[name]["after"] for row in rows)) for name in ("encoder_parameters", "flops")),
        _ratio(rows, timed),
    ]


def _scores(rows: Sequence[Row], metric: str, part: str = "quality") -> str:
    return spread([points(row, metric, part) for row in rows], ".2f")


def _steps(rows: Sequence[Row]) -> str:
    return "/".join(f"{steps:,}" for steps in sorted({row["steps"] for row in rows}))


def _ratio(rows: Sequence[Row], timed: Timed) -> str:
    found = [timed[row["key"]] for row in rows if row["key"] in timed]
    if not found:
        return "–"
    text = spread([item["ratio"] for item in found], ".2f")
    text += "" if len(found) == len(rows) else f" (n {len(found)})"
    return text + ("*" if any(item["others_percent"] > QUIET for item in found) else "")


def _legend(rows: Sequence[Row], timed: Timed, metric: str) -> str:
    examples = ", ".join(f"{number:,}" for number in sorted({row["quality"]["n"] for row in rows}))
    lengths = sorted({row["flops"]["length"] for row in rows if "flops" in row})
    tokens = f" (FLOPs of {', '.join(map(str, lengths))} tokens)" if lengths else ""
    lines = [
        f"{metric} on {examples} validation examples, mean ± sample standard deviation over n seeds",
        "points: difference to the original of the same seed, after distilling",
        f"encoder: parameters of its linear layers{tokens}; steps: of all training after the original's",
        f"steps of dense are its own; {machine_words(rows)}",
    ]
    shown = [timed[row["key"]] for row in rows if row["key"] in timed]
    lines += _latency_words(shown) if shown else ["times faster: not measured (--latency)"]
    return "\n".join(lines)


def _latency_words(timed: Sequence[Row]) -> list[str]:
    """Under which conditions structures were timed, and how undisturbed that was."""
    conditions = sorted(
        {(row["runtime"], row["batch"], row["length"], row["threads"], row["cpu"]) for row in timed}
    )
    settings = "; ".join(
        f"{runtime} FP32, batch {batch}, {length} tokens, {threads} threads, {cpu}"
        for runtime, batch, length, threads, cpu in conditions
    )
    originals = [row["original_ms"] for row in timed]
    lines = [
        f"times faster: median time of the original by the cut model's, interleaved; {settings}",
        f"the original took {min(originals):.2f} to {max(originals):.2f} ms",
    ]
    most = max(row["others_percent"] for row in timed)
    if most > QUIET:
        lines.append(f"*: others used up to {most:.0f} % of the processor; --latency times it again")
    return lines
