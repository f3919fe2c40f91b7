"""Putting sets of units on a model's encoder matrices, by torch's parametrizations.

`state_dict`, the forward pass and export keep working; `masking.attached` steers what is put here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import nn
from torch.nn.utils import parametrize

from edgeprune.masking.granularity import Granularity, score_shape
from edgeprune.masking.sensitivity import SensitivityUnits
from edgeprune.masking.units import (
    SCORES,
    HardConcreteUnits,
    LowRankUnits,
    MagnitudeUnits,
    Masked,
    ScoredUnits,
    Units,
)

if TYPE_CHECKING:
    from edgeprune.masking.plan import MaskPlan

__all__ = ["Part", "Site", "attach", "detach", "parts_of"]


class Site(Protocol):
    """Where a linear layer of the encoder lives (`structure.architectures.LinearSite`)."""

    @property
    def name(self) -> str:
        """Module path."""

    @property
    def layer(self) -> int:
        """Number of its encoder layer."""

    @property
    def kind(self) -> str:
        """`query`, `key`, `value`, `output`, `up` or `down`."""


class Part:
    """One tensor that a set of units masks.

    Attributes:
        site: The linear layer.
        tensor: `weight` or `bias`.
        axis: How units lie in it (`Units.spread`).
        repeat: Rows or columns per unit.
    """

    def __init__(self, site: Site, tensor: str, axis: str, repeat: int = 1) -> None:
        self.site, self.tensor, self.axis, self.repeat = site, tensor, axis, repeat


_HEAD_AXES = {"query": "rows", "key": "rows", "value": "rows", "output": "columns"}
_ROW_AXES = {"up": "rows", "down": "columns"}


def parts_of(
    sites: Sequence[Site], granularity: Granularity, heads: int, widths: dict[str, tuple[int, int]]
) -> Iterator[tuple[str, int, str, tuple[int, int], list[Part]]]:
    """The sets of units of a granularity: (name, layer, kind, shape, what they mask).

    A head takes the rows of Q, K and V with their biases and the columns of O; an FFN row takes its bias
    and the column of the second matrix: the bias of a row that is gone would pass through the activation.

    Args:
        sites: The encoder's linear layers.
        granularity: The unit.
        heads: Attention heads of a layer.
        widths: Module path to (outputs, inputs).
    """
    if not granularity.structured:
        for site in sites:
            yield site.name, site.layer, site.kind, widths[site.name], [Part(site, "weight", "full")]
        return
    for kind, axes in (("head", _HEAD_AXES), ("row", _ROW_AXES)):
        if kind not in granularity.kind:
            continue
        for layer in sorted({site.layer for site in sites}):
            own = [site for site in sites if site.layer == layer and site.kind in axes]
            rows = next(widths[site.name][0] for site in own if axes[site.kind] == "rows")
            units = heads if kind == "head" else rows
            parts = []
            for site in own:
                parts.append(Part(site, "weight", axes[site.kind], rows // units))
                if axes[site.kind] == "rows":
                    parts.append(Part(site, "bias", "bias", rows // units))
            yield f"layer {layer} {kind}s", layer, kind, (units, 1), parts


def attach(
    model: nn.Module, sites: Sequence[Site], plan: MaskPlan, heads: int
) -> list[tuple[Units, list[Part]]]:
    """Put units on a model; from here on its weights are masked in every forward pass.

    Returns:
        The sets of units, in the order of layers, with what each masks.
    """
    modules = dict(model.named_modules())
    widths = {site.name: _shape(modules[site.name]) for site in sites}
    found: list[tuple[Units, list[Part]]] = []
    for name, layer, kind, shape, parts in parts_of(sites, plan.granularity, heads, widths):
        kept = [part for part in parts if getattr(modules[part.site.name], part.tensor, None) is not None]
        units = _units(modules, plan, (name, layer, kind, plan.granularity, shape), kept)
        found.append((units, kept))
    # A fixed place for what must be saved; names of submodules hold no dots.
    model.add_module(SCORES, nn.ModuleDict({_key(units.name): units for units, _ in found}))
    for units, parts in found:
        for part in parts:
            parametrize.register_parametrization(
                modules[part.site.name], part.tensor, Masked(units, part.axis, part.repeat), unsafe=True
            )
    return found


def _units(
    modules: dict[str, nn.Module], plan: MaskPlan, about: tuple[object, ...], parts: list[Part]
) -> Units:
    tensors = [(getattr(modules[part.site.name], part.tensor), part.axis, part.repeat) for part in parts]
    shape: tuple[int, int] = about[-1]  # type: ignore[assignment]
    if plan.method == "magnitude":
        return MagnitudeUnits(*about, parts=tensors)
    if plan.method == "pst":
        return LowRankUnits(*about, weight=tensors[0][0], rank=plan.rank)
    if plan.method == "pins":
        return SensitivityUnits(*about, weight=tensors[0][0])
    units = shape[:1] if plan.granularity.structured else score_shape(plan.granularity, shape)
    kind = HardConcreteUnits if plan.method == "l0" else ScoredUnits
    made = kind(*about, units=units, initial=plan.score_init)
    made.regularized = plan.regularizer > 0
    return made


def detach(model: nn.Module, parts: Sequence[Part]) -> None:
    """Leave plain tensors with the values that they have now; nothing of the masking stays."""
    modules = dict(model.named_modules())
    with torch.no_grad():
        for part in parts:
            module = modules[part.site.name]
            value = getattr(module, part.tensor).detach().clone()
            trained = module.parametrizations[part.tensor].original.requires_grad
            parametrize.remove_parametrizations(module, part.tensor, leave_parametrized=False)
            setattr(module, part.tensor, nn.Parameter(value, requires_grad=trained))
    delattr(model, SCORES)


def _shape(module: nn.Module) -> tuple[int, int]:
    outputs, inputs = module.weight.shape
    return int(outputs), int(inputs)


def _key(name: str) -> str:
    return name.replace(".", "/")
