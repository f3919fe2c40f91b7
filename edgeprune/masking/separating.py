"""A trained model into base + mask pack, and a pack on its base back into a model's tensors.

Where the base is frozen, a task is: which of the base's weights are kept, and the head. Applying gives the
folded model, value for value: W where the mask keeps it, +0 where not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from edgeprune.errors import EdgepruneError, UsageError
from edgeprune.masking.base_model import base_id, encoder_tensors, in_task_names, tensor_digest
from edgeprune.masking.coding import encode_masks
from edgeprune.masking.pack import Borrowed, Pack, as_matrix
from edgeprune.masking.stored_tensor import Encoding, StoredTensor, store

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["apply", "head_of", "masked_name", "remainder", "require_base", "separate"]


def separate(
    base_tensors: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    head: Mapping[str, Tensor],
    *,
    config: Mapping[str, Any],
    classes: Sequence[str],
    structure: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    head_encoding: Encoding = "exact",
) -> Pack:
    """A mask pack.

    Args:
        base_tensors: Of the base: what its files hold, for that is what a device has. (In the `state_dict` of
            a model that was prepared for a task, the head is new, and would count as the base's.)
        masks: Module path of a linear layer in the task's model to the bool mask of its weight, or full
            name of another encoder tensor (a bias) to its mask; true is kept.
        head: Name in the task's model to tensor, of all that is not the masked base (`remainder`). What
            the base holds too, whatever it is called there, is not stored but borrowed.
        config: The task's Hugging Face config, what its `config.json` says.
        classes: Names, in the order of their ids.
        structure: What `structure.json` says of the task's model, if it needs one.
        provenance: How it came about, any JSON.
        head_encoding: `float16` or `int8-rows` make the head smaller and lossy; tensors that an encoding
            is not for (vectors in `int8-rows`, whole numbers) stay exact.

    Raises:
        ValueError: A mask is no bool tensor of its weight's shape, or of nothing in the base's encoder; or
            the masks lie below no common encoder.
    """
    prefix = _common_prefix(masks)
    base = in_task_names(base_tensors, prefix)
    encoder = encoder_tensors(base, prefix)
    for path, mask in masks.items():
        target = encoder.get(masked_name(path, encoder))
        if target is None or target.shape != mask.shape or mask.dtype != torch.bool:
            has = "there is no such tensor in the base" if target is None else f"it has {list(target.shape)}"
            raise ValueError(f"the mask of {path} is {mask.dtype} of shape {list(mask.shape)}; {has}")
    arrays = [mask.detach().cpu().reshape(as_matrix(tuple(mask.shape))).numpy() for mask in masks.values()]
    held = {tensor_digest(tensor): name for name, tensor in base.items()}
    digests = {name: tensor_digest(tensor) for name, tensor in head.items()}
    return Pack(
        base_id=base_id(base, prefix),
        prefix=prefix,
        config=_as_json(config),
        classes=tuple(classes),
        shapes={path: tuple(mask.shape) for path, mask in masks.items()},
        coded_masks=encode_masks(arrays),
        head={
            name: _stored(tensor, head_encoding) for name, tensor in head.items() if digests[name] not in held
        },
        borrowed={name: Borrowed(held[digest], digest) for name, digest in digests.items() if digest in held},
        structure=_as_json(structure or {}),
        provenance=_as_json(provenance or {}),
    )


def remainder(
    base_tensors: Mapping[str, Tensor], masks: Mapping[str, Tensor], model_tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The head for `separate`: what of a folded model is neither the base's nor the base's under a mask.

    Args:
        base_tensors: As for `separate`.
        masks: As for `separate`.
        model_tensors: The folded model's `state_dict`.

    Raises:
        ValueError: A masked weight is not the base's under its mask; no pack can then give the model back.
    """
    prefix = _common_prefix(masks)
    expected = _masked(encoder_tensors(base_tensors, prefix), masks)
    masked = {masked_name(path, expected) for path in masks}
    left = {}
    for name, tensor in model_tensors.items():
        if name in expected and torch.equal(expected[name], tensor):
            continue
        if name in masked:
            raise ValueError(f"{name} is not the base's under its mask: its weights were trained too")
        left[name] = tensor
    return left


def apply(pack: Pack, base_tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All tensors of the task's model: the masked base and the head.

    Args:
        pack: The task.
        base_tensors: Of the base that it was made from: a checkpoint's, or a `state_dict`.

    Returns:
        Name to tensor; what is not masked shares its storage with the base.

    Raises:
        UsageError: The base is another one.
        UnsupportedError: The masks are of another version.
        EdgepruneError: The pack is damaged.
    """
    base = in_task_names(base_tensors, pack.prefix)
    encoder = encoder_tensors(base, pack.prefix)
    require_base(pack, base_id(base, pack.prefix))
    masks = {path: torch.from_numpy(mask) for path, mask in pack.masks().items()}
    for path, mask in masks.items():
        target = encoder.get(masked_name(path, encoder))
        if target is None or target.shape != mask.shape:
            raise EdgepruneError(f"the mask pack is damaged: its base has no {path} of {list(mask.shape)}")
    return _masked(encoder, masks) | head_of(pack, base)


def require_base(pack: Pack, found: str) -> None:
    """Refuse a pack on a base that it was not made from.

    Raises:
        UsageError: `found`, the id of the base that is there, is not the pack's.
    """
    if found != pack.base_id:
        raise UsageError(
            f"the mask pack was made from another base: it needs {pack.base_id}, this one is {found}",
            hint="give the base that the run with the masks started from",
        )


def head_of(pack: Pack, base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The head's tensors, stored and borrowed.

    Args:
        pack: The task.
        base: Tensors of its base in `base_model.in_task_names`.

    Raises:
        UsageError: The base lacks a tensor that the head borrows, or has another one under its name.
    """
    head = {name: item.torch() for name, item in pack.head.items()}
    for name, item in pack.borrowed.items():
        if item.tensor not in base or tensor_digest(base[item.tensor]) != item.sha256:
            state = "has another one" if item.tensor in base else "lacks it"
            raise UsageError(
                f"the head's {name} is the base's own {item.tensor}, and this base {state}",
                hint="give the base with the heads that it was published with",
            )
        head[name] = base[item.tensor]
    return head


def masked_name(path: str, encoder: Mapping[str, Tensor]) -> str:
    """The tensor that a mask is for: a module's weight, or the tensor of that very name."""
    return f"{path}.weight" if f"{path}.weight" in encoder else path


def _masked(encoder: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    folded = dict(encoder)
    for path, mask in masks.items():
        name = masked_name(path, encoder)
        weight = encoder[name]
        folded[name] = torch.where(mask.to(weight.device), weight, torch.zeros_like(weight))
    return folded


def _as_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a file will give back: keys are text, tuples are lists."""
    found: dict[str, Any] = json.loads(json.dumps(dict(values)))
    return found


def _common_prefix(masks: Mapping[str, Tensor]) -> str:
    prefixes = sorted({path.partition(".")[0] for path in masks})
    if len(prefixes) != 1:
        raise ValueError(f"masks lie below one encoder; these lie below {', '.join(prefixes) or 'none'}")
    return prefixes[0]


def _stored(tensor: Tensor, encoding: Encoding) -> StoredTensor:
    fits = tensor.is_floating_point() and (encoding != "int8-rows" or tensor.ndim >= 2)
    return store(tensor, encoding if fits else "exact")
