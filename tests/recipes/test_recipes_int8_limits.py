"""INT8 where something is missing or odd: each case ends in a note of the report, or in an error with a way out."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from recipes_kit import Done, Project, finish

from edgeprune.backends.symmetric_qdq import qdq_problems
from edgeprune.runner.cpu import describe

pytestmark = pytest.mark.recipe

INT8 = """\
name: int8
description: this machine
architecture: %s
device: {kind: local, threads: 1}
backends:
  - {backend: onnxruntime, variants: [fp32, int8-dynamic, int8-static-u8s8]}
  - {backend: openvino, variants: [%s]}
speeds_up: [head, row, layer]
"""

GPU = """\
name: gpu
description: an NVIDIA GPU elsewhere
architecture: x86_64
compute_capabilities: [8.6, 8.9]
device: {kind: none}
backends:
  - {backend: tensorrt, variants: [int8]}
speeds_up: [head, row, layer]
"""

# What every Python process of a run does first.
NO_VNNI = """\
from dataclasses import replace
from edgeprune.runner import cpu
found = cpu.describe()
cpu.describe = lambda: replace(found, features=tuple(name for name in found.features if "vnni" not in name))
"""
HIDDEN = "import sys\nsys.modules[%r] = None\n"
MATRIX = "encoder.layer.1.output.dense.weight"
HAS_TENSORRT = find_spec("tensorrt_rtx_bindings") is not None


def _recipe(recipe: Path, name: str, body: str, targets: str) -> Path:
    """The tiny recipe with `quantize`, for targets with static INT8."""
    folder = recipe.parent
    (folder / "int8.yaml").write_text(INT8 % (describe().architecture, "fp32, int8"))
    (folder / "gpu.yaml").write_text(GPU)
    text = recipe.read_text().replace("name: tiny\n", f"name: {name}\n").replace("[pc.yaml]", f"[{targets}]")
    path = folder / f"{name}.yaml"
    path.write_text(text.replace("targets:", f"  - quantize: {{{body}}}\ntargets:"))
    return path


def _begin_with(code: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Let every Python process that is started from now on begin with some code."""
    (folder / "sitecustomize.py").write_text(code)
    patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))


def _refused(done: Done, code: int, *patterns: str) -> None:
    assert done.code == code, done
    assert "Traceback" not in done.err + done.out
    for pattern in patterns:
        assert re.search(pattern, done.err), done.err


