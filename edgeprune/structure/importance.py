"""How much each attention head and each FFN row matters: what structured pruning ranks units by.

Every measure gives one number per unit and layer, at least 0, larger is more important. Heads are compared
with heads and rows with rows over all layers; Taylor importance, which estimates a change of the loss, also
compares heads with rows. The other measures are scaled so that all heads together weigh what all rows do.

Shapes: B texts, T tokens; a layer has H heads of size D, R rows; hidden width W.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgeprune.structure.architectures import LinearSite, encoder_layers, heads_per_layer, linear_sites

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "FloatArray",
    "Importance",
    "TaylorMeter",
    "by_magnitude",
    "by_scores",
    "by_survivors",
    "measure_taylor",
    "survivors",
]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Importance:
    """Numbers per unit.

    Attributes:
        heads: One array [heads] per layer.
        rows: One array [FFN rows] per layer.
    """

    heads: tuple[FloatArray, ...]
    rows: tuple[FloatArray, ...]

    def balanced(self) -> Importance:
        """Scaled so that the heads of the whole model sum up to 1, and the rows too."""
        totals = [float(sum(part.sum() for part in parts)) or 1.0 for parts in (self.heads, self.rows)]
        return Importance(
            tuple(part / totals[0] for part in self.heads), tuple(part / totals[1] for part in self.rows)
        )


def by_magnitude(model: Any) -> Importance:
    """Root of the sum of squares of all weights that go with a unit: those of `slicing`, without biases.

    Args:
        model: A Hugging Face model of a known architecture, sliced or not.
    """
    squares = _unit_sums(model, lambda site, weight: weight.double() ** 2)
    return Importance(
        tuple(np.sqrt(part) for part in squares.heads), tuple(np.sqrt(part) for part in squares.rows)
    ).balanced()


def survivors(model: Any, masks: Mapping[str, Tensor]) -> Importance:
    """How many of a unit's weights the masks keep.

    Args:
        model: The model that the masks are of.
        masks: Path of a linear layer to its mask [outputs, inputs], 0 or 1; a matrix without one is whole.
    """
    return _unit_sums(model, lambda site, weight: _mask_of(site, weight, masks))


def by_survivors(model: Any, masks: Mapping[str, Tensor]) -> Importance:
    """Share of a unit's weights that masks keep (SMP, section 8: compaction of rows)."""
    return survivors(model, masks).balanced()


def by_scores(model: Any, masks: Mapping[str, Tensor], scores: Mapping[str, Tensor]) -> Importance:
    """Sum of σ(S) over the weights of a unit that survive.

    Movement scores grow with what a weight's return would gain; σ keeps a few large ones from deciding alone.

    Args:
        model: The model that the masks are of.
        masks: As for `survivors`.
        scores: Path of a linear layer to S: one per weight, or one per block, row or head.
    """
    import torch

    def kept(site: LinearSite, weight: Tensor) -> Tensor:
        mask = _mask_of(site, weight, masks)
        found = scores.get(site.name)
        if found is None:
            return mask
        return mask * torch.sigmoid(_spread(found, weight, site))

    return _unit_sums(model, kept).balanced()


