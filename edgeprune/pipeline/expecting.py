"""The answers that a bundle's samples must get on the device: those that the same file gives here.

`TOLERANCES` is two to three times the largest difference of a score that was seen, with a dense MiniLM-L6 on
film reviews, one text a call, the same files on x86 with onnxruntime 1.32 and elsewhere:

| elsewhere | FP32, FP16 | static INT8 | dynamic INT8 |
|---|---|---|---|
| onnxruntime 1.19 and 1.20, x86, 100 texts | 0 | 0.007 | 0.046 |
| onnxruntime 1.27, aarch64 (emulated), 60 texts | not run | 0.015 | 0.022 |

Dynamic INT8 differs most: the scale of an activation is taken from its largest value, and moves with it.
OpenVINO 2025.0 and 2026.4 gave the same scores in FP32, bfloat16 and INT8.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeprune.bundle.content import Sample
from edgeprune.errors import EdgepruneError, UnsupportedError
from edgeprune.runner.variant import RunnerError, Variant

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeprune.runner.session import Session
    from edgeprune.tasks.examples import Examples

__all__ = ["COUNT", "SEED", "Expected", "expect", "tolerance"]

COUNT, SEED = 16, 0
_SHORT = 200
"""Characters of a text: a sample is to be read, and a device may be slow."""

TOLERANCES = {"fp32": 0.001, "fp16": 0.01, "bf16": 0.03, "int8-dynamic": 0.1}
_STATIC = 0.05
_DIGITS = 4
_ONNX = "model.onnx"


@dataclass(frozen=True)
class Expected:
    """Samples of a bundle.

    Attributes:
        samples: Texts and scores.
        answered: What gave the scores, in words.
        rows: Positions of the samples in the validation data.
    """

    samples: tuple[Sample, ...]
    answered: str
    rows: tuple[int, ...]


def tolerance(precision: str) -> float:
    """How far a score may be from the expected one on another processor or with another version."""
    return TOLERANCES.get(precision.removesuffix("-ort"), _STATIC)


def expect(folder: Path, variant: Variant, validation: Examples) -> Expected:
    """Draws short texts of the validation data, and answers them one by one with the compiled model.

    Args:
        folder: The compiled model.
        variant: What it says about itself.
        validation: The examples.

    Raises:
        UnsupportedError: Nothing here answers with this file.
        EdgepruneError: The tokenizer cannot be read, or an answer is not a number.
    """
    from edgeprune.measurement.accuracy import predict
    from edgeprune.measurement.reading import read_texts
    from edgeprune.tasks.scoring import decode

    rows = _drawn(validation)
    chosen = validation.select(rows)
    session, answered = _opened(folder, variant)
    name = f"{variant.backend}/{variant.precision}"
    reading = read_texts({name: folder}, chosen, variant.max_length)[name]
    # One text a call, as a device is asked: a scale of activations is that of all texts of a call.
    _, scores = decode(predict(session, reading.encoded, 1, reading.pad_id, name))
    samples = tuple(
        Sample(texts, _by_label(variant.labels, values))
        for texts, values in zip(_texts(chosen), scores, strict=True)
    )
    return Expected(samples, answered, tuple(rows))


def _drawn(validation: Examples) -> list[int]:
    """Positions of short texts, drawn with a seed; where there are too few, the shortest."""
    from edgeprune.tasks.splitting import draw_rows

    lengths = [sum(map(len, texts)) for texts in validation.inputs()]
    short = [row for row, length in enumerate(lengths) if length <= _SHORT]
    if len(short) < COUNT:
        shortest = sorted(range(len(lengths)), key=lambda row: (lengths[row], row))
        return sorted(shortest[:COUNT])
    return [short[place] for place in draw_rows(len(short), COUNT, SEED)]


def _texts(examples: Examples) -> list[tuple[str, ...]]:
    pairs = examples.text_pairs is not None
    return [(text, pair) if pairs else (text,) for text, pair in examples.inputs()]


def _by_label(labels: list[str], scores: npt.NDArray[np.float64]) -> dict[str, float]:
    return {label: round(float(score), _DIGITS) for label, score in zip(labels, scores, strict=True)}


def _opened(folder: Path, variant: Variant) -> tuple[Session, str]:
    """What answers here, and what it is, in words.

    The model itself where its runtime takes it here; else the ONNX file that it was made from, beside it.
    """
    from edgeprune.measurement.stand_in import STAND_IN, open_stand_in
    from edgeprune.runner.session import SESSIONS, OnnxruntimeSession, open_session

    reason = f"the runner has no session for {variant.backend}"
    if variant.backend in SESSIONS:
        try:
            return open_session(folder, threads=1), _versioned(variant.backend)
        except RunnerError as error:
            reason = str(error)
    if variant.files["model"].endswith(".onnx"):
        return open_stand_in(folder, threads=1), f"{STAND_IN}, as {reason}"
    if variant.backend == "onnxruntime" and (folder / _ONNX).is_file():
        plain = replace(variant, files={"model": _ONNX})
        try:
            session = OnnxruntimeSession(folder, plain, 1)
        except Exception as error:  # onnxruntime has no common error type
            raise UnsupportedError(
                f"nothing here answers with this model: {error}", where=str(folder)
            ) from error
        return session, f"{_ONNX}, which {variant.files['model']} was made from, as {reason}"
    raise UnsupportedError(
        f"nothing here answers with this model: {reason}",
        where=str(folder),
        hint="make the bundle on a machine that has the model's runtime: its samples need expected answers",
    )


def _versioned(backend: str) -> str:
    from importlib import metadata

    from edgeprune.runner.cpu import describe

    try:
        version = metadata.version(backend)
    except metadata.PackageNotFoundError as error:
        raise EdgepruneError(
            f"{backend} can be imported, and is not installed", hint="install it with pip"
        ) from error
    return f"the model itself on {backend} {version}, {describe().architecture}"
