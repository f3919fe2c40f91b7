"""`edgeprune device setup`: make a device that has to be made before it can be used."""

from __future__ import annotations

import click

from edgeprune.assets.place import default_cache

__all__ = ["setup"]


@click.command(epilog="Example: edgeprune device setup emulator")
@click.argument("device", type=click.Choice(["emulator"]), metavar="emulator")
def setup(device: str) -> None:
    """Make the emulator: 64-bit ARM imitated by QEMU, with Debian's Python and the runner's libraries.

    Fetches some 50 MB through apt and pip as they are configured here, without administrator rights, into
    the cache folder ($EDGEPRUNE_CACHE or ~/.cache/edgeprune). Once made it is only checked.
    """
    from edgeprune.devices import emulation

    machine = emulation.prepare(default_cache(), lambda text: click.echo(text, err=True))
    libraries = ", ".join(f"{name} {version}" for name, version in machine.libraries.items())
    click.echo(f"{device} ready: {machine.cpu}, Python {machine.python}, {libraries}")
    click.echo(f"  {machine.qemu}")
    click.echo(f"  {machine.folder}")
    for name in machine.left_out:
        click.echo(f"  left out: {name}; the runner does not use it")
    click.echo("  it answers as ARM does; its times mean nothing and are not reported as latency")
