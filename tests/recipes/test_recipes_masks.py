"""A chain with `learn_masks` through the real command line: killed, resumed, packed, applied, loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recipes_kit import Project, finish, made, sha256

import edgeprune

pytestmark = pytest.mark.recipe

MASKS = "learn_masks: {density: 0.3, epochs: 6, batch_size: 16, checkpoint_steps: 20}"


@pytest.fixture(scope="module")
def masked(recipe: Path) -> Path:
    """The tiny recipe with `learn_masks` in it, read at the mean of the tokens, compiled for a board."""
    text = recipe.read_text()
    text = text.replace("name: tiny\n", "name: masked\n").replace("[pc.yaml]", "[pc.yaml, board.yaml]")
    text = text.replace("  max_length: 24\n", "  max_length: 24\n  pooling: mean\n")
    text = text.replace("  - export:", f"  - {MASKS}\n  - export:")
    text = text.replace("{max_drop: 20}", "{max_drop: 60}")  # a frozen encoder that is random knows little
    text = text.replace("warmup: 2", "warmup: 2, ablation: false")
    path = recipe.with_name("masked.yaml")
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def finished(masked: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return finish(masked, tmp_path_factory.mktemp("masked")).project


def _masks(project: Project) -> dict[str, Any]:
    (row,) = [row["record"] for row in project.report()["stages"] if row["id"] == "learn_masks"]
    record: dict[str, Any] = row
    return record


def test_the_density_is_met_and_what_ships_is_the_sparse_model(finished: Project) -> None:
    record = _masks(finished)
    assert record["density"]["kept"] == pytest.approx(0.3, abs=1e-3)
    session_logits = np.load(next(finished.cache.glob("artifacts/measure-*/logits.npz")))
    labels = session_logits["labels"]
    answers = session_logits["onnxruntime/fp32"].argmax(1)
    assert (answers == labels).mean() == pytest.approx(record["quality"]["accuracy"])


def test_the_original_is_judged_as_it_was_trained(finished: Project) -> None:
    """It is pooled: a loader that does not know would judge everything against another model."""
    trained = json.loads((finished.artifact("finetune") / "artifact.json").read_text())
    variants = [row for target in finished.report()["targets"] for row in target["variants"]]
    (original,) = [row for row in variants if row["name"] == "original"]  # the board is not at hand
    assert original["quality"]["accuracy"] == trained["record"]["quality"]["accuracy"]


def test_plan_and_report_warn_that_zeros_bring_no_speed(finished: Project) -> None:
    words = "weight-level zeros: no speed-up on pc/onnxruntime, pc/openvino, board/onnxruntime"
    assert words in finished.edgeprune("plan", str(finished.recipe)).out.replace("\n", " ")
    assert any(words in note["text"] for note in finished.report()["know"])


def test_the_page_shows_the_masks(finished: Project) -> None:
    page = (finished.runs / "masked" / "latest" / "report.html").read_text()
    assert "Masks (learn_masks)" in page


def test_killed_in_the_middle_it_ends_with_the_same_bytes(
    finished: Project, masked: Path, tmp_path: Path
) -> None:
    project = Project(masked, tmp_path / "cache", tmp_path / "runs")

    def halfway(project: Project) -> bool:
        return any(project.cache.glob("work/learn_masks-*/checkpoints/checkpoint-60/sealed.json"))

    assert project.run_and_kill(halfway, "--until", "learn_masks")
    again = project.run("--until", "learn_masks")
    assert again.code == 0, again.err
    assert made(project.events(), "node_cached") == ["prepare", "finetune"]
    for name in ("model.safetensors", "masks.safetensors", "scores.safetensors", "task.edgepack"):
        mine, theirs = (item.artifact("learn_masks") / name for item in (project, finished))
        assert sha256(mine) == sha256(theirs), name


def test_a_pack_on_its_base_is_the_model(finished: Project, masked: Path, tmp_path: Path) -> None:
    artifact = finished.artifact("learn_masks")
    pack = artifact / "task.edgepack"
    shown = finished.edgeprune("pack", "inspect", str(pack))
    assert shown.code == 0, shown.err
    base = masked.parent / "model"
    done = finished.edgeprune(
        "pack", "apply", str(pack), "--base", str(base), "--output", str(tmp_path / "applied")
    )
    assert done.code == 0, done.err
    ids = torch.tensor([[2, 6, 19, 9, 3], [2, 7, 22, 3, 0]])
    batch = {"input_ids": ids, "attention_mask": (ids != 0).long()}
    with torch.no_grad():
        expected = edgeprune.load(artifact)(**batch).logits
        assert torch.equal(edgeprune.load(tmp_path / "applied")(**batch).logits, expected)
    wrong = finished.edgeprune(
        "pack",
        "apply",
        str(pack),
        "--base",
        str(finished.artifact("finetune")),
        "--output",
        str(tmp_path / "no"),
    )
    assert wrong.code == 2
    assert "base" in wrong.err
