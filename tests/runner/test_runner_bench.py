"""Times are of what `predict` does; the machine's state is read where there is one."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import runner_bundle_kit

from edgeprune.runner.__main__ import main
from edgeprune.runner.answering import Answerer
from edgeprune.runner.bench import fitting, time_answers
from edgeprune.runner.cpu import describe
from edgeprune.runner.machine import read_state


def _bench(bundle: Path, *words: str) -> int:
    return main(["bench", "--bundle", str(bundle), "--threads", "1", "--calls", "5", "--warmup", "1", *words])


def test_all_numbers_are_there(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _bench(bundle, "--lengths", "real,12", "--batch", "2", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["name"], found["variant"], found["threads"]) == ("films-test", "onnxruntime/fp32", 1)
    assert [(row["length"], row["texts"], row["calls"]) for row in found["lengths"]] == [
        ("real", 4, 5),
        (12, 3, 5),
    ]
    for row in found["lengths"]:
        assert 0 < row["session"]["p50_ms"] < row["call"]["p50_ms"]
        assert row["call"]["p50_ms"] <= row["call"]["p90_ms"] <= row["call"]["p99_ms"]
    assert 0 < found["load"]["import_seconds"] < found["load"]["load_seconds"]
    assert found["load"]["peak_memory_bytes"] > 2**20
    assert found["notes"] == []
    machine = found["machine"]
    assert machine["cpu"]["features"] == list(describe().features)
    assert list(machine["runtime"]) == ["onnxruntime"]
    assert {"system", "python", "before", "after"} < machine.keys()


def test_the_table(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "texts").write_text("good\nbad\n", encoding="utf-8")
    assert _bench(bundle, str(tmp_path / "texts")) == 0
    output = capsys.readouterr().out
    assert output.startswith("films-test ")
    assert "  real  text to score " in output
    assert "  real  model alone " in output
    assert "first answer after" in output


def test_a_process_that_cannot_be_started_is_a_note(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An emulated program cannot start others."""
    monkeypatch.setattr("sys.executable", str(bundle / "manifest.json"))
    assert _bench(bundle, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["load"] is None
    assert found["notes"][0].startswith(
        "load time and memory could not be measured in a process of their own: "
    )


class Counted:
    """A model that notes the shapes it is asked, and takes 3 ticks of the clock."""

    def __init__(self) -> None:
        self.ticks = itertools.count()
        self.shapes: list[tuple[int, ...]] = []

    def clock(self) -> int:
        return next(self.ticks) * 1_000_000

    def run(self, ids: np.ndarray, mask: np.ndarray, types: np.ndarray) -> np.ndarray:
        self.shapes.append(ids.shape)
        for _ in range(2):
            next(self.ticks)
        return np.zeros((len(ids), 3), np.float32)


def test_calls_take_turns_through_the_texts_and_the_model_is_a_part_of_them(bundle: Path) -> None:
    known = runner_bundle_kit.answerer(bundle)
    model = Counted()
    answerer = Answerer(known.manifest, known.texts, model, 1)
    examples = [("good",), ("the film",), ("the good film",)]
    found = time_answers(answerer, "real", examples, 4, 2, 2, clock=model.clock)
    assert model.shapes == [(2, 5), (2, 5), (2, 4), (2, 5), (2, 5), (2, 4)]
    assert (found.call.p50_ms, found.call.mean_ms, found.session.p99_ms) == (5, 5, 3)
    time_answers(answerer, 9, examples, 1, 1, 1, clock=model.clock)
    assert model.shapes[-2:] == [(1, 9)] * 2


def test_only_texts_that_fit_are_asked(bundle: Path) -> None:
    answerer = runner_bundle_kit.answerer(bundle)
    examples = [("good",), ("the film is good",)]
    assert fitting(answerer, examples, 4) == [("good",)]
    assert fitting(answerer, examples, "real") == examples


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--lengths", "25"], "--lengths has 25, but the model reads at most 24 tokens"),
        (["--lengths", "2"], "no text has 2 tokens or fewer; the shortest has 4"),
        (["/dev/null"], "there is no text to ask"),
    ],
)
def test_lengths_that_cannot_be_had(
    bundle: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert _bench(bundle, *words) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def test_the_state_of_a_board(tmp_path: Path) -> None:
    for core, governor in [(0, "ondemand"), (1, "ondemand"), (10, "performance")]:
        folder = tmp_path / f"devices/system/cpu/cpu{core}/cpufreq"
        _write(folder / "scaling_governor", f"{governor}\n")
        _write(folder / "scaling_cur_freq", f"{1_500_000 + core * 1000}\n")
    _write(tmp_path / "devices/system/cpu/cpu2/online", "0\n")
    _write(tmp_path / "devices/system/cpu/cpufreq/boost", "1\n")
    for zone, (kind, celsius) in enumerate(
        [("cpu-thermal", "61234"), ("cpu-thermal", "-5000"), ("off", "no")]
    ):
        _write(tmp_path / f"class/thermal/thermal_zone{zone}/type", f"{kind}\n")
        _write(tmp_path / f"class/thermal/thermal_zone{zone}/temp", f"{celsius}\n")
    state = read_state(tmp_path)
    assert state.governors == {"ondemand": 2, "performance": 1}
    assert state.megahertz == [1500, 1501, 1510]
    assert state.celsius == {"cpu-thermal": 61.234, "cpu-thermal (thermal_zone1)": -5.0}


def test_a_system_that_says_nothing(tmp_path: Path) -> None:
    state = read_state(tmp_path)
    assert (state.governors, state.megahertz, state.celsius) == ({}, [], {})
