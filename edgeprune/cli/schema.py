"""`edgeprune schema`: JSON Schemas, for editors and for readers of reports and deployments."""

from __future__ import annotations

import click

__all__ = ["schema"]


@click.command(epilog="Example: edgeprune schema recipe > recipe.schema.json")
@click.argument("what", type=click.Choice(["recipe", "target", "report", "deployment"]))
def schema(what: str) -> None:
    """Print the JSON Schema of a recipe, a target, a report or a deployment.

    An editor that speaks YAML completes keys with it: put
    `# yaml-language-server: $schema=recipe.schema.json` on a recipe's first line.
    """
    from edgeprune.pipeline import overview

    click.echo(overview.schema(what))
