"""`edgeprune validate`: every problem of a recipe and its targets at once."""

from __future__ import annotations

from pathlib import Path

import click

from edgeprune.cli.options import cache_option, recipe_argument, set_option

__all__ = ["validate"]


@click.command(epilog="Example: edgeprune validate recipes/quickstart.yaml")
@recipe_argument
@set_option
@cache_option
def validate(recipe: Path, overrides: tuple[str, ...], cache: Path) -> None:
    """Check RECIPE.yaml, its targets and, where it is here already, its data.

    Shows every problem with its file, line, key path and a hint; fetches and trains nothing.
    """
    from edgeprune.pipeline import validating

    checked = validating.validate(recipe, overrides, cache)
    click.echo(f"{recipe}: ok ({checked})")
