"""Mode `qat` on tiny students: what is written is what was trained; zeros stay; a resumed run is the run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import stages_kit as kit

from edgeprune import stages
from edgeprune.errors import UnsupportedError
from edgeprune.quantization.dialects import violations
from edgeprune.quantization.graphs import initializers
from edgeprune.stages.contract import Work

pytestmark = pytest.mark.thorough

STAGE = stages.get("quantize")
BODY: dict[str, Any] = {
    "mode": "qat",
    "dialects": ["symmetric", "asymmetric"],
    "weight_bits": 8,
    "epochs": 2,
    "learning_rate": 2e-3,
    "range_rate": 1e-2,
    "batch_size": 16,
    "precision": "fp32",
    "checkpoint_steps": 4,
    "calibration": {"examples": 32},
}
STEPS = 12
STUDENTS = ["dense", "weight", "cut"]


@dataclass(frozen=True)
class Made(kit.Made):
    """And the graphs that it wrote."""

    def graph(self, dialect: str) -> onnx.ModelProto:
        return onnx.load(self.folder / dialect / "model.onnx")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The kit's world, an original that knows the task, students by name, and each student's ONNX file."""
    import transformers

    from edgeprune.stages.export import copy_companions, write_onnx
    from edgeprune.structure.description import KeptLayer
    from edgeprune.structure.loading import load, save
    from edgeprune.structure.slicing import slice_layers

    folder = tmp_path_factory.mktemp("world")
    found = kit.write_world(folder)
    trained = {"epochs": 8, "learning_rate": 1e-2, "batch_size": 16, "precision": "fp32"}
    job = kit.work(stages.get("finetune"), found, tmp_path_factory.mktemp("original"), trained)
    stages.get("finetune").apply(job)
    found["original"] = found["dense"] = job.output
    masks = {"density": 0.5, "epochs": 1, "batch_size": 16, "precision": "fp32", "granularity": "weight"}
    job = kit.work(stages.get("learn_masks"), found, tmp_path_factory.mktemp("masks"), masks)
    stages.get("learn_masks").apply(job)
    found["weight"] = job.output
    model = load(found["original"])
    slice_layers(model, [KeptLayer(0, (1,), tuple(range(0, kit.ROWS, 2))), KeptLayer(1, (), (3, 4, 9))])
    save(model, folder / "cut", transformers.AutoTokenizer.from_pretrained(found["original"]))
    found["cut"] = folder / "cut"
    for name in STUDENTS:
        found[f"onnx {name}"] = folder / f"onnx-{name}"
        write_onnx(load(found[name]), found[f"onnx {name}"])
        copy_companions(found[name], found[f"onnx {name}"])
    return found


def job_of(
    world: dict[str, Path],
    folder: Path,
    student: str,
    body: dict[str, Any],
    progress: Callable[..., None] = lambda **numbers: None,
) -> Work:
    inputs = {name: world[name] for name in ("data", "original")}
    inputs |= {"model": world[student], "onnx": world[f"onnx {student}"]}
    return kit.work(
        STAGE, world, folder, body, inputs=inputs, sections={"model.max_length": 16}, progress=progress
    )


