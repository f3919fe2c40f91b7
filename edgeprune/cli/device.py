"""`edgeprune device`: machines that bundles are put on, by name."""

from __future__ import annotations

from pathlib import Path

import click

from edgeprune.cli.device_setup import setup

__all__ = ["device"]


@click.group()
def device() -> None:
    """Name the machines that bundles are put on, and look at them.

    A device is `local`, `ssh://[user@]host[:port][/folder]`, `emulator`, or a name given by `device add`.
    SSH is your own OpenSSH with your settings and keys; unknown host keys are refused.
    """


@device.command(epilog="Example: edgeprune device add pi ssh://pi@raspberrypi --python venv/bin/python")
@click.argument("name", metavar="NAME")
@click.argument("address", metavar="ADDRESS")
@click.option(
    "--python",
    "interpreter",
    metavar="PATH",
    help="The Python to use there, e.g. one with the runtime.  [default: python3]",
)
@click.option("--replace", is_flag=True, help="Take the name from another device.")
def add(name: str, address: str, interpreter: str | None, replace: bool) -> None:
    """Call the device at ADDRESS NAME from now on; it is not connected to."""
    from edgeprune.devices import registry

    entry = registry.add(name, address, interpreter, replace=replace)
    click.echo(f"{entry.name} is {entry.address}, noted in {registry.registry_file()}")


@device.command(name="list")
def list_devices() -> None:
    """List the devices that have a name; none is connected to."""
    from edgeprune.devices import registry

    found = registry.entries()
    width = max((len(entry.name) for entry in found), default=0)
    for entry in found:
        python = f"  Python: {entry.interpreter}" if entry.interpreter else ""
        click.echo(f"{entry.name:<{width}}  {entry.address}{python}")
    if not found:
        click.echo("no device has a name yet: edgeprune device add NAME ssh://user@host")


@device.command(epilog="Example: edgeprune device check pi --bundle sentiment-arm64")
@click.argument("name", metavar="DEVICE")
@click.option(
    "--bundle",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Also say whether this bundle would run there (exit code 5 if not).",
)
def check(name: str, bundle: Path | None) -> None:
    """Connect to DEVICE (a name or an address), and show what it is and what is installed there."""
    from edgeprune.devices import checking, describing, installing, opening

    found = opening.open_device(name)
    click.echo("\n".join(describing.describe(found, checking.facts(found))))
    if bundle is not None:
        manifest = installing.whole(bundle)
        checking.refuse(found, manifest, checking.check(found, manifest))
        click.echo(f"  {manifest.name} {manifest.version} can run there")


@device.command()
@click.argument("name", metavar="NAME")
def remove(name: str) -> None:
    """Forget the NAME of a device; what is installed there stays."""
    from edgeprune.devices import registry

    entry = registry.remove(name)
    click.echo(f"{entry.name} was {entry.address}; nothing changed there")


device.add_command(setup)
