"""What `prune_structure` tells of a structure: what is left of each layer, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from edgeprune.stages.latency_meeting import Met
    from edgeprune.structure.choosing import Choice
    from edgeprune.structure.costs import CostTable, Shape
    from edgeprune.structure.importance import FloatArray, Importance

__all__ = ["describe_cost", "describe_structure"]


def describe_structure(
    model: Any, shape: Shape, choice: Choice, importance: Importance, length: int
) -> dict[str, Any]:
    """The part of the record that is about the structure.

    Args:
        model: The cut model.
        shape: Of the dense one.
        choice: What was kept, in the numbers of the model that was cut.
        importance: Of its units, as it was measured.
        length: Tokens that FLOPs are counted at.
    """
    from edgeprune.structure.costs import flops, parameters
    from edgeprune.structure.narrowing import hidden_width
    from edgeprune.structure.slicing import kept_layers

    narrowed = shape.narrowed(hidden_width(model))
    whole = [(shape.heads, shape.rows)] * shape.layers
    left = [(len(layer.heads), len(layer.rows)) for layer in kept_layers(model) or ()]
    return {
        "layers": _layers(shape, choice, importance, kept_layers(model) or ()),
        "hidden": {"before": shape.hidden, "after": hidden_width(model)},
        "heads": {"before": shape.heads * shape.layers, "after": sum(heads for heads, _ in left)},
        "rows": {"before": shape.rows * shape.layers, "after": sum(rows for _, rows in left)},
        "encoder_parameters": {"before": parameters(shape, whole), "after": parameters(narrowed, left)},
        "flops": {
            "length": length,
            "before": flops(shape, whole, length),
            "after": flops(narrowed, left, length),
        },
        "importance_kept": _kept(choice, importance),
    }


def _kept(choice: Choice, importance: Importance) -> float:
    """Share of the importance of all heads and rows that is kept."""
    kept = sum(
        importance.heads[layer.source][list(layer.heads)].sum()
        + importance.rows[layer.source][list(layer.rows)].sum()
        for layer in choice.layers
    )
    return float(kept / sum(part.sum() for part in (*importance.heads, *importance.rows)))


def _layers(shape: Shape, choice: Choice, importance: Importance, kept: Any) -> list[dict[str, Any]]:
    """A row per layer of the dense model: what is left of it, and of its importance."""
    share = {
        item.source: (
            _share(importance.heads[chosen.source], chosen.heads),
            _share(importance.rows[chosen.source], chosen.rows),
        )
        for item, chosen in zip(kept, choice.layers, strict=True)
    }
    by_source = {item.source: item for item in kept}
    rows = []
    for number in range(shape.layers):
        item = by_source.get(number)
        heads, ffn = share.get(number, (0.0, 0.0))
        rows.append(
            {
                "layer": number,
                "there": item is not None,
                "heads": list(item.heads) if item else [],
                "all_heads": shape.heads,
                "rows": len(item.rows) if item else 0,
                "all_rows": shape.rows,
                "head_importance_kept": heads,
                "row_importance_kept": ffn,
            }
        )
    return rows


def _share(values: FloatArray, kept: tuple[int, ...]) -> float:
    total = float(values.sum())
    return float(np.sum(values[list(kept)])) / total if total else 0.0


def describe_cost(
    choice: Choice, table: CostTable | None, errors: Mapping[int, float], met: Met | None = None
) -> dict[str, Any] | None:
    """What units cost, where the budget was one of costs.

    Args:
        choice: What was kept.
        table: At the chosen hidden width.
        errors: Hidden width to the relative error of a measured table.
        met: How a budget of latency was met.
    """
    if table is None:
        return None
    timed = {"measured": asdict(met.ratio), "rounds": [asdict(item) for item in met.rounds]} if met else {}
    return {
        "unit": table.unit,
        "ratio": choice.cost_ratio,
        **timed,
        "errors": {str(width): error for width, error in errors.items()},
        "fixed": table.fixed,
        "layer": table.layer,
        "attention": list(table.attention),
        "ffn": dict(zip(map(str, table.widths), table.ffn, strict=True)),
    }
