"""Each verb in this process, on the imitated stages of tests/pipeline."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pipeline_kit
import pytest

from edgeprune import backends, stages
from edgeprune.cli.failing import exit_code_of
from edgeprune.cli.options import default_cache
from edgeprune.runner import cpu


@pytest.fixture(autouse=True)
def _imitated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for module in (cpu, backends):
        monkeypatch.setattr(module, "describe", lambda: pipeline_kit.MACHINE)
    monkeypatch.setattr(stages, "TABLE", pipeline_kit.TABLE)
    monkeypatch.chdir(tmp_path)
    stages.get.cache_clear()
    yield
    stages.get.cache_clear()


def _run(recipe: Path, tmp_path: Path, *words: str) -> int:
    return exit_code_of(["run", str(recipe), "--cache", str(tmp_path / "cache"), *words])


def test_a_run_ends_with_the_verdict_and_the_report(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(recipe, tmp_path) == 0
    said = capsys.readouterr()
    assert "PASS" in said.out
    path = Path(said.out.splitlines()[-1].removeprefix("report: "))
    assert path.is_file()
    assert path.parent.parent == Path("runs/tiny")
    assert "[2/8] finetune" in said.err
    assert "+ finetune done in" in said.err


def test_a_run_that_is_not_accepted_is_exit_code_3(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(recipe, tmp_path, "--quiet", "--set", "acceptance.min_speedup=1000") == 3
    said = capsys.readouterr()
    assert "FAIL" in said.out
    assert "below the 1000× that is needed" in said.out
    assert "error: tiny: pc is not accepted" in said.err
    assert "hint: " in said.err
    assert "[1/8]" not in said.err, "quiet"


def test_overrides_are_in_the_command_of_the_report(recipe: Path, tmp_path: Path) -> None:
    _run(recipe, tmp_path, "--runs", "elsewhere", "--set", "seed=9", "--set", "stages.finetune.epochs=2")
    (file,) = Path("elsewhere/tiny").glob("2*/report.json")
    report = json.loads(file.read_text())
    assert report["seed"] == 9
    assert "--set seed=9 --set stages.finetune.epochs=2" in report["command"]


def test_a_run_that_is_to_stop_early_says_what_it_made(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(recipe, tmp_path, "--until", "export") == 0
    said = capsys.readouterr()
    assert "[3/3] export" in said.err
    *steps, note, last = said.out.splitlines()
    for line, name in zip(steps, ("prepare", "finetune", "export"), strict=True):
        head, path = line.split(": ")
        assert head == f"{name:<8}  took 0 s"
        assert Path(path).name.startswith(f"{name}-")
        assert (Path(path) / "artifact.json").is_file()
    assert note == "! prepare: a row was empty"
    folder = Path(last.removeprefix("no report, as the run was to stop here; its folder: "))
    assert folder.parent == Path("runs/tiny")
    assert _run(recipe, tmp_path, "--until", "finetune", "--quiet") == 0
    assert "finetune  was cached, took 0 s: " in capsys.readouterr().out


def test_a_run_until_a_step_that_there_is_not(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(recipe, tmp_path, "--until", "finetun") == 2
    said = capsys.readouterr().err
    assert "has no step 'finetun'" in said
    assert "hint: its steps are: prepare, finetune, export, compile pc/onnxruntime/fp32, " in said


def test_the_report_again_in_every_form(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _run(recipe, tmp_path)
    capsys.readouterr()

    def said(*words: str) -> str:
        assert exit_code_of(["report", "runs/tiny/latest", *words]) == 0
        return capsys.readouterr().out

    assert "PASS" in said()
    assert said("--markdown").startswith("# ")
    assert json.loads(said("--json"))["format"] == "edgeprune.report/1"
    html = Path(said("--html").strip())
    assert html.is_file()
    assert html.name == "report.html"


def test_plan_and_validate(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(["plan", str(recipe), "--cache", str(tmp_path / "cache")]) == 0
    assert "measure pc" in capsys.readouterr().out
    assert exit_code_of(["validate", str(recipe)]) == 0
    assert capsys.readouterr().out.startswith(f"{recipe}: ok (2 stages; targets pc, board; ")


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(["recipes"]) == exit_code_of(["targets"]) == 0
    said = capsys.readouterr().out
    assert "quickstart.yaml" in said
    assert "arm64.yaml" in said


@pytest.mark.parametrize("what", ["recipe", "target", "report"])
def test_schemas_are_printed(capsys: pytest.CaptureFixture[str], what: str) -> None:
    assert exit_code_of(["schema", what]) == 0
    document = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(document)
    assert document["type"] == "object"


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(["doctor"]) == 0
    assert "Target x86: " in capsys.readouterr().out
    assert exit_code_of(["doctor", "--json"]) == 0
    assert {"versions", "cpu", "targets"} <= set(json.loads(capsys.readouterr().out))


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(tmp_path / "mine"))
    assert default_cache() == tmp_path / "mine"
    monkeypatch.delenv("EDGEPRUNE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache() == tmp_path / "xdg" / "edgeprune"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache() == tmp_path / ".cache" / "edgeprune"
