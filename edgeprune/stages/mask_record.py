"""What `learn_masks` keeps of its masks: files, numbers for the record, and the mask pack."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgeprune.stages.contract import Work

if TYPE_CHECKING:
    from torch import Tensor

    from edgeprune.masking.attached import MaskedMatrix, Masking
    from edgeprune.stages.learn_masks import LearnMasksConfig

__all__ = ["density_record", "described", "encoder_weights", "new_parameters", "save_masks", "save_pack"]

PACK_FILE = "task.edgepack"


def encoder_weights(model: Any, sites: Sequence[Any]) -> list[Any]:
    """The weights of the encoder's linear layers: what density counts."""
    return [model.get_submodule(site.name).weight for site in sites]


def save_masks(work: Work, matrices: Sequence[MaskedMatrix]) -> None:
    """`masks.safetensors` (uint8 0 or 1, biases as `….bias`) and `scores.safetensors` (float32)."""
    import torch
    from safetensors.torch import save_file

    masks = {item.name: item.mask.to(torch.uint8) for item in matrices}
    masks |= {f"{item.name}.bias": item.bias.to(torch.uint8) for item in matrices if item.bias is not None}
    save_file(masks, work.output / "masks.safetensors")
    save_file({item.name: item.scores.contiguous() for item in matrices}, work.output / "scores.safetensors")


def density_record(
    matrices: Sequence[MaskedMatrix], model: Any, sites: Sequence[Any], target: float
) -> dict[str, Any]:
    """What is kept, of what this granularity can prune and of the whole encoder, counted in the masks."""
    from edgeprune.masking.describing import total_density

    kept, prunable = total_density(matrices)
    everything = sum(item.numel() for item in encoder_weights(model, sites))
    return {
        "target": target,
        "kept": kept / prunable,
        "kept_weights": kept,
        "prunable_weights": prunable,
        "encoder": (everything - prunable + kept) / everything,
    }


def new_parameters(
    masking: Masking, matrices: Sequence[MaskedMatrix], model: Any, base: Mapping[str, Tensor]
) -> int:
    """What a task adds to a device that has the base, in 32-bit parameters, as SMP's table 1 counts.

    Masks count a bit a weight. On a frozen base, what else changed counts whole (the head, PST's U and V);
    elsewhere the weights that are left of every changed matrix do.

    Args:
        masking: How it was trained.
        matrices: The final masks.
        model: The folded model.
        base: The pre-trained checkpoint's tensors.
    """
    import torch

    from edgeprune.masking.base_model import in_task_names

    before = in_task_names(base, model.base_model_prefix)
    left = {f"{item.name}.weight": int(item.mask.sum()) for item in matrices}
    total = -(-sum(item.mask.numel() for item in matrices) // 32) + masking.factors
    for name, tensor in model.state_dict().items():
        if name in left and masking.method.base_frozen:
            continue
        if name not in before or not torch.equal(tensor, before[name]):
            total += left.get(name, tensor.numel())
    return int(total)


def described(config: LearnMasksConfig, matrices: Sequence[MaskedMatrix]) -> dict[str, Any]:
    """Every matrix for the report: density, scores, map."""
    from edgeprune.masking.describing import describe_matrix

    learned = config.method in ("smp", "movement", "movement-soft", "l0")
    return {"matrices": [describe_matrix(item, learned=learned) for item in matrices]}


def save_pack(
    work: Work,
    base: Mapping[str, Tensor],
    model: Any,
    matrices: Sequence[MaskedMatrix],
    classes: Sequence[str],
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """Write `task.edgepack`: the task for a device that has the base. Returns its sizes for the record.

    Args:
        work: Of the stage; its output holds the saved model.
        base: The pre-trained checkpoint's tensors, as its files hold them.
        model: The folded model.
        matrices: Its masks.
        classes: Names, in the order of their ids.
        provenance: How it came about.
    """
    from edgeprune.masking.separating import remainder, separate

    masks = {item.name: item.mask for item in matrices}
    masks |= {f"{item.name}.bias": item.bias for item in matrices if item.bias is not None}
    tensors = dict(model.state_dict())
    structure = work.output / "structure.json"
    pack = separate(
        base,
        masks,
        remainder(base, masks, tensors),
        config=json.loads((work.output / "config.json").read_text(encoding="utf-8")),
        classes=classes,
        structure=json.loads(structure.read_text(encoding="utf-8")) if structure.is_file() else None,
        provenance=provenance,
    )
    pack.save(work.output / PACK_FILE)
    return dict(pack.summary().record())
