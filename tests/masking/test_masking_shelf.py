"""Many tasks on one base: the base is there once, and each task answers as its folded model does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pack_kit import INNER, WIDTH, Made, Task, base_tensors, ids, make
from torch import nn
from torch.nn.utils import parametrize

from edgeprune.errors import EdgepruneError, UsageError
from edgeprune.masking.pack import Pack
from edgeprune.masking.separating import separate
from edgeprune.masking.shelf import PackedMask, TaskShelf


def _skeleton(pack: Pack) -> nn.Module:
    """Parameters on the meta device, buffers filled."""
    model = Task()
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(parameter.to("meta")))
    return model


def _shelf(base: dict[str, torch.Tensor], skeleton: Callable[[Pack], nn.Module] = _skeleton) -> TaskShelf:
    return TaskShelf(base, "enc", skeleton)


def _storages(*models: nn.Module) -> dict[int, int]:
    """Address and bytes of everything that the models hold."""
    tensors = [item for model in models for item in (*model.parameters(), *model.buffers())]
    return {item.untyped_storage().data_ptr(): item.untyped_storage().nbytes() for item in tensors}


@pytest.fixture
def tasks() -> list[Made]:
    base = base_tensors()
    return [make(seed, base) for seed in (1, 2, 3)]


def test_every_task_answers_as_its_folded_model_to_the_bit(tasks: list[Made]) -> None:
    shelf = _shelf(tasks[0].base)
    models = [shelf.task(made.pack) for made in tasks]
    with torch.inference_mode():
        for made, model in zip(tasks, models, strict=True):
            for seed in range(3):
                assert torch.equal(model(ids(seed)), made.model(ids(seed)))


def test_tasks_share_the_storage_of_the_base(tasks: list[Made]) -> None:
    base = tasks[0].base
    shelf = _shelf(base)
    models = [shelf.task(made.pack) for made in tasks]
    for model in models:
        parameters = dict(model.named_parameters())
        for name, tensor in base.items():
            if not tensor.is_floating_point():
                continue
            owner, _, last = f"enc.{name}".rpartition(".")
            masked = f"{owner}.parametrizations.{last}.original"
            found = parameters.get(masked, parameters.get(f"enc.{name}"))
            assert found is not None
            assert found.data_ptr() == tensor.data_ptr(), name


def test_another_task_costs_a_head_and_a_bit_a_weight(tasks: list[Made]) -> None:
    shelf = _shelf(tasks[0].base)
    first, second = shelf.task(tasks[0].pack), shelf.task(tasks[1].pack)
    added = sum(_storages(first, second).values()) - sum(_storages(first).values())
    head = 4 * (3 * WIDTH + 3)
    bits = 4 * INNER * WIDTH // 8
    assert added == head + bits


def test_masked_weights_are_seen_as_such(tasks: list[Made]) -> None:
    model = _shelf(tasks[0].base).task(tasks[0].pack)
    up = model.get_submodule("enc.layer.0.up")
    assert parametrize.is_parametrized(up, "weight")
    assert torch.equal(up.weight, tasks[0].model.get_submodule("enc.layer.0.up").weight)
    assert torch.equal(up.parametrizations.weight[0].mask(), tasks[0].masks["enc.layer.0.up"])
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    with parametrize.cached():
        assert up.weight.data_ptr() == up.weight.data_ptr()
        assert torch.equal(model(ids()), tasks[0].model(ids()))


def test_masked_biases() -> None:
    made = make()
    masks = made.masks | {"enc.layer.0.up.bias": torch.arange(INNER) % 2 == 0}
    head = {"classifier.weight": torch.ones(3, WIDTH), "classifier.bias": torch.zeros(3)}
    head |= {f"enc.pooler.{kind}": made.base[f"pooler.{kind}"] for kind in ("weight", "bias")}
    head["enc.position_ids"] = made.base["position_ids"]
    pack = separate(made.base, masks, head, config={}, classes=["a"])
    model = _shelf(made.base).task(pack)
    bias = model.get_submodule("enc.layer.0.up").bias
    assert torch.equal(bias != 0, masks["enc.layer.0.up.bias"])


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (8, 8), (7, 13), (16,)])
def test_a_packed_mask_is_the_mask(shape: tuple[int, ...]) -> None:
    mask = torch.rand(shape) < 0.5
    packed = PackedMask(mask.numpy())
    assert packed.bits.numel() == -(-mask.numel() // 8)
    assert torch.equal(packed.mask(), mask)
    weight = torch.randn(shape)
    assert torch.equal(packed(weight), torch.where(mask, weight, torch.zeros(())))
    assert packed.state_dict() == {}


def test_a_pack_of_another_base_is_refused_with_both_ids(tasks: list[Made]) -> None:
    shelf = _shelf(base_tensors(seed=5))
    with pytest.raises(UsageError) as refusal:
        shelf.task(tasks[0].pack)
    assert shelf.base_id in refusal.value.message
    assert tasks[0].pack.base_id in refusal.value.message


def test_a_skeleton_that_does_not_fit_is_refused(tasks: list[Made]) -> None:
    def wider(pack: Pack) -> nn.Module:
        model = _skeleton(pack)
        model.classifier = nn.Linear(WIDTH, 7)
        model.extra = nn.Linear(2, 2)
        return model

    with pytest.raises(EdgepruneError, match=r"classifier\.bias, classifier\.weight, extra\.bias, extra\.w"):
        _shelf(tasks[0].base, wider).task(tasks[0].pack)


def test_a_buffer_without_values_is_refused(tasks: list[Made]) -> None:
    def hollow(pack: Pack) -> nn.Module:
        model = _skeleton(pack)
        model.register_buffer("scale", torch.empty(2, device="meta"), persistent=False)
        return model

    with pytest.raises(EdgepruneError, match=r"scale \(no values\)"):
        _shelf(tasks[0].base, hollow).task(tasks[0].pack)
