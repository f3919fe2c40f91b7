"""Mean pooling on every architecture, against the mean made by hand."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import structure_kit as kit
import torch

from edgeprune.structure.loading import load, pretrained, save, structure_of
from edgeprune.structure.pooling import attach_mean_pooling, has_mean_pooling

every_type = pytest.mark.parametrize("model_type", kit.TYPES)


def pooled(model_type: str) -> Any:
    model = kit.classifier(model_type)
    attach_mean_pooling(model)
    return model


@every_type
def test_the_head_sees_the_mean_over_the_tokens_of_each_text(model_type: str) -> None:
    """Reference: the plain encoder's last states, averaged text by text without padding, through the head."""
    plain, batch = kit.classifier(model_type), kit.batch(model_type)
    with torch.no_grad():
        states = plain.base_model(**batch).last_hidden_state
        for row, length in enumerate(batch["attention_mask"].sum(1).tolist()):
            states[row, 0] = states[row, :length].mean(0)
        pooler = getattr(plain.base_model, "pooler", None)
        if pooler is not None:
            expected = plain.classifier(pooler(states))
        elif model_type == "distilbert":
            expected = plain.classifier(torch.relu(plain.pre_classifier(states[:, 0])))
        else:
            expected = plain.classifier(states)
        found = pooled(model_type)(**batch).logits
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)
    assert (found - plain(**batch).logits).abs().max() > 2e-4


@every_type
def test_padding_changes_nothing(model_type: str) -> None:
    model, batch = pooled(model_type), kit.batch(model_type)
    with torch.no_grad():
        together = model(**batch).logits
        for row, length in enumerate(batch["attention_mask"].sum(1).tolist()):
            alone = {name: values[row : row + 1, :length] for name, values in batch.items()}
            torch.testing.assert_close(model(**alone).logits[0], together[row], atol=1e-5, rtol=1e-5)
            del alone["attention_mask"]  # no mask: no padding
            torch.testing.assert_close(model(**alone).logits[0], together[row], atol=1e-5, rtol=1e-5)


@every_type
def test_what_was_saved_is_loaded_to_the_bit(model_type: str, tmp_path: Path) -> None:
    model, batch = pooled(model_type), kit.batch(model_type)
    save(model, tmp_path)
    loaded = load(tmp_path)
    assert structure_of(loaded).pooling == "mean"
    with torch.no_grad():
        assert torch.equal(loaded(**batch).logits, model(**batch).logits)


def test_a_copy_pools_by_its_own_mask() -> None:
    model, batch = pooled("bert"), kit.batch("bert")
    other = copy.deepcopy(model)
    assert other.edgeprune_pooling is not model.edgeprune_pooling
    with torch.no_grad():
        assert torch.equal(other(**batch).logits, model(**batch).logits)


def test_a_pretrained_encoder_gets_the_pooling_that_is_asked_for(tmp_path: Path) -> None:
    kit.classifier("bert").base_model.save_pretrained(tmp_path)
    kit.tokenizer("bert").save_pretrained(tmp_path)
    _, first, _ = pretrained(tmp_path, ("a", "b"))
    _, mean, _ = pretrained(tmp_path, ("a", "b"), pooling="mean")
    assert (has_mean_pooling(first), has_mean_pooling(mean)) == (False, True)


def test_label_words_are_read_at_the_first_token(tmp_path: Path) -> None:
    checkpoint = kit.save_masked("bert", tmp_path)
    _, model, notes = pretrained(
        checkpoint, tuple(kit.WORDS), head="label-words", label_words=kit.WORDS, pooling="mean"
    )
    assert not has_mean_pooling(model)
    assert any("first token" in note for note in notes)
