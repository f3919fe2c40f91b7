"""What has no latency, measured apart, put beside what was measured side by side before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from grid_results import Row

from edgeprune.errors import UsageError

__all__ = ["added"]

_ALIKE = ("target", "seeds", "n")


def added(last: Row, now: Row) -> Row:
    """The last row, with the findings of recipes that nothing was timed for.

    Times are comparable only within one process; accuracy, size and minutes are not touched by that.

    Args:
        last: Of the results; it keeps its models, times, date and machine.
        now: What was measured for more recipes.

    Raises:
        UsageError: Something was timed now, or the two are of other seeds, examples or targets.
    """
    if now["models"]:
        raise UsageError(
            f"{' and '.join(now['recipes'])}: times of another process cannot be added",
            hint="add what has no latency (taskpack, quickstart); measure the others in one run",
        )
    for name in _ALIKE:
        if last[name] != now[name]:
            raise UsageError(
                f"{name} of the last row is {last[name]}, and of what would be added {now[name]}"
            )
    found = {_place(item): item for item in now["findings"] if item["value"]}
    recipes: Sequence[str] = now["recipes"]
    day = datetime.fromtimestamp(now["created"], UTC)
    said = f"{' and '.join(recipes)}: nothing is timed for it; measured apart, {day:%Y-%m-%d} on {now['cpu']}"
    return last | {
        "recipes": list(dict.fromkeys([*last["recipes"], *recipes])),
        "facts": last["facts"] | now["facts"],
        "findings": [found.get(_place(item), item) for item in last["findings"]],
        "scores": last["scores"] | {name: items for name, items in now["scores"].items() if items},
        "notes": [*dict.fromkeys([*last["notes"], *now["notes"], said])],
    }


def _place(item: Row) -> tuple[object, object]:
    return item["key"], item["length"]
