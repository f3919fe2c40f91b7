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

__all__ = ["describe_masks", "new_parameters", "save_masks", "save_pack"]

PACK_FILE = "task.edgepack"


def describe_masks(
    work: Work, masking: Masking, matrices: Sequence[MaskedMatrix], sites: Sequence[Any]
) -> dict[str, Any]:
    """The part of the record that is about masks: method, density, parameters, every matrix.

    Args:
        work: Of the stage.
        masking: How they were learned; its model is folded.
        matrices: The final masks.
        sites: All linear layers of the encoder.
    """
    from edgeprune.masking.describing import describe_matrix
    from edgeprune.structure.loading import structure_of
    from edgeprune.structure.weights import read_tensors

    config: LearnMasksConfig = work.config
    plan, model = masking.plan, masking.model
    encoder = sum(model.get_submodule(site.name).weight.numel() for site in sites)
    learned = plan.method in ("smp", "movement", "movement-soft", "l0")
    record = {
        "method": plan.method,
        "allocation": plan.allocation,
        "granularity": str(plan.granularity),
        "distilled": config.distillation is not None or plan.method == "pins",
        "precision": config.precision,
        "head": structure_of(model).head,
        "density": _density(matrices, encoder, plan.density),
        "new_parameters": new_parameters(masking, matrices, read_tensors(work.assets["model"])),
        "encoder_parameters": encoder,
        "matrices": [describe_matrix(item, learned=learned) for item in matrices],
    }
    return record | ({"rank": plan.rank} if plan.method == "pst" else {})


def save_masks(work: Work, matrices: Sequence[MaskedMatrix]) -> None:
    """`masks.safetensors` (uint8 0 or 1, biases as `….bias`) and `scores.safetensors` (float32)."""
    import torch
    from safetensors.torch import save_file

    masks = {item.name: item.mask.to(torch.uint8) for item in matrices}
    masks |= {f"{item.name}.bias": item.bias.to(torch.uint8) for item in matrices if item.bias is not None}
    save_file(masks, work.output / "masks.safetensors")
    save_file({item.name: item.scores.contiguous() for item in matrices}, work.output / "scores.safetensors")


def _density(matrices: Sequence[MaskedMatrix], encoder: int, target: float) -> dict[str, Any]:
    """What is kept, of what this granularity can prune and of the whole encoder, counted in the masks."""
    from edgeprune.masking.describing import total_density

    kept, prunable = total_density(matrices)
    return {
        "target": target,
        "kept": kept / prunable,
        "kept_weights": kept,
        "prunable_weights": prunable,
        "encoder": (encoder - prunable + kept) / encoder,
    }


def new_parameters(masking: Masking, matrices: Sequence[MaskedMatrix], base: Mapping[str, Tensor]) -> int:
    """What a task adds to a device that has the base, in 32-bit parameters, as SMP's table 1 counts.

    Masks count a bit a weight. On a frozen base, what else changed counts whole (the head, PST's U and V);
    elsewhere the weights that are left of every changed matrix do.

    Args:
        masking: How it was trained; its model is folded.
        matrices: The final masks.
        base: The pre-trained checkpoint's tensors.
    """
    import torch

    from edgeprune.masking.base_model import in_task_names

    model: Any = masking.model
    before = in_task_names(base, model.base_model_prefix)
    left = {f"{item.name}.weight": int(item.mask.sum()) for item in matrices}
    total = -(-sum(item.mask.numel() for item in matrices) // 32) + masking.factors
    for name, tensor in model.state_dict().items():
        if name in left and masking.method.base_frozen:
            continue
        if name not in before or not torch.equal(tensor, before[name]):
            total += left.get(name, tensor.numel())
    return int(total)


def save_pack(
    work: Work, model: Any, matrices: Sequence[MaskedMatrix], classes: Sequence[str]
) -> dict[str, Any]:
    """Write `task.edgepack`: the task for a device that has the base. Returns its sizes for the record.

    Args:
        work: Of the stage; its output holds the saved model.
        model: The folded model.
        matrices: Its masks.
        classes: Names, in the order of their ids.
    """
    from edgeprune.masking.describing import total_density
    from edgeprune.masking.separating import remainder, separate
    from edgeprune.structure.weights import read_tensors

    base = read_tensors(work.assets["model"])
    masks = {item.name: item.mask for item in matrices}
    masks |= {f"{item.name}.bias": item.bias for item in matrices if item.bias is not None}
    structure = work.output / "structure.json"
    kept, prunable = total_density(matrices)
    pack = separate(
        base,
        masks,
        remainder(base, masks, dict(model.state_dict())),
        config=json.loads((work.output / "config.json").read_text(encoding="utf-8")),
        classes=classes,
        structure=json.loads(structure.read_text(encoding="utf-8")) if structure.is_file() else None,
        provenance={"method": work.config.method, "density": kept / prunable, "seed": work.seed},
    )
    pack.save(work.output / PACK_FILE)
    return dict(pack.summary().record())
