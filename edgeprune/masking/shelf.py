"""One base model in memory, many tasks on it.

Every task is a model whose encoder's parameters are the base's own storage. What a task adds is its head and
its masks, a bit a weight. A masked weight is put together when it is used (a parametrization, so that the
model shows it) and forgotten after; that costs time in every forward pass, and
`torch.nn.utils.parametrize.cached()` around several passes pays it once. Where memory is no concern,
`separating.apply` gives ordinary weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize

from edgeprune.errors import EdgepruneError
from edgeprune.masking.base_model import base_id, encoder_tensors, in_task_names
from edgeprune.masking.pack import Pack
from edgeprune.masking.separating import head_of, masked_name, require_base

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

__all__ = ["PackedMask", "TaskShelf"]


# Each byte's eight bits as eight bools in one int64: looking eight up at a time is ten times as fast as
# shifting bits about, and is what a forward pass of every task pays.
_UNPACKED = torch.from_numpy(
    np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).reshape(-1).view(np.int64).copy()
)


class PackedMask(nn.Module):  # type: ignore[misc]
    """The parametrization of one weight: M ⊙ W, with a bit a weight in memory.

    Args:
        mask: Bool, of the weight's shape.
    """

    bits: Tensor
    unpacked: Tensor

    def __init__(self, mask: npt.NDArray[np.bool_]) -> None:
        super().__init__()
        self.shape = mask.shape
        self.register_buffer("bits", torch.from_numpy(np.packbits(mask.reshape(-1))), persistent=False)
        self.register_buffer("unpacked", _UNPACKED, persistent=False)

    def mask(self) -> Tensor:
        """Bool, of the weight's shape."""
        flat = self.unpacked.index_select(0, self.bits.int()).view(torch.bool)
        return flat[: prod(self.shape)].reshape(self.shape)

    def forward(self, weight: Tensor) -> Tensor:
        """The weight where the mask keeps it, zero where not."""
        return weight * self.mask()


class TaskShelf:
    """Holds one base; gives out models for tasks.

    Args:
        base_tensors: Of the base: a checkpoint's, or a `state_dict`. The shelf keeps them, and every task
            shares them: do not change them while a task is in use.
        prefix: What a model for a task calls its encoder, e.g. `bert`.
        skeleton: Makes the empty model for a pack: parameters on the meta device, buffers filled.
    """

    def __init__(
        self, base_tensors: Mapping[str, Tensor], prefix: str, skeleton: Callable[[Pack], nn.Module]
    ) -> None:
        self._base = in_task_names(base_tensors, prefix)
        self._encoder = encoder_tensors(self._base, prefix)
        self._skeleton = skeleton
        self.base_id = base_id(self._base, prefix)

    def task(self, pack: Pack) -> nn.Module:
        """The model of a task, in evaluation mode, nothing in it trainable.

        Its answers are, to the bit, those of the folded model.

        Raises:
            UsageError: The pack was made from another base.
            UnsupportedError: Its masks are of another version.
            EdgepruneError: It is damaged, or not what its own model needs.
        """
        require_base(pack, self.base_id)
        model = self._skeleton(pack)
        tensors = self._encoder | head_of(pack, self._base)
        self._require_whole(model, tensors)
        model.load_state_dict(tensors, strict=True, assign=True)
        model.requires_grad_(False)
        for path, mask in pack.masks().items():
            name = masked_name(path, self._encoder)
            if name not in self._encoder or self._encoder[name].shape != mask.shape:
                raise EdgepruneError(f"the mask pack is damaged: its base has no {path} of {mask.shape}")
            owner, _, tensor = name.rpartition(".")
            parametrize.register_parametrization(
                model.get_submodule(owner), tensor, PackedMask(mask), unsafe=True
            )
        return model.eval()

    def _require_whole(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
        places = model.state_dict()
        faults = sorted(
            name
            for name in places.keys() | tensors.keys()
            if name not in places or name not in tensors or places[name].shape != tensors[name].shape
        )
        faults += [f"{name} (no values)" for name, buffer in model.named_buffers() if buffer.is_meta]
        if faults:
            named = ", ".join(faults[:4]) + (f" and {len(faults) - 4} more" if len(faults) > 4 else "")
            raise EdgepruneError(
                f"base and pack do not make up the model that the pack's config describes: {named}",
                hint="the pack was made for another version of this architecture",
            )
