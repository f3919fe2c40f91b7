"""Everything about a recipe that can be found wrong without fetching or running anything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeprune.errors import EdgepruneError, Problem, RecipeError
from edgeprune.pipeline.planning import asset_sources, make_plan
from edgeprune.pipeline.running import load, target
from edgeprune.recipe.loading import Recipe
from edgeprune.recipe.schema import Target

__all__ = ["validate"]


def validate(path: Path, overrides: Sequence[str] = ()) -> str:
    """Check a recipe, its targets, and the columns of its data where the data is local.

    Args:
        path: The recipe.
        overrides: ``--set`` texts.

    Returns:
        What was checked, in words.

    Raises:
        RecipeError: All problems of the recipe, or, when it has none, all of its targets and chain.
        UsageError: A file is missing.
        UnsupportedError: A target whose variants none can be compiled here.
    """
    recipe = load(path, overrides)
    targets, problems = _targets(recipe)
    if not problems:
        try:
            make_plan(recipe, targets, dict.fromkeys(asset_sources(recipe)))
        except RecipeError as error:
            problems += error.problems
    if problems:
        raise recipe.error(problems)
    names = ", ".join(item.name for item in targets)
    return f"{len(recipe.stages)} stages, targets {names}"


def _targets(recipe: Recipe) -> tuple[list[Target], list[Problem]]:
    targets: list[Target] = []
    problems: list[Problem] = []
    for index, name in enumerate(recipe.shell.targets):
        try:
            targets.append(target(name, recipe.folder))
        except RecipeError as error:
            problems += error.problems
        except EdgepruneError as error:
            problems.append(Problem(("targets", index), error.message, error.hint))
    return targets, problems
