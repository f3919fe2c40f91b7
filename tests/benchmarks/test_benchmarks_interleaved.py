"""Ratios of interleaved times, and finding what a run left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interleaved import Times, inputs_of, stacked, time_ratio, timed, typical_ms
from run_folders import artifact_of, is_run

from edgeprune.errors import UsageError
from edgeprune.measurement.reading import Reading
from edgeprune.tasks.encoding import Encoded

MILLISECOND = 1_000_000


def noisy(
    milliseconds: float, groups: int = 2, blocks: int = 20, *, seed: int = 0, spread: float = 0.1
) -> Times:
    random = np.random.default_rng(seed)

    def rows(length: float) -> np.ndarray:
        factors = 1 + spread * random.random((groups, blocks, 5))
        return (milliseconds * length * MILLISECOND * factors).astype(np.int64)

    return {"real": rows(1), 64: rows(4)}


def test_typical_latency_counts_every_length_and_group_alike() -> None:
    times: Times = {
        "real": np.full((2, 3, 4), MILLISECOND),
        64: np.stack([np.full((3, 4), 4 * MILLISECOND), np.full((3, 4), 16 * MILLISECOND)]),
    }
    assert typical_ms(times) == pytest.approx((1 * 1 * 4 * 16) ** 0.25)


@settings(max_examples=8)
@given(st.floats(0.2, 5), st.integers(1, 4))
def test_a_ratio_is_that_of_typical_latencies_and_lies_in_its_interval(factor: float, groups: int) -> None:
    slow, fast = noisy(factor, groups, seed=1), noisy(1, groups, seed=2)
    ratio = time_ratio(slow, fast)
    assert ratio.estimate == pytest.approx(typical_ms(slow) / typical_ms(fast))
    assert ratio.low <= ratio.estimate <= ratio.high
    assert ratio.estimate == pytest.approx(factor, rel=0.1)


def test_what_differs_between_processes_widens_the_interval() -> None:
    alike = time_ratio(noisy(1, 4, seed=1), noisy(1, 4, seed=2))
    drifting = noisy(1, 4, seed=1)
    scaled = {
        length: (rows * np.array([1, 1.3, 0.8, 1.1])[:, None, None]) for length, rows in drifting.items()
    }
    ratio = time_ratio(scaled, noisy(1, 4, seed=2))
    assert ratio.high - ratio.low > 3 * (alike.high - alike.low)


def test_calls_of_a_block_share_their_moment() -> None:
    """Both models slow down together, so their ratio is sharp although the times are not."""
    random = np.random.default_rng(0)
    load = random.uniform(1, 3, size=(1, 200, 1))
    fast = {"real": (MILLISECOND * load * np.ones((1, 200, 5))).astype(np.int64)}
    slow = {"real": 2 * fast["real"]}
    ratio = time_ratio(slow, fast)
    assert ratio.low == pytest.approx(2)
    assert ratio.high == pytest.approx(2)


def test_times_that_were_not_taken_beside_each_other_have_no_ratio() -> None:
    times = noisy(1)
    with pytest.raises(ValueError, match="the same lengths"):
        time_ratio(times, {64: times[64]})
    with pytest.raises(ValueError, match="the same lengths"):
        time_ratio(times, noisy(1, groups=3))
    with pytest.raises(ValueError, match="the same lengths"):
        time_ratio({}, {})


def _reading() -> Reading:
    ids = [[1, 2, 3], [1, 2, 3, 4, 5], [1, 2]]
    lengths = np.array([len(row) for row in ids])
    return Reading(Encoded(ids, None, lengths, 0, 8), pad_id=0)


def test_texts_at_their_own_length_and_padded() -> None:
    found = inputs_of(_reading(), ["real", 4], 1)
    assert [batch.ids.shape[1] for batch in found["real"]] == [3, 5, 2]
    assert [batch.ids.shape[1] for batch in found[4]] == [4, 4], "the text of five does not fit"
    assert [int(batch.mask.sum()) for batch in found[4]] == [3, 2]


def test_a_length_that_no_text_fits_is_refused() -> None:
    with pytest.raises(UsageError, match="no text has 1 tokens or fewer; the shortest has 2"):
        inputs_of(_reading(), [1], 1)


def test_all_models_are_given_the_same_texts() -> None:
    class Answering:
        def __init__(self) -> None:
            self.seen: list[bytes] = []

        def run(self, ids: np.ndarray, mask: np.ndarray, types: np.ndarray) -> np.ndarray:
            self.seen.append(ids.tobytes())
            return np.zeros((1, 2), np.float32)

    models = {"a": Answering(), "b": Answering()}
    calls = timed(models, inputs_of(_reading(), ["real"], 1), 20, 2)
    assert models["a"].seen == models["b"].seen
    assert stacked([calls["a"], calls["b"]])["real"].shape == (2, 20, 1)


def _run(folder: Path) -> Path:
    (folder / "artifacts").mkdir(parents=True)
    for name in ("plan.json", "recipe.yaml"):
        (folder / name).write_text("{}")
    return folder


def test_a_steps_artifact_is_found_by_its_id(tmp_path: Path) -> None:
    run, made = _run(tmp_path / "run"), tmp_path / "cache" / "compile-1"
    made.mkdir(parents=True)
    (run / "artifacts" / "compile-pc-onnxruntime-fp32").symlink_to(made)
    assert is_run(run)
    assert artifact_of(run, "compile pc/onnxruntime/fp32") == made.resolve()


def test_what_a_run_has_not_is_said(tmp_path: Path) -> None:
    run = _run(tmp_path / "run")
    with pytest.raises(UsageError, match="no folder of a run"):
        artifact_of(tmp_path, "finetune")
    with pytest.raises(UsageError, match="nothing of a step 'finetune'"):
        artifact_of(run, "finetune")
    (run / "artifacts" / "finetune").symlink_to(tmp_path / "gone")
    with pytest.raises(UsageError, match="no longer in the cache"):
        artifact_of(run, "finetune")
