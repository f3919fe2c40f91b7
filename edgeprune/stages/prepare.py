"""`prepare`: the task's files as checked examples. Added to every plan as its first step."""

from __future__ import annotations

import json
from dataclasses import asdict

from edgeprune.recipe.schema import Section, TaskConfig
from edgeprune.stages.contract import Outcome, Stage, Work

__all__ = ["PREPARE", "PrepareConfig"]


class PrepareConfig(Section):
    """Nothing to choose: the recipe's `task` says it all."""


def apply(work: Work) -> Outcome:
    """Read, check and split the task's rows; writes `train/`, `validation/` and `data.json`."""
    from edgeprune.tasks.preparing import prepare

    task: TaskConfig = work.sections["task"]
    prepared = prepare(task, work.assets["train"], work.assets.get("validation"))
    prepared.train.save(work.output / "train")
    prepared.validation.save(work.output / "validation")
    record = {
        "summary": asdict(prepared.summary),
        "train_sha256": prepared.train.fingerprint(),
        "validation_sha256": prepared.validation.fingerprint(),
    }
    (work.output / "data.json").write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")
    return Outcome(record=record, notes=list(prepared.notes))


PREPARE = Stage(
    name="prepare",
    summary="read, check and split the task's rows",
    config=PrepareConfig,
    apply=apply,
    requires=(),
    provides=("data",),
    assets=("train", "validation"),
    reads=("task",),
    # Which mirror served is no part of the content; the assets' hashes are in the key.
    ignores=("task.train", "task.validation", "task.metric"),
    ensures=("data.json", "train/examples.jsonl", "validation/examples.jsonl"),
    code=("stages.prepare", "tasks"),
    libraries=("datasets", "pyarrow"),
    in_recipe=False,
)
