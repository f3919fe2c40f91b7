"""A chain with `quantize` through the real command line: static INT8 variants beside the others, judged alike."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from recipes_kit import Project, finish

from edgeprune.quantization.dialects import violations

pytestmark = pytest.mark.recipe

STATIC = ("onnxruntime/int8-static-u8s8", "onnxruntime/int8-static-s8s8", "openvino/int8")
QUANTIZE = "  - quantize: {calibration: {examples: 64}, search: {examples: 64}}\n"


def _recipe(recipe: Path, name: str, stage: str) -> Path:
    """The tiny recipe for a target with static variants, with more stages."""
    target = (recipe.parent / "pc.yaml").read_text().replace("name: pc", "name: int8")
    target = target.replace("[fp32, int8-dynamic]", "[fp32, int8-static-u8s8, int8-static-s8s8]")
    (recipe.parent / "int8.yaml").write_text(target.replace("[fp32, bf16]", "[fp32, int8]"))
    text = recipe.read_text().replace("name: tiny\n", f"name: {name}\n").replace("[pc.yaml]", "[int8.yaml]")
    path = recipe.with_name(f"{name}.yaml")
    path.write_text(text.replace("targets:", f"{stage}targets:"))
    return path


@pytest.fixture(scope="module")
def finished(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return finish(_recipe(recipe, "quantized", QUANTIZE), tmp_path_factory.mktemp("quantized")).project


def _record(project: Project) -> dict[str, Any]:
    path = project.artifact("quantize") / "artifact.json"
    found: dict[str, Any] = json.loads(path.read_text())["record"]
    return found


def test_each_static_variant_is_measured_and_judged(finished: Project) -> None:
    (target,) = finished.report()["targets"]
    rows = {f"{row['backend']}/{row['precision']}": row for row in target["variants"]}
    for name in STATIC:
        assert rows[name]["status"] in ("accepted", "rejected"), name
        assert rows[name]["agreement"] > 0.9, name
        assert "int8" in rows[name]["executed"], name


def test_both_dialects_keep_their_rules_and_are_smaller(finished: Project) -> None:
    found = _record(finished)["dialects"]
    assert set(found) == {"symmetric", "asymmetric"}
    for dialect, record in found.items():
        model = onnx.load(finished.artifact("quantize") / dialect / "model.onnx")
        assert violations(model, dialect) == []
        assert (
            record["matrix_bytes"]["int8"] < record["matrix_bytes"]["fp32"] / 2.5
        )  # scales weigh, in 32 columns
        assert record["int8_operators"]["linear"] >= 12


def test_what_answers_too_differently_goes_back_to_fp32(
    finished: Project, recipe: Path, tmp_path: Path
) -> None:
    """With one calibration example ranges are wrong, and nothing but the same answers is good enough."""
    stage = QUANTIZE.replace("examples: 64}, search: {", "examples: 1}, search: {min_agreement: 1.0, ")
    stage = stage.replace("quantize: {", "quantize: {method: minmax, smoothing: 0.0, ")
    path = _recipe(recipe, "strict", stage)
    cache = Path(shutil.copytree(finished.cache, tmp_path / "cache"))
    project = Project(path, cache, tmp_path / "runs")
    done = project.run("--until", "quantize")
    assert done.code == 0, done.err
    folder = project.folders()[-1] / "artifacts" / "quantize"
    artifact = json.loads((folder / "artifact.json").read_text())
    assert any("one calibration example" in note for note in artifact["notes"])
    for record in artifact["record"]["dialects"].values():
        assert record["agreement"]["written"] == 1.0
        assert bool(record["kept"]) == (record["agreement"]["all_int8"] < 1.0) == bool(record["trail"])


def test_without_quantize_its_variants_are_left_out_and_noted(recipe: Path, tmp_path: Path) -> None:
    path = _recipe(recipe, "unquantized", "")
    shown = Project(path, tmp_path / "cache", tmp_path / "runs").edgeprune("plan", str(path))
    assert shown.code == 0, shown.err
    for name in STATIC:
        assert (
            f"refused: {name}: it is made from a quantized model, and the recipe has no `quantize`"
            in shown.out
        )


def test_a_recipe_none_of_whose_targets_takes_it_is_refused(recipe: Path, tmp_path: Path) -> None:
    path = recipe.with_name("pointless.yaml")
    path.write_text(recipe.read_text().replace("targets:", "  - quantize: {}\ntargets:"))
    done = Project(path, tmp_path / "cache", tmp_path / "runs").edgeprune("plan", str(path))
    assert done.code == 2
    assert "no target of this recipe has a variant that is made from a quantized model" in done.err
    assert f"pointless.yaml:{1 + path.read_text().splitlines().index('  - quantize: {}')}:" in done.err


def test_the_same_examples_give_the_same_bytes(finished: Project, tmp_path: Path) -> None:
    project = Project(finished.recipe, tmp_path / "cache", tmp_path / "runs")
    done = project.run("--until", "quantize")
    assert done.code == 0, done.err
    for dialect in ("symmetric", "asymmetric"):
        ours, theirs = (one.artifact("quantize") / dialect / "model.onnx" for one in (finished, project))
        assert ours.read_bytes() == theirs.read_bytes()


def test_neural_compressor_makes_both_dialects_and_no_noise(
    finished: Project, recipe: Path, tmp_path: Path
) -> None:
    path = _recipe(
        recipe, "other-engine", QUANTIZE.replace("quantize: {", "quantize: {engine: neural-compressor, ")
    )
    cache = Path(shutil.copytree(finished.cache, tmp_path / "cache"))
    project = Project(path, cache, tmp_path / "runs")
    done = project.run("--until", "quantize")
    assert done.code == 0, done.err
    assert "torch" not in done.err
    assert "Failed" not in done.err
    folder = project.folders()[-1] / "artifacts" / "quantize"
    artifact = json.loads((folder / "artifact.json").read_text())
    assert artifact["notes"][0] == "ranges by neural-compressor (minmax)"
    for dialect, record in artifact["record"]["dialects"].items():
        assert violations(onnx.load(folder / dialect / "model.onnx"), dialect) == []
        assert record["agreement"]["written"] >= 0.99
        file_bytes = _record(finished)["dialects"][dialect]["file_bytes"]
        assert record["file_bytes"] < 1.2 * file_bytes


def test_what_ships_answers_as_the_record_says(finished: Project) -> None:
    logits = np.load(next(finished.cache.glob("artifacts/measure-*/logits.npz")))
    plain = logits["onnxruntime/fp32"].argmax(1)
    for name in STATIC:
        assert (logits[name].argmax(1) == plain).mean() > 0.9, name


@pytest.fixture(scope="module")
def trained(recipe: Path, finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Mode `qat` after the same stages."""
    stage = "  - quantize: {mode: qat, epochs: 1, calibration: {examples: 64}}\n"
    folder = tmp_path_factory.mktemp("trained")
    cache = Path(shutil.copytree(finished.cache, folder / "cache"))
    project = Project(_recipe(recipe, "trained", stage), cache, folder / "runs")
    done = project.run()
    assert done.code in (0, 3), done.err
    return project


def test_a_trained_model_is_measured_and_its_training_shown(trained: Project) -> None:
    (target,) = trained.report()["targets"]
    rows = {f"{row['backend']}/{row['precision']}": row for row in target["variants"]}
    for name in STATIC:
        assert rows[name]["status"] in ("accepted", "rejected", "inconclusive"), name
    folder = trained.folders()[-1]
    record = json.loads((folder / "artifacts" / "quantize" / "artifact.json").read_text())["record"]
    assert set(record["dialects"]) == set(record["qualities"]["trained"]) == {"symmetric", "asymmetric"}
    page = (folder / "report.html").read_text()
    assert "Parts of the loss" in page
