"""What `learn_masks` keeps of its masks: files, numbers for the record, and the mask pack."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from edgeprune.masking.attached import MaskedMatrix, Masking
    from edgeprune.masking.stored_tensor import Encoding
    from edgeprune.stages.learn_masks import LearnMasksConfig

__all__ = ["describe_masks", "new_parameters", "save_masks", "save_pack"]

PACK_FILE = "task.edgepack"


def describe_masks(
    config: LearnMasksConfig,
    masking: Masking,
    matrices: Sequence[MaskedMatrix],
    sites: Sequence[Any],
    base: Mapping[str, Tensor],
) -> dict[str, Any]:
    """The part of the record that is about masks: method, density, parameters, every matrix.

    Args:
        config: Of the stage.
        masking: How they were learned; its model is folded.
        matrices: The final masks.
        sites: All linear layers of the encoder.
        base: The pre-trained checkpoint's tensors, as `in_task_names` gives them.
    """
    from edgeprune.masking.describing import describe_matrix
    from edgeprune.structure.loading import structure_of

    plan, model = masking.plan, masking.model
    encoder = sum(model.get_submodule(site.name).weight.numel() for site in sites)
    record = {
        "method": plan.method,
        "allocation": plan.allocation,
        "granularity": str(plan.granularity),
        "distilled": config.distillation is not None or plan.method == "pins",
        "precision": config.precision,
        "head": structure_of(model).head,
        "density": _density(matrices, encoder, plan.density),
        "new_parameters": new_parameters(masking, matrices, base),
        "encoder_parameters": encoder,
        "matrices": [describe_matrix(item, learned=masking.scored) for item in matrices],
    }
    return record | ({"rank": plan.rank} if plan.method == "pst" else {})


def save_masks(matrices: Sequence[MaskedMatrix], folder: Path) -> None:
    """`masks.safetensors` (uint8 0 or 1, biases as `….bias`) and `scores.safetensors` (float32)."""
    import torch
    from safetensors.torch import save_file

    masks = {name: mask.to(torch.uint8) for name, mask in _by_name(matrices).items()}
    save_file(masks, folder / "masks.safetensors")
    save_file({item.name: item.scores.contiguous() for item in matrices}, folder / "scores.safetensors")


def _by_name(matrices: Sequence[MaskedMatrix]) -> dict[str, Tensor]:
    """Masks under the names of what they mask: a linear layer, or its bias."""
    masks = {item.name: item.mask for item in matrices}
    return masks | {f"{item.name}.bias": item.bias for item in matrices if item.bias is not None}


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
        base: The pre-trained checkpoint's tensors, as `in_task_names` gives them.
    """
    import torch

    left = {f"{item.name}.weight": int(item.mask.sum()) for item in matrices}
    total = -(-sum(item.mask.numel() for item in matrices) // 32) + masking.factors
    for name, tensor in masking.model.state_dict().items():
        if name in left and masking.method.base_frozen:
            continue
        if name not in base or not torch.equal(tensor, base[name]):
            total += left.get(name, tensor.numel())
    return int(total)


def save_pack(
    model: Any,
    matrices: Sequence[MaskedMatrix],
    base: Mapping[str, Tensor],
    classes: Sequence[str],
    provenance: Mapping[str, Any],
    folder: Path,
    head_storage: Encoding = "exact",
) -> dict[str, Any]:
    """Write `task.edgepack`: the task for a device that has the base. Returns its sizes for the record.

    Args:
        model: The folded model. Its head becomes what the pack holds of it, in place, so that both are the
            same model, to the bit.
        matrices: Its masks.
        base: The pre-trained checkpoint's tensors.
        classes: Names, in the order of their ids.
        provenance: Where it came from, as the pack says to who inspects it.
        folder: Where the model is saved; the pack goes beside it.
        head_storage: How the pack holds the head.
    """
    from edgeprune.masking.separating import remainder, separate

    masks = _by_name(matrices)
    structure = folder / "structure.json"
    pack = separate(
        base,
        masks,
        remainder(base, masks, dict(model.state_dict())),
        config=json.loads((folder / "config.json").read_text(encoding="utf-8")),
        classes=classes,
        structure=json.loads(structure.read_text(encoding="utf-8")) if structure.is_file() else None,
        provenance=provenance,
        head_encoding=head_storage,
    )
    pack.save(folder / PACK_FILE)
    model.load_state_dict({name: item.torch() for name, item in pack.head.items()}, strict=False)
    return dict(pack.summary().record())
