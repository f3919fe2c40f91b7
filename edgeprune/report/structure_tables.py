"""What is left of a cut model, in words and finished cells: shared by all renderers.

Nothing here knows a medium; escaping is the renderer's part.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from edgeprune.report.content import measured
from edgeprune.report.formatting import MISSING, count, percent, plain, points
from edgeprune.report.structures import Budget, Change, Flops, Layer, StructureRecord
from edgeprune.report.tables import Grid

__all__ = ["GONE", "changes", "facts", "head_ranges", "layers_table", "summary"]

GONE = "gone"
"""What stands where a layer left as a whole."""

_SCALES = ((10**9, "G"), (10**6, "M"), (10**3, "k"))


def changes(record: StructureRecord) -> Grid | None:
    """Before, after and share of everything that may have become less; None where nothing is known."""
    found = [
        ("attention heads", record.heads),
        ("FFN rows", record.rows),
        ("layers", _layers(record.layers)),
        ("hidden width", record.hidden),
        ("tokens", record.vocabulary),
        ("encoder parameters", record.encoder_parameters),
        ("all parameters", record.parameters),
    ]
    rows = [(name, _cells(change)) for name, change in found if change is not None]
    if record.flops is not None:
        rows.insert(len(rows) - (record.parameters is not None), _flops(record.flops))
    heads = ("part", "before", "after", "left")
    return Grid("What is left of the model", heads, tuple(rows)) if rows else None


def _layers(layers: Sequence[Layer]) -> Change | None:
    if not layers or any(layer.there is None for layer in layers):
        return None
    return Change(before=len(layers), after=sum(not layer.gone for layer in layers))


def _cells(change: Change) -> tuple[str, ...]:
    numbers = (MISSING if value is None else count(value) for value in (change.before, change.after))
    return (*numbers, _percent(change.share))


def _flops(change: Flops) -> tuple[str, tuple[str, ...]]:
    """The row of FLOPs, in a unit that leaves few digits before the point."""
    most = max(change.before or 0, change.after or 0)
    scale, prefix = next(((scale, prefix) for scale, prefix in _SCALES if most >= scale), (1, ""))
    ends = (change.before, change.after)
    numbers = (MISSING if value is None else f"{value / scale:,.2f}" for value in ends)
    length = "" if change.length is None else f" at {count(change.length)} tokens"
    return f"encoder {prefix}FLOPs{length}", (*numbers, _percent(change.share))


def _percent(share: float | None) -> str:
    return MISSING if share is None else percent(share)


def facts(record: StructureRecord, metric: str) -> list[tuple[str, str]]:
    """What is known of the cut beside its sizes: pairs of name and value, the most telling first.

    Args:
        record: Of one stage.
        metric: The judged metric; what the stage itself measured of it is named as such.
    """
    found = [("budget", _budget(record))]
    if record.quality is not None:
        found.append(measured(record.quality, metric, "right after the cut"))
    found.append(("units ranked by", plain(record.importance or "")))
    if record.balance is not None and record.balance.factor is not None:
        compared = f"of {count(len(record.balance.tried))} structures the one whose answers change least"
        found.append(("heads weighed against rows", f"×{record.balance.factor:g} ({compared})"))
    if record.depth is not None:
        stay = ", ".join(map(count, record.depth.kept))
        found.append(("layers that may stay", f"{stay} (without the others the answers change least)"))
    if record.importance_kept is not None:
        found.append(("importance kept", percent(record.importance_kept)))
    found.append(("weights that were cut", _weights(record.weights)))
    if record.cost_error is not None:
        error = f"{points(100 * record.cost_error)} %"
        found.append(("error of the cost table", f"{error} (on a model that it was not made from)"))
    if record.alignment is not None and record.alignment > 1:
        found.append(("FFN widths are multiples of", count(record.alignment)))
    return [(name, value) for name, value in found if value]


def _weights(name: str | None) -> str:
    """Whose weights; "before" of all parameters is theirs, every other number is of the dense model."""
    known = {"original": "the original's", "model": "of the model before this stage"}
    return known.get(name or "", plain(name or ""))


def _budget(record: StructureRecord) -> str:
    """What was asked for and what it came to, in one line; empty where that is not known."""
    budget = record.budget
    if budget is None:
        return ""
    if budget.heads is not None or budget.ffn is not None:
        return _shares(budget, record)
    latency = budget.latency
    if latency is not None:
        places = [plain(text) for text in (latency.target, latency.variant) if text]
        places += [] if latency.length is None else [f"{count(latency.length)} tokens"]
        places += [] if latency.batch is None else [f"batch {count(latency.batch)}"]
        met = _timed(record) or _met(record, " by the cost table")
        more = "; ".join(part for part in (met, ", ".join(places)) if part)
        return _asked(latency.ratio, "the dense model's time", more)
    if budget.flops is not None:
        return _asked(budget.flops, "the encoder's FLOPs", _met(record))
    if budget.parameters is not None:
        return _asked(budget.parameters, "the encoder's parameters", _met(record))
    return ""


def _timed(record: StructureRecord) -> str:
    timed = record.cost.measured if record.cost else None
    if record.cost is None or timed is None:
        return ""
    tried = len(record.cost.rounds)
    found = f"measured: {percent(timed.estimate)}, {percent(timed.low)} to {percent(timed.high)}"
    return f"{found}, the nearest of {tried} that were timed" if tried > 1 else found


def _shares(budget: Budget, record: StructureRecord) -> str:
    asked = [
        (share, name, change.share if change else None)
        for share, name, change in (
            (budget.heads, "heads", record.heads),
            (budget.ffn, "FFN rows", record.rows),
        )
        if share is not None
    ]
    wanted = ", ".join(f"{percent(share)} of {name}" for share, name, _ in asked)
    left = ", ".join(percent(share) for _, _, share in asked if share is not None)
    return f"{wanted} (met with {left})" if left else wanted


def _asked(share: float, what: str, more: str) -> str:
    text = f"{percent(share)} of {what}"
    return f"{text} ({more})" if more else text


def _met(record: StructureRecord, by: str = "") -> str:
    ratio = record.cost.ratio if record.cost else None
    return "" if ratio is None else f"met with {percent(ratio)}{by}"


def summary(record: StructureRecord, metric: str) -> list[tuple[str, str]]:
    """The `facts`, and in a line each what is left of every layer: for forms that show no plot of it."""
    by_layer = [
        ("heads left by layer", [GONE if item.gone else _length(item.heads) for item in record.layers]),
        ("FFN rows left by layer", [GONE if item.gone else _count(item.rows) for item in record.layers]),
    ]
    told = [(name, " · ".join(cells)) for name, cells in by_layer if set(cells) - {MISSING}]
    return [*facts(record, metric), *told]


def _length(values: Sequence[int] | None) -> str:
    return MISSING if values is None else count(len(values))


def _count(value: int | None) -> str:
    return MISSING if value is None else count(value)


def layers_table(record: StructureRecord) -> Grid | None:
    """Every layer: the numbers of its heads, how many FFN rows, and the share of their importance."""
    if not record.layers:
        return None
    heads = ("layer", "heads", "importance", "FFN rows", "importance")
    rows = tuple((count(item.layer), _layer(item)) for item in record.layers)
    return Grid(
        "Left of each layer: heads by number, FFN rows, and the share of their importance", heads, rows
    )


def _layer(item: Layer) -> tuple[str, ...]:
    if item.gone:
        return (GONE, MISSING, MISSING, MISSING)
    heads = MISSING if item.heads is None else head_ranges(item.heads)
    shares = (_percent(item.head_importance_kept), _percent(item.row_importance_kept))
    return (heads, shares[0], _count(item.rows), shares[1])


def head_ranges(heads: Sequence[int]) -> str:
    """Numbers as people write them.

    >>> head_ranges((0, 1, 2, 5, 7, 8)), head_ranges(())
    ('0–2, 5, 7, 8', 'none')
    """
    if not heads:
        return "none"
    ordered = sorted(set(heads))
    breaks = [index for index, (one, other) in enumerate(pairwise(ordered), 1) if other != one + 1]
    runs = [ordered[start:end] for start, end in pairwise([0, *breaks, len(ordered)])]
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)
