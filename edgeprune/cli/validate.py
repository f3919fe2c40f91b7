"""`edgeprune validate`: every problem of a recipe and its targets at once."""

from __future__ import annotations

from pathlib import Path

import click

from edgeprune.cli.options import recipe_argument, set_option

__all__ = ["validate"]


@click.command(epilog="Example: edgeprune validate recipes/quickstart.yaml")
@recipe_argument
@set_option
def validate(recipe: Path, overrides: tuple[str, ...]) -> None:
    """Check RECIPE.yaml and its targets; show every problem with its file, line and a hint."""
    from edgeprune.pipeline import validating

    checked = validating.validate(recipe, overrides)
    click.echo(f"{recipe}: ok ({checked})")
