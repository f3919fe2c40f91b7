"""The program: its verbs, and what it says when it is called without one."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import click

from edgeprune import __version__
from edgeprune.cli.bundle import bundle
from edgeprune.cli.compare import compare
from edgeprune.cli.deploy import deploy
from edgeprune.cli.device import device
from edgeprune.cli.doctor import doctor
from edgeprune.cli.listing import recipes, targets
from edgeprune.cli.pack import pack
from edgeprune.cli.plan import plan
from edgeprune.cli.report import report
from edgeprune.cli.rollback import rollback
from edgeprune.cli.run import run
from edgeprune.cli.schema import schema
from edgeprune.cli.validate import validate

__all__ = ["program"]

_FIRST_STEPS = """\
Compress an encoder by recipe, compile it for each target, and judge what may ship.

What to type next:
  edgeprune recipes                          what recipes are here
  edgeprune plan recipes/quickstart.yaml     what a run would do; runs nothing
  edgeprune run recipes/quickstart.yaml      do it (some 5 minutes on 2 cores)
  edgeprune report runs/quickstart/latest    look at the result again
  edgeprune deploy runs/quickstart/latest --target x86    install it, have it answer, judge it there
  edgeprune doctor                           what works on this machine

edgeprune --help lists every command."""


class _Verbs(click.Group):
    """A group that answers a mistyped verb with the nearest one."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        name = args[0] if args else ""
        if name and self.get_command(ctx, name) is None and not name.startswith("-"):
            close = get_close_matches(name, self.list_commands(ctx), n=1)
            advice = (
                f"Did you mean {close[0]!r}?"
                if close
                else f"There are: {', '.join(self.list_commands(ctx))}."
            )
            ctx.fail(f"No such command {name!r}. {advice}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Verbs, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="edgeprune")
@click.option("--debug", is_flag=True, help="Show tracebacks; may stand anywhere on the line.")
@click.pass_context
def program(context: click.Context, debug: bool) -> None:
    """Compress an encoder by recipe, compile it per target, and judge what ships against the original.

    Exit codes: 0 accepted, 1 a bug, 2 bad usage or recipe, 3 not accepted, 4 asset or device
    unreachable, 5 unsupported here.
    """
    if context.invoked_subcommand is None:
        click.echo(_FIRST_STEPS)


_VERBS = (
    run, plan, validate, report, compare, bundle, deploy, rollback, device,
    recipes, targets, schema, doctor, pack,
)  # fmt: skip

for _command in _VERBS:
    program.add_command(_command)
