"""Has an installed bundle answer the validation examples on its device, and times it there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgeprune.devices import installing
from edgeprune.devices.contract import PATIENCE, Answer, Device
from edgeprune.errors import DeviceError, UnsupportedError

if TYPE_CHECKING:
    from edgeprune.recipe.schema import Measurement
    from edgeprune.tasks.examples import Examples

__all__ = ["Timings", "answer_on_device", "examples_as_lines", "time_on_device"]

# Seconds that one text may take on the slowest device: a dense MiniLM in FP32 takes one under emulation.
_SLOWEST_ANSWER = 10.0
_EXAMPLES, _TEXTS = "examples.jsonl", "texts.jsonl"
_REAL = "real"


@dataclass(frozen=True)
class Timings:
    """What the runner's `bench` found on the device.

    Attributes:
        lengths: A row per length: `length`, `calls`, and milliseconds in `call` (from text to score) and
            `session` (the model alone).
        load: Load time and peak memory of a process of its own; None: it could not be had.
        threads: Threads that the model used.
        notes: What could not be measured, and why.
    """

    lengths: list[dict[str, Any]]
    load: dict[str, Any] | None
    threads: int
    notes: list[str]


def examples_as_lines(examples: Examples, columns: Sequence[str], *, labels: bool = True) -> bytes:
    """Examples as the runner reads them: a JSON object a line, ASCII, whatever the texts hold."""
    lines = []
    for texts, label in zip(examples.inputs(), examples.labels, strict=True):
        value: dict[str, Any] = dict(zip(columns, texts, strict=False))
        if labels:
            value["label"] = label
        lines.append(json.dumps(value))
    return ("\n".join(lines) + "\n").encode("ascii")


def answer_on_device(
    device: Device, name: str, path: str, examples: Examples, columns: Sequence[str], batch: int
) -> npt.NDArray[np.float32]:
    """Logits that the bundle gives on its device.

    Args:
        device: Where it is installed.
        name: Of the bundle.
        path: Its folder there.
        examples: What is asked.
        columns: Names of the texts of an example.
        batch: Texts that are answered at once.

    Returns:
        float32 [examples, classes], in the order of the examples.

    Raises:
        DeviceError: The device cannot be reached, or its answers are not those of these examples.
        UnsupportedError: The runner refuses.
    """
    file = installing.put(device, name, _EXAMPLES, examples_as_lines(examples, columns))
    words = ["evaluate", file, "--out", "-", "--batch", str(batch)]
    patience = PATIENCE + _SLOWEST_ANSWER * len(examples)
    done = installing.run_bundle(device, path, words, patience=patience)
    *lines, _ = _lines(device, done)
    if [line.get("row") for line in lines] != list(range(len(examples))):
        raise DeviceError(
            f"{len(lines)} answers to {len(examples)} examples", where=device.name, hint="say the same again"
        )
    return np.array([line["logits"] for line in lines], np.float32)


def time_on_device(
    device: Device,
    name: str,
    path: str,
    examples: Examples,
    columns: Sequence[str],
    protocol: Measurement,
) -> Timings:
    """What `bench` says, at the recipe's lengths, batch and number of calls; one model, nothing interleaved.

    Raises:
        DeviceError: The device cannot be reached.
        UnsupportedError: The runner refuses.
    """
    file = installing.put(device, name, _TEXTS, examples_as_lines(examples, columns, labels=False))
    words = [
        "bench", file, "--json",
        "--lengths", ",".join(map(str, protocol.lengths)),
        "--calls", str(protocol.calls),
        "--warmup", str(max(1, protocol.warmup)),
        "--batch", str(protocol.batch),
    ]  # fmt: skip
    calls = (protocol.calls + protocol.warmup) * len(protocol.lengths) * protocol.batch
    done = installing.run_bundle(device, path, words, patience=PATIENCE + _SLOWEST_ANSWER * calls)
    found = _lines(device, done)[-1]
    return Timings(found["lengths"], found["load"], found["threads"], found["notes"])


def _lines(device: Device, done: Answer) -> list[Mapping[str, Any]]:
    """What a command of the runner printed, a JSON object a line."""
    if done.code:
        said = " ".join(done.err.split()) or "it says nothing"
        raise UnsupportedError(
            f"the runner stopped with exit code {done.code}: {said.removeprefix('error: ')}",
            where=device.name,
            hint="`edgeprune device check` says what the device lacks",
        )
    try:
        return [_object(line) for line in _filled(done.out.splitlines())]
    except ValueError as error:
        raise DeviceError(
            f"the answer cannot be read: {error}", where=device.name, hint="say the same again"
        ) from error


def _filled(lines: Iterable[bytes]) -> Iterable[bytes]:
    return (line for line in lines if line.strip())


def _object(line: bytes) -> Mapping[str, Any]:
    value = json.loads(line)
    if not isinstance(value, dict):
        raise ValueError(f"{line[:80]!r} is no object")
    return value
