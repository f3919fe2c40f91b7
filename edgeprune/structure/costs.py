"""What a structure costs: parameters, FLOPs or measured time, as one table that budgets are met with.

A structure is a pair (kept heads, kept FFN rows) per layer. Its cost is taken to be a sum,

    fixed + Σ over layers (layer + attention[heads] + ffn[rows])

which is exact for parameters and FLOPs, and a model of measured time. `layer` is what a layer costs that is
there without heads and rows; a layer that is not there costs nothing. What is counted:

    parameters  weights of the encoder's linear layers and, where asked for, their biases. No LayerNorm.
    FLOPs       twice the multiply-adds of the encoder's linear layers and of attention's two products
                (scores QKᵀ and context PV), all tokens of one sequence. No bias, LayerNorm, softmax,
                activation, embedding.

The scope `encoder` stops there; `model` adds, as fixed, embeddings (parameters only) and task head (its
parameters; twice as many FLOPs, as it answers once a sequence).

Shapes: T tokens, hidden width H, head size d.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from math import isfinite
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgeprune.errors import EdgepruneError, UnsupportedError
from edgeprune.structure.architectures import architecture_of, encoder_layers, head_parameters

__all__ = ["CostTable", "Kept", "Scope", "Shape", "aligned_widths", "flops", "parameters", "shape_of"]

Scope = Literal["encoder", "model"]
Kept = tuple[int, int]
"""Kept heads and kept FFN rows of a layer that is there."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a dense encoder with a task head.

    Attributes:
        layers: Number of layers, all alike.
        hidden: H, width of the states that pass from layer to layer.
        heads: Attention heads of a layer.
        head_size: d, width of a head.
        rows: FFN rows of a layer.
        embedding_parameters: Everything before the layers.
        head_parameters: Of the task head.
        unscaled_embedding_parameters: Those of `embedding_parameters` whose number does not depend on H:
            tables of a width of their own, a bias per relative position.
    """

    layers: int
    hidden: int
    heads: int
    head_size: int
    rows: int
    embedding_parameters: int = 0
    head_parameters: int = 0
    unscaled_embedding_parameters: int = 0

    def narrowed(self, hidden: int) -> Shape:
        """The same at a smaller hidden width; `self` is the dense shape.

        Heads and rows keep their number. The task head keeps its own width and reads fewer inputs.
        """
        scaled = self.embedding_parameters - self.unscaled_embedding_parameters
        return replace(
            self,
            hidden=hidden,
            embedding_parameters=self.unscaled_embedding_parameters + scaled * hidden // self.hidden,
            head_parameters=max(0, self.head_parameters - self.hidden * (self.hidden - hidden)),
        )


def shape_of(model: Any) -> Shape:
    """Sizes of a live dense classifier.

    Args:
        model: A Hugging Face sequence classifier of a known architecture.

    Raises:
        UnsupportedError: The table has no such architecture, or the layers are not all alike.
    """
    entry = architecture_of(model)
    layers = list(encoder_layers(model))
    sizes = {_layer_sizes(entry, layer) for layer in layers}
    if len(sizes) != 1:
        raise UnsupportedError(
            f"the layers differ, (hidden, heads, head size, rows) are {sorted(sizes)}",
            where=type(model).__name__,
            hint="costs are those of a dense model and its cut versions: give the dense one",
        )
    hidden, heads, head_size, rows = sizes.pop()
    named = dict(model.named_parameters())
    in_head = set(head_parameters(model))
    in_layers = {id(weight) for layer in layers for weight in layer.parameters()}
    before = {
        name: weight for name, weight in named.items() if name not in in_head and id(weight) not in in_layers
    }
    own = [w for name, w in before.items() if w.shape[-1] != hidden and "embeddings_project." not in name]
    return Shape(
        len(layers),
        hidden,
        heads,
        head_size,
        rows,
        sum(weight.numel() for weight in before.values()),
        sum(named[name].numel() for name in in_head),
        sum(weight.numel() for weight in own),
    )


def _layer_sizes(entry: Any, layer: Any) -> tuple[int, int, int, int]:
    """(hidden, heads, head size, rows); a sub-layer that was emptied has none of them."""
    heads = int(getattr(layer.get_submodule(entry.attention), entry.heads))
    try:
        query, up = (layer.get_submodule(entry.linears[kind]) for kind in ("query", "up"))
        return int(query.in_features), heads, int(query.out_features) // heads, int(up.out_features)
    except AttributeError:
        return 0, heads, 0, 0


def parameters(shape: Shape, kept: Iterable[Kept], *, biases: bool = True, scope: Scope = "encoder") -> int:
    """Parameters of a structure.

    Args:
        shape: Of the dense model, at the hidden width that is asked about.
        kept: Heads and rows of each layer that is there.
        biases: Whether the linear layers' biases count. Those of the two output matrices stay with an
            empty layer.
        scope: See the module.
    """
    width = shape.hidden
    per_head = shape.head_size * (4 * width + 3 * biases)
    per_row = 2 * width + biases
    layers = (heads * per_head + rows * per_row + 2 * width * biases for heads, rows in kept)
    fixed = shape.embedding_parameters + shape.head_parameters if scope == "model" else 0
    return fixed + sum(layers)


def flops(shape: Shape, kept: Iterable[Kept], length: int, *, scope: Scope = "encoder") -> int:
    """FLOPs of one sequence.

    Args:
        shape: Of the dense model, at the hidden width that is asked about.
        kept: Heads and rows of each layer that is there.
        length: T, tokens of the sequence.
        scope: See the module.
    """
    per_head = 2 * length * shape.head_size * (4 * shape.hidden + 2 * length)
    per_row = 2 * length * 2 * shape.hidden
    fixed = 2 * shape.head_parameters if scope == "model" else 0
    return fixed + sum(heads * per_head + rows * per_row for heads, rows in kept)


def aligned_widths(rows: int, alignment: int) -> tuple[int, ...]:
    """FFN widths that a layer of `rows` rows may have: multiples of `alignment`, 0 too, and all it has."""
    return tuple(sorted({*range(0, rows + 1, alignment), rows}))


@dataclass(frozen=True)
class CostTable:
    """Costs of the parts of a model; see the module for what they add up to.

    Attributes:
        attention: Of 0, 1, … heads of a layer, up to all that the dense layer has; the first is 0.
        widths: FFN widths that costs are known at: ascending, the first 0, the last the dense one.
        ffn: Cost at each width; the first is 0. Widths between are interpolated.
        layer: Of a layer that is there though empty.
        fixed: Of what no structure changes.
        unit: What is counted, e.g. ``parameters``, ``FLOPs``, ``ms``.

    Raises:
        EdgepruneError: Sizes that do not fit, or a cost that is negative or not a number.
    """

    attention: tuple[float, ...]
    widths: tuple[int, ...]
    ffn: tuple[float, ...]
    layer: float
    fixed: float
    unit: str

    def __post_init__(self) -> None:
        ascending = self.widths[:1] == (0,) and all(low < high for low, high in pairwise(self.widths))
        if not ascending or len(self.ffn) != len(self.widths) or len(self.attention) < 1:
            raise EdgepruneError(
                f"a cost table needs widths that ascend from 0 with a cost each, got widths {self.widths} "
                f"with {len(self.ffn)} costs, and {len(self.attention)} costs of heads"
            )
        costs = (*self.attention, *self.ffn, self.layer, self.fixed)
        if any(not isfinite(cost) or cost < 0 for cost in costs) or self.attention[0] or self.ffn[0]:
            raise EdgepruneError(
                f"costs in {self.unit} must be numbers from 0 on, and 0 for no heads and no rows, got {costs}"
            )

    @classmethod
    def from_parameters(
        cls, shape: Shape, alignment: int, *, biases: bool = True, scope: Scope = "encoder"
    ) -> CostTable:
        """Costs are parameters.

        Args:
            shape: Of the dense model, at the hidden width that is asked about.
            alignment: FFN widths are multiples of it.
            biases: Whether the linear layers' biases count.
            scope: See the module.
        """

        def count(kept: list[Kept]) -> float:
            return float(parameters(shape, kept, biases=biases, scope=scope))

        return cls._counted(shape, alignment, count, "parameters")

    @classmethod
    def from_flops(cls, shape: Shape, alignment: int, length: int, *, scope: Scope = "encoder") -> CostTable:
        """Costs are FLOPs of one sequence of `length` tokens; the other arguments as for parameters."""

        def count(kept: list[Kept]) -> float:
            return float(flops(shape, kept, length, scope=scope))

        return cls._counted(shape, alignment, count, f"FLOPs at {length} tokens")

    @classmethod
    def _counted(cls, shape: Shape, alignment: int, count: Any, unit: str) -> CostTable:
        widths = aligned_widths(shape.rows, alignment)
        fixed, empty = count([]), count([(0, 0)])
        attention = tuple(count([(heads, 0)]) - empty for heads in range(shape.heads + 1))
        ffn = tuple(count([(0, rows)]) - empty for rows in widths)
        return cls(attention, widths, ffn, empty - fixed, fixed, unit)

    @classmethod
    def from_latency(
        cls,
        attention: Mapping[int, float],
        ffn: Mapping[int, float],
        *,
        layer: float,
        fixed: float,
        alignment: int,
        unit: str = "ms",
    ) -> CostTable:
        """Costs are measured times, linear between what was measured.

        Args:
            attention: Heads to time of a layer's attention beyond an empty layer's; the largest number is
                that of the dense layer.
            ffn: FFN rows to time, likewise.
            layer: Time of an empty layer.
            fixed: Time of a model without layers.
            alignment: FFN widths are multiples of it.
            unit: What the times are in.
        """
        heads = np.arange(max(attention) + 1)
        widths = aligned_widths(max(ffn), alignment)
        return cls(
            tuple(_interpolated({0: 0.0, **attention}, heads).tolist()),
            widths,
            tuple(_interpolated({0: 0.0, **ffn}, widths).tolist()),
            layer,
            fixed,
            unit,
        )

    @property
    def heads(self) -> int:
        """Heads of a dense layer."""
        return len(self.attention) - 1

    @property
    def rows(self) -> int:
        """FFN rows of a dense layer."""
        return self.widths[-1]

    def ffn_at(self, widths: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Costs at any FFN widths, linear between the known ones; shape of `widths`."""
        return np.interp(np.asarray(widths, np.float64), self.widths, self.ffn)

    def total(self, kept: Iterable[Kept]) -> float:
        """Cost of a structure.

        Args:
            kept: Heads and rows of each layer that is there.
        """
        costs = [self.layer + self.attention[heads] + float(self.ffn_at(rows)) for heads, rows in kept]
        return self.fixed + sum(costs)

    def dense(self, layers: int) -> float:
        """Cost of that many layers with all their heads and rows."""
        return self.total([(self.heads, self.rows)] * layers)


def _interpolated(known: Mapping[int, float], places: npt.ArrayLike) -> npt.NDArray[np.float64]:
    points = sorted(known)
    return np.interp(np.asarray(places, np.float64), points, [known[point] for point in points])
