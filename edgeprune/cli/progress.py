"""A run as it goes: a live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edgeprune.pipeline.events import Event

__all__ = ["PlainLines", "listener"]

_SECONDS_BETWEEN_LINES = 15.0


@contextmanager
def listener(*, quiet: bool) -> Iterator[Callable[[Event], None]]:
    """What to give to `pipeline.running.run`: shows events until the context ends."""
    if quiet:
        yield lambda event: None
    elif sys.stderr.isatty():
        with _live() as show:
            yield show
    else:
        yield PlainLines(lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201


class PlainLines:
    """Events as lines of text; progress inside a node at most every 15 seconds.

    Args:
        write: Takes a line.
        clock: Seconds; for tests.
    """

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._last = clock()
        self._pace = _Pace(clock)

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if event["kind"] == "node_started":
            self._last = self._clock()
            self._pace = _Pace(self._clock)
        if event["kind"] != "node_progress":
            for line in describe(event):
                self._write(line)
            return
        now, text = self._clock(), _progress_text(event, self._pace.left(event))
        if now - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = now
            self._write(f"    {text}")


class _Pace:
    """How long the rest of a node takes, from the steps seen: those that an earlier run made cost nothing."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._first: tuple[int, float] | None = None

    def left(self, event: Event) -> float | None:
        """Seconds; None where nothing can be said yet."""
        if not event.get("total"):
            return None
        now = self._clock()
        if self._first is None:
            self._first = (event["step"], now)
        step, begun = self._first
        made = event["step"] - step
        return (now - begun) / made * (event["total"] - event["step"]) if made > 0 else None


def describe(event: Event) -> list[str]:
    """The lines that one event (other than progress) deserves; none for those that say nothing new."""
    kind, node = event["kind"], event.get("id", "")
    lines = {
        "asset": lambda: f"  {event['role']}: {event['text']}",
        "run_started": lambda: f"{event['recipe']} {event['run_id']}: {len(event['nodes'])} steps",
        "node_started": lambda: f"[{event['index'] + 1}/{event['total']}] {node}",
        "node_cached": lambda: f"  = {node} is cached ({duration(event['seconds'])} saved)",
        "node_waiting": lambda: f"  … {node}: another run is making it; waiting",
        "node_finished": lambda: f"  + {node} done in {duration(event['seconds'])}",
        "note": lambda: f"  ! {event['where']}: {event['text']}",
        "run_failed": lambda: f"  x {node} failed",
    }
    return [lines[kind]()] if kind in lines else []


def duration(seconds: float) -> str:
    """Seconds in words: `0.4 s`, `38 s`, `2 min 05 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"


def _progress_text(event: Event, left: float | None) -> str:
    parts = [f"step {event['step']}/{event['total']}"] if "total" in event else []
    if event.get("loss") is not None:
        parts.append(f"loss {event['loss']:.4f}")
    if event.get("text"):
        parts.append(str(event["text"]))
    if left is not None:
        parts.append(f"{duration(left)} left")
    return ", ".join(parts)


@contextmanager
def _live() -> Iterator[Callable[[Event], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, highlight=False)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[detail]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        bar = bars.add_task("starting", total=None, detail="")
        pace = _Pace(time.monotonic)

        def show(event: Event) -> None:
            nonlocal pace
            kind = event["kind"]
            if kind == "node_started":
                pace = _Pace(time.monotonic)
                title = f"[{event['index'] + 1}/{event['total']}] {event['id']}"
                bars.reset(bar, description=title, total=None, detail="")
            elif kind == "asset":
                bars.update(bar, description=f"{event['role']}: {event['text']}", detail="")
            if kind == "node_progress":
                detail = _progress_text(event, pace.left(event))
                bars.update(bar, completed=event.get("step", 0), total=event.get("total"), detail=detail)
            elif kind != "node_started":
                for line in describe(event):
                    bars.console.print(line, markup=False)

        yield show