@pytest.fixture(scope="module")
def made(world: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The stage applied to a student and a body, each once."""

    def job(student: str, **changes: Any) -> Work:
        return job_of(world, tmp_path_factory.mktemp("made"), student, BODY | changes)

    return kit.each_once(STAGE, job, Made)


@pytest.mark.parametrize("student", STUDENTS)
def test_what_is_written_answers_as_what_was_trained(made: Any, student: str) -> None:
    """And it was trained: the loss falls, the ranges have moved."""
    result: Made = made(student)
    for dialect in BODY["dialects"]:
        assert violations(result.graph(dialect), dialect) == []
        assert result.record["logit_difference"][dialect]["mean"] < 0.01
        assert result.record["ranges"][dialect]["least"] < result.record["ranges"][dialect]["most"]
        assert result.record["dialects"][dialect]["kept"] == []
    assert result.record["steps"] == STEPS
    hidden = result.record["parts"]["hidden"]
    assert hidden[-1] < hidden[0]
    assert {"fp32", "untrained", "trained"} == set(result.record["qualities"])
    assert json.loads(json.dumps(result.record, allow_nan=False)) == json.loads(json.dumps(result.record))


def test_what_is_masked_stays_zero(made: Any, world: dict[str, Path]) -> None:
    from onnx.numpy_helper import to_array
    from safetensors.numpy import load_file

    result: Made = made("weight", weight_decay=0.1, averaging=0.9)
    masks = load_file(world["weight"] / "masks.safetensors")
    for dialect in BODY["dialects"]:
        levels = [to_array(item) for item in initializers(result.graph(dialect)).values()]
        for name, mask in masks.items():
            pruned = mask.T == 0
            alike = [item for item in levels if item.dtype == np.int8 and item.shape == pruned.shape]
            assert any(not item[pruned].any() for item in alike), name
    _, model = _trained_weights(result)
    for name, mask in masks.items():
        assert not model[f"{name}.weight"][mask == 0].any(), name


def _trained_weights(result: Made) -> tuple[Path, dict[str, Any]]:
    """Of the last checkpoint, by their names in the student."""
    from safetensors.numpy import load_file

    folders = (result.folder.parent / "scratch" / "checkpoints").glob("checkpoint-*")
    last = max(folders, key=lambda path: int(path.name.rpartition("-")[2]))
    found = load_file(last / "model.safetensors")
    return last, {
        name.replace("parametrizations.weight.original", "weight"): item for name, item in found.items()
    }


def test_shapes_stay_as_they_were_cut(made: Any, world: dict[str, Path]) -> None:
    from safetensors.numpy import load_file

    _, trained = _trained_weights(made("cut"))
    before = load_file(world["cut"] / "model.safetensors")
    assert {name: trained[name].shape for name in before} == {
        name: item.shape for name, item in before.items()
    }


def test_training_wins_back_what_few_levels_lose(made: Any) -> None:
    """Ranges of one example, seven bits and no smoothing: worse at first, and nearer to the teacher's after."""
    body = {
        "calibration": {"examples": 1},
        "method": "minmax",
        "smoothing": 0.0,
        "epochs": 8,
        "weight_bits": 7,
    }
    result: Made = made("dense", **body)
    parts = result.record["parts"]
    assert np.mean(parts["logits"][-8:]) < np.mean(parts["logits"][:8])
    trained = [found["agreement"]["all_int8"] for found in result.record["dialects"].values()]
    assert np.mean(trained) >= np.mean(list(result.record["untrained_agreement"].values()))


def test_ranges_stay_where_their_rate_is_zero(made: Any) -> None:
    for found in made("cut", range_rate=0.0).record["ranges"].values():
        assert found == {"least": 1.0, "median": 1.0, "most": 1.0}


class _KilledError(Exception):
    pass


@pytest.mark.parametrize(
    ("student", "changes"), [("weight", {"averaging": 0.9}), ("cut", {"precision": "bf16"})]
)
def test_killed_and_resumed_is_the_run_that_was_not(
    made: Any, world: dict[str, Path], tmp_path: Path, student: str, changes: dict[str, Any]
) -> None:
    whole: Made = made(student, **changes)

    def die(**numbers: Any) -> None:
        if numbers.get("step") == 7 and "loss" in numbers:  # the last checkpoint is of step 4
            raise _KilledError

    with pytest.raises(_KilledError):
        STAGE.apply(job_of(world, tmp_path, student, BODY | changes, progress=die))
    seen: list[int] = []

    def note(**numbers: Any) -> None:
        if "loss" in numbers:
            seen.append(numbers["step"])

    job = job_of(world, tmp_path, student, BODY | changes, progress=note)
    outcome = STAGE.apply(job)
    assert seen[0] == 5
    for dialect in BODY["dialects"]:
        name = Path(dialect) / "model.onnx"
        assert (job.output / name).read_bytes() == (whole.folder / name).read_bytes()
    assert outcome.record == whole.record


def test_another_model_than_the_exported_one_is_refused(world: dict[str, Path], tmp_path: Path) -> None:
    other = world | {"onnx cut": world["onnx dense"]}
    with pytest.raises(UnsupportedError, match="the exported graph has"):
        STAGE.apply(job_of(other, tmp_path, "cut", BODY))


def test_without_training_none_of_its_code_is_used(
    world: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it needs not be in the key of what is only calibrated."""
    for name in [*sys.modules, "edgeprune.stages.quantize_training", "edgeprune.stages.student_training"]:
        own = name.startswith(
            ("edgeprune.training.", "edgeprune.distillation.", "edgeprune.stages.quantize_t")
        )
        if own or name == "edgeprune.stages.student_training":
            monkeypatch.setitem(sys.modules, name, None)  # importing it is an error
    body = {"dialects": BODY["dialects"], "weight_bits": 8, "search": {"examples": 16}}
    outcome = STAGE.apply(job_of(world, tmp_path, "cut", body))
    assert set(outcome.record["dialects"]) == set(BODY["dialects"])
    with pytest.raises(ImportError):
        STAGE.apply(job_of(world, tmp_path / "trained", "cut", BODY))


# What a recipe may say


def test_a_mode_has_keys_of_its_own() -> None:
    plain = STAGE.config.model_validate({})
    assert STAGE.check(plain) == []
    assert not {"epochs", "losses", "range_rate"} & plain.model_dump().keys()
    assert STAGE.config.model_validate(plain.model_dump(mode="json")) == plain
    trained = STAGE.resolve(STAGE.config.model_validate({"mode": "qat"}))
    assert STAGE.check(trained) == []
    assert "search" not in trained.model_dump()
    assert trained.precision in ("fp32", "bf16")
    assert STAGE.config.model_validate(trained.model_dump(mode="json")) == trained


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({"epochs": 2.0}, "epochs"),
        ({"range_rate": 0.0}, "range_rate"),
        ({"mode": "qat", "search": {}}, "search"),
        ({"mode": "qat", "products": True}, "products"),
        ({"mode": "qat", "engine": "neural-compressor"}, "engine"),
        ({"mode": "qat", "losses": {"logits": {"weight": 0.0}, "hidden": None}}, "losses"),
    ],
)
def test_what_a_mode_cannot_do_is_refused(body: dict[str, Any], key: str) -> None:
    (problem,) = STAGE.check(STAGE.config.model_validate(body))
    assert problem.key == (key,)
    assert problem.message
    assert problem.hint


def test_only_a_training_depends_on_the_seed_and_on_trainings_code() -> None:
    plain, trained = (STAGE.of(STAGE.config.model_validate({"mode": mode})) for mode in ("ptq", "qat"))
    assert plain == STAGE
    assert not plain.seeded
    assert trained.seeded
    assert {"training", "stages.quantize_training", *plain.code} <= set(trained.code)
    assert "training" not in plain.code
    assert trained.needs(STAGE.config.model_validate({"mode": "qat"})) == (
        "data",
        "onnx",
        "model",
        "original",
    )
