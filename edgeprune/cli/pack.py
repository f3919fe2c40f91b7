"""`edgeprune pack`: look at a mask pack, or put it on its base."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from edgeprune.cli.options import cache_option

__all__ = ["pack"]


@click.group()
def pack() -> None:
    """Look at a mask pack, or put it on its base model.

    A mask pack holds one task for a device that has the base model already: which of the base's
    weights are kept, and the head. Stage learn_masks writes one where the base stays frozen.
    """


@pack.command(epilog="Example: edgeprune pack inspect task.edgepack")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
def inspect(file: Path) -> None:
    """Check FILE, and show its base, classes, densities and size beside the entropy bound."""
    from edgeprune.pipeline import packs

    packs.show(file, sys.stdout)


@pack.command(epilog="Example: edgeprune pack apply task.edgepack --base models/minilm --output reviews")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option(
    "--base", required=True, metavar="FOLDER", help="The base model: a folder, or a source such as hub://…."
)
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where to; must not be there yet, or be empty.",
)
@cache_option
def apply(file: Path, base: str, output: Path, cache: Path) -> None:
    """Write the task's model as an ordinary Hugging Face folder, with zeros where FILE drops weights."""
    from edgeprune.pipeline import packs

    packs.apply(file, base, output, cache)
    click.echo(f"written to {output}")
