"""Every verb and option, as one text: a change of the command line is a change of this file.

`EDGEPRUNE_REGENERATE=1` rewrites it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from edgeprune import __version__
from edgeprune.cli.commands import program
from edgeprune.cli.failing import exit_code_of

GOLDEN = Path(__file__).parent / "golden" / "surface.txt"


def _surface(command: click.Command, words: str) -> Iterator[str]:
    yield f"{words}: {(command.help or '').splitlines()[0]}"
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            kind = parameter.type
            choices = f" one of {', '.join(kind.choices)}" if isinstance(kind, click.Choice) else ""
            yield f"    {parameter.human_readable_name}{choices}"
        else:
            assert isinstance(parameter, click.Option)
            assert parameter.help, f"{words} {parameter.opts} has no help"
            value = "" if parameter.is_flag else f" {parameter.metavar or parameter.type.name.upper()}"
            yield f"    {', '.join(parameter.opts)}{value}{' …' if parameter.multiple else ''}"
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            found = command.get_command(click.Context(command), name)
            assert found is not None
            yield from _surface(found, f"{words} {name}")


def test_the_surface_is_the_golden_text() -> None:
    text = "\n".join(_surface(program, "edgeprune")) + "\n"
    if os.environ.get("EDGEPRUNE_REGENERATE"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")


def test_without_a_verb_it_says_what_to_type_next(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of([]) == 0
    said = capsys.readouterr().out
    assert "What to type next:" in said
    typed = [line.split()[1] for line in said.splitlines() if line.startswith("  edgeprune ")]
    assert typed == ["recipes", "plan", "run", "report", "deploy", "doctor"]
    assert set(typed) <= set(program.commands)


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("rnu", "Did you mean 'run'?"),
        ("valdate", "Did you mean 'validate'?"),
        ("xyz", f"There are: {', '.join(sorted(program.commands))}."),
    ],
)
def test_an_unknown_verb(capsys: pytest.CaptureFixture[str], word: str, answer: str) -> None:
    assert exit_code_of([word]) == 2
    said = capsys.readouterr().err
    assert f"No such command {word!r}. {answer}" in said


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["run"], "Missing argument 'RECIPE.yaml'"),
        (["run", "x.yaml", "--sett", "a=1"], "--set"),
        (["schema", "recip"], "'recip' is not one of 'recipe', 'target', 'report', 'deployment'"),
        (["--nothing"], "--nothing"),
    ],
)
def test_a_wrong_command_line(capsys: pytest.CaptureFixture[str], words: list[str], answer: str) -> None:
    assert exit_code_of(words) == 2
    said = capsys.readouterr().err
    assert answer in said
    assert "Usage: edgeprune" in said


@pytest.mark.parametrize("name", sorted(program.commands))
def test_every_verb_explains_itself(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert exit_code_of([name, "--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"Usage: edgeprune {name}")
    assert len(said.splitlines()) > 4


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(["--version"]) == 0
    assert capsys.readouterr().out == f"edgeprune, version {__version__}\n"


def test_as_a_module_it_is_the_same_program() -> None:
    done = subprocess.run([sys.executable, "-m", "edgeprune", "rnu"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "Did you mean 'run'?" in done.stderr
