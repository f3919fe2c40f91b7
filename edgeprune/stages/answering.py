"""Answers of several models to the same validation examples: what `measure` and `answer` share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgeprune.errors import EdgepruneError, UnsupportedError

if TYPE_CHECKING:
    from edgeprune.measurement.accuracy import Predictor
    from edgeprune.measurement.reading import Reading
    from edgeprune.stages.contract import Work
    from edgeprune.tasks.examples import Examples

__all__ = [
    "DENSE",
    "ORIGINAL",
    "answers",
    "dense_folders",
    "dense_name",
    "left_out",
    "reading_notes",
    "save_arrays",
    "scores",
]

ORIGINAL = "original"
DENSE = "dense"

Logits = npt.NDArray[np.float32]
Progress = Callable[..., None]


def dense_name(variant: str) -> str:
    """Name of the dense counterpart of the candidate ``backend/variant``: ``dense/backend/variant``."""
    return f"{DENSE}/{variant}"


def candidate_folders(work: Work, variants: Sequence[str]) -> dict[str, Path]:
    """Folders of the candidates that could be compiled, by name.

    Raises:
        UnsupportedError: There are none.
    """
    found = {name: work.inputs[f"compiled/{name}"] for name in variants if f"compiled/{name}" in work.inputs}
    if not found:
        raise UnsupportedError(
            f"none of {', '.join(variants)} could be compiled", hint="the notes above say why for each"
        )
    return found


def dense_folders(work: Work, variants: Sequence[str]) -> dict[str, Path]:
    """Folders of the dense counterparts that could be made, by `dense_name`."""
    names = [dense_name(variant) for variant in variants]
    return {name: work.inputs[f"compiled/{name}"] for name in names if f"compiled/{name}" in work.inputs}


def left_out(name: str, error: Exception) -> str:
    """The note on a model that failed and that does not ship: nothing that is only looked at ends a run."""
    message = error.message if isinstance(error, EdgepruneError) else str(error)
    return f"{name} is left out of what is compared: {message}"


def answers(
    models: Mapping[str, Predictor],
    readings: Mapping[str, Reading],
    batch: int,
    progress: Progress,
    optional: Collection[str] = (),
) -> tuple[dict[str, Logits], list[str]]:
    """Logits of every model on every example, in the order of the examples; and who gave none, as notes.

    Args:
        models: Name to model.
        readings: Name to the examples as that model's tokens.
        batch: Rows per call.
        progress: Of the stage.
        optional: Models that may fail.

    Raises:
        EdgepruneError: A model that is not optional gives no finite answers.
    """
    from edgeprune.measurement.accuracy import predict

    logits, notes = {}, []
    for index, (name, model) in enumerate(models.items()):
        progress(step=index, total=len(models), text=f"answers of {name}")
        try:
            logits[name] = predict(model, readings[name].encoded, batch, readings[name].pad_id, name)
        except EdgepruneError as error:
            if name not in optional:
                raise
            notes.append(left_out(name, error))
    return logits, notes


def scores(logits: Logits, validation: Examples) -> dict[str, Any]:
    """All metrics of one model's answers."""
    from edgeprune.tasks.scoring import decode, score

    found, _ = decode(logits)
    return {"quality": asdict(score(found, validation.labels, len(validation.classes)))}


def reading_notes(readings: Mapping[str, Reading]) -> list[str]:
    """Texts that are cut, and texts that the models do not all read with the same number of tokens."""
    encoded = readings[ORIGINAL].encoded
    notes = []
    if encoded.truncated:
        limit = encoded.max_length
        notes.append(f"{encoded.truncated:,} of {len(encoded):,} validation texts are cut at {limit} tokens")
    longer = {id(item): item.encoded.lengths.mean() for item in readings.values()}
    if len(longer) > 1:
        means = ", ".join(f"{mean:.2f}" for mean in longer.values())
        notes.append(
            f"the compiled models have a smaller vocabulary: mean tokens a text {means} (original first)"
        )
    return notes


def save_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """One `.npz` file."""
    np.savez(path, **arrays)  # type: ignore[arg-type]  # numpy's stub takes every keyword for an option