@pytest.fixture(scope="module")
def poor(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A run on a machine without VNNI and without OpenVINO, calibrated on one example."""
    body = "calibration: {examples: 1}, search: {examples: 64, min_agreement: 0}"
    targets = "int8.yaml, gpu.yaml" if HAS_TENSORRT else "int8.yaml"
    with pytest.MonkeyPatch.context() as patch:
        _begin_with(NO_VNNI + HIDDEN % "openvino", tmp_path_factory.mktemp("site"), patch)
        yield finish(_recipe(recipe, "poor", body, targets), tmp_path_factory.mktemp("poor")).project


def _known(project: Project) -> list[tuple[str, str]]:
    """What the reader of the report should know: where, and what."""
    return [(note["where"], note["text"]) for note in project.report()["know"]]


def _rows(project: Project, target: str) -> dict[str, dict[str, Any]]:
    (found,) = (each for each in project.report()["targets"] if each["name"] == target)
    return {f"{row['backend']}/{row['precision']}": row for row in found["variants"]}


def test_one_calibration_example_is_in_the_report(poor: Project) -> None:
    assert ("quantize", "INT8 ranges come from one calibration example") in _known(poor)


def test_a_missing_runtime_is_left_out_and_said(poor: Project) -> None:
    for variant in ("fp32", "int8"):
        reason = "backend 'openvino' is not installed (pip install \"edgeprune[openvino]\")"
        assert ("target int8", f"openvino/{variant} is left out: {reason}") in _known(poor)
    assert _rows(poor, "int8")["onnxruntime/int8-static-u8s8"]["status"] in ("accepted", "chosen", "rejected")


@pytest.mark.skipif(describe().architecture != "x86_64", reason="the question only arises on x86")
def test_without_vnni_weights_have_seven_bits_and_the_report_says_so(poor: Project) -> None:
    (note,) = (text for where, text in _known(poor) if where == "quantize" and "7 of 8 bits" in text)
    assert "without VNNI" in note
    model = onnx.load(poor.artifact("quantize") / "asymmetric" / "model.onnx")
    levels = [numpy_helper.to_array(each) for each in model.graph.initializer if each.name.endswith("_int8")]
    assert levels
    assert max(int(np.abs(each.astype(int)).max()) for each in levels) <= 63
    notes = _rows(poor, "int8")["onnxruntime/int8-dynamic"]["notes"]
    assert any("no VNNI" in note for note in notes)


@pytest.mark.skipif(not HAS_TENSORRT, reason='needs pip install "edgeprune[tensorrt]"')
def test_the_engines_of_the_int8_model_are_built_without_a_gpu(poor: Project) -> None:
    (folder,) = (
        path.parent
        for path in (poor.cache / "artifacts").glob("compile-*/variant.json")
        if json.loads(path.read_text())["backend"] == "tensorrt"
    )
    assert qdq_problems(onnx.load(folder / "model.onnx")) == []
    for name in ("sm86.rtx.engine", "sm89.rtx.engine"):
        assert (folder / name).stat().st_size > 50_000
    (target,) = (each for each in poor.report()["targets"] if each["name"] == "gpu")
    assert not target["measured"]


def test_a_dialect_that_a_variant_needs_and_the_recipe_leaves_out_is_refused(
    recipe: Path, tmp_path: Path
) -> None:
    """An asymmetric model never gets as far as TensorRT, nor a training as far as to find out."""
    path = _recipe(recipe, "asymmetric", "dialects: [asymmetric]", "int8.yaml, gpu.yaml")
    target = path.parent / "gpu.yaml"
    if not HAS_TENSORRT:
        target.write_text(
            GPU.replace(
                "backend: tensorrt, variants: [int8]", "backend: onnxruntime, variants: [int8-static-s8s8]"
            )
        )
    _refused(
        Project(path, tmp_path / "cache", tmp_path / "runs").run(),
        2,
        r"asymmetric\.yaml:\d+:\d+: stages\.2\.quantize\.dialects: \S+ of target gpu is compiled from the dialect symmetric",
        "hint: add it, or leave `dialects` out",
    )


def test_a_target_whose_only_runtime_is_missing_is_unsupported(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _recipe(recipe, "alone", "", "int8.yaml")
    target = path.parent / "int8.yaml"
    target.write_text(re.sub(r"  - \{backend: onnxruntime.*\n", "", target.read_text()))
    _begin_with(HIDDEN % "openvino", tmp_path, monkeypatch)
    _refused(
        Project(path, tmp_path / "cache", tmp_path / "runs").run(),
        5,
        "target 'int8': nothing that it lists can be compiled here",
        r'openvino/int8: backend \'openvino\' is not installed \(pip install "edgeprune\[openvino\]"\)',
        "hint: ",
    )


def test_an_engine_that_is_missing_is_said_before_anything_runs(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _recipe(recipe, "engineless", "engine: neural-compressor", "int8.yaml")
    _begin_with(HIDDEN % "neural_compressor", tmp_path, monkeypatch)
    project = Project(path, tmp_path / "cache", tmp_path / "runs")
    _refused(
        project.run(),
        5,
        "stages.quantize.engine: the engine neural-compressor needs what is not installed: neural-compressor",
        r'hint: pip install "neural-compressor\[pt\]" onnxscript, or use the engine onnxruntime',
    )
    assert not project.runs.exists()


def test_a_model_with_broken_weights_is_refused_before_it_is_trained(recipe: Path, tmp_path: Path) -> None:
    source = _changed_model(recipe, tmp_path / "model", lambda matrix: np.put(matrix, [3, 70], np.nan))
    project = Project(recipe, tmp_path / "cache", tmp_path / "runs")
    _refused(
        project.run("--set", f"model.source=file://{source}"),
        5,
        rf"finetune: \S+: 2 of 2,048 values of the weight \S*{re.escape(MATRIX)} are NaN or infinite",
        "hint: these weights are of no use: take them from another source; completed: prepare",
    )


def test_a_training_whose_loss_is_no_number_ends_at_once(recipe: Path, tmp_path: Path) -> None:
    """Weights that are numbers, and so large that nothing that is computed with them is."""
    source = _changed_model(recipe, tmp_path / "model", lambda matrix: np.multiply(matrix, 1e38, out=matrix))
    project = Project(recipe, tmp_path / "cache", tmp_path / "runs")
    _refused(
        project.run("--set", f"model.source=file://{source}"),
        1,
        r"finetune: the training diverged: at step 2 its loss is (nan|inf)",
        "hint: train again with a smaller learning_rate; completed: prepare",
    )


def _changed_model(recipe: Path, folder: Path, change: Callable[[np.ndarray], object]) -> Path:
    """The recipe's model with one matrix changed in place."""
    from safetensors.numpy import load_file, save_file

    shutil.copytree(recipe.parent / "model", folder)
    weights = load_file(folder / "model.safetensors")
    change(weights[MATRIX])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
