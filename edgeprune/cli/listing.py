"""`edgeprune recipes` and `edgeprune targets`: what is here, a line each."""

from __future__ import annotations

import sys

import click

__all__ = ["recipes", "targets"]


@click.command()
def recipes() -> None:
    """List the recipes in ./recipes and those that came with edgeprune."""
    from edgeprune.pipeline import overview

    overview.list_shipped("recipes", sys.stdout)


@click.command()
def targets() -> None:
    """List the targets in ./targets and those that came with edgeprune."""
    from edgeprune.pipeline import overview

    overview.list_shipped("targets", sys.stdout)
