"""Dropout is what is asked for, on every architecture, in every place."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from edgeprune.structure.architectures import ARCHITECTURES
from edgeprune.training.dropout import set_dropout


def _classifier(model_type: str) -> Any:
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
    }
    if model_type == "distilbert":
        sizes = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24}
    config = transformers.AutoConfig.for_model(model_type, vocab_size=30, pad_token_id=1, **sizes)
    return transformers.AutoModelForSequenceClassification.from_config(config)


@pytest.mark.parametrize("model_type", sorted(ARCHITECTURES))
def test_without_dropout_training_answers_as_use_does(model_type: str) -> None:
    model = _classifier(model_type)
    config = model.config.to_dict()
    ids = torch.arange(3, 11).reshape(2, 4)
    with torch.no_grad():
        expected = model.eval()(ids).logits
        model.train()
        assert not torch.equal(model(ids).logits, model(ids).logits), "there is dropout to begin with"
        set_dropout(model, 0.0)
        assert torch.allclose(model(ids).logits, expected, atol=1e-6)
        set_dropout(model, 0.5)
        assert not torch.equal(model(ids).logits, model(ids).logits)
    assert model.config.to_dict() == config
