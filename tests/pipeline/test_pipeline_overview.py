"""What `plan`, `recipes`, `targets` and `schema` write. `EDGEPRUNE_REGENERATE=1` rewrites the golden files."""

from __future__ import annotations

import io
import json
import os
import re
from pathlib import Path

import jsonschema
import pipeline_kit
import pytest

from edgeprune.pipeline import overview, running
from edgeprune.recipe.composing import compose
from edgeprune.recipe.loading import shipped_folder

GOLDEN = Path(__file__).parent / "golden"


def _same_as_golden(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("EDGEPRUNE_REGENERATE"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def _plan(recipe: Path, cache: Path, *overrides: str) -> str:
    stream = io.StringIO()
    overview.show(recipe, overrides, cache, stream)
    return stream.getvalue()


@pytest.mark.usefixtures("machine")
def test_the_plan_is_the_golden_text(recipe: Path, tmp_path: Path) -> None:
    """Of the real stages; the model is not here, so most keys are still open."""
    overrides = ["model.source=[hub://some/model, file://nowhere]", "acceptance.min_speedup=1.5"]
    _same_as_golden("plan.txt", _plan(recipe, tmp_path / "cache", *overrides))


@pytest.mark.usefixtures("machine")
def test_the_dense_side_of_a_plan_is_one_step_a_target(recipe: Path, tmp_path: Path) -> None:
    stages = (
        "[{finetune: {epochs: 1, learning_rate: 1e-4}}, {prune_structure: {budget: {heads: 0.5}}}, export]"
    )
    text = _plan(recipe, tmp_path / "cache", f"stages={stages}", "targets=[pc.yaml, board.yaml, gpu.yaml]")
    _same_as_golden("plan_compressed.txt", text)


@pytest.mark.usefixtures("imitated")
def test_the_dense_side_says_how_much_of_it_is_cached(recipe: Path, tmp_path: Path) -> None:
    cache, cut = tmp_path / "cache", [pipeline_kit.CUT, "targets=[pc.yaml]"]
    assert re.search(r"9–11  compile pc/dense/… +3 to do", _plan(recipe, cache, *cut))
    step = "compile pc/dense/onnxruntime/int8-dynamic"
    running.run_until(running.load(recipe, cut), step, cache=cache, runs=tmp_path / "runs")
    assert re.search(r"9–11  compile pc/dense/… +2 of 3 cached\n", _plan(recipe, cache, *cut))


@pytest.mark.usefixtures("imitated")
def test_the_plan_says_what_is_cached(recipe: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert "cached" not in _plan(recipe, cache)
    running.run(running.load(recipe), cache=cache, runs=tmp_path / "runs")
    steps = [
        line for line in _plan(recipe, cache, "stages.export={}").splitlines() if re.match(r" +\d+  ", line)
    ]
    assert len(steps) == 8
    assert all(line.endswith("cached (took 0 s)") for line in steps)
    changed = _plan(recipe, cache, "measurement.calls=40").splitlines()
    assert [line.split()[1:3] for line in changed if line.endswith("  to do")] == [["measure", "pc"]]


@pytest.mark.usefixtures("machine")
def test_planning_runs_nothing(recipe: Path, tmp_path: Path) -> None:
    _plan(recipe, tmp_path / "cache")
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []
    assert not (recipe.parent / "runs").exists()


def test_shipped_recipes_and_targets_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stream = io.StringIO()
    overview.list_shipped("recipes", stream)
    lines = stream.getvalue().splitlines()
    assert len(lines) == len(list(shipped_folder("recipes").glob("*.yaml")))
    (quickstart,) = [line for line in lines if "quickstart.yaml" in line]
    assert "ten-minute tour" in quickstart


def test_what_is_here_comes_first_and_what_cannot_be_read_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "x86.yaml").write_text("description: mine\n")
    (tmp_path / "targets" / "broken.yaml").write_text("a: [\n")
    stream = io.StringIO()
    overview.list_shipped("targets", stream)
    rows = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in stream.getvalue().splitlines())
    assert rows["targets/x86.yaml"] == "mine"
    assert rows["targets/broken.yaml"].startswith("(cannot be read: ")
    assert not any(str(path).endswith("/x86.yaml") and path != "targets/x86.yaml" for path in rows)


@pytest.mark.parametrize("what", ["recipe", "target", "report"])
def test_the_schemas_are_json_schemas(what: str) -> None:
    document = json.loads(overview.schema(what))
    jsonschema.Draft202012Validator.check_schema(document)
    assert document["properties"]
    dangling = [name for name in _references(document) if name not in document["$defs"]]
    assert dangling == []


def _references(node: object) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"].removeprefix("#/$defs/")] if isinstance(node.get("$ref"), str) else []
        return own + [name for value in node.values() for name in _references(value)]
    return [name for item in node for name in _references(item)] if isinstance(node, list) else []


def _validator(what: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads(overview.schema(what)))


@pytest.mark.parametrize("path", sorted(shipped_folder("recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_fit_the_schema(path: Path) -> None:
    """Editors check the file as it is written; a run checks it with what it extends."""
    from edgeprune.recipe.document import read_document

    for document in (compose(path), read_document(path)):
        assert [error.message for error in _validator("recipe").iter_errors(_as_json(document.data))] == []


@pytest.mark.parametrize("path", sorted(shipped_folder("targets").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_targets_fit_the_schema(path: Path) -> None:
    assert [error.message for error in _validator("target").iter_errors(_as_json(compose(path).data))] == []


def _as_json(data: object) -> object:
    return json.loads(json.dumps(data))  # `0: negative` has a text key there, as in an editor


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("epochs: 1", "epohcs: 1"),
        ("epochs: 1", "epochs: many"),
        ("  - export", "  - exprot"),
        ("seed: 1\n", ""),
        ("seed: 1", "sed: 1"),
        ("lengths: [real, 16]", "lengths: [long]"),
    ],
)
def test_an_editor_marks_what_a_run_refuses(recipe: Path, before: str, after: str) -> None:
    from edgeprune.errors import RecipeError

    fine = compose(recipe).data
    assert list(_validator("recipe").iter_errors(_as_json(fine))) == []
    text = recipe.read_text()
    assert before in text
    recipe.write_text(text.replace(before, after))
    with pytest.raises(RecipeError):
        running.load(recipe)
    assert list(_validator("recipe").iter_errors(_as_json(compose(recipe).data)))


@pytest.mark.usefixtures("imitated")
def test_a_report_fits_the_schema(recipe: Path, tmp_path: Path) -> None:
    folder = running.run(running.load(recipe), cache=tmp_path / "cache", runs=tmp_path / "runs").folder
    report = json.loads((folder / "report.json").read_text())
    assert [error.message for error in _validator("report").iter_errors(report)] == []
    assert list(_validator("report").iter_errors(report | {"verdict": "maybe"}))
