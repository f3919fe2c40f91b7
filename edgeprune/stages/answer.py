"""`answer`: accuracy for a target whose accelerator is not here; the plan adds one per such target.

What its engines were built of, the same ONNX file, answers on onnxruntime's CPU provider instead. That says
what precision and compression did to the answers. It says nothing about speed, so nothing is timed. Nothing
is chosen by it either, so a model that gives no answers is noted, and the run goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from edgeprune.errors import UnsupportedError
from edgeprune.recipe.schema import Section
from edgeprune.stages.answering import (
    ORIGINAL,
    answers,
    candidate_folders,
    dense_folders,
    left_out,
    reading_notes,
    save_arrays,
    scores,
)
from edgeprune.stages.contract import RUNNER, Outcome, Stage, Work

if TYPE_CHECKING:
    from edgeprune.measurement.accuracy import Predictor

__all__ = ["ANSWER", "AnswerConfig"]


class AnswerConfig(Section):
    """What answers: filled in by the plan, not by users.

    Attributes:
        target: Name of the target.
        threads: Threads that every model may use.
        variants: ``backend/variant`` of every compiled candidate that a stand-in answers for.
        dense: Those of them with a dense counterpart of their own.
    """

    target: str
    threads: int
    variants: list[str]
    dense: list[str] = Field(default_factory=list)


def apply(work: Work) -> Outcome:
    """Answer all validation examples with the original and with every model."""
    from edgeprune.measurement.pytorch import open_original
    from edgeprune.measurement.reading import read_texts
    from edgeprune.stages.quiet import quiet_libraries
    from edgeprune.tasks.examples import Examples

    quiet_libraries()
    config: AnswerConfig = work.config
    validation = Examples.load(work.inputs["data"] / "validation")
    folders = candidate_folders(work, config.variants)
    folders |= dense_folders(work, config.dense)
    readings = read_texts(
        {ORIGINAL: work.inputs["original"], **folders}, validation, work.sections["model.max_length"]
    )
    original = open_original(work.inputs["original"], config.threads)
    opened, notes = _open(folders, config.threads)
    models: dict[str, Predictor] = {ORIGINAL: original, **opened}
    batch: int = work.sections["measurement.batch"]
    logits, silent = answers(models, readings, batch, work.progress, optional=opened)
    save_arrays(work.output / "logits.npz", {"labels": np.asarray(validation.labels), **logits})
    record = {name: scores(values, validation) for name, values in logits.items()}
    (work.output / "measured.json").write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")
    return Outcome(record={"models": record}, notes=[*reading_notes(readings), *notes, *silent])


def _open(folders: Mapping[str, Path], threads: int) -> tuple[dict[str, Predictor], list[str]]:
    """A stand-in per model; and a note on each that cannot be opened."""
    from edgeprune.measurement.stand_in import open_stand_in

    models: dict[str, Predictor] = {}
    notes = []
    for name, folder in folders.items():
        try:
            models[name] = open_stand_in(folder, threads)
        except UnsupportedError as error:
            notes.append(left_out(name, error))
    return models, notes


ANSWER = Stage(
    name="answer",
    summary="accuracy where a target's accelerator is not here: its ONNX on onnxruntime's CPU provider",
    config=AnswerConfig,
    apply=apply,
    requires=("original", "data"),
    provides=("answered",),
    reads=("measurement.batch", "model.max_length"),
    ensures=("measured.json", "logits.npz"),
    code=(
        "stages.answer", "stages.answering", "stages.quiet", "measurement", *RUNNER, "structure", "tasks",
    ),
    libraries=("torch", "transformers", "numpy", "onnxruntime"),
    in_recipe=False,
)  # fmt: skip
