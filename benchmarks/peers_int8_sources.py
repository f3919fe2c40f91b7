"""What quantizers are compared on: a classifier, its task's examples, and how its recipe reads them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from grid_running import say
from run_folders import artifact_of, is_run

from edgeprune.assets import Asset
from edgeprune.errors import UsageError
from edgeprune.pipeline import running
from edgeprune.pipeline.checking import length_problems
from edgeprune.pipeline.planning import why_unmeasured
from edgeprune.recipe.loading import Recipe
from edgeprune.recipe.schema import Target
from edgeprune.runner.cpu import describe
from edgeprune.stages.quantize import QUANTIZE, QuantizeConfig
from edgeprune.tasks.examples import Examples

__all__ = ["Case", "case_of_run", "cases", "examples_of", "measured_target", "quantize_body"]


@dataclass(frozen=True)
class Case:
    """One classifier.

    Attributes:
        name: For the reader.
        recipe: Says `model.max_length`, `acceptance` and perhaps how to `quantize`.
        model: Folder of the saved classifier.
        data: Folder with `train` and `validation`.
    """

    name: str
    recipe: Recipe
    model: Path
    data: Path


def cases(options: argparse.Namespace) -> Iterator[Case]:
    """The classifiers of all sources that the user named.

    Args:
        options: `sources`, `seeds`, `step`, `recipe`, `set`, `cache`, `runs`.

    Raises:
        UsageError: A source is no run, recipe or saved model, or lacks what is needed of it.
        EdgepruneError: A recipe cannot be run.
    """
    for source in options.sources:
        if source.suffix in (".yaml", ".yml"):
            yield from map(_checked, _of_recipe(source, options))
        elif is_run(source):
            yield case_of_run(source.resolve(), options.step, options.set)
        elif (source / "model.safetensors").is_file():
            yield _checked(_of_model(source, options))
        else:
            raise UsageError(
                "this is no recipe, no folder of a run and no folder of a saved classifier",
                where=str(source),
            )


def _of_recipe(path: Path, options: argparse.Namespace) -> Iterator[Case]:
    """The model that a step of a recipe gives, made if it is not cached; one per seed."""
    for seed in options.seeds or [None]:
        overrides = [*options.set, *([] if seed is None else [f"seed={seed}"])]
        recipe = running.load(path, overrides)
        made = _made(recipe, options.step, options)
        model = _with_model(made[options.step], options.step)
        yield Case(f"{recipe.shell.name} seed {recipe.shell.seed}", recipe, model, made["prepare"])


def case_of_run(folder: Path, step: str, overrides: Sequence[str]) -> Case:
    """The model that a step of a run gave.

    Args:
        folder: Of the run.
        step: Its id.
        overrides: Of the run's recipe, `KEY=VALUE`.

    Raises:
        UsageError: The run lacks it, or it is not to be measured as this is to be.
        EdgepruneError: The recipe cannot be run.
    """
    recipe = running.load(folder / "recipe.yaml", overrides)
    name = f"{recipe.shell.name} {folder.name} seed {recipe.shell.seed}"
    model = _with_model(artifact_of(folder, step), step)
    return _checked(Case(name, recipe, model, artifact_of(folder, "prepare")))


def measured_target(name: str) -> Target:
    """A target that is measured on this machine.

    Args:
        name: Of a shipped one, or the path of a YAML file.

    Raises:
        UsageError: It is not this machine.
    """
    target = running.target(name, Path.cwd())
    if reason := why_unmeasured(target, describe().architecture):
        raise UsageError(
            f"target {target.name!r} is not this machine ({reason})", hint="give one with --target"
        )
    return target


def _of_model(folder: Path, options: argparse.Namespace) -> Case:
    if options.recipe is None:
        raise UsageError(
            "a saved classifier does not say which examples it is for",
            where=str(folder),
            hint="give its recipe with --recipe",
        )
    recipe = running.load(options.recipe, options.set)
    return Case(str(folder), recipe, folder, _made(recipe, "prepare", options)["prepare"])


def _checked(case: Case) -> Case:
    """The case, if it can be measured as it is to be."""
    if case.recipe.shell.task.metric != "accuracy":
        raise UsageError(
            f"this compares accuracy, and the task is judged by {case.recipe.shell.task.metric}",
            where=case.name,
        )
    asset = Asset(str(case.model), case.model, sha256="", size_bytes=0, tried=(), detail="")
    if problems := length_problems(case.recipe, {"model": asset}):
        raise case.recipe.error(problems)
    return case


def _with_model(folder: Path, step: str) -> Path:
    if not (folder / "model.safetensors").is_file():
        raise UsageError(f"step {step!r} gives no classifier", where=str(folder), hint="e.g. --step finetune")
    return folder


def _made(recipe: Recipe, step: str, options: argparse.Namespace) -> dict[str, Path]:
    def tell(event: dict[str, Any]) -> None:
        if event["kind"] in ("node_started", "node_cached", "node_finished"):
            say(f"{recipe.shell.name} seed {recipe.shell.seed}: {event['id']} {event['kind'][5:]}")

    done = running.run_until(recipe, step, cache=options.cache, runs=options.runs, listeners=[tell])
    return {name: item.artifact.path for name, item in done.made.items()}


def quantize_body(recipe: Recipe, target: Target, calibration: int | None) -> QuantizeConfig:
    """How ours quantizes: as the recipe says, or by default, for one target.

    Args:
        recipe: Its first `quantize` counts.
        target: What its variants are for.
        calibration: Examples instead of as many as the recipe says.
    """
    bodies = [entry.config for entry in recipe.stages if entry.name == QUANTIZE.name]
    body = bodies[0] if bodies else QUANTIZE.config()
    assert isinstance(body, QuantizeConfig)
    if calibration is not None:
        changed = body.calibration.model_copy(update={"examples": calibration})
        body = body.model_copy(update={"calibration": changed})
    fitted = QUANTIZE.resolve(QUANTIZE.fit(body, [target]))
    assert isinstance(fitted, QuantizeConfig)
    return fitted


def examples_of(data: Path, body: QuantizeConfig) -> tuple[Examples, Examples]:
    """(to calibrate with, to judge on): the training examples that the stage `quantize` takes for the two."""
    train = Examples.load(data / "train")
    order = np.random.default_rng(body.calibration.seed).permutation(len(train)).tolist()
    observed = order[: body.calibration.examples]
    return train.select(observed), train.select(
        order[len(observed) : len(observed) + body.search.examples] or observed
    )
