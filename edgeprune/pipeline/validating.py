"""Everything about a recipe that can be found wrong without fetching or training anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeprune.assets import Asset
from edgeprune.errors import EdgepruneError, Problem, RecipeError
from edgeprune.pipeline.checking import chain_problems
from edgeprune.pipeline.planning import make_plan
from edgeprune.pipeline.running import load, local_assets, target
from edgeprune.recipe.loading import Recipe
from edgeprune.recipe.schema import Target

__all__ = ["validate"]


def validate(path: Path, overrides: Sequence[str], cache: Path) -> str:
    """Check a recipe, its targets, its chain of stages, and its data where they are on this machine.

    Args:
        path: The recipe.
        overrides: ``--set`` texts.
        cache: Folder of fetched assets.

    Returns:
        What was checked, in words.

    Raises:
        RecipeError: All problems of the recipe's text; or, when it has none, all of its targets and of its
            chain; or, when those have none, of lengths that the encoder does not take; or of its data.
        UsageError: A file is missing.
        UnsupportedError: A target none of whose variants can be compiled here.
    """
    recipe = load(path, overrides)
    targets, problems = _targets(recipe)
    problems += chain_problems(recipe)
    if problems:
        raise recipe.error(problems)
    found = local_assets(recipe, cache)
    make_plan(recipe, targets, found)
    names = ", ".join(item.name for item in targets)
    return f"{len(recipe.stages)} stages; targets {names}; {_data(recipe, found)}"


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


def _data(recipe: Recipe, found: Mapping[str, Asset | None]) -> str:
    """Read and split the data as a run would, if that needs no fetching."""
    files = {role: asset for role, asset in found.items() if role != "model"}
    missing = [role for role, asset in files.items() if asset is None]
    if missing:
        return f"data not checked, as not fetched yet ({', '.join(missing)})"
    from edgeprune.tasks.preparing import prepare

    paths = {role: asset.path for role, asset in files.items() if asset is not None}
    try:
        counts = prepare(recipe.shell.task, paths["train"], paths.get("validation")).summary
    except RecipeError as error:
        raise recipe.error(error.problems) from error
    return f"{counts.train:,} training and {counts.validation:,} validation examples"
