"""`measure` and `answer` on a tiny model: dense counterparts may fail, candidates may not; what stands in."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import stages_kit as kit
from onnx import numpy_helper

from edgeprune import backends, stages
from edgeprune.errors import EdgepruneError
from edgeprune.recipe.schema import Measurement, Target
from edgeprune.runner.cpu import describe
from edgeprune.runner.variant import RunnerError
from edgeprune.stages.contract import Outcome, Work
from edgeprune.stages.measure import timing_name

pytestmark = pytest.mark.thorough

NAME = "onnxruntime/fp32"
PROTOCOL = Measurement(batch=2, lengths=["real", 16], calls=20, warmup=1, throughput_seconds=0)
TARGET = {
    "name": "pc",
    "description": "this machine",
    "architecture": describe().architecture,
    "device": {"kind": "local", "threads": 1},
    "backends": [{"backend": "onnxruntime", "variants": ["fp32"]}],
    "speeds_up": [],
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The kit's world, and `compiled`: its original for onnxruntime in FP32."""
    found = kit.write_world(tmp_path_factory.mktemp("world"))
    inputs = {"data": found["data"], "model": found["original"]}
    job = kit.work(stages.get("export"), found, tmp_path_factory.mktemp("export"), {}, inputs=inputs)
    stages.get("export").apply(job)
    found["compiled"] = tmp_path_factory.mktemp("compiled")
    target = Target.model_validate(TARGET)
    backends.compile_variant("onnxruntime", job.output, "fp32", target, found["compiled"], max_length=16)
    return found


def _broken(world: dict[str, Path], folder: Path, how: str) -> Path:
    """A copy of the compiled model that cannot be opened, or answers with NaN."""
    shutil.copytree(world["compiled"], folder)
    path = folder / "model.onnx"
    if how == "closed":
        path.write_bytes(b"no model")
        return folder
    model = onnx.load(path)
    weights = next(
        item
        for item in model.graph.initializer
        if len(item.dims) == 2 and item.data_type == onnx.TensorProto.FLOAT
    )
    weights.CopyFrom(numpy_helper.from_array(np.full(tuple(weights.dims), np.nan, np.float32), weights.name))
    onnx.save(model, path)
    return folder


def _work(
    world: dict[str, Path],
    folder: Path,
    stage: str,
    compiled: dict[str, Path],
    protocol: Measurement = PROTOCOL,
    **body: Any,
) -> Work:
    sections = {"measurement": protocol, "measurement.batch": 2, "model.max_length": 16}
    work = kit.work(
        stages.get(stage), world, folder, {"target": "pc", "threads": 1} | body, sections=sections
    )
    inputs = {f"compiled/{name}": path for name, path in compiled.items()}
    return replace(work, inputs={**work.inputs, **inputs})


def _measure(
    world: dict[str, Path], folder: Path, compiled: dict[str, Path], dense: list[str]
) -> tuple[Path, Outcome]:
    body = {"cpu": "Model 7", "features": [], "variants": [NAME], "dense": dense}
    work = _work(world, folder, "measure", compiled, **body)
    return work.output, stages.get("measure").apply(work)


def test_dense_counterparts_are_measured_in_the_same_blocks_as_far_as_they_work(
    world: dict[str, Path], tmp_path: Path
) -> None:
    """One that works, one that cannot be opened, one that answers NaN, and one that was not made."""
    dense = [NAME, "x/closed", "x/nan", "x/missing"]
    compiled = {NAME: world["compiled"], f"dense/{NAME}": world["compiled"]}
    broken = {f"dense/x/{how}": _broken(world, tmp_path / how, how) for how in ("closed", "nan")}
    folder, outcome = _measure(world, tmp_path / "work", compiled | broken, dense)
    assert set(outcome.record["models"]) == {"original", *compiled}
    measured = json.loads((folder / "measured.json").read_text())
    assert "load_seconds" in measured[NAME]
    assert "load_seconds" not in measured[f"dense/{NAME}"], "nobody loads it"
    with np.load(folder / "logits.npz") as logits, np.load(folder / "nanoseconds.npz") as calls:
        np.testing.assert_array_equal(logits[NAME], logits[f"dense/{NAME}"])
        names = ("original", *compiled)
        assert set(calls) == {timing_name(name, at) for name in names for at in PROTOCOL.lengths}
        assert len({array.shape for array in calls.values()}) == 1
    for note, (name, words) in zip(
        outcome.notes, [("closed", "cannot load"), ("nan", "are not numbers")], strict=True
    ):
        assert note.startswith(f"dense/x/{name} is left out of what is compared: ")
        assert words in note


@pytest.mark.parametrize(("how", "words"), [("closed", "cannot load"), ("nan", "are not numbers")])
def test_a_candidate_that_fails_is_an_error(
    world: dict[str, Path], tmp_path: Path, how: str, words: str
) -> None:
    broken = _broken(world, tmp_path / "broken", how)
    with pytest.raises((EdgepruneError, RunnerError), match=words):
        _measure(world, tmp_path / "work", {NAME: broken, f"dense/{NAME}": world["compiled"]}, [NAME])


