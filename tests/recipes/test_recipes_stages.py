"""Stages by themselves, in this process, on what the tiny run left: what they check and refuse."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recipes_kit import Finished

from edgeprune.errors import EdgepruneError, UnsupportedError
from edgeprune.stages import get
from edgeprune.stages.contract import Work

pytestmark = pytest.mark.recipe

MakeWork = Callable[..., Work]


@pytest.fixture
def work(finished: Finished, tmp_path: Path) -> MakeWork:
    """What a stage is given, with the tiny run's artifacts as inputs."""

    def make(stage: str, model: Path | None = None, **config: Any) -> Work:
        (data,) = (finished.project.cache / "artifacts").glob("prepare-*")
        trained = _trained(finished)
        for name in ("output", "scratch"):
            (tmp_path / name).mkdir()
        return Work(
            config=get(stage).config.model_validate(config),
            inputs={"data": data, "model": model or trained},
            assets={"model": model or finished.project.recipe.parent / "model"},
            sections={"model.max_length": 24, "model.pooling": "first"},
            seed=3,
            output=tmp_path / "output",
            scratch=tmp_path / "scratch",
            progress=lambda **numbers: None,
        )

    return make


def _trained(finished: Finished) -> Path:
    (path,) = (finished.project.cache / "artifacts").glob("finetune-*")
    return path


def _copy(source: Path, target: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Path:
    """A model's folder with another config.json."""
    shutil.copytree(source, target)
    config = json.loads((source / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(change(config)))
    return target


def test_export_refuses_a_model_that_is_not_pytorchs(work: MakeWork) -> None:
    with pytest.raises(EdgepruneError, match=r"logits are off PyTorch's by .*; allowed: 1e-12") as caught:
        get("export").apply(work("export", tolerance=1e-12))
    assert "tolerance" in caught.value.hint


def test_export_checks_several_batches_and_lengths(work: MakeWork) -> None:
    outcome = get("export").apply(work("export", check_examples=12))
    shapes = [tuple(map(int, shape.split("x"))) for shape in outcome.record["checked_batches"]]
    assert [rows for rows, _ in shapes] == [1, 2, 5, 4]
    assert len({length for _, length in shapes}) > 1
    assert 0 <= outcome.record["max_logit_difference"] < 1e-4


def test_export_refuses_a_model_whose_answers_are_no_numbers(
    work: MakeWork, finished: Finished, tmp_path: Path
) -> None:
    from safetensors.numpy import load_file, save_file

    broken = _copy(_trained(finished), tmp_path / "broken", lambda config: config)
    weights = load_file(broken / "model.safetensors")
    weights["classifier.bias"][:] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EdgepruneError, match="logits are off PyTorch's by nan"):
        get("export").apply(work("export", broken))


def test_finetune_refuses_what_is_no_encoder(work: MakeWork, finished: Finished, tmp_path: Path) -> None:
    model = finished.project.recipe.parent / "model"
    broken = _copy(model, tmp_path / "broken", lambda config: config | {"model_type": "nonesuch"})
    with pytest.raises(UnsupportedError, match=r"the model cannot be loaded: .*nonesuch") as caught:
        get("finetune").apply(work("finetune", broken, epochs=1, learning_rate=1e-3))
    assert "config.json" in caught.value.hint


def test_finetune_refuses_damaged_weights(work: MakeWork, finished: Finished, tmp_path: Path) -> None:
    model = finished.project.recipe.parent / "model"
    broken = _copy(model, tmp_path / "broken", lambda config: config)
    file = broken / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(UnsupportedError, match="the model cannot be loaded"):
        get("finetune").apply(work("finetune", broken, epochs=1, learning_rate=1e-3))


def test_finetune_notes_weights_that_the_encoder_lacks(
    work: MakeWork, finished: Finished, tmp_path: Path
) -> None:
    model = finished.project.recipe.parent / "model"
    deeper = _copy(model, tmp_path / "deeper", lambda config: config | {"num_hidden_layers": 3})
    outcome = get("finetune").apply(work("finetune", deeper, epochs=0.05, learning_rate=1e-3))
    (note,) = outcome.notes
    assert "set at random" in note
    assert "layer.2" in note
