"""`edgeprune run`: do everything that a recipe says."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from edgeprune.cli.options import cache_option, recipe_argument, set_option

__all__ = ["run"]


@click.command(epilog="Example: edgeprune run recipes/quickstart.yaml --set stages.finetune.epochs=1")
@recipe_argument
@set_option
@click.option(
    "--runs",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs"),
    show_default=True,
    help="Folder of run folders.",
)
@cache_option
@click.option(
    "--until",
    metavar="STEP",
    help="Stop after this step of the plan, e.g. finetune, and say what was made; writes no report.",
)
@click.option("--refresh", is_flag=True, help="Try the sources of assets anew, first to last.")
@click.option("--quiet", is_flag=True, help="No progress, only the result.")
def run(
    recipe: Path,
    overrides: tuple[str, ...],
    runs: Path,
    cache: Path,
    until: str | None,
    refresh: bool,
    quiet: bool,
) -> None:
    """Train, compress, compile and judge by RECIPE.yaml; what is cached is not done again.

    Ends with the report. A killed run goes on from where it was with the same command.
    """
    from edgeprune.cli.progress import listener
    from edgeprune.pipeline import overview, running
    from edgeprune.report import console

    words = ["edgeprune", "run", str(recipe), *(word for text in overrides for word in ("--set", text))]
    loaded = running.load(recipe, overrides)
    if until is not None:
        with listener(quiet=quiet) as listen:
            made = running.run_until(
                loaded, until, cache=cache, runs=runs, listeners=[listen], refresh=refresh
            )
        overview.show_made(made, sys.stdout)
        return
    with listener(quiet=quiet) as listen:
        result = running.run(
            loaded, cache=cache, runs=runs, listeners=[listen], refresh=refresh, command=shlex.join(words)
        )
    console.show(result.report)
    click.echo(f"\nreport: {result.folder / 'report.html'}")
    running.require_acceptance(result.report)
