"""All entrants over all cases, and each of ours beside the fastest peer that is as accurate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from grid_results import Row
from grid_table import aligned, spread
from interleaved import CONFIDENCE, Times, stacked, time_ratio, typical_ms
from peers_int8_entrants import Entrant
from peers_int8_measuring import Measured

from edgeprune.measurement.latency import Length
from edgeprune.measurement.statistics import Interval

__all__ = [
    "Against",
    "Overall",
    "against_peers",
    "column",
    "overall",
    "ratios",
    "rows_of",
    "table",
    "worth_showing",
]

MEGABYTE = 1e6
ALL = "all"


@dataclass(frozen=True)
class Overall:
    """One entrant over all cases.

    Attributes:
        entrant: Of the first case.
        accuracies: Of each case, per cent.
        differences: Accuracy minus the original's in each case, points.
        agreements: Share of the original's answers in each case, per cent.
        correct: Right answers in all cases.
        n: Examples of a case.
        times: Of all cases; a group is a case.
        file_bytes: Mean over cases.
        executed: What the runtime says it runs in the first case.
        chosen: In how many cases it is what would ship.
        accepted: In how many cases it is accepted.
    """

    entrant: Entrant
    accuracies: tuple[float, ...]
    differences: tuple[float, ...]
    agreements: tuple[float, ...]
    correct: int
    n: int
    times: Times
    file_bytes: float
    executed: str
    chosen: int
    accepted: int

    @property
    def name(self) -> str:
        """The entrant's."""
        return self.entrant.name


@dataclass(frozen=True)
class Against:
    """One of ours beside one peer at one length, or at all of them together.

    Attributes:
        ours: Name.
        length: `all`: typical latency, the geometric mean over lengths.
        peer: The fastest there of those that are asked for; None: there is none.
        ratio: The peer's latency by ours; above 1 ours is faster.
    """

    ours: str
    length: Length | str
    peer: str | None
    ratio: Interval | None


def overall(cases: Sequence[Sequence[Measured]]) -> tuple[list[Overall], dict[str, str]]:
    """Entrants that were measured in every case, and why the others were not.

    Args:
        cases: Of each case, all entrants.
    """
    found: list[Overall] = []
    problems: dict[str, str] = {}
    by_name: dict[str, list[Measured]] = {}
    for case in cases:
        for row in case:
            by_name.setdefault(row.entrant.name, []).append(row)
    for name, rows in by_name.items():
        scores = [row.scores for row in rows if row.scores]
        calls = [row.calls for row in rows if row.calls]
        if len(calls) < len(cases):
            problems[name] = next(
                (row.entrant.problem for row in rows if row.entrant.problem), "not in every case"
            )
            continue
        found.append(
            Overall(
                rows[0].entrant,
                tuple(100 * score.correct / score.n for score in scores),
                tuple(score.difference.estimate for score in scores),
                tuple(100 * score.agreement.estimate for score in scores),
                sum(score.correct for score in scores),
                scores[0].n,
                stacked(calls),
                float(np.mean([row.file_bytes for row in rows])),
                rows[0].executed,
                sum(row.chosen for row in rows),
                sum(row.status == "accepted" for row in rows),
            )
        )
    return found, problems


def worth_showing(everyone: Sequence[Overall]) -> list[Overall]:
    """Those of ours that would ship, or that no other of ours beats in both accuracy and typical latency."""
    mine = [row for row in everyone if row.entrant.side == "ours"]

    def beaten(row: Overall) -> bool:
        return any(
            other.correct >= row.correct and typical_ms(other.times) < typical_ms(row.times) for other in mine
        )

    return [row for row in mine if row.chosen or not beaten(row)]


def against_peers(mine: Overall, everyone: Sequence[Overall], *, as_accurate: bool) -> list[Against]:
    """One of ours beside the fastest peer at every length, and over all of them.

    Args:
        mine: One of ours.
        everyone: All entrants.
        as_accurate: Only peers that have as many right answers or more, over all cases.
    """
    rivals = [
        row
        for row in everyone
        if row.entrant.side == "peer" and (not as_accurate or row.correct >= mine.correct)
    ]
    parts: dict[Length | str, list[Length]] = {length: [length] for length in mine.times}
    if len(mine.times) > 1:
        parts[ALL] = list(mine.times)
    return [_against(mine, rivals, name, lengths) for name, lengths in parts.items()]


