"""Rows that cannot be used: counted by reason with the first places, and judged against `max_unusable`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from edgeprune.errors import Problem, RecipeError

__all__ = ["UNKNOWN_LABEL", "Flaw", "UnusableCount", "check_share", "count_flaws", "counted_values"]

UNKNOWN_LABEL: Final = "unknown label"
_PLACES_SHOWN: Final = 3
_VALUES_SHOWN: Final = 5
_VALUE_LENGTH: Final = 40


@dataclass(frozen=True)
class Flaw:
    """Why one row cannot be used. `value` is the cell that is to blame, where seeing it helps."""

    reason: str
    place: str
    value: str | None = None


@dataclass(frozen=True)
class UnusableCount:
    """Rows left out for one reason; field for field `report.model.UnusableRows`."""

    reason: str
    count: int
    places: tuple[str, ...]


def count_flaws(flaws: Iterable[Flaw]) -> tuple[UnusableCount, ...]:
    """Count flaws by reason, the most frequent first; values that are to blame become part of the reason."""
    by_reason: dict[str, list[Flaw]] = {}
    for flaw in flaws:
        by_reason.setdefault(flaw.reason, []).append(flaw)
    return tuple(
        UnusableCount(
            reason=_with_values(reason, alike),
            count=len(alike),
            places=tuple(flaw.place for flaw in alike[:_PLACES_SHOWN]),
        )
        for reason, alike in sorted(by_reason.items(), key=lambda item: -len(item[1]))
    )


def check_share(name: str, flaws: Sequence[Flaw], rows: int, allowed: float) -> None:
    """Refuse a file of which too many rows are unusable.

    Args:
        name: What the message calls the file.
        flaws: One per unusable row.
        rows: Rows that were to be used: all of the file less the filtered ones.
        allowed: `task.max_unusable`, a share 0..1.

    Raises:
        RecipeError: The share is larger. Its key is `task.labels` when most of these rows have an unknown
            label, else `task.max_unusable`.
    """
    if not flaws or len(flaws) <= allowed * rows:
        return
    counts = count_flaws(flaws)
    reasons = "; ".join(f"{entry.count:,} × {entry.reason}, at {', '.join(entry.places)}" for entry in counts)
    labels_to_blame = counts[0].reason.startswith(UNKNOWN_LABEL)
    problem = Problem(
        key=("task", "labels") if labels_to_blame else ("task", "max_unusable"),
        message=f"{name}: {len(flaws):,} of {rows:,} rows ({len(flaws) / rows:.2%}) cannot be used, "
        f"max_unusable allows {allowed:.2%}: {reasons}",
        hint="name these values in `labels`, or leave their rows out with `where`"
        if labels_to_blame
        else "mend these rows, or raise `max_unusable`",
    )
    raise RecipeError([problem])


def counted_values(values: Iterable[str | None]) -> str:
    """The most frequent values and how often each occurs: ``'0' × 37, '1' × 30 and 2 others``."""
    ranked = Counter(values).most_common()
    shown = ", ".join(f"{_short(value)} × {count:,}" for value, count in ranked[:_VALUES_SHOWN])
    others = len(ranked) - _VALUES_SHOWN
    return f"{shown} and {others:,} others" if others > 0 else shown


def _with_values(reason: str, flaws: Sequence[Flaw]) -> str:
    values = [flaw.value for flaw in flaws if flaw.value is not None]
    return f"{reason} ({counted_values(values)})" if values else reason


def _short(value: str | None) -> str:
    if value is None:
        return "nothing"
    return repr(value if len(value) <= _VALUE_LENGTH else f"{value[:_VALUE_LENGTH]}…")
