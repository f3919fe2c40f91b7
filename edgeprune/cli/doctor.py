"""`edgeprune doctor`: what this machine has."""

from __future__ import annotations

import sys

import click

__all__ = ["doctor"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def doctor(as_json: bool) -> None:
    """Show Python, libraries, CPU features, and which targets work here and what each missing one needs."""
    from edgeprune.pipeline import examining

    examining.show(sys.stdout, as_json=as_json)
