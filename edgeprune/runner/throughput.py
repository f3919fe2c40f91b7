"""Opens a compiled model to answer as many texts as it can, several batches at once, and counts them.

`session` is for one answer as soon as possible; this is for a server or a batch job that always has more.
Shapes: ids, mask, types int64 [batch, length]; logits float32 [batch, classes].
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Sequence, Tuple

import numpy as np

from .session import OnnxruntimeSession, OpenvinoSession, opened
from .variant import RunnerError, Variant

__all__ = [
    "Callers",
    "OnnxruntimeThroughput",
    "OpenvinoThroughput",
    "Throughput",
    "ThroughputSession",
    "open_throughput",
]

Batch = Tuple[np.ndarray, np.ndarray, np.ndarray]
Take = Callable[[int, np.ndarray], None]


@dataclass(frozen=True)
class Throughput:
    """What was counted.

    Attributes:
        texts: Rows of all batches that were answered.
        seconds: From the first batch until the last answer.
        streams: Batches that were under way at once.
    """

    texts: int
    seconds: float
    streams: int


class ThroughputSession(ABC):
    """A model that is loaded and answers several batches at once. Not for several threads at once.

    Attributes:
        streams: Batches that are under way at once.
    """

    streams: int

    def answers(self, batches: Iterable[Batch]) -> list[np.ndarray]:
        """Logits of each batch, in the order of the batches.

        Args:
            batches: ids, mask and types of each.
        """
        found: dict[int, np.ndarray] = {}
        self._answer_all(iter(batches), found.__setitem__)
        return [found[number] for number in range(len(found))]

    def warm_up(self, batches: Iterable[Batch]) -> None:
        """Answers one batch of every shape, as often as there are streams: runtimes prepare for a shape."""
        shapes = {batch[0].shape: batch for batch in batches}
        self.answers(batch for _, batch in sorted(shapes.items()) for _ in range(self.streams))

    def measure(
        self, batches: Sequence[Batch], seconds: float, clock: Callable[[], float] = time.perf_counter
    ) -> Throughput:
        """Answers batches, from the start again when they run out, and counts their texts.

        After `seconds` no batch is begun. Those under way are waited for, and count, with the time that
        they take: whole batches over the time of whole batches.

        Args:
            batches: ids, mask and types of each; at least one.
            seconds: How long batches are begun; one is in any case.
            clock: Seconds.

        Raises:
            RunnerError: There is no batch.
        """
        if not batches:
            raise RunnerError("throughput cannot be measured without a batch")
        rows: list[int] = []
        start = clock()
        again = _repeated(batches, lambda: clock() - start >= seconds)
        self._answer_all(again, lambda number, logits: rows.append(len(logits)))
        return Throughput(sum(rows), clock() - start, self.streams)

    @abstractmethod
    def _answer_all(self, batches: Iterator[Batch], take: Take) -> None:
        """Answers all batches and gives each answer to `take`, with its batch's number.

        Args:
            batches: Taken from one thread at a time, each when the model is ready for it.
            take: Called from any thread, in any order.
        """


class Callers(ThroughputSession):
    """A function that threads may call at once, as many of them as there are streams.

    Attributes:
        streams: The number of threads.
    """

    def __init__(self, run: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray], streams: int) -> None:
        self._run = run
        self.streams = streams

    def _answer_all(self, batches: Iterator[Batch], take: Take) -> None:
        lock = threading.Lock()
        numbered = enumerate(batches)

        def call() -> None:
            while True:
                with lock:
                    entry = next(numbered, None)
                if entry is None:
                    return
                number, batch = entry
                take(number, self._run(*batch))

        if self.streams == 1:
            call()
            return
        with ThreadPoolExecutor(self.streams) as pool:
            calls = [pool.submit(call) for _ in range(self.streams)]
        for finished in calls:
            finished.result()


class OnnxruntimeThroughput(Callers):
    """onnxruntime on the CPU: one session without threads of its own, called from as many as it may use.

    Several sessions were not faster, and each would hold the weights once more.
    """

    def __init__(self, folder: Path, variant: Variant, threads: int) -> None:
        super().__init__(OnnxruntimeSession(folder, variant, 1).run, threads)


class OpenvinoThroughput(ThroughputSession):
    """OpenVINO on the CPU: compiled for throughput, with as many requests as it calls optimal."""

    def __init__(self, folder: Path, variant: Variant, threads: int) -> None:
        import openvino

        self._session = OpenvinoSession(folder, variant, threads, hint="THROUGHPUT")
        self._queue = openvino.AsyncInferQueue(self._session.compiled)
        self.streams = len(self._queue)

    def _answer_all(self, batches: Iterator[Batch], take: Take) -> None:
        def answered(request: Any, batch: tuple[int, dict[str, np.ndarray]]) -> None:
            # The tensor is the request's own memory: its next answer overwrites it.
            take(batch[0], np.array(request.get_tensor("logits").data, dtype=np.float32))

        self._queue.set_callback(answered)
        try:
            for number, batch in enumerate(batches):
                arrays = self._session.feed(*batch)
                # The request reads the arrays where they are; handing them to it keeps them alive.
                self._queue.start_async(arrays, (number, arrays), share_inputs=True)
        finally:
            self._queue.wait_all()


KINDS: dict[str, Callable[[Path, Variant, int], ThroughputSession]] = {
    "onnxruntime": OnnxruntimeThroughput,
    "openvino": OpenvinoThroughput,
}


def open_throughput(folder: str | Path, threads: int | None = None) -> ThroughputSession:
    """Loads the compiled model in `folder` to answer as many texts as it can.

    Args:
        folder: See `session.open_session`.
        threads: Threads to use, all streams together; left out: as `session.open_session`.

    Raises:
        RunnerError: See `session.open_session`.
    """
    return opened(Path(folder), threads, KINDS)


def _repeated(batches: Sequence[Batch], is_over: Callable[[], bool]) -> Iterator[Batch]:
    """Batches from the first on, again and again: one in any case, then until it is over."""
    number = 0
    while True:
        yield batches[number % len(batches)]
        number += 1
        if is_over():
            return
