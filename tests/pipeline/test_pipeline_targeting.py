"""A target's part of a plan: dense counterparts, stand-ins for accelerators, and whose key depends on what."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune.assets import Asset
from edgeprune.backends import nvidia_gpu
from edgeprune.errors import UsageError
from edgeprune.pipeline import planning, running
from edgeprune.pipeline.planning import Plan, TargetPlan, make_plan

pytestmark = pytest.mark.usefixtures("machine")

FINETUNE = "{finetune: {epochs: 1, learning_rate: 1e-4}}"
CUT = "{prune_structure: {budget: {heads: 0.5}}}"
VARIANTS = ["onnxruntime/fp32", "onnxruntime/int8-dynamic", "openvino/fp32"]
DENSE = [f"compile pc/dense/{name}" for name in VARIANTS]


def _plan(recipe: Path, *overrides: str, stages: str = f"[{FINETUNE}, {CUT}, export]") -> Plan:
    loaded = running.load(recipe, [f"stages={stages}", *overrides])
    found = {
        role: Asset(sources[0], recipe.parent, role, 1, (), "")
        for role, (sources, _) in planning.asset_sources(loaded).items()
    }
    return make_plan(loaded, [running.target(name, loaded.folder) for name in loaded.shell.targets], found)


def _ids(plan: Plan) -> list[str]:
    return [node.id for node in plan.nodes]


def _keys(plan: Plan) -> dict[str, str | None]:
    return {node.id: node.key for node in plan.nodes}


def _changed(one: Plan, other: Plan) -> set[str]:
    before, after = _keys(one), _keys(other)
    assert before.keys() == after.keys()
    return {name for name, key in before.items() if key != after[name]}


def _target(plan: Plan, name: str) -> TargetPlan:
    return next(item for item in plan.targets if item.target.name == name)


def test_a_compressed_chain_has_the_original_compiled_beside_it(recipe: Path) -> None:
    plan = _plan(recipe)
    assert _ids(plan) == [
        "prepare", "finetune", "prune_structure", "export",
        *(f"compile pc/{name}" for name in VARIANTS), "export original", *DENSE, "measure pc",
        "compile board/onnxruntime/fp32", "compile board/dense/onnxruntime/fp32",
    ]  # fmt: skip
    assert dict(plan.node("export original").inputs) == {"model": "finetune", "data": "prepare"}
    assert all(dict(plan.node(name).inputs) == {"onnx": "export original"} for name in DENSE)
    assert plan.node(DENSE[0]).config == plan.node("compile pc/onnxruntime/fp32").config
    optional = {node.id for node in plan.nodes if node.optional}
    assert optional == {"export original", *DENSE, "compile board/dense/onnxruntime/fp32"}
    measure = plan.node("measure pc")
    assert (measure.config.variants, measure.config.dense) == (VARIANTS, VARIANTS)
    assert {kind for kind, source in measure.inputs.items() if source in DENSE} == {
        f"compiled/dense/{name}" for name in VARIANTS
    }
    assert _target(plan, "pc").dense == dict(zip(VARIANTS, DENSE, strict=True))
    assert _target(plan, "pc").compressed


def test_without_compression_the_candidates_are_dense_themselves(recipe: Path) -> None:
    plan = _plan(recipe, stages=f"[{FINETUNE}, export]")
    assert not [node.id for node in plan.nodes if node.optional]
    assert plan.node("measure pc").config.dense == []
    for target in plan.targets:
        assert target.dense == target.compiled
        assert not target.compressed
    without = _plan(recipe, "measurement.ablation=false", stages=f"[{FINETUNE}, export]")
    assert _keys(plan) == _keys(without)


def test_it_can_be_left_out_and_nothing_else_changes(recipe: Path) -> None:
    with_it, without = _plan(recipe), _plan(recipe, "measurement.ablation=false")
    assert [name for name in _ids(with_it) if name in _ids(without)] == _ids(without)
    assert {name for name, key in _keys(without).items() if _keys(with_it)[name] != key} == {"measure pc"}
    assert _target(without, "pc").dense == {}
    assert _target(without, "pc").compressed


def test_what_a_recipe_without_compression_made_is_what_the_dense_side_needs(recipe: Path) -> None:
    keys, plain = _keys(_plan(recipe)), _keys(_plan(recipe, stages=f"[{FINETUNE}, export]"))
    assert keys["export original"] == plain["export"]
    for name, dense in zip(VARIANTS, DENSE, strict=True):
        assert keys[dense] == plain[f"compile pc/{name}"]
        assert keys[dense] != keys[f"compile pc/{name}"]


def _static(recipe: Path) -> None:
    path = recipe.with_name("pc.yaml")
    path.write_text(path.read_text().replace("int8-dynamic", "int8-static-u8s8"))


@pytest.mark.parametrize("engine", ["onnxruntime", "neural-compressor"])
def test_the_original_is_quantized_as_the_recipe_quantizes(recipe: Path, engine: str) -> None:
    _static(recipe)
    quantize = f"{{quantize: {{engine: {engine}, calibration: {{examples: 7}}}}}}"
    plan = _plan(recipe, stages=f"[{FINETUNE}, {CUT}, export, {quantize}]")
    node = plan.node("quantize original")
    assert node.config == plan.node("quantize").config
    model = {"model": "finetune"} if engine == "neural-compressor" else {}
    assert dict(node.inputs) == {"data": "prepare", "onnx": "export original", **model}
    compiled = plan.node("compile pc/dense/onnxruntime/int8-static-u8s8")
    assert dict(compiled.inputs) == {"quantized": "quantize original"}
    places = [_ids(plan).index(name) for name in ("quantize original", *_target(plan, "pc").dense.values())]
    assert places == list(range(places[0], places[0] + 4)), "what is compiled stands together"


def test_the_original_is_quantized_without_a_training(recipe: Path) -> None:
    _static(recipe)
    quantize = "{quantize: {mode: qat, epochs: 1, calibration: {examples: 7}}}"
    plan = _plan(recipe, stages=f"[{FINETUNE}, {CUT}, export, {quantize}]")
    trained, plain = plan.node("quantize"), plan.node("quantize original")
    assert (trained.config.mode, plain.config.mode) == ("qat", "ptq")
    assert plain.config.calibration == trained.config.calibration
    assert dict(plain.inputs) == {"data": "prepare", "onnx": "export original"}
    assert (trained.ingredients["seed"], plain.ingredients["seed"]) == (1, None)


def test_only_what_is_made_from_a_compressed_model_has_a_counterpart(recipe: Path) -> None:
    """Quantized before the cut, the static variant is dense already."""
    _static(recipe)
    plan = _plan(recipe, stages=f"[{FINETUNE}, export, {{quantize: {{}}}}, {CUT}, export]")
    target = _target(plan, "pc")
    static = "onnxruntime/int8-static-u8s8"
    assert target.dense[static] == target.compiled[static]
    assert plan.node("measure pc").config.dense == ["onnxruntime/fp32", "openvino/fp32"]
    assert "quantize original" not in _ids(plan)
    assert plan.node("export-2 original").key == plan.node("export").key


def test_a_stand_in_answers_where_the_accelerator_is_not_here(recipe: Path) -> None:
    plan = _plan(recipe, "targets=[gpu.yaml, board.yaml]")
    gpu, board = plan.targets
    assert (gpu.measure, gpu.answer) == (None, "answer gpu")
    assert gpu.unmeasured == (
        "accuracy of the ONNX on onnxruntime CPU; latency not measured here: no NVIDIA GPU"
    )
    assert (board.measure, board.answer) == (None, None), "nothing stands in for another architecture"
    node = plan.node("answer gpu")
    assert node.config.variants == node.config.dense == ["tensorrt/fp32", "tensorrt/fp16"]
    assert set(node.inputs.values()) == {
        "prepare", "finetune", *gpu.compiled.values(), *gpu.dense.values(),
    }  # fmt: skip
    assert not node.optional


def test_a_stand_in_answers_for_accelerators_alone(recipe: Path) -> None:
    path = recipe.with_name("gpu.yaml")
    more = "  - {backend: onnxruntime, variants: [fp32]}\nspeeds_up"
    path.write_text(path.read_text().replace("speeds_up", more))
    plan = _plan(recipe, "targets=[gpu.yaml]")
    assert plan.node("answer gpu").config.variants == ["tensorrt/fp32", "tensorrt/fp16"]
    assert plan.targets[0].unmeasured == (
        "accuracy of the ONNX of tensorrt on onnxruntime CPU; latency not measured here: no NVIDIA GPU; "
        "onnxruntime: compiled, not measured"
    )


def test_the_batch_is_built_into_engines_and_nothing_else(recipe: Path) -> None:
    targets = "targets=[pc.yaml, board.yaml, gpu.yaml]"
    one, four = _plan(recipe, targets), _plan(recipe, targets, "measurement.batch=4")
    engines = {f"compile gpu/{side}tensorrt/{name}" for side in ("", "dense/") for name in ("fp32", "fp16")}
    assert _changed(one, four) == {*engines, "measure pc", "answer gpu"}
    assert four.node("compile gpu/tensorrt/fp32").config.batch == 4
    assert four.node("compile pc/onnxruntime/fp32").config.batch is None


def test_a_stand_in_does_not_depend_on_how_latency_is_measured(recipe: Path) -> None:
    one = _plan(recipe, "targets=[gpu.yaml]")
    assert _changed(one, _plan(recipe, "targets=[gpu.yaml]", "measurement.calls=40")) == set()
    assert _changed(one, _plan(recipe, "targets=[gpu.yaml]", "measurement.lengths=[real]")) == set()


def test_the_gpu_that_is_there_is_in_the_keys_of_engines(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = "targets=[pc.yaml, board.yaml, gpu.yaml]"
    before = _plan(recipe, targets)
    monkeypatch.setattr(nvidia_gpu, "compute_capability", lambda: 8.9)
    after = _plan(recipe, targets)
    changed = _changed(before, after)
    assert changed == {name for name in _ids(before) if "tensorrt" in name or name == "answer gpu"}
    assert "no TensorRT session" in _target(after, "gpu").unmeasured


def test_a_run_until_a_candidate_needs_no_dense_side(recipe: Path) -> None:
    plan = _plan(recipe)
    cut = running._cut(plan, "compile pc/openvino/fp32")
    assert not any(node.optional for node in cut.nodes)
    with pytest.raises(UsageError, match="export original"):
        running._cut(plan, "export-original")


def test_a_run_until_the_dense_side_may_not_leave_it_out(recipe: Path) -> None:
    cut = running._cut(_plan(recipe), DENSE[1])
    assert [node.id for node in cut.nodes][-1] == DENSE[1]
    assert not any(node.optional for node in cut.nodes)
    assert any(node.optional for node in running._cut(_plan(recipe), "measure pc").nodes)
