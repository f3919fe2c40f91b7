"""What was cut out computes what the same model computes with those units at zero, on every architecture."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import structure_kit as kit
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgeprune.errors import EdgepruneError
from edgeprune.structure.architectures import architecture_of, encoder_layers, heads_per_layer, linear_sites
from edgeprune.structure.description import KeptLayer
from edgeprune.structure.loading import load, save, structure_of
from edgeprune.structure.narrowing import hidden_width, slice_hidden
from edgeprune.structure.pooling import attach_mean_pooling
from edgeprune.structure.slicing import dense_layers, kept_layers, slice_layers

every_type = pytest.mark.parametrize("model_type", kit.TYPES)

RAGGED = (KeptLayer(0, (1, 3), (0, 5, 6, 23)), KeptLayer(1, (), (2,)), KeptLayer(2, (0, 1, 2), ()))
"""Every layer of the kit's models with something else left of it."""


def zeroed(model: Any, kept: tuple[KeptLayer, ...]) -> Any:
    """The reference: a copy whose units that are not kept are set to zero, written without the slicer."""
    model = copy.deepcopy(model)
    entry, size = architecture_of(model), kit.HIDDEN // kit.HEADS
    with torch.no_grad():
        for item in kept:
            layer = encoder_layers(model)[item.source]
            linear = {kind: layer.get_submodule(path) for kind, path in entry.linears.items()}
            for head in set(range(kit.HEADS)) - set(item.heads):
                own = slice(head * size, (head + 1) * size)
                for kind in ("query", "key", "value"):
                    linear[kind].weight[own] = 0
                    linear[kind].bias[own] = 0
                linear["output"].weight[:, own] = 0
            for row in set(range(kit.FFN)) - set(item.rows):
                linear["up"].weight[row] = 0
                linear["up"].bias[row] = 0
                linear["down"].weight[:, row] = 0
    return model


def answers(model: Any, model_type: str) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(**kit.batch(model_type)).logits
    return logits


def cut(model: Any, kept: tuple[KeptLayer, ...]) -> Any:
    model = copy.deepcopy(model)
    slice_layers(model, kept)
    return model


@every_type
def test_cut_out_is_zeroed(model_type: str) -> None:
    model = kit.classifier(model_type)
    expected = answers(zeroed(model, RAGGED), model_type)
    torch.testing.assert_close(answers(cut(model, RAGGED), model_type), expected, atol=1e-5, rtol=0)
    assert (expected - answers(model, model_type)).abs().max() > 1e-3, "what was cut out did matter"


def _some(count: int) -> st.SearchStrategy[tuple[int, ...]]:
    if not count:
        return st.just(())
    return st.sets(st.integers(0, count - 1)).map(lambda found: tuple(sorted(found)))


STRUCTURES = st.tuples(
    *(st.builds(KeptLayer, st.just(layer), _some(kit.HEADS), _some(kit.FFN)) for layer in range(kit.LAYERS))
)


@pytest.mark.thorough
@every_type
@settings(max_examples=25, deadline=None)
@given(kept=STRUCTURES)
def test_any_cut_is_zeroed(model_type: str, kept: tuple[KeptLayer, ...]) -> None:
    model = kit.classifier(model_type)
    expected = answers(zeroed(model, kept), model_type)
    torch.testing.assert_close(answers(cut(model, kept), model_type), expected, atol=1e-5, rtol=0)


@pytest.mark.thorough
@every_type
@settings(max_examples=10, deadline=None)
@given(first=STRUCTURES, data=st.data())
def test_cut_twice_is_cut_once(model_type: str, first: tuple[KeptLayer, ...], data: st.DataObject) -> None:
    """What is left of what is left, said in the numbers of the dense model, is the same cut."""
    second = tuple(
        KeptLayer(item.source, data.draw(_some(len(item.heads))), data.draw(_some(len(item.rows))))
        for item in first
        if data.draw(st.booleans())
    )
    model = kit.classifier(model_type)
    twice = cut(cut(model, first), second)
    once = cut(model, kept_layers(twice) or ())
    assert torch.equal(answers(twice, model_type), answers(once, model_type))


@every_type
def test_matrices_are_smaller(model_type: str) -> None:
    model = cut(kit.classifier(model_type), RAGGED)
    assert heads_per_layer(model) == (2, 0, 3)
    size = kit.HIDDEN // kit.HEADS
    shapes = {
        (site.layer, site.kind): model.get_submodule(site.name).weight.shape for site in linear_sites(model)
    }
    assert shapes == {
        **{(0, kind): (2 * size, kit.HIDDEN) for kind in ("query", "key", "value")},
        (0, "output"): (kit.HIDDEN, 2 * size),
        (0, "up"): (4, kit.HIDDEN),
        (0, "down"): (kit.HIDDEN, 4),
        (1, "up"): (1, kit.HIDDEN),
        (1, "down"): (kit.HIDDEN, 1),
        **{(2, kind): (3 * size, kit.HIDDEN) for kind in ("query", "key", "value")},
        (2, "output"): (kit.HIDDEN, 3 * size),
    }  # fmt: skip


