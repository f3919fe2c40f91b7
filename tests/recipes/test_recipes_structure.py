"""A chain that cuts and distils through the real command line: smaller, faster files; killed, resumed, refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recipes_kit import FFN, LAYERS, Project, finish, made, sha256

import edgeprune
from edgeprune.structure.loading import structure_of

pytestmark = pytest.mark.recipe

CUT = "prune_structure: {budget: {heads: 0.5, ffn: 0.25}, calibration: {examples: 64}}"
DISTILL = "distill: {epochs: 3, learning_rate: 2e-3, batch_size: 16, checkpoint_steps: 10}"


def _chain(recipe: Path, name: str, *stages: str) -> Path:
    text = recipe.read_text().replace("name: tiny\n", f"name: {name}\n")
    text = text.replace("  - export:", "".join(f"  - {stage}\n" for stage in stages) + "  - export:")
    path = recipe.with_name(f"{name}.yaml")
    path.write_text(text.replace("{max_drop: 20}", "{max_drop: 60}"))
    return path


@pytest.fixture(scope="module")
def chain(recipe: Path) -> Path:
    return _chain(recipe, "cut", CUT, DISTILL)


@pytest.fixture(scope="module")
def finished(chain: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return finish(chain, tmp_path_factory.mktemp("cut")).project


def _record(project: Project, stage: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project.artifact(stage) / "artifact.json").read_text())["record"]
    return found


def test_what_ships_is_the_cut_and_distilled_model(finished: Project) -> None:
    left = structure_of(edgeprune.load(finished.artifact("distill"))).layers or ()
    assert sum(len(layer.rows) for layer in left) == LAYERS * FFN // 4
    assert all(len(layer.rows) % 16 == 0 for layer in left), "the targets' alignment"
    logits = np.load(next(finished.cache.glob("artifacts/measure-*/logits.npz")))
    right = (logits["onnxruntime/fp32"].argmax(1) == logits["labels"]).mean()
    assert right == pytest.approx(_record(finished, "distill")["quality"]["accuracy"])


def test_the_original_is_compared_and_ships_nowhere(finished: Project) -> None:
    (target,) = finished.report()["targets"]
    dense = {row["name"]: row for row in target["dense"]}
    compiled = [row["name"] for row in target["variants"] if row["status"] not in ("reference", "refused")]
    assert list(dense) == [f"dense/{name}" for name in compiled]
    original = next(row for row in target["variants"] if row["status"] == "reference")
    assert dense["dense/onnxruntime/fp32"]["quality"] == original["quality"], "the very model"
    assert target["chosen"] in compiled
    steps = {(row["backend"], row["compressed"], row["precision"]): row for row in target["ablation"]["rows"]}
    assert {("onnxruntime", side, bits) for side in (False, True) for bits in ("fp32", "int8")} <= set(steps)
    for step, row in steps.items():
        lengths = [gain["length"] for gain in row["gains"]]
        assert lengths == ([] if step[1:] == (False, "fp32") else ["real", 16]), step
    assert [note for note in finished.report()["know"] if "nothing that ships" in note["text"]] == []


def _beside(finished: Project, recipe: Path, folder: Path) -> Project:
    """Another recipe, with all that the finished one has made, in a cache of its own."""
    return Project(recipe, Path(shutil.copytree(finished.cache, folder / "cache")), folder / "runs")


def test_cut_in_steps_with_distillation_between(finished: Project, recipe: Path, tmp_path: Path) -> None:
    """What is listed again goes on from the model before it; shares are of the original."""
    again = "prune_structure: {budget: {heads: 0.25, ffn: 0.125}, calibration: {examples: 64}}"
    path = _chain(recipe, "gradual", CUT, DISTILL, again, "distill: {epochs: 1, batch_size: 16}")
    project = _beside(finished, path, tmp_path)
    done = project.run("--until", "distill-2")
    assert done.code == 0, done.err
    assert made(project.events(), "node_cached") == ["prepare", "finetune", "prune_structure", "distill"]
    folders = [
        project.folders()[-1] / "artifacts" / name for name in ("distill", "prune_structure-2", "distill-2")
    ]
    first, second, last = (structure_of(edgeprune.load(folder)).layers or () for folder in folders)
    assert last == second
    assert sum(len(layer.rows) for layer in second) == LAYERS * FFN // 8
    kept = {layer.source: layer for layer in first}
    for layer in second:
        assert set(layer.rows) <= set(kept[layer.source].rows)
        assert set(layer.heads) <= set(kept[layer.source].heads)
    weights = json.loads((folders[1] / "artifact.json").read_text())["record"]["weights"]
    assert weights == "model"


def test_another_model_teaches(finished: Project, recipe: Path, tmp_path: Path) -> None:
    """The teacher is an asset like any other: fetched, hashed, named in the plan."""
    teacher = finished.artifact("finetune")
    body = f"distill: {{epochs: 1, batch_size: 16, teacher: 'file://{teacher}'}}"
    path = _chain(recipe, "taught", CUT, body)
    project = _beside(finished, path, tmp_path)
    shown = project.edgeprune("plan", str(path))
    assert "distill.teacher" in shown.out
    done = project.run("--until", "distill")
    assert done.code == 0, done.err
    folder = project.folders()[-1] / "artifacts" / "distill"
    assert json.loads((folder / "artifact.json").read_text())["record"]["teacher"] == f"file://{teacher}"


def test_its_files_are_smaller(finished: Project) -> None:
    sizes = [
        (finished.artifact(stage) / "model.safetensors").stat().st_size for stage in ("finetune", "distill")
    ]
    cut = _record(finished, "prune_structure")["parameters"]
    assert sizes[0] - sizes[1] == pytest.approx(4 * (cut["before"] - cut["after"]), rel=0.1)


def test_distillation_goes_on_where_it_was_killed(finished: Project, chain: Path, tmp_path: Path) -> None:
    project = Project(chain, tmp_path / "cache", tmp_path / "runs")

    def halfway(project: Project) -> bool:
        return any(project.cache.glob("work/distill-*/checkpoints/checkpoint-20/sealed.json"))

    assert project.run_and_kill(halfway, "--until", "distill")
    again = project.run("--until", "distill")
    assert again.code == 0, again.err
    assert made(project.events(), "node_cached") == ["prepare", "finetune", "prune_structure"]
    for name in ("model.safetensors", "structure.json"):
        assert sha256(project.artifact("distill") / name) == sha256(finished.artifact("distill") / name), name


def test_a_latency_budget_is_measured_on_the_target(finished: Project, recipe: Path, tmp_path: Path) -> None:
    body = "prune_structure: {budget: {latency: {target: pc, ratio: 0.8, length: 16}}}"
    path = _chain(recipe, "timed", body)
    project = Project(path, finished.cache, tmp_path / "runs")
    done = project.run("--until", "prune_structure")
    assert done.code == 0, done.err
    (found,) = [
        record
        for folder in finished.cache.glob("artifacts/prune_structure-*")
        if (record := json.loads((folder / "artifact.json").read_text())["record"])["cost"]
    ]
    assert found["cost"]["unit"] == "ms"
    rounds = found["cost"]["rounds"]
    assert rounds[0]["asked"] == 0.8
    assert rounds[0]["predicted"] <= 0.8
    assert found["cost"]["measured"] in [item["measured"] for item in rounds]
    assert found["budget"]["latency"]["variant"] == "onnxruntime/fp32"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("prune_structure: {budget: {latency: {target: phone, ratio: 0.5}}}", "no target of this recipe"),
        ("prune_structure: {budget: {ffn: 0.5}, importance: masks}", "requires 'masks'"),
        ("prune_structure: {budget: {heads: 0.0, ffn: 0.0}}", "no head and no FFN row"),
        ("distill: {epochs: 1, losses: {logits: {weight: 0.0}, hidden: null}}", "nothing to learn from"),
    ],
)
def test_the_plan_refuses_what_cannot_be_with_its_line(body: str, words: str, recipe: Path) -> None:
    path = _chain(recipe, "refused", body)
    done = Project(path, path.parent / "no-cache", path.parent / "no-runs").edgeprune("plan", str(path))
    assert done.code == 2
    line = 1 + path.read_text().splitlines().index(f"  - {body}")
    assert words in done.err
    assert f"refused.yaml:{line}:" in done.err


def test_a_budget_that_the_stage_cannot_meet_names_the_nearest(finished: Project, recipe: Path) -> None:
    path = _chain(recipe, "impossible", "prune_structure: {budget: {parameters: 0.001}}")
    done = Project(path, finished.cache, path.parent / "no-runs").run()
    assert done.code == 2
    assert "the smallest ratio that can be met is" in done.err
    assert "impossible.yaml:" in done.err
