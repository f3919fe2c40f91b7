"""`edgeprune plan`: what a run would do."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from edgeprune.cli.options import cache_option, recipe_argument, set_option

__all__ = ["plan"]


@click.command(epilog="Example: edgeprune plan recipes/quickstart.yaml")
@recipe_argument
@set_option
@cache_option
def plan(recipe: Path, overrides: tuple[str, ...], cache: Path) -> None:
    """Show the steps of RECIPE.yaml, what is cached, what each needs and writes; runs nothing."""
    from edgeprune.pipeline import overview

    overview.show(recipe, overrides, cache, sys.stdout)
