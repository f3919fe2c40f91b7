"""The measured row as text: one table for the console, the same in Markdown, and its place in the README.

A row is plain data as it lies in the results file, so that a table can be printed again without measuring.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from statistics import stdev
from typing import Any

from grid_results import Row
from grid_table import aligned, spread
from headline_findings import ORIGINAL
from headline_promises import MODELS, Finding, formatted, verdicts
from peers_int8_table import column
from structure_frontier_latency import QUIET

from edgeprune.errors import UsageError
from edgeprune.measurement.statistics import Interval

__all__ = ["BEGIN", "END", "console", "findings_of", "markdown", "replaced"]

BEGIN, END = "<!-- headline -->", "<!-- /headline -->"
HEAD = ("what", "measured (95 % interval)", "each seed", "floor", "goal", "")
MEGABYTE = 1e6


def findings_of(row: Row) -> list[Finding]:
    """The findings of a row, which may come from the results file."""
    return [_finding(item) for item in row["findings"]]


def _finding(item: Mapping[str, Any]) -> Finding:
    value = Interval(**item["value"]) if item["value"] else None
    tuples = {name: tuple(item[name]) for name in ("seeds", "rivals")}
    return Finding(**{**item, **tuples, "value": value})


def console(row: Row) -> str:
    """Everything, for people."""
    found = findings_of(row)
    details = [f"{_what(item)}: {item.detail}" for item in found if item.detail]
    parts = [
        *_conditions(row),
        aligned([HEAD, *_lines(found)], names=1),
        *details,
        "median ms, geometric mean over seeds; accuracy over seeds; MB of the model's files",
        aligned([_model_head(row), *_model_lines(row["models"], row)]),
        *_remarks(row),
    ]
    return "\n".join(parts) + "\n"


def markdown(row: Row) -> str:
    """The README's section, without its markers."""
    found = findings_of(row)
    shown = {ORIGINAL, *MODELS, *(name for item in found for name in item.rivals)}
    models = [item for item in row["models"] if item["name"] in shown]
    parts = [
        " ".join(_conditions(row)),
        _markdown_table(_with_details(found)),
        "Median milliseconds. Of the peers, those that are the fastest at a length, however accurate:",
        _markdown_table([_model_head(row), *_model_lines(models, row)]),
    ]
    remarks = _remarks(row)
    if remarks:
        parts.append("\n".join(f"- {text}" for text in remarks))
    return "\n\n".join(parts) + "\n"


def replaced(text: str, section: str) -> str:
    """A README with another section between the markers.

    Raises:
        UsageError: It has not exactly one pair of them.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise UsageError(
            f"there is no place for the table: need {BEGIN} once, and {END} once after it",
            hint="write both where the table is to be, each on a line of its own",
        )
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{section.strip()}\n{END}{after}"


def _lines(found: Sequence[Finding]) -> list[list[str]]:
    """One for each finding, under `HEAD`."""
    lines = []
    for item, verdict in zip(found, verdicts(found), strict=True):
        promise = item.promise
        unit = promise.unit
        lines.append(
            [
                _what(item),
                _measured(item),
                " · ".join(formatted(value, unit, with_unit=False) for value in item.seeds) or "–",
                formatted(promise.floor, unit),
                formatted(promise.goal, unit),
                verdict.text,
            ]
        )
    return lines


def _with_details(found: Sequence[Finding]) -> list[Sequence[str]]:
    lines = zip(_lines(found), found, strict=True)
    return [(*HEAD[:-1], "met", "how"), *([*line, item.detail] for line, item in lines)]


def _what(item: Finding) -> str:
    text = f"{item.promise.model}: {item.promise.what}"
    return text if item.length is None else f"{text}, {column(item.length)}"


def _measured(item: Finding) -> str:
    if item.value is None:
        return "–"
    unit = item.promise.unit
    text = formatted(item.value.estimate, unit)
    if unit == "points" and len(item.seeds) > 1:
        text += f" ± {stdev(item.seeds):.2f}"
    if item.value.low == item.value.high:
        return text
    ends = (formatted(end, unit, with_unit=False) for end in (item.value.low, item.value.high))
    return f"{text} ({' to '.join(ends)})"


def _conditions(row: Row) -> list[str]:
    day = datetime.fromtimestamp(row["created"], UTC)
    versions = ", ".join(f"{name} {number}" for name, number in row["versions"].items())
    seeds = ", ".join(str(seed) for seed in row["seeds"])
    found = [
        f"{day:%Y-%m-%d}, {row['cpu']}, {row['cores']} cores, {row['threads']} threads, target "
        f"{row['target']}.",
        f"SST-2, {row['n']} validation sentences, seeds {seeds}; batch 1, {row['calls']} timed calls of each "
        "model at each length, interleaved in one process.",
        f"Versions: {versions}.",
    ]
    if row["others_percent"] > QUIET:
        found.append(f"Others used up to {row['others_percent']:.0f} % of the processor: measure again.")
    return found


def _remarks(row: Row) -> list[str]:
    problems: Mapping[str, str] = row["problems"]
    return [*row["notes"], *(f"not measured: {name}: {reason}" for name, reason in problems.items())]


def _model_head(row: Row) -> list[str]:
    return ["model", "accuracy %", "MB", *(column(_length(name)) for name in row["lengths"])]


def _model_lines(models: Sequence[Mapping[str, Any]], row: Row) -> list[list[str]]:
    """Slowest first."""
    return [
        [
            item["name"],
            spread(item["accuracies"], ".2f"),
            f"{item['file_bytes'] / MEGABYTE:.1f}",
            *(f"{item['median_ms'][name]:.2f}" for name in row["lengths"]),
        ]
        for item in sorted(models, key=lambda item: -item["typical_ms"])
    ]


def _length(name: str) -> Any:
    return name if name == "real" else int(name)


def _markdown_table(lines: Sequence[Sequence[str]]) -> str:
    head, *rest = lines
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *rest))
