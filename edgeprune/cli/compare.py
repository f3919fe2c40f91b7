"""`edgeprune compare`: runs, targets and devices side by side."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["compare"]

_STATUSES = ["reference", "chosen", "accepted", "rejected", "inconclusive", "refused", "not measured"]


@click.command(epilog="Example: edgeprune compare runs/quickstart/latest runs/bert_sst2_mobile/latest --html")
@click.argument("runs", type=click.Path(path_type=Path), metavar="RUN…", nargs=-1, required=True)
@click.option(
    "--target", "targets", multiple=True, metavar="TEXT", help="Only targets with TEXT in their name."
)
@click.option(
    "--device", "devices", multiple=True, metavar="TEXT", help="Only devices with TEXT in their name."
)
@click.option(
    "--variant", "variants", multiple=True, metavar="TEXT", help="Only variants with TEXT in their name."
)
@click.option(
    "--status", "statuses", multiple=True, type=click.Choice(_STATUSES), help="Only with this status."
)
@click.option("--html", "form", flag_value="html", help="Write a page and print its path; opens nothing.")
@click.option("--json", "form", flag_value="json", help="Print it as JSON.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("comparison.html"),
    metavar="FILE",
    help="Where --html writes the page.  [default: comparison.html]",
)
def compare(
    runs: tuple[Path, ...],
    targets: tuple[str, ...],
    devices: tuple[str, ...],
    variants: tuple[str, ...],
    statuses: tuple[str, ...],
    form: str | None,
    output: Path,
) -> None:
    """Compare runs, with all their targets, devices and deployments, and differences to the first RUN.

    Filters narrow what is shown; each may be given again to let more through.
    """
    from edgeprune.pipeline import comparing

    filters = comparing.Filters(targets, devices, variants, statuses)
    found = comparing.select(comparing.compare(runs), filters)
    if form == "html":
        click.echo(comparing.write_page(found, output))
    elif form == "json":
        click.echo(found.model_dump_json(indent=2))
    else:
        from edgeprune.report import comparison_console

        comparison_console.show(found)
