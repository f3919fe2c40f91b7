"""Progress as plain lines: every step once, what is inside a step now and then."""

from __future__ import annotations

from typing import Any

import pytest

from edgeprune.cli.progress import PlainLines, describe, duration, listener


class _Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class _Screen:
    """Plain lines and the clock that they look at."""

    def __init__(self) -> None:
        self.clock = _Clock()
        self.lines: list[str] = []
        self._show = PlainLines(self.lines.append, self.clock)

    def __call__(self, kind: str, **fields: Any) -> None:
        self._show({"time": 0.0, "kind": kind, **fields})


@pytest.fixture
def screen() -> _Screen:
    return _Screen()


def test_a_run_in_lines(screen: _Screen) -> None:
    screen("asset", role="model", text="fetching hub://a/b")
    screen("run_started", recipe="tiny", run_id="x1", nodes=["prepare", "finetune"])
    screen("node_cached", id="prepare", seconds=3.2)
    screen("node_waiting", id="finetune")
    screen("node_started", id="finetune", stage="finetune", index=1, total=2)
    screen("node_finished", id="finetune", seconds=125.4)
    screen("note", where="finetune", text="damaged")
    screen("run_failed", id="export", message="x")
    screen("run_finished", verdict="pass", exit_code=0, seconds=1.0)
    assert screen.lines == [
        "  model: fetching hub://a/b",
        "tiny x1: 2 steps",
        "  = prepare is cached (3.2 s saved)",
        "  … finetune: another run is making it; waiting",
        "[2/2] finetune",
        "  + finetune done in 2 min 05 s",
        "  ! finetune: damaged",
        "  x export failed",
    ]


def test_progress_is_told_every_fifteen_seconds(screen: _Screen) -> None:
    screen("node_started", id="finetune", stage="finetune", index=0, total=1)
    for step in range(1, 101):
        screen.clock.now = 100.0 + step
        screen("node_progress", id="finetune", step=step, total=200, loss=1 / step)
    assert [line.split(",")[0].strip() for line in screen.lines[1:]] == [
        f"step {step}/200" for step in (15, 30, 45, 60, 75, 90)
    ]
    assert screen.lines[2] == "    step 30/200, loss 0.0333, 2 min 50 s left"


def test_time_left_of_a_resumed_training_counts_the_steps_of_this_run(screen: _Screen) -> None:
    screen("node_started", id="finetune", stage="finetune", index=0, total=1)
    for seconds, step in ((10, 901), (20, 906), (30, 911)):
        screen.clock.now = 100.0 + seconds
        screen("node_progress", id="finetune", step=step, total=1000)
    assert screen.lines[1:] == ["    step 906/1000, 3 min 08 s left"]


def test_time_left_counts_from_the_start_of_the_step(screen: _Screen) -> None:
    screen.clock.now = 500.0
    screen("node_started", id="measure", stage="measure", index=0, total=1)
    screen.clock.now = 520.0
    screen("node_progress", id="measure", step=0, total=4, text="answers of original")
    screen.clock.now = 540.0
    screen("node_progress", id="measure", text="load time and memory")
    assert screen.lines[1:] == ["    step 0/4, answers of original", "    load time and memory"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0.0 s"),
        (0.44, "0.4 s"),
        (9.94, "9.9 s"),
        (10.0, "10 s"),
        (59.4, "59 s"),
        (60, "1 min 00 s"),
        (3725.9, "62 min 05 s"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_an_unknown_kind_is_no_line() -> None:
    assert describe({"time": 0.0, "kind": "something_new"}) == []


def test_outside_a_terminal_lines_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with listener(quiet=False) as show:
        show({"time": 0.0, "kind": "node_started", "id": "export", "index": 0, "total": 1})
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "[1/1] export\n")


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with listener(quiet=True) as show:
        show({"time": 0.0, "kind": "node_started", "id": "export", "index": 0, "total": 1})
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")


class _Terminal:
    """Standard error that says it is a terminal."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.written: list[str] = []

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.written.append(text)
        return len(text)

    def flush(self) -> None:
        return None


def test_in_a_terminal_a_live_line_shows_stage_step_loss_and_time_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = _Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "160")
    with listener(quiet=False) as show:
        show({"time": 0.0, "kind": "run_started", "recipe": "tiny", "run_id": "x", "nodes": ["a", "b"]})
        show(
            {"time": 0.0, "kind": "node_started", "id": "[red]", "stage": "finetune", "index": 0, "total": 2}
        )
        for step in (2, 3):
            show(
                {"time": 0.0, "kind": "node_progress", "id": "[red]", "step": step, "total": 9, "loss": 0.25}
            )
        show({"time": 0.0, "kind": "node_finished", "id": "[red]", "seconds": 2.0})
    written = "".join(terminal.written)
    assert "tiny x: 2 steps" in written
    assert "+ [red] done in 2.0 s" in written, "names are no markup"
    assert "[1/2] [red]" in written
    assert "step 3/9, loss 0.2500" in written
    assert "left" in written