def _against(
    mine: Overall, rivals: Sequence[Overall], name: Length | str, lengths: Sequence[Length]
) -> Against:
    if not rivals:
        return Against(mine.name, name, None, None)
    times = {rival.name: _at(rival.times, lengths) for rival in rivals}
    best = min(times, key=lambda rival: typical_ms(times[rival]))
    return Against(mine.name, name, best, time_ratio(times[best], _at(mine.times, lengths)))


def _at(times: Times, lengths: Sequence[Length]) -> Times:
    return {length: times[length] for length in lengths}


def rows_of(everyone: Sequence[Overall], found: Mapping[str, Sequence[Against]]) -> list[Row]:
    """As plain data.

    Args:
        everyone: All entrants.
        found: What the peers were chosen by, to ours beside them.
    """
    return [
        {
            "name": row.name,
            "side": row.entrant.side,
            "how": row.entrant.how,
            "executed": row.executed,
            "accuracies": row.accuracies,
            "differences": row.differences,
            "agreements": row.agreements,
            "n": row.n,
            "typical_ms": typical_ms(row.times),
            "median_ms": {str(length): _median_ms(row, length) for length in row.times},
            "file_bytes": row.file_bytes,
            "accepted": row.accepted,
            "chosen": row.chosen,
            "peers": {
                kind: [asdict(item) for item in items if item.ours == row.name]
                for kind, items in found.items()
            },
        }
        for row in everyone
    ]


def table(everyone: Sequence[Overall], problems: Mapping[str, str], originals: Sequence[float]) -> str:
    """All entrants, the fastest first; then each of ours beside peers; then what could not be made.

    Args:
        everyone: Those that were measured in every case.
        problems: Name of the others to why they were not.
        originals: The original's accuracy in every case, 0..1.
    """
    if not everyone:
        return "nothing was measured in every case\n"
    lengths = list(everyone[0].times)
    head = [
        "model",
        "accuracy %",
        "points",
        "agreement %",
        "MB",
        *map(column, lengths),
        "typical",
        "accepted",
        "chosen",
    ]
    lines = [head]
    for row in sorted(everyone, key=lambda item: typical_ms(item.times)):
        mine = row.entrant.side == "ours"
        lines.append(
            [
                f"{'ours: ' if mine else ''}{row.name}",
                spread(row.accuracies, ".2f"),
                spread(row.differences, "+.2f"),
                spread(row.agreements, ".2f"),
                f"{row.file_bytes / MEGABYTE:.1f}",
                *(f"{_median_ms(row, length):.3f}" for length in lengths),
                f"{typical_ms(row.times):.3f}",
                f"{row.accepted}/{len(row.accuracies)}" if mine else "",
                f"{row.chosen}/{len(row.accuracies)}" if mine else "",
            ]
        )
    reference = spread([100 * accuracy for accuracy in originals], ".2f")
    parts = [
        f"original in FP32: {reference} % of {everyone[0].n} validation examples",
        "points: accuracy minus the original's; agreement: share of its answers; MB: of the model's files",
        "medians in ms; typical: geometric mean over lengths",
        aligned(lines),
    ]
    parts += [f"not measured: {name}: {reason}" for name, reason in problems.items()]
    return "\n".join(parts) + "\n"


def ratios(found: Sequence[Against], title: str) -> str:
    """Each of ours beside the fastest peers."""
    lines = [["ours", "at", "peer", f"peer / ours ({100 * CONFIDENCE:g} % interval)"]]
    for item in found:
        ratio = item.ratio
        told = f"{ratio.estimate:.2f} ({ratio.low:.2f} to {ratio.high:.2f})" if ratio else "–"
        at = "all lengths" if item.length == ALL else column(item.length)
        lines.append([item.ours, at, item.peer or "none", told])
    return f"{title}\n{aligned(lines, names=3)}\n"


def column(length: Length | str) -> str:
    """A length in the head of a table."""
    return "real lengths" if length == "real" else f"{length} tokens"


def _median_ms(row: Overall, length: Length) -> float:
    """Geometric mean over cases of the median."""
    return typical_ms({length: row.times[length]})
