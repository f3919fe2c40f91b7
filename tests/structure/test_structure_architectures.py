"""The name table against the models themselves, of all six architectures."""

from __future__ import annotations

import pytest
import structure_kit as kit
import torch
from torch import nn

from edgeprune.errors import UnsupportedError
from edgeprune.structure.architectures import (
    ARCHITECTURES,
    architecture_of,
    head_parameters,
    heads_per_layer,
    linear_sites,
    num_heads,
)

EVERY_TYPE = pytest.mark.parametrize("model_type", kit.TYPES)
SHAPES = {
    "query": (kit.HIDDEN, kit.HIDDEN),
    "key": (kit.HIDDEN, kit.HIDDEN),
    "value": (kit.HIDDEN, kit.HIDDEN),
    "output": (kit.HIDDEN, kit.HIDDEN),
    "up": (kit.FFN, kit.HIDDEN),
    "down": (kit.HIDDEN, kit.FFN),
}


def test_the_table_is_tested() -> None:
    assert sorted(ARCHITECTURES) == sorted(kit.TYPES)


@EVERY_TYPE
def test_every_linear_layer_below_the_layers_is_a_site_once(model_type: str) -> None:
    model = kit.classifier(model_type)
    names = [site.name for site in linear_sites(model)]
    below = [n for n, module in model.named_modules() if ".layer." in n and isinstance(module, nn.Linear)]
    assert len(set(names)) == len(names) == 6 * kit.LAYERS
    assert sorted(names) == sorted(below)


@EVERY_TYPE
def test_sites_come_in_order_with_their_shapes(model_type: str) -> None:
    model = kit.classifier(model_type)
    sites = linear_sites(model)
    expected = [(layer, kind) for layer in range(kit.LAYERS) for kind in SHAPES]
    assert [(site.layer, site.kind) for site in sites] == expected
    for site in sites:
        assert f".{site.layer}." in site.name
        assert tuple(model.get_submodule(site.name).weight.shape) == SHAPES[site.kind]
    total = sum(model.get_submodule(site.name).weight.numel() for site in sites)
    assert total == kit.LAYERS * (4 * kit.HIDDEN**2 + 2 * kit.HIDDEN * kit.FFN)


@EVERY_TYPE
def test_kinds_do_what_they_are_called(model_type: str) -> None:
    """Zeroing the value's part makes queries and keys irrelevant; zeroing the query or key does not."""
    model = kit.classifier(model_type)
    first = {site.kind: model.get_submodule(site.name) for site in linear_sites(model) if site.layer == 0}
    calls: list[str] = []
    for kind, module in first.items():
        module.register_forward_hook(lambda *_, kind=kind: calls.append(kind))
    _zero(first["value"])
    before = kit.logits(model, model_type)
    assert sorted(calls[:3]) == ["key", "query", "value"]
    assert calls[3:] == ["output", "up", "down"]
    _zero(first["query"], first["key"])
    assert torch.equal(kit.logits(model, model_type), before)
    _zero(first["down"])
    without = kit.logits(model, model_type)
    assert not torch.equal(without, before)
    _zero(first["up"])
    assert torch.equal(kit.logits(model, model_type), without)


def _zero(*modules: nn.Linear) -> None:
    with torch.no_grad():
        for module in modules:
            module.weight.zero_()
            module.bias.zero_()


@EVERY_TYPE
def test_paths_are_from_the_root_of_what_was_asked_about(model_type: str) -> None:
    for model in (kit.masked(model_type), kit.classifier(model_type).base_model):
        sites = linear_sites(model)
        assert len(sites) == 6 * kit.LAYERS
        assert all(isinstance(model.get_submodule(site.name), nn.Linear) for site in sites)


@EVERY_TYPE
def test_the_head_is_what_is_neither_embeddings_nor_encoder(model_type: str) -> None:
    model = kit.classifier(model_type)
    prefix = model.base_model_prefix
    outside = [
        name
        for name, _ in model.named_parameters()
        if not name.startswith(f"{prefix}.") or name.startswith(f"{prefix}.pooler.")
    ]
    assert head_parameters(model) == tuple(outside)
    assert len(outside) == 4  # two matrices and two biases, in each of the six


@EVERY_TYPE
def test_heads_are_counted(model_type: str) -> None:
    model = kit.classifier(model_type)
    assert num_heads(model) == kit.HEADS
    assert heads_per_layer(model) == (kit.HEADS,) * kit.LAYERS


@EVERY_TYPE
def test_what_slicing_will_need_is_there(model_type: str) -> None:
    model = kit.classifier(model_type)
    entry = architecture_of(model)
    for layer in model.base_model.get_submodule(entry.layers):
        assert getattr(layer.get_submodule(entry.attention), entry.attention_width) == kit.HIDDEN
        assert isinstance(layer.get_submodule(entry.attention_norm), nn.LayerNorm)
        assert isinstance(layer.get_submodule(entry.ffn_norm), nn.LayerNorm)
        assert layer.get_submodule(entry.attention_norm) is not layer.get_submodule(entry.ffn_norm)
    if entry.position_bias:
        assert model.base_model.get_submodule(entry.position_bias).weight.shape[1] == kit.HEADS


def test_an_unknown_architecture_is_named_with_what_is_known() -> None:
    from transformers import AlbertConfig, AlbertForSequenceClassification

    sizes = {"hidden_size": 8, "embedding_size": 8, "num_attention_heads": 2, "intermediate_size": 8}
    model = AlbertForSequenceClassification(AlbertConfig(vocab_size=9, **sizes))
    for ask in (linear_sites, head_parameters, num_heads, heads_per_layer):
        with pytest.raises(UnsupportedError, match=r"type 'albert' .* not known") as caught:
            ask(model)
        assert "bert, distilbert, electra, mpnet, roberta, xlm-roberta" in caught.value.hint
    with pytest.raises(UnsupportedError, match="type '' "):
        linear_sites(nn.Linear(1, 1))


def test_a_site_that_is_no_linear_layer_is_refused() -> None:
    model = kit.classifier("bert")
    model.set_submodule("bert.encoder.layer.1.output.dense", nn.Identity())
    with pytest.raises(UnsupportedError, match=r"layer\.1\.output\.dense is Identity, not nn"):
        linear_sites(model)
    del model.bert.encoder.layer[0].intermediate
    with pytest.raises(UnsupportedError, match=r"has no bert\.encoder\.layer\.0\.intermediate"):
        linear_sites(model)