def test_throughput_is_of_the_original_and_the_candidates(world: dict[str, Path], tmp_path: Path) -> None:
    """Texts and seconds of each round, whether or not real lengths are timed; not of what never ships."""
    compiled = {NAME: world["compiled"], f"dense/{NAME}": world["compiled"]}
    body = {"cpu": "Model 7", "features": [], "variants": [NAME], "dense": [NAME]}
    protocol = PROTOCOL.model_copy(update={"lengths": [16], "throughput_seconds": 0.01})
    work = _work(world, tmp_path, "measure", compiled, protocol, **body)
    outcome = stages.get("measure").apply(work)
    measured = json.loads((work.output / "measured.json").read_text())
    assert outcome.record["models"] == measured
    assert {name for name, facts in measured.items() if "throughput" in facts} == {"original", NAME}
    for name in ("original", NAME):
        found = measured[name]["throughput"]
        assert (len(found["texts"]), len(found["seconds"]), found["streams"]) == (3, 3, 1), name
        assert min(found["texts"]) > 0
        assert min(found["seconds"]) >= 0.01


def test_throughput_is_left_out_when_its_time_is_0(world: dict[str, Path], tmp_path: Path) -> None:
    folder, _ = _measure(world, tmp_path / "work", {NAME: world["compiled"]}, [])
    measured = json.loads((folder / "measured.json").read_text())
    assert not any("throughput" in facts for facts in measured.values())


def _as_engine(source: Path, folder: Path) -> Path:
    """The same artifact, said to be for TensorRT."""
    shutil.copytree(source, folder)
    path = folder / "variant.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"backend": "tensorrt"}))
    return folder


def test_the_onnx_answers_in_place_of_an_engine(world: dict[str, Path], tmp_path: Path) -> None:
    name = "tensorrt/fp32"
    engine = _as_engine(world["compiled"], tmp_path / "engine")
    compiled = {name: engine, f"dense/{name}": engine}
    work = _work(world, tmp_path / "work", "answer", compiled, variants=[name], dense=[name])
    outcome = stages.get("answer").apply(work)
    assert {path.name for path in work.output.iterdir()} == {"logits.npz", "measured.json"}, "no times"
    measured = outcome.record["models"]
    assert set(measured) == {"original", *compiled}
    assert all(set(facts) == {"quality"} for facts in measured.values())
    with np.load(work.output / "logits.npz") as logits:
        np.testing.assert_allclose(logits[name], logits["original"], atol=1e-4)


@pytest.mark.parametrize(("how", "words"), [("closed", "cannot load the ONNX"), ("nan", "are not numbers")])
def test_a_stand_in_that_fails_is_a_note(
    world: dict[str, Path], tmp_path: Path, how: str, words: str
) -> None:
    good, bad = (
        _as_engine(source, tmp_path / name)
        for name, source in (("good", world["compiled"]), ("bad", _broken(world, tmp_path / "broken", how)))
    )
    names = ["tensorrt/fp32", "tensorrt/fp16"]
    compiled = dict(zip(names, (good, bad), strict=True))
    work = _work(world, tmp_path / "work", "answer", compiled, variants=names)
    outcome = stages.get("answer").apply(work)
    assert set(outcome.record["models"]) == {"original", names[0]}
    (note,) = outcome.notes
    assert note.startswith(f"{names[1]} is left out of what is compared: ")
    assert words in note


def test_the_original_must_answer(world: dict[str, Path], tmp_path: Path) -> None:
    work = _work(world, tmp_path, "answer", {}, variants=[])
    missing = replace(work, inputs={**work.inputs, "original": tmp_path / "nowhere"})
    with pytest.raises(EdgepruneError):
        stages.get("answer").apply(missing)


def test_every_model_is_probed_with_the_longest_text_as_it_reads_it() -> None:
    """A cut vocabulary has other numbers; those of the original may be beyond its last one."""
    from edgeprune.measurement.batches import Batch
    from edgeprune.stages.measure import _longest

    def batch(token: int, length: int) -> Batch:
        return Batch(np.full((1, length), token), np.ones((1, length)), np.zeros((1, length)))

    streams = {
        "real": {"original": [batch(900, 3), batch(901, 7)], "cut": [batch(1, 3), batch(2, 9)]},
        8: {"original": [batch(900, 8), batch(901, 8)], "cut": [batch(1, 8), batch(2, 8)]},
        4: {"original": [batch(900, 4)], "cut": [batch(1, 4)]},
    }
    found = _longest(streams)
    assert found["original"].ids.tolist() == [[900] * 8]
    assert found["cut"].ids.tolist() == [[1] * 8]