def _mask_of(site: LinearSite, weight: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
    import torch

    return masks[site.name].double() if site.name in masks else torch.ones_like(weight, dtype=torch.float64)


def _spread(scores: Tensor, weight: Tensor, site: LinearSite) -> Tensor:
    """One score per weight, from one per weight, block, or unit."""
    scores = scores.double()
    if scores.dim() == 1:  # of heads or rows: they lie along the outputs, but for `output` and `down`
        scores = scores[None, :] if site.kind in ("output", "down") else scores[:, None]
    rows, columns = (wide // narrow for wide, narrow in zip(weight.shape, scores.shape, strict=True))
    return scores.repeat_interleave(rows, 0).repeat_interleave(columns, 1)


def _unit_sums(model: Any, of: Callable[[LinearSite, Tensor], Tensor]) -> Importance:
    """Sums over the weights of each unit of something that is given per weight."""
    counts = heads_per_layer(model)
    heads = [np.zeros(count) for count in counts]
    rows = [np.zeros(0) for _ in counts]
    for site in linear_sites(model):
        weight = model.get_submodule(site.name).weight.detach()
        values = of(site, weight).double()
        if site.kind in ("up", "down"):
            sums = values.sum(1 if site.kind == "up" else 0).numpy()
            rows[site.layer] = sums if not rows[site.layer].size else rows[site.layer] + sums
        else:
            sums = values.sum(0 if site.kind == "output" else 1).numpy()
            heads[site.layer] = heads[site.layer] + sums.reshape(counts[site.layer], -1).sum(1)
    return Importance(tuple(heads), tuple(rows))


class TaylorMeter:
    """First-order estimate of what the loss would change by if a unit were gone: mean over texts of |g · x|.

    x is what the unit gives to the matrix after it (a head's part of the attention's context, a row's
    activation), g the gradient of the text's loss with respect to it, summed over the text's tokens (and a
    head's dimensions): Michel et al. 2019, section 4.2, with rows as in Molchanov et al. 2017. Between
    `attach` and `detach` every backward pass counts its batch.

    Args:
        model: A Hugging Face classifier of a known architecture.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._sites = [site for site in linear_sites(model) if site.kind in ("output", "down")]
        self._heads = heads_per_layer(model)
        self._texts = 0
        self._sums: dict[str, FloatArray] = {}
        self._width: FloatArray | None = None
        self._given: dict[str, Tensor] = {}
        self._handles: list[Any] = []

    def attach(self) -> TaylorMeter:
        """Begin to look."""
        for site in self._sites:
            module = self._model.get_submodule(site.name)
            self._handles.append(module.register_forward_pre_hook(self._keeper(site.name)))
        for number, layer in enumerate(encoder_layers(self._model)):
            self._handles.append(
                layer.register_forward_pre_hook(self._state_keeper(number), with_kwargs=True)
            )
        return self

    def detach(self) -> None:
        """Leave the model as it was."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._given.clear()

    def _keeper(self, name: str) -> Callable[..., None]:
        def keep(module: Any, arguments: tuple[Tensor, ...]) -> None:
            self._keep(name, arguments[0])

        return keep

    def _state_keeper(self, number: int) -> Callable[..., None]:
        def keep(module: Any, arguments: tuple[Tensor, ...], named: dict[str, Any]) -> None:
            states = arguments[0] if arguments else named.get("hidden_states", named.get("x"))
            if states is not None:
                self._keep(f"layer {number}", states)

        return keep

    def _keep(self, name: str, given: Tensor) -> None:
        if given.requires_grad:
            given.retain_grad()
            self._given[name] = given

    def count(self, texts: int) -> None:
        """After a backward pass of the mean loss over that many texts: add what was seen."""
        self._texts += texts
        for name, given in self._given.items():
            if given.grad is None:
                continue
            # The loss is a mean, so a text's own gradient is the batch's times the number of texts.
            product = (given.detach().float() * given.grad.float()).sum(1) * texts  # [B, inputs]
            if name.startswith("layer "):
                found = product.abs().sum(0).double().cpu().numpy() / len(self._heads)
                self._width = found if self._width is None else self._width + found
                continue
            site = next(site for site in self._sites if site.name == name)
            if site.kind == "output":
                product = product.reshape(len(product), self._heads[site.layer], -1).sum(2)
            found = product.abs().sum(0).double().cpu().numpy()
            self._sums[name] = self._sums[name] + found if name in self._sums else found
        self._given.clear()

    def importance(self) -> Importance:
        """Means over all texts so far.

        Raises:
            ValueError: None was counted.
        """
        if not self._texts:
            raise ValueError("no text was counted")
        heads = [np.zeros(count) for count in self._heads]
        rows = [np.zeros(0) for _ in self._heads]
        for site in self._sites:
            mean = self._sums[site.name] / self._texts
            (heads if site.kind == "output" else rows)[site.layer] = mean
        return Importance(tuple(heads), tuple(rows))

    def hidden(self) -> FloatArray:
        """The same for hidden dimensions: mean over layers of what their input states would change, [W].

        Raises:
            ValueError: Nothing was counted.
        """
        if self._width is None:
            raise ValueError("no text was counted")
        return self._width / self._texts


def measure_taylor(model: Any, batches: Iterable[Mapping[str, Tensor]]) -> tuple[Importance, FloatArray]:
    """Taylor importance of heads and rows, and of hidden dimensions, on labelled batches.

    Args:
        model: A classifier; evaluated without dropout, its parameters are not changed.
        batches: Inputs with `labels`.
    """
    meter = TaylorMeter(model.eval()).attach()
    try:
        for batch in batches:
            model.zero_grad(set_to_none=True)
            model(**batch).loss.backward()
            meter.count(len(batch["labels"]))
    finally:
        meter.detach()
        model.zero_grad(set_to_none=True)
    return meter.importance(), meter.hidden()
