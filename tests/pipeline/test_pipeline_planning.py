"""Plans of the real stages: what is refused, how nodes are wired, and what changes whose key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pipeline_kit import MACHINE

from edgeprune.assets import Asset
from edgeprune.errors import RecipeError, UnsupportedError
from edgeprune.pipeline import planning, running
from edgeprune.pipeline.keys import digest
from edgeprune.pipeline.planning import Plan, make_plan
from edgeprune.runner import cpu

pytestmark = pytest.mark.usefixtures("machine")

PC = [f"compile pc/{name}" for name in ("onnxruntime/fp32", "onnxruntime/int8-dynamic", "openvino/fp32")]
OPENVINO, BOARD = "compile pc/openvino/fp32", "compile board/onnxruntime/fp32"
COMPILED = {*PC, BOARD}
AFTER_EXPORT = {"export", *COMPILED, "measure pc"}
EVERYTHING = {"prepare", "finetune", *AFTER_EXPORT}


def _plan(recipe: Path, *overrides: str, model: str = "m", train: str = "t") -> Plan:
    """The plan of a recipe whose assets have these hashes."""
    loaded = running.load(recipe, overrides)
    hashes = {"model": model, "train": train, "validation": "v"}
    found = {
        role: Asset(sources[0], recipe.parent, hashes.get(role, sources[0]), 1, (), "")
        for role, (sources, _) in planning.asset_sources(loaded).items()
    }
    return make_plan(loaded, [running.target(name, loaded.folder) for name in loaded.shell.targets], found)


def _keys(plan: Plan) -> dict[str, str | None]:
    return {node.id: node.key for node in plan.nodes}


def _changed(one: Plan, other: Plan) -> set[str]:
    before, after = _keys(one), _keys(other)
    assert before.keys() == after.keys()
    return {name for name, key in before.items() if key != after[name]}


def test_the_nodes_of_a_plan(recipe: Path) -> None:
    plan = _plan(recipe)
    assert [node.id for node in plan.nodes] == ["prepare", "finetune", "export", *PC, "measure pc", BOARD]
    assert dict(plan.node("export").inputs) == {"model": "finetune", "data": "prepare"}
    assert dict(plan.node(BOARD).inputs) == {"onnx": "export"}
    assert dict(plan.node("measure pc").inputs) == {
        "original": "finetune",
        "data": "prepare",
        **{f"compiled/{name.removeprefix('compile pc/')}": name for name in PC},
    }
    done: set[str] = set()
    for node in plan.nodes:
        assert set(node.inputs.values()) <= done, f"{node.id} before its inputs"
        assert node.key == digest(node.ingredients)
        done.add(node.id)


def test_targets_say_what_is_refused_and_what_is_not_measured(recipe: Path) -> None:
    pc, board = _plan(recipe).targets
    (refusal,) = pc.refusals
    assert (refusal.backend, refusal.variant) == ("openvino", "bf16")
    assert "Model 7" in refusal.reason
    assert (pc.measure, pc.unmeasured) == ("measure pc", "")
    assert (board.measure, board.refusals) == (None, ())
    assert "no device" in board.unmeasured
    assert board.compiled == {"onnxruntime/fp32": BOARD}


def test_a_target_of_another_architecture_is_compiled_and_not_measured(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "describe", lambda: replace(MACHINE, architecture="aarch64"))
    pc, _ = _plan(recipe).targets
    assert pc.measure is None
    assert "aarch64" in pc.unmeasured
    assert "x86_64" in pc.unmeasured


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("stages.finetune.epochs=2", {"finetune", *AFTER_EXPORT}),
        ("stages.finetune.checkpoint_steps=7", {"finetune", *AFTER_EXPORT}),
        ("stages.export.opset=17", AFTER_EXPORT),
        ("seed=2", {"finetune", *AFTER_EXPORT}),
        ("model.max_length=16", {"finetune", *AFTER_EXPORT}),
        ("measurement.calls=200", {"measure pc"}),
        ("measurement.lengths=[real]", {"measure pc"}),
        ("measurement.throughput_seconds=0", {"measure pc"}),
        ("task.labels={1: good, 0: bad}", EVERYTHING),
        ("task.max_unusable=0.5", EVERYTHING),
        ("task.columns.text=label", EVERYTHING),
        ("task.metric=f1", set()),
        ("acceptance.max_drop=2", set()),
        ("acceptance.min_speedup=2", set()),
        ("acceptance.confidence=0.9", set()),
        ("name=other", set()),
        ("description=other", set()),
        ("task.train=[file://mirror.tsv, file://train.tsv]", set()),
        ("model.source=[hub://some/model, file://model]", set()),
        ("targets=[board.yaml, pc.yaml]", set()),
    ],
)
def test_what_a_setting_changes(recipe: Path, override: str, expected: set[str]) -> None:
    assert _changed(_plan(recipe), _plan(recipe, override)) == expected


def test_a_default_and_the_same_value_written_out_are_one(recipe: Path) -> None:
    assert _changed(_plan(recipe), _plan(recipe, "stages.export.opset=18", "task.format=auto")) == set()


def test_what_other_content_of_assets_changes(recipe: Path) -> None:
    before = _plan(recipe)
    assert _changed(before, _plan(recipe, train="other")) == EVERYTHING
    assert _changed(before, _plan(recipe, model="other")) == {"finetune", *AFTER_EXPORT}


@pytest.mark.parametrize(
    ("library", "expected"),
    [
        ("openvino", {OPENVINO, "measure pc"}),
        ("onnxruntime", AFTER_EXPORT),
        ("datasets", EVERYTHING),
        ("torch", {"finetune", *AFTER_EXPORT}),
        ("pytest", set()),
    ],
)
def test_what_another_library_changes(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, library: str, expected: set[str]
) -> None:
    before = _plan(recipe)
    _wrap(
        monkeypatch, "library_versions", lambda found: found | ({library: "99"} if library in found else {})
    )
    assert _changed(before, _plan(recipe)) == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("measurement", {"measure pc"}),
        ("backends", {*COMPILED, "measure pc"}),
        ("training", {"finetune", *AFTER_EXPORT}),
        ("tasks", EVERYTHING),
        ("stages.contract", EVERYTHING),
    ],
)
def test_what_other_code_changes(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, code: str, expected: set[str]
) -> None:
    before = _plan(recipe)
    plain = planning.code_hash
    monkeypatch.setattr(planning, "code_hash", lambda names: plain(names) + ("!" if code in names else ""))
    assert _changed(before, _plan(recipe)) >= expected


def _wrap(
    monkeypatch: pytest.MonkeyPatch, name: str, change: Callable[[dict[str, str]], dict[str, str]]
) -> None:
    plain = getattr(planning, name)
    monkeypatch.setattr(planning, name, lambda names: change(plain(names)))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"features": ("avx2",)}, {*PC, "measure pc"}),
        ({"model": "Model 8"}, {"measure pc"}),
        ({"physical_cores": 1}, {"measure pc"}),
        ({"memory_bytes": 1}, set()),
    ],
)
def test_what_another_processor_changes(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, object], expected: set[str]
) -> None:
    monkeypatch.setattr(cpu.os, "sched_getaffinity", lambda process: set(range(64)), raising=False)
    before = _plan(recipe)
    monkeypatch.setattr(cpu, "describe", lambda: replace(MACHINE, **change))
    assert _changed(before, _plan(recipe)) == expected


def test_a_processor_with_bfloat16_trains_other_weights(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _plan(recipe)
    monkeypatch.setattr(
        cpu, "describe", lambda: replace(MACHINE, features=(*MACHINE.features, "avx512_bf16"))
    )
    after = _plan(recipe)
    assert (before.node("finetune").config.precision, after.node("finetune").config.precision) == (
        "fp32",
        "bf16",
    )
    assert _changed(before, after) >= {"finetune", "export"}
    chosen = _plan(recipe, "stages.finetune.precision=fp32")
    assert chosen.node("finetune").key == before.node("finetune").key


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("a PC", "another PC", set()),
        ("speeds_up: [head, row, layer]", "speeds_up: []", set()),
        ("kind: local", "kind: local, threads: 1", {*PC, "measure pc"}),
    ],
)
def test_what_a_target_changes(recipe: Path, before: str, after: str, expected: set[str]) -> None:
    plain = _plan(recipe)
    path = recipe.with_name("pc.yaml")
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after))
    assert _changed(plain, _plan(recipe)) == expected


def test_another_target_does_not_change_the_first(recipe: Path) -> None:
    alone, both = _keys(_plan(recipe, "targets=[pc.yaml]")), _keys(_plan(recipe))
    assert alone.items() <= both.items()


def test_an_asset_that_is_not_here_leaves_keys_open(recipe: Path) -> None:
    loaded = running.load(recipe, ["targets=[board.yaml]"])
    here = Asset("file://train.tsv", recipe.parent, "t", 1, (), "")
    board = [running.target("board.yaml", loaded.folder)]
    plan = make_plan(loaded, board, {"model": None, "train": here, "validation": here})
    assert {node.id: node.key is None for node in plan.nodes} == {
        "prepare": False,
        "finetune": True,
        "export": True,
        BOARD: True,
    }


def test_repeated_stages_have_numbers(recipe: Path) -> None:
    stages = "stages=[{finetune: {epochs: 1, learning_rate: 1e-4}}, export, export: {opset: 17}, export]"
    plan = _plan(
        recipe, stages.replace("export: {opset: 17}", "{export: {opset: 17}}"), "targets=[board.yaml]"
    )
    assert [node.id for node in plan.nodes] == [
        "prepare",
        "finetune",
        "export",
        "export-2",
        "export-3",
        BOARD,
    ]
    assert dict(plan.node(BOARD).inputs) == {"onnx": "export-3"}, "the last one counts"
    assert plan.node("export").key == plan.node("export-3").key, "the same work is one artifact"


TAUGHT = "stages=[{finetune: {epochs: 1, learning_rate: 1e-4}}, {distill: {epochs: 1%s}}, {distill: {epochs: 1%s}}, export]"


def test_a_teacher_that_a_stage_names_is_an_asset_of_its_own(recipe: Path) -> None:
    plan = _plan(recipe, TAUGHT % (", teacher: file://large", ", teacher: [hub://a/b, file://other]"))
    assert dict(plan.node("distill").assets) == {"teacher": "distill.teacher"}
    assert dict(plan.node("distill-2").assets) == {"teacher": "distill-2.teacher"}
    assert planning.asset_sources(plan.recipe)["distill-2.teacher"] == (
        ["hub://a/b", "file://other"],
        "model",
    )
    assert "original" not in plan.node("distill").inputs, "another teacher needs no original"
    other = _plan(recipe, TAUGHT % (", teacher: file://larger", ", teacher: [hub://a/b, file://other]"))
    assert {"distill", "distill-2", "export"} <= _changed(plan, other)
    assert "finetune" not in _changed(plan, other)


def test_without_a_teacher_of_its_own_the_original_teaches(recipe: Path) -> None:
    node = _plan(recipe, TAUGHT % ("", "")).node("distill")
    assert (dict(node.assets), node.inputs["original"]) == ({}, "finetune")


@pytest.mark.parametrize(("teacher", "words"), [("ftp://x", "ftp://x"), ("[original, file://a]", "original")])
def test_a_teacher_that_cannot_be_is_refused(recipe: Path, teacher: str, words: str) -> None:
    with pytest.raises(RecipeError) as caught:
        _plan(recipe, TAUGHT % (f", teacher: {teacher}", ""))
    (problem,) = caught.value.problems
    assert problem.key == ("stages", 1, "distill", "teacher")
    assert words in problem.message


def test_an_impossible_order_is_refused_where_it_was_written(recipe: Path) -> None:
    recipe.write_text(recipe.read_text().replace("  - finetune: {", "  - export: {}\n  - finetune: {"))
    with pytest.raises(RecipeError) as caught:
        _plan(recipe)
    assert [str(problem) for problem in caught.value.problems] == [
        f"{recipe}:14:5: stages.0.export: 'export' requires 'model', which no earlier stage provides\n"
        "  hint: put one of these before it: finetune, learn_masks, prune_structure, distill"
    ]


def test_a_chain_without_export_is_refused(recipe: Path) -> None:
    recipe.write_text(recipe.read_text().replace("  - export\n", ""))
    with pytest.raises(RecipeError) as caught:
        _plan(recipe)
    (problem,) = caught.value.problems
    assert problem.where == f"{recipe}:14:5"
    assert "without an ONNX model" in problem.message
    assert "- export" in problem.hint


def test_an_impossible_order_is_refused_before_anything_is_fetched(recipe: Path, tmp_path: Path) -> None:
    text = recipe.read_text().replace("  - export\n", "").replace("file://model", "file://not-here")
    recipe.write_text(text)
    with pytest.raises(RecipeError):
        running.run(running.load(recipe), cache=tmp_path / "cache", runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "cache").exists()


def test_a_target_of_which_nothing_can_be_compiled_is_unsupported(recipe: Path) -> None:
    path = recipe.with_name("pc.yaml")
    path.write_text(
        path.read_text()
        .replace("variants: [fp32, bf16]", "variants: [bf16]")
        .replace("  - {backend: onnxruntime, variants: [fp32, int8-dynamic]}\n", "")
    )
    with pytest.raises(UnsupportedError, match=r"'pc': nothing that it lists.*openvino/bf16: .*Model 7"):
        _plan(recipe)


def test_two_targets_of_one_name_are_refused(recipe: Path) -> None:
    """Their nodes would have the same names, and one target's numbers would stand in the other's rows."""
    twin = recipe.with_name("twin.yaml")
    twin.write_text(recipe.with_name("pc.yaml").read_text().replace("kind: local", "kind: local, threads: 1"))
    with pytest.raises(RecipeError) as caught:
        _plan(recipe, "targets=[pc.yaml, board.yaml, twin.yaml]")
    (problem,) = caught.value.problems
    assert problem.path == "targets.2"
    assert "'pc'" in problem.message
