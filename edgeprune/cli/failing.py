"""From what was raised to what the user reads and the shell gets: the only place that maps the two."""

from __future__ import annotations

import os
import sys
import traceback

import click

from edgeprune.errors import EdgepruneError, ExitCode, RecipeError

__all__ = ["exit_code_of"]

_INTERRUPTED = 130


def exit_code_of(words: list[str], *, debug: bool = False) -> int:
    """Run a command and return its exit code; errors are printed to stderr, never as a traceback.

    Args:
        words: The command line without the program's name and without `--debug`.
        debug: Also print the traceback.
    """
    from edgeprune.cli.commands import program

    try:
        result = program.main(args=words, prog_name="edgeprune", standalone_mode=False)
        return int(result) if isinstance(result, int) else ExitCode.ACCEPTED
    except EdgepruneError as error:
        _print_error(error)
        _print_traceback(debug)
        return int(error.exit_code)
    except click.ClickException as error:
        error.show()
        return int(ExitCode.USAGE)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; the same command goes on from there", err=True)
        return _INTERRUPTED
    except BrokenPipeError:  # `edgeprune … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.ACCEPTED)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        click.secho(f"error: {type(error).__name__}: {error}", err=True, fg="red", bold=True)
        click.echo(f"  at {place.filename}:{place.lineno}", err=True)
        click.echo(
            "  hint: this is a bug in edgeprune; add --debug for the traceback and report it", err=True
        )
        _print_traceback(debug)
        return int(ExitCode.CRASH)


def _print_error(error: EdgepruneError) -> None:
    problems = error.problems if isinstance(error, RecipeError) else ()
    for problem in problems:
        head = ": ".join(part for part in (problem.where, problem.path) if part)
        click.echo(f"{click.style('error:', fg='red', bold=True)} {head}: {problem.message}", err=True)
        if problem.hint:
            click.echo(f"  hint: {problem.hint}", err=True)
    if len(problems) > 1:
        click.echo(f"{len(problems)} problems", err=True)
    if problems:
        return
    where = f"{error.where}: " if error.where else ""
    click.echo(f"{click.style('error:', fg='red', bold=True)} {where}{error.message}", err=True)
    if error.hint:
        click.echo(f"  hint: {error.hint}", err=True)


def _print_traceback(debug: bool) -> None:
    if debug:
        click.echo(traceback.format_exc(), err=True)
