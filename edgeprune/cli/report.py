"""`edgeprune report`: a run's result again."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["report"]


@click.command(epilog="Example: edgeprune report runs/quickstart/latest --html")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option("--html", "form", flag_value="html", help="Print the path of the HTML report; opens nothing.")
@click.option("--markdown", "form", flag_value="markdown", help="Print it as Markdown.")
@click.option("--json", "form", flag_value="json", help="Print it as JSON.")
def report(run: Path, form: str | None) -> None:
    """Show the report of the run in folder RUN (e.g. runs/quickstart/latest)."""
    from edgeprune.report import storage

    found = storage.read(run)
    if form == "html":
        click.echo(storage.files_of(run).html)
    elif form == "markdown":
        from edgeprune.report import markdown

        click.echo(markdown.render(found))
    elif form == "json":
        click.echo(storage.files_of(run).json.read_text(encoding="utf-8"))
    else:
        from edgeprune.report import console

        console.show(found)
