"""`edgeprune deploy`: put a run's bundle on a device, and judge it there."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

__all__ = ["deploy"]


@click.command(
    epilog="Example: edgeprune deploy runs/quickstart/latest --target arm64 --device ssh://pi@raspberrypi"
)
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option("--target", metavar="NAME", help="Target to deploy; may be left out if the run has one.")
@click.option(
    "--device",
    metavar="DEVICE",
    help="`local`, `emulator`, `ssh://[user@]host[:port][/folder]`, or a name given by `device add`.  "
    "[default: this machine, or an emulated one for another architecture]",
)
@click.option(
    "--variant", metavar="NAME", help="E.g. onnxruntime/int8-dynamic. Left out: the one that the run chose."
)
@click.option(
    "--examples",
    type=int,
    metavar="N",
    help="Validation examples to answer there, drawn with a seed.  [default: all]",
)
@click.option(
    "--with-wheels", is_flag=True, help="Send what pip installs too, for a device without a network."
)
@click.option("--force", is_flag=True, help="Let it answer on the device even if it is not accepted.")
@click.option("--quiet", is_flag=True, help="No progress, only the result.")
def deploy(
    run: Path,
    target: str | None,
    device: str | None,
    variant: str | None,
    examples: int | None,
    with_wheels: bool,
    force: bool,
    quiet: bool,
) -> None:
    """Install the bundle of the run in folder RUN on a device, have it answer there, and judge what it says.

    Only an accepted bundle replaces what answers on the device; `edgeprune rollback` goes back.
    """
    from edgeprune.pipeline import deploying
    from edgeprune.report import deployment_console

    words = ["edgeprune", "deploy", str(run)]
    words += ["--device", device] if device else []
    words += ["--target", target] if target else []
    words += ["--variant", variant] if variant else []
    words += ["--examples", str(examples)] if examples else []
    words += ["--with-wheels"] if with_wheels else []
    words += ["--force"] if force else []
    result = deploying.deploy(
        run,
        device=device,
        target=target,
        variant=variant,
        examples=examples,
        with_wheels=with_wheels,
        force=force,
        tell=(lambda text: None) if quiet else (lambda text: click.echo(f"  {text}", err=True)),
        command=shlex.join(words),
    )
    deployment_console.show(result.deployment)
    click.echo(f"\nreport: {result.folder / 'deployment.html'}")
    deploying.require_acceptance(result)
