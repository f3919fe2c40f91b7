"""Several batches at once: the answers are those of one at a time, and the counts are whole batches."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import numpy as np
import pytest
import tiny_model

from edgeprune.runner.session import open_session
from edgeprune.runner.throughput import Callers, OpenvinoThroughput, ThroughputSession, open_throughput
from edgeprune.runner.variant import RunnerError

BACKENDS = ["onnxruntime", "openvino"]
SHAPES = [(1, 5), (3, 11), (1, 32), (2, 8), (1, 5), (2, 17)]


def _batches() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    return [tiny_model.batch(rows, length) for rows, length in SHAPES * 8]


def _echo(ids: np.ndarray, mask: np.ndarray, types: np.ndarray) -> np.ndarray:
    return ids.astype(np.float32)


class Clock:
    """Seconds that pass by being looked at, one each time."""

    def __init__(self) -> None:
        self._ticks = itertools.count()

    def __call__(self) -> float:
        return float(next(self._ticks))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("threads", [1, 2])
def test_answers_are_those_of_the_latency_session(tmp_path: Path, backend: str, threads: int) -> None:
    pytest.importorskip(backend)
    folder = tiny_model.save_artifact(tmp_path, backend, bucket=8)
    batches = _batches()
    session = open_throughput(folder, threads)
    one_by_one = open_session(folder, threads)
    for _ in range(2):
        for found, batch in zip(session.answers(batches), batches, strict=True):
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, one_by_one.run(*batch), atol=1e-6)
            np.testing.assert_allclose(found, tiny_model.expected(*batch), atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_answers_come_in_the_order_of_inputs_that_die_early(tmp_path: Path, backend: str) -> None:
    """Inputs made on the way, which nobody else keeps, and strided ones, which are copied."""
    pytest.importorskip(backend)
    session = open_throughput(tiny_model.save_artifact(tmp_path, backend), 2)
    seeds = range(200)
    made = (tuple(np.asfortranarray(array) for array in tiny_model.batch(2, 4 + seed % 20)) for seed in seeds)
    for seed, found in zip(seeds, session.answers(made), strict=True):
        wanted = tiny_model.expected(*tiny_model.batch(2, 4 + seed % 20))
        np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_real_runtimes_count_texts_of_whole_batches(tmp_path: Path, backend: str) -> None:
    pytest.importorskip(backend)
    session = open_throughput(tiny_model.save_artifact(tmp_path, backend), 2)
    batches = [tiny_model.batch(3, length) for length in (4, 9)]
    session.warm_up(batches)
    found = session.measure(batches, 0.05)
    assert found.seconds >= 0.05
    assert found.texts > 0
    assert found.texts % 3 == 0
    assert found.streams == session.streams >= 1


def test_openvino_is_compiled_for_throughput_and_the_precision_that_was_asked_for(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    session = open_throughput(tiny_model.save_artifact(tmp_path, "openvino"), 1)
    assert isinstance(session, OpenvinoThroughput)
    compiled = session._session.compiled
    assert "THROUGHPUT" in str(compiled.get_property("PERFORMANCE_HINT"))
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1
    assert compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"
    assert session.streams == compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")


@pytest.mark.parametrize("seconds", [0.5, 3, 7])
def test_batches_are_begun_until_the_time_is_over_and_all_are_counted(seconds: float) -> None:
    """The clock is looked at once at the start, once after each batch, and once at the end."""
    rows = [1, 3, 2]
    batches = [tiny_model.batch(count, 5, padded=0) for count in rows]
    found = Callers(_echo, 1).measure(batches, seconds, clock=Clock())
    begun = max(1, int(np.ceil(seconds)))
    assert found.texts == sum(rows[number % 3] for number in range(begun))
    assert (found.seconds, found.streams) == (begun + 1, 1)


def test_a_batch_that_is_under_way_at_the_end_counts_with_its_time() -> None:
    """Two callers: one answers the second batch only when the other one has seen the end."""
    time_is_over = threading.Event()

    def run(ids: np.ndarray, mask: np.ndarray, types: np.ndarray) -> np.ndarray:
        if ids.shape[0] == 2:
            assert time_is_over.wait(10)
        return ids.astype(np.float32)

    looks = itertools.count()

    def clock() -> float:
        look = next(looks)
        if look == 2:  # start, after the first batch, after the second: the third is not begun
            time_is_over.set()
        return (0.0, 0.5, 1.0, 7.0)[look]

    batches = [tiny_model.batch(rows, 4, padded=0) for rows in (5, 2, 100)]
    found = Callers(run, 2).measure(batches, 1.0, clock=clock)
    assert found.texts == 5 + 2
    assert (found.seconds, found.streams) == (7.0, 2)


def test_as_many_calls_are_under_way_as_there_are_streams() -> None:
    together = threading.Barrier(3, timeout=10)

    def run(ids: np.ndarray, mask: np.ndarray, types: np.ndarray) -> np.ndarray:
        together.wait()
        return ids.astype(np.float32)

    batches = [tiny_model.batch(1, length, padded=0) for length in range(3, 9)]
    for found, batch in zip(Callers(run, 3).answers(batches), batches, strict=True):
        np.testing.assert_array_equal(found, batch[0])


def test_a_warm_up_sees_every_shape_once_a_stream() -> None:
    seen: list[tuple[int, ...]] = []

    class Listening(ThroughputSession):
        streams = 2

        def _answer_all(self, batches, take):  # type: ignore[no-untyped-def]
            for number, (ids, _, _) in enumerate(batches):
                seen.append(ids.shape)
                take(number, ids)

    Listening().warm_up(tiny_model.batch(rows, length) for rows, length in [(2, 9), (1, 5), (2, 9), (1, 7)])
    assert seen == [(1, 5), (1, 5), (1, 7), (1, 7), (2, 9), (2, 9)]


@pytest.mark.parametrize("streams", [1, 2])
def test_a_call_that_fails_is_not_swallowed(streams: int) -> None:
    def run(ids: np.ndarray, mask: np.ndarray, types: np.ndarray) -> np.ndarray:
        raise RuntimeError("the runtime gave up")

    with pytest.raises(RuntimeError, match="gave up"):
        Callers(run, streams).measure(_batches(), 0.01)


@pytest.mark.parametrize("backend", BACKENDS)
def test_inputs_that_the_model_cannot_take_are_refused_and_the_next_ones_answered(
    tmp_path: Path, backend: str
) -> None:
    pytest.importorskip(backend)
    session = open_throughput(tiny_model.save_artifact(tmp_path, backend), 2)
    ids, mask, types = tiny_model.batch()
    with pytest.raises(RunnerError, match=r"\(2, 11\), \(2, 10\)"):
        session.answers([(ids, mask, types), (ids, mask[:, :-1], types)])
    (found,) = session.answers([(ids, mask, types)])
    np.testing.assert_allclose(found, tiny_model.expected(ids, mask, types), atol=1e-5)


def test_nothing_to_answer_is_refused() -> None:
    with pytest.raises(RunnerError, match="without a batch"):
        Callers(_echo, 1).measure([], 1.0)


def test_a_backend_that_the_runner_does_not_know_is_refused(tmp_path: Path) -> None:
    folder = tiny_model.save_artifact(tmp_path, "abacus")
    with pytest.raises(RunnerError, match="is for 'abacus'; this runner knows onnxruntime, openvino"):
        open_throughput(folder)
