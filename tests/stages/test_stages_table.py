"""The table of stages: each row says what a plan and a key need to know, and says it right."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune import stages
from edgeprune.errors import RecipeError
from edgeprune.recipe.schema import RecipeShell, Section, Target
from edgeprune.stages.compile import for_target
from edgeprune.stages.contract import Stage, Work
from edgeprune.stages.finetune import describe_encoder
from edgeprune.stages.measure import ORIGINAL, timing_name

ROWS = [stages.get(name) for name in stages.TABLE]
BY_NAME = pytest.mark.parametrize("stage", ROWS, ids=lambda stage: stage.name)


@BY_NAME
def test_a_row_is_found_by_its_own_name(stage: Stage) -> None:
    assert stages.get(stage.name) is stage
    assert "\n" not in stage.summary
    assert not stage.summary.endswith(".")


@BY_NAME
def test_what_a_stage_requires_is_provided_by_another(stage: Stage) -> None:
    provided = {kind for row in ROWS for kind in row.provides if row is not stage}
    assert set(stage.requires) <= provided


@BY_NAME
def test_what_a_stage_reads_is_in_a_recipe(stage: Stage) -> None:
    for path in (*stage.reads, *stage.ignores):
        model: type[Section] = RecipeShell
        for part in path.split("."):
            assert part in model.model_fields, path
            found = model.model_fields[part].annotation
            model = found if isinstance(found, type) and issubclass(found, Section) else Section
    for path in stage.ignores:
        assert any(path.startswith(f"{section}.") for section in stage.reads), f"{path} is not read anyway"


@BY_NAME
def test_a_stage_ensures_files_inside_its_output(stage: Stage) -> None:
    assert stage.ensures
    assert all(not Path(name).is_absolute() and ".." not in Path(name).parts for name in stage.ensures)


@BY_NAME
def test_every_field_of_a_stage_is_described(stage: Stage) -> None:
    if stage.in_recipe:
        undescribed = [
            name
            for name, field in stage.config.model_fields.items()
            if not field.description
            and not (stage.name == "finetune" and name in ("schedule", "max_grad_norm"))
        ]
        assert undescribed == []


def test_recipes_may_list_some() -> None:
    assert list(stages.recipe_stages()) == [row.name for row in ROWS if row.in_recipe]
    assert stages.recipe_stages()["finetune"] is stages.get("finetune").config
    with pytest.raises(KeyError):
        stages.get("nonesuch")


def test_a_variant_depends_on_little_of_its_target() -> None:
    target = Target.model_validate(
        {
            "name": "pc",
            "description": "a PC",
            "architecture": "x86_64",
            "device": {"kind": "local", "threads": 2},
            "backends": [
                {"backend": "onnxruntime", "variants": ["fp32", "int8-dynamic"]},
                {"backend": "openvino", "variants": ["fp32"]},
            ],
            "speeds_up": ["head"],
        }
    )
    config = for_target(target, "onnxruntime", "int8-dynamic", ["avx2"])
    assert (config.backend, config.variant, config.features) == ("onnxruntime", "int8-dynamic", ["avx2"])
    assert [(row.backend, row.variants) for row in config.target.backends] == [
        ("onnxruntime", ["int8-dynamic"])
    ]
    assert (config.target.architecture, config.target.device.threads) == ("x86_64", 2)
    other = target.model_copy(update={"description": "another", "speeds_up": []})
    assert for_target(other, "onnxruntime", "int8-dynamic", ["avx2"]) == config


def test_an_encoder_in_words() -> None:
    class Config:
        model_type = "bert"
        num_hidden_layers = 6
        hidden_size = 384
        num_attention_heads = 12
        intermediate_size = 1536

    class Bare:
        model_type = "odd"

    assert describe_encoder(Config()) == "bert, 6 layers, hidden 384, 12 heads, FFN 1536"
    assert describe_encoder(Bare()) == "odd"


def test_names_of_timings_are_told_apart() -> None:
    names = [timing_name(model, length) for model in (ORIGINAL, "a/b") for length in ("real", 16)]
    assert len(set(names)) == 4


_TASK = {
    "type": "text-classification",
    "train": "file://train.tsv",
    "validation": "file://validation.tsv",
    "columns": {"text": "sentence", "label": "label"},
    "labels": {0: "bad", 1: "good"},
    "max_unusable": 0.5,
}


def _work(folder: Path, **task: object) -> Work:
    from edgeprune.recipe.schema import TaskConfig

    (folder / "output").mkdir()
    return Work(
        config=stages.get("prepare").config(),
        inputs={},
        assets={name: folder / f"{name}.tsv" for name in ("train", "validation")},
        sections={"task": TaskConfig.model_validate(_TASK | task)},
        seed=0,
        output=folder / "output",
        scratch=folder,
        progress=lambda **numbers: None,
    )


def _write_rows(folder: Path) -> None:
    (folder / "train.tsv").write_text("label\tsentence\n0\tdull\n1\tfine\n7\todd\n1\t\n")
    (folder / "validation.tsv").write_text("label\tsentence\n1\tfine\n0\tpoor\n")


def test_prepare_leaves_examples_and_counts_every_row(tmp_path: Path) -> None:
    from edgeprune.report.model import DataSummary
    from edgeprune.tasks.examples import Examples

    _write_rows(tmp_path)
    outcome = stages.get("prepare").apply(_work(tmp_path))
    train = Examples.load(tmp_path / "output" / "train")
    assert (train.texts, train.labels, train.classes) == (("dull", "fine"), (0, 1), ("bad", "good"))
    assert Examples.load(tmp_path / "output" / "validation").texts == ("fine", "poor")
    assert all((tmp_path / "output" / name).stat().st_size for name in stages.get("prepare").ensures)
    summary = DataSummary.model_validate(outcome.record["summary"])
    assert (summary.train, summary.validation) == (2, 2)
    assert sum(row.count for row in summary.unusable) == 2
    assert any("also training examples" in note for note in outcome.notes)
    assert outcome.record["train_sha256"] == train.fingerprint()


def test_prepare_tells_what_is_wrong_by_key(tmp_path: Path) -> None:
    _write_rows(tmp_path)
    with pytest.raises(RecipeError) as caught:
        stages.get("prepare").apply(_work(tmp_path, columns={"text": "sentense", "label": "label"}))
    assert {problem.path for problem in caught.value.problems} == {"task.columns.text"}
