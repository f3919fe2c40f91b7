"""What happens during a run, as events: appended to `events.jsonl` and given to listeners.

Kinds and their fields:
    run_started     recipe, run_id, nodes (ids in order)
    asset           role, text
    node_started    id, stage, index, total
    node_progress   id, step, total, and numbers such as loss (not written to the file)
    node_cached     id, seconds (what it cost when it was made)
    node_waiting    id (another run is making the same artifact)
    node_finished   id, seconds
    note            where, text
    run_failed      id, message
    run_finished    verdict, exit_code, seconds
    run_stopped     until (the node that was asked for), seconds
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Event", "EventLog", "Listener"]

Event = dict[str, Any]
Listener = Callable[[Event], None]


class EventLog:
    """Writes events down and passes them on.

    Args:
        path: `events.jsonl`; appended to.
        listeners: Called with each event, in order.
    """

    def __init__(self, path: Path, listeners: Sequence[Listener] = ()) -> None:
        self._path = path
        self._listeners = tuple(listeners)

    def __call__(self, kind: str, **fields: Any) -> None:
        """Emit one event."""
        event = {"time": round(time.time(), 3), "kind": kind, **fields}
        if kind != "node_progress":  # thousands of them, and of no use afterwards
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(event, sort_keys=True) + "\n")
        for listener in self._listeners:
            listener(event)
