"""From errors to exit codes and words on the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune import errors
from edgeprune.cli import main
from edgeprune.cli.failing import exit_code_of
from edgeprune.errors import EdgepruneError, ExitCode, Problem, RecipeError
from edgeprune.pipeline import validating

_CODES = {
    errors.EdgepruneError: 1,
    errors.UsageError: 2,
    errors.RecipeError: 2,
    errors.AcceptanceError: 3,
    errors.AssetError: 4,
    errors.DeviceError: 4,
    errors.UnsupportedError: 5,
}


def _fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*arguments: object) -> str:
        raise error

    monkeypatch.setattr(validating, "validate", fail)


def test_the_table_has_every_error() -> None:
    kinds = {
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, EdgepruneError)
    }
    assert kinds == set(_CODES)


@pytest.mark.parametrize(
    ("kind", "code"), _CODES.items(), ids=lambda value: getattr(value, "__name__", str(value))
)
def test_the_exit_code_of_every_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: type[EdgepruneError], code: int
) -> None:
    error = (
        RecipeError([Problem(("a", 0), "it broke", "mend it", "here")])
        if kind is RecipeError
        else kind("it broke", where="here", hint="mend it")
    )
    _fail_with(monkeypatch, error)
    assert exit_code_of(["validate", "x.yaml"]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: here: ")
    assert "it broke" in said.err
    assert "  hint: mend it\n" in said.err
    assert "Traceback" not in said.err


def test_every_problem_is_shown_with_its_place_key_and_hint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = Problem(("stages", 0, "finetune", "epochs"), "is missing", "how long", "x.yaml:3:5")
    _fail_with(monkeypatch, RecipeError([first, Problem(("seed",), "is wrong", where="x.yaml:9:1")]))
    assert exit_code_of(["validate", "x.yaml"]) == ExitCode.USAGE
    assert capsys.readouterr().err.splitlines() == [
        "error: x.yaml:3:5: stages.0.finetune.epochs: is missing",
        "  hint: how long",
        "error: x.yaml:9:1: seed: is wrong",
        "2 problems",
    ]


@pytest.mark.parametrize("error", [ZeroDivisionError("by zero"), EdgepruneError("it broke"), KeyError("x")])
def test_a_traceback_is_for_debug_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    _fail_with(monkeypatch, error)
    codes = []
    for words in (
        ["validate", "x.yaml"],
        ["validate", "x.yaml", "--debug"],
        ["--debug", "validate", "x.yaml"],
    ):
        with pytest.raises(SystemExit) as left:
            main(words)
        codes.append(left.value.code)
        assert ("Traceback (most recent call last)" in capsys.readouterr().err) == ("--debug" in words)
    assert codes == [1, 1, 1]


def test_a_bug_says_where_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _fail_with(monkeypatch, ZeroDivisionError("by zero"))
    assert exit_code_of(["validate", "x.yaml"]) == ExitCode.CRASH
    said = capsys.readouterr().err
    assert "error: ZeroDivisionError: by zero" in said
    assert f"at {__file__}:" in said
    assert "this is a bug in edgeprune; add --debug" in said


def test_an_interrupted_command_can_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _fail_with(monkeypatch, KeyboardInterrupt())
    assert exit_code_of(["validate", "x.yaml"]) == 130
    assert "the same command goes on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["run", "nothing.yaml"], "there is no file nothing.yaml"),
        (["plan", "nothing.yaml"], "there is no file nothing.yaml"),
        (["validate", "."], "cannot be read"),
        (["report", "nowhere"], "there is no report"),
    ],
)
def test_files_that_are_not_there(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    answer: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code_of(words) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert answer in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("override", "answer"),
    [
        ("seed", "--set 'seed' is not of the form key.path=value"),
        ("stages.finetun.epochs=2", "did you mean 'finetune'?"),
        ("seed=[1", "the value is not valid YAML"),
        ("seed=many", "error: --set seed=many: seed: should be a valid integer"),
        ("sed=1", "unknown key 'sed'"),
        ("task.columns.text.deep=1", "has no key 'deep'"),
    ],
)
def test_overrides_that_make_no_sense(
    recipe: Path, capsys: pytest.CaptureFixture[str], override: str, answer: str
) -> None:
    assert exit_code_of(["validate", str(recipe), "--set", override]) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert answer in said
    assert "Traceback" not in said
