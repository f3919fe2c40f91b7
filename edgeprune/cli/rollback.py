"""`edgeprune rollback`: the version before."""

from __future__ import annotations

import click

__all__ = ["rollback"]


@click.command(epilog="Example: edgeprune rollback bert_sst2_mobile-arm64 --device pi")
@click.argument("bundle", metavar="BUNDLE")
@click.option("--device", required=True, metavar="DEVICE", help="Its name, or its address.")
def rollback(bundle: str, device: str) -> None:
    """Let the version of BUNDLE before the one that answers now answer again.

    The one that answers now is kept: a second rollback goes forward again. `edgeprune device check`
    shows what is there.
    """
    from edgeprune.devices import installing, opening

    found = installing.rollback(opening.open_device(device), bundle)
    click.echo(f"{bundle} on {device}: {found.current} answers, {found.previous} is kept")
