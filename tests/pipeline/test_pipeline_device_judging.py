"""A device's answers against the original's: counted here a second time, by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeprune.errors import ExitCode
from edgeprune.pipeline import running
from edgeprune.pipeline.device_answers import Timings, examples_as_lines
from edgeprune.pipeline.device_judging import SHOWN, DeviceVerdict, judge_on_device
from edgeprune.recipe.schema import RecipeShell
from edgeprune.report.model import VariantRow
from edgeprune.tasks.examples import Examples

ROW = VariantRow(
    name="onnxruntime/int8-dynamic",
    backend="onnxruntime",
    precision="int8-dynamic",
    executed="what ran where it was built",
    stand_in="something else",
    status="not measured",
    reason="no device",
    agreement=0.1,
    file_bytes=1234,
    load_seconds=9.0,
)


@pytest.fixture
def shell(recipe: Path) -> RecipeShell:
    return running.load(recipe, ["acceptance={max_drop: 2}"]).shell


def logits(answers: list[int]) -> np.ndarray:
    """Two classes, the right one by 1."""
    return np.eye(2, dtype=np.float32)[answers]


def examples(labels: list[int], pairs: bool = False) -> Examples:
    texts = tuple(f"text {index}" for index in range(len(labels)))
    return Examples(("bad", "good"), texts, tuple(labels), tuple(texts) if pairs else None)


def judged(
    shell: RecipeShell,
    device: list[int],
    original: list[int],
    labels: list[int],
    built: list[int] | None = None,
    timings: Timings | None = None,
) -> DeviceVerdict:
    return judge_on_device(
        ROW,
        logits(device),
        logits(original),
        None if built is None else logits(built),
        examples(labels),
        [10 * index for index in range(len(labels))],
        timings,
        shell,
    )


def test_the_same_answers_are_accepted_with_the_numbers_of_the_device(shell: RecipeShell) -> None:
    labels = [0, 1] * 500
    found = judged(shell, labels, labels, labels)
    assert (found.verdict, found.exit_code) == ("pass", ExitCode.ACCEPTED)
    row = found.variant
    assert (row.name, row.status, row.file_bytes) == (ROW.name, "accepted", 1234)
    assert (row.executed, row.stand_in, row.load_seconds, row.latency) == ("", "", None, [])
    assert row.quality is not None
    assert (row.quality.n, row.quality.accuracy, row.agreement) == (1000, 1.0, 1.0)
    assert (found.disagreed, found.disagreements, found.build_agreement) == (0, [], None)


def test_a_device_that_answers_worse_is_rejected(shell: RecipeShell) -> None:
    labels = [0, 1] * 500
    worse = [1 - label if index < 100 else label for index, label in enumerate(labels)]
    found = judged(shell, worse, labels, labels, built=labels)
    assert (found.verdict, found.exit_code) == ("fail", ExitCode.REJECTED)
    assert found.build_agreement == 0.9
    assert found.disagreed == 100
    assert len(found.disagreements) == SHOWN
    first = found.disagreements[0]
    assert (first.row, first.texts, first.label) == (0, ["text 0"], "bad")
    assert first.original["bad"] > 0.7 > 0.3 > first.device["bad"]


def test_too_few_examples_decide_nothing(shell: RecipeShell) -> None:
    found = judged(shell, [0, 1, 0], [0, 1, 0], [0, 1, 0])
    assert (found.verdict, found.exit_code) == ("inconclusive", ExitCode.REJECTED)
    assert "not enough examples" in found.reason


def test_a_demanded_speed_that_was_not_measured_is_undecided(recipe: Path) -> None:
    shell = running.load(recipe, ["acceptance={max_drop: 2, min_speedup: 2}"]).shell
    labels = [0, 1] * 500
    assert judged(shell, labels, labels, labels).verdict == "inconclusive"


def test_times_are_those_of_the_model_alone(shell: RecipeShell) -> None:
    times = {"p50_ms": 1.0, "p90_ms": 2.0, "p99_ms": 3.0, "mean_ms": 1.5}
    slower = {key: 10 * value for key, value in times.items()}
    entry = {"length": "real", "texts": 4, "calls": 100, "call": slower, "session": times}
    load = {"load_seconds": 0.5, "peak_memory_bytes": 10**7}
    found = judged(shell, [0, 1], [0, 1], [0, 1], timings=Timings([entry], load, 2, [])).variant
    (row,) = found.latency
    assert (row.length, row.calls, row.p50_ms, row.mean_ms) == ("real", 100, 1.0, 1.5)
    assert (row.speedup_original, row.speedup_fp32) == (None, None), "the original is not on the device"
    assert (found.load_seconds, found.peak_memory_bytes) == (0.5, 10**7)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the shell is the same each time
@given(
    answers=st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 1), st.integers(0, 1)),
        min_size=2,
        max_size=80,
    )
)
def test_what_is_counted_is_what_differs(
    shell: RecipeShell, answers: list[tuple[int, int, int, int]]
) -> None:
    device, original, labels, built = (list(values) for values in zip(*answers, strict=True))
    found = judged(shell, device, original, labels, built)
    places = [index for index, (one, two, _, _) in enumerate(answers) if one != two]
    assert found.disagreed == len(places)
    assert [item.row for item in found.disagreements] == [10 * place for place in places][:SHOWN]
    same = sum(one == four for one, _, _, four in answers) / len(answers)
    assert found.build_agreement == pytest.approx(same)
    right = sum(one == three for one, _, three, _ in answers)
    reference = sum(two == three for _, two, three, _ in answers)
    assert found.variant.difference_points is not None
    assert found.variant.difference_points.estimate == pytest.approx(100 * (right - reference) / len(answers))
    assert found.original.quality is not None
    assert found.original.quality.accuracy == pytest.approx(reference / len(answers))


@given(texts=st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=5), pairs=st.booleans())
def test_whatever_a_text_holds_its_line_is_one_line_of_ascii(texts: list[str], pairs: bool) -> None:
    given_texts = Examples(
        ("bad", "good"), tuple(texts), (1,) * len(texts), tuple(reversed(texts)) if pairs else None
    )
    columns = ["one", "two"] if pairs else ["one"]
    lines = examples_as_lines(given_texts, columns).split(b"\n")
    assert lines.pop() == b""
    found = [json.loads(line) for line in lines]
    assert [item["one"] for item in found] == texts
    assert all(item["label"] == 1 for item in found)
    if pairs:
        assert [item["two"] for item in found] == texts[::-1]
    else:
        assert all(set(item) == {"one", "label"} for item in found)
