"""What a stage saves is the model that it scored: the numbers of its record are those of the loaded folder."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import stages_kit as kit
import torch

import edgeprune
from edgeprune import stages
from edgeprune.structure.loading import structure_of
from edgeprune.tasks.encoding import encode
from edgeprune.tasks.examples import Examples
from edgeprune.training.predicting import quality_of

pytestmark = pytest.mark.thorough

BODIES: dict[str, dict[str, Any]] = {
    "finetune": {"epochs": 4, "learning_rate": 5e-3, "batch_size": 16, "precision": "bf16"},
    "learn_masks": {"density": 0.5, "epochs": 2, "batch_size": 16, "precision": "bf16"},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return kit.write_world(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize("pooling", ["first", "mean"])
@pytest.mark.parametrize("name", BODIES)
def test_the_loaded_folder_scores_as_the_record_says(
    name: str, pooling: str, world: dict[str, Path], tmp_path: Path
) -> None:
    import transformers

    sections = {"model.max_length": 16, "model.pooling": pooling}
    work = kit.work(stages.get(name), world, tmp_path, BODIES[name], sections=sections)
    record = stages.get(name).apply(work).record
    loaded = edgeprune.load(work.output)
    tokenizer = transformers.AutoTokenizer.from_pretrained(work.output)
    validation = Examples.load(world["data"] / "validation")
    found = quality_of(loaded, validation, encode(tokenizer, validation, 16), pad_id=tokenizer.pad_token_id)
    assert structure_of(loaded).pooling == pooling
    assert record["quality"] == asdict(found)


def test_pooling_decides_what_is_trained(world: dict[str, Path], tmp_path: Path) -> None:
    """Guards the test above: were pooling lost both in training and in loading, it would see nothing."""
    found = {}
    for pooling in ("first", "mean"):
        sections = {"model.max_length": 16, "model.pooling": pooling}
        body = BODIES["finetune"] | {"precision": "fp32"}
        work = kit.work(stages.get("finetune"), world, tmp_path / pooling, body, sections=sections)
        stages.get("finetune").apply(work)
        found[pooling] = edgeprune.load(work.output).state_dict()
    assert not all(torch.equal(found["first"][name], found["mean"][name]) for name in found["first"])
