"""`edgeprune bundle`: everything that a device needs to answer, in one folder or zip."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["bundle"]

_PYTHON = "3.11"


@click.command(epilog="Example: edgeprune bundle runs/quickstart/latest --target arm64 -o quotes-arm64.zip")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option("--target", metavar="NAME", help="Target to bundle for; may be left out if the run has one.")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), metavar="PATH",
    help="A folder, or a zip if it ends in .zip; must not be there yet.",
)  # fmt: skip
@click.option(
    "--variant", metavar="NAME", help="E.g. onnxruntime/int8-dynamic. Left out: the one that the run chose."
)
@click.option("--with-wheels", is_flag=True, help="Put in what pip installs, for a device without a network.")
@click.option(
    "--python", default=_PYTHON, show_default=True, metavar="VERSION", help="The device's, for --with-wheels."
)
def bundle(
    run: Path, target: str | None, output: Path, variant: str | None, with_wheels: bool, python: str
) -> None:
    """Pack model, tokenizer, runner, samples and a manifest for one target of the run in folder RUN."""
    from edgeprune.pipeline import bundling
    from edgeprune.report.formatting import size

    wheels_for = python if with_wheels else None
    made = bundling.bundle(run, output, target=target, variant=variant, wheels_for=wheels_for)
    manifest = made.manifest
    click.echo(
        f"{manifest.name} {manifest.version}: {len(manifest.files)} files, {size(manifest.total_bytes)}"
    )
    click.echo(f"{manifest.variant}: {made.reason}")
    for note in made.notes:
        click.echo(f"note: {note}")
    click.echo(f"written to {output}")