@every_type
def test_a_layer_that_is_not_listed_is_gone(model_type: str) -> None:
    model = kit.classifier(model_type)
    without = cut(model, (dense_layers(model)[0], dense_layers(model)[2]))
    layers = encoder_layers(model)
    del layers[1]
    assert torch.equal(answers(without, model_type), answers(model, model_type))


@every_type
@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_what_was_saved_is_loaded_to_the_bit(model_type: str, pooling: str, tmp_path: Path) -> None:
    model = kit.classifier(model_type)
    if pooling == "mean":
        attach_mean_pooling(model)
    model = cut(model, (*RAGGED[:1], RAGGED[2]))
    slice_hidden(model, [0, 1, 2, 5, 7, 8, 9, 10, 15])
    save(model, tmp_path)
    loaded = load(tmp_path)
    assert structure_of(loaded) == structure_of(model)
    assert torch.equal(answers(loaded, model_type), answers(model, model_type))
    save(loaded, tmp_path / "again")
    assert (tmp_path / "again" / "structure.json").read_bytes() == (tmp_path / "structure.json").read_bytes()
    slice_layers(loaded, dense_layers(loaded)[1:])  # goes on from where it is
    assert [item.source for item in structure_of(loaded).layers or ()] == [2]


@every_type
def test_a_narrower_model_is_that_of_its_dimensions(model_type: str) -> None:
    """Reference: a dense model of the kept width, its LayerNorms over what is left, filled by hand."""
    kept = [0, 2, 3, 5, 6, 7, 11, 13]
    model = kit.classifier(model_type)
    narrow = copy.deepcopy(model)
    slice_hidden(narrow, kept)
    assert hidden_width(narrow) == len(kept)
    before, after = model.state_dict(), narrow.state_dict()
    for name, tensor in after.items():
        whole = before[name]
        axes = [axis for axis in range(whole.dim()) if whole.shape[axis] != tensor.shape[axis]]
        for axis in axes:
            whole = whole.index_select(axis, torch.tensor(kept))
        assert torch.equal(tensor, whole), name
    norms = [module for module in narrow.modules() if isinstance(module, nn.LayerNorm)]
    assert {module.normalized_shape for module in norms} <= {(len(kept),), (kit.EMBEDDING,)}
    assert answers(narrow, model_type).isfinite().all()
    slice_hidden(narrow, [0, 1, 4])
    assert structure_of(narrow).hidden == (0, 2, 6)


@every_type
def test_gradients_reach_everything_that_is_left(model_type: str) -> None:
    model = cut(kit.classifier(model_type), RAGGED)
    slice_hidden(model, list(range(0, kit.HIDDEN, 2)))
    batch = kit.batch(model_type)
    model(**batch, labels=torch.arange(len(batch["input_ids"])) % 3).loss.backward()
    unused = {name for name, item in model.named_parameters() if item.grad is None}
    assert not unused, "each parameter is used"


def test_what_the_model_does_not_have_is_refused() -> None:
    model = kit.classifier("bert")
    for kept, words in (
        ((KeptLayer(3, (0,), (0,)),), "layers"),
        ((KeptLayer(1, (0,), (0,)), KeptLayer(0, (0,), (0,))), "layers"),
        ((KeptLayer(0, (4,), (0,)),), "4 heads"),
        ((KeptLayer(0, (1, 0), (0,)),), "4 heads"),
        ((KeptLayer(0, (0,), (24,)),), "24 FFN rows"),
    ):
        with pytest.raises(EdgepruneError, match=words):
            slice_layers(model, kept)
    for hidden in ([], [16], [1, 1], [2, 1]):
        with pytest.raises(EdgepruneError, match="among the model's 16"):
            slice_hidden(model, hidden)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layers": [{"source": 0, "heads": [0]}]}, "no list of"),
        ({"layers": [{"source": 0, "heads": [1, 0], "rows": []}]}, "ascending"),
        ({"layers": [{"source": 0, "heads": [0.5], "rows": []}]}, "whole numbers"),
        ({"layers": [{"source": 9, "heads": [], "rows": []}]}, "are not layers of a model of 3"),
        ({"hidden": [0, 99]}, "among the model's 16"),
        ({"hidden": "all"}, "whole numbers"),
    ],
)
def test_a_structure_that_cannot_be_is_one_clear_error(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    save(cut(kit.classifier("bert"), RAGGED), tmp_path)
    path = tmp_path / "structure.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(EdgepruneError, match=words):
        load(tmp_path)
