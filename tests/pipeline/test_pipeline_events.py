"""Events: written down in order, and given to every listener."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeprune.pipeline.events import Event, EventLog


def test_events_are_written_and_heard(tmp_path: Path) -> None:
    heard: list[Event] = []
    also: list[str] = []
    log = EventLog(tmp_path / "events.jsonl", [heard.append, lambda event: also.append(event["kind"])])
    log("node_started", id="finetune", stage="finetune", index=1, total=5)
    log("node_finished", id="finetune", seconds=1.5)
    written = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert written == heard
    assert [event["kind"] for event in heard] == also == ["node_started", "node_finished"]
    assert heard[0]["index"] == 1
    assert heard[0]["time"] <= heard[1]["time"]


def test_progress_is_heard_and_not_written(tmp_path: Path) -> None:
    heard: list[Event] = []
    log = EventLog(tmp_path / "events.jsonl", [heard.append])
    log("node_progress", id="finetune", step=1, total=2, loss=0.5)
    assert heard[0]["loss"] == 0.5
    assert not (tmp_path / "events.jsonl").exists()


def test_an_event_is_on_disk_before_a_listener_fails(tmp_path: Path) -> None:
    def fail(event: Event) -> None:
        raise KeyboardInterrupt

    log = EventLog(tmp_path / "events.jsonl", [fail])
    with pytest.raises(KeyboardInterrupt):
        log("note", where="x", text="ünicode")
    assert json.loads((tmp_path / "events.jsonl").read_text())["text"] == "ünicode"
