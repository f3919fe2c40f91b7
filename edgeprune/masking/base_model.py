"""The base model under masks: which of its tensors count, and the id that they have.

A pack fits one base: the one whose encoder has the values from which its masks were learned. The id is a
hash of what all tasks on a base share, the encoder: its embeddings, its LayerNorms, its linear layers with
their biases. Heads do not count (poolers, MLM heads, classifiers): a task brings its own, or names what it
borrows.

So the id does not depend on how the base is kept. These are all one:
  - a bare encoder (`encoder.layer.0…`) and the same below a task (`bert.encoder.layer.0…`),
  - one file and several shards, any order of tensors, LayerNorm's old names (`gamma`, `beta`),
  - half precision and the float32 of the same values,
  - with or without buffers of whole numbers (`position_ids`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgeprune.masking.stored_tensor import byte_view, dtype_name

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["base_id", "encoder_tensors", "in_task_names", "tensor_digest"]

_FORMAT = b"edgeprune.base/1\n"
_HEADS = ("pooler",)
_OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


def in_task_names(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """A base's tensors under the names that they have in a model for a task, floating-point ones as float32.

    Args:
        tensors: Of a checkpoint file or a `state_dict`, with or without `prefix` before the encoder's names.
        prefix: What a model for a task calls its encoder (`base_model_prefix`), e.g. `bert`.

    Returns:
        The tensors themselves where nothing was to be converted; storage is shared.
    """
    bare = not any(name.startswith(f"{prefix}.") for name in tensors)
    named = {}
    for name, tensor in tensors.items():
        for old, new in _OLD_NAMES.items():
            if name.endswith(old):
                name = name.removesuffix(old) + new
        half = tensor.is_floating_point() and tensor.element_size() < 4
        named[f"{prefix}.{name}" if bare else name] = tensor.float() if half else tensor
    return named


def encoder_tensors(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Of `in_task_names`, those that the id covers: floating-point, below `prefix`, of no head."""
    heads = tuple(f"{prefix}.{head}." for head in _HEADS)
    return {
        name: tensor
        for name, tensor in in_task_names(tensors, prefix).items()
        if name.startswith(f"{prefix}.") and not name.startswith(heads) and tensor.is_floating_point()
    }


def base_id(tensors: Mapping[str, Tensor], prefix: str) -> str:
    """SHA-256, 64 hexadecimal digits, over the name, dtype, shape and bytes of every encoder tensor.

    Names are taken without `prefix` and in the order of their Unicode points; a line of JSON
    ``[name, dtype, shape]`` comes before each tensor's bytes.
    """
    digest = hashlib.sha256(_FORMAT)
    for name, tensor in sorted(encoder_tensors(tensors, prefix).items()):
        relative = name.removeprefix(f"{prefix}.")
        digest.update(json.dumps([relative, dtype_name(tensor), list(tensor.shape)]).encode() + b"\n")
        digest.update(byte_view(tensor).data)
    return digest.hexdigest()


def tensor_digest(tensor: Tensor) -> str:
    """SHA-256, 64 hexadecimal digits, over dtype, shape and bytes of one tensor."""
    digest = hashlib.sha256(json.dumps([dtype_name(tensor), list(tensor.shape)]).encode() + b"\n")
    digest.update(byte_view(tensor).data)
    return digest.hexdigest()
