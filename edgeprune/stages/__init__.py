"""The stages, one file each, and the one table of them.

To add one: write `stages/<name>.py` with its config, its `apply` and its `Stage` row, and add a line
here. `docs/add-a-stage.md` shows it on an example.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module

from edgeprune.recipe.schema import Section
from edgeprune.stages.contract import Stage

__all__ = ["TABLE", "get", "recipe_stages"]

TABLE = {
    "prepare": "edgeprune.stages.prepare:PREPARE",
    "finetune": "edgeprune.stages.finetune:FINETUNE",
    "learn_masks": "edgeprune.stages.learn_masks:LEARN_MASKS",
    "prune_structure": "edgeprune.stages.prune_structure:PRUNE_STRUCTURE",
    "distill": "edgeprune.stages.distill:DISTILL",
    "export": "edgeprune.stages.export:EXPORT",
    "quantize": "edgeprune.stages.quantize:QUANTIZE",
    "compile": "edgeprune.stages.compile:COMPILE",
    "measure": "edgeprune.stages.measure:MEASURE",
    "answer": "edgeprune.stages.answer:ANSWER",
}


@cache
def get(name: str) -> Stage:
    """The stage of that name; `KeyError` where the table has none."""
    module, _, attribute = TABLE[name].partition(":")
    stage = getattr(import_module(module), attribute)
    assert isinstance(stage, Stage), f"{TABLE[name]} is not a Stage"
    return stage


def recipe_stages() -> dict[str, type[Section]]:
    """Name and body schema of every stage that a recipe may list."""
    stages = [get(name) for name in TABLE]
    return {stage.name: stage.config for stage in stages if stage.in_recipe}
