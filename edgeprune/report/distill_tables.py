"""What a distillation was, in words and as plots: shared by all renderers."""

from __future__ import annotations

from collections.abc import Sequence

from edgeprune.report.content import measured
from edgeprune.report.curves import Panel, draw_panels, loss_panel
from edgeprune.report.distillations import DistillRecord, LayerMap
from edgeprune.report.formatting import count, plain

__all__ = ["draw_loss", "draw_parts", "facts", "summary"]

_CACHES = {"disk": "its answers stored on disk", "online": "asked in every step"}
_TITLES = {
    "logits": "logits: T² · KL",
    "labels": "labels: cross entropy",
    "hidden": "hidden states: share of variance missed",
    "relations": "relations between tokens: KL",
}
_COLOURS = ("accent", "open", "series-2", "series-3")
_TITLE_CHARACTERS = 48


def facts(record: DistillRecord, metric: str) -> list[tuple[str, str]]:
    """What is known of a distillation: pairs of name and value, the most telling first.

    Args:
        record: Of one stage.
        metric: The judged metric; what the stage itself measured of it is named as such.
    """
    found = [] if record.quality is None else [measured(record.quality, metric, "after this stage")]
    found.append(("teacher", _teacher(record)))
    found.append(("weights of the loss", _weights(record)))
    found.append(("layers compared, student → teacher", _layers(record.layer_map)))
    found.append(("relations compared, student → teacher", _relations(record)))
    if record.texts is not None:
        made = record.texts.synthetic
        found.append(
            ("texts", count(record.texts.training) + (f" and {count(made)} made of them" if made else ""))
        )
    if record.steps is not None:
        found.append(("steps", count(record.steps)))
    found.append(("precision", plain(record.precision or "")))
    if record.trained_parameters is not None:
        whole = record.parameters
        of = "" if whole in (None, record.trained_parameters) else f" (of {count(whole or 0)})"
        found.append(("trained parameters", f"{count(record.trained_parameters)}{of}"))
    return [(name, value) for name, value in found if value]


def _teacher(record: DistillRecord) -> str:
    cache = record.teacher_cache or ""
    if cache == "none":
        return "none: the labels alone"
    name = record.teacher or "original"
    sources = [name] if isinstance(name, str) else list(name)
    who = "the original" if sources == ["original"] else " or ".join(map(plain, sources))
    return ", ".join(part for part in (who, _CACHES.get(cache, plain(cache))) if part)


def _weights(record: DistillRecord) -> str:
    """What counts, as the recipe says it; parts of weight 0 are not computed."""
    told = []
    for name, part in (record.losses or {}).items():
        if part is not None and part.weight:
            heat = "" if part.temperature is None else f" (T {part.temperature:g})"
            told.append(f"{plain(name)} {part.weight:g}{heat}")
    return " · ".join(told)


def _layers(maps: Sequence[LayerMap]) -> str:
    """The last map, and how often it changed on the way there."""
    if not maps:
        return ""
    last = maps[-1]
    pairs = " · ".join(f"{count(mine)}→{count(its)}" for mine, its in last.pairs)
    if len(maps) == 1:
        return pairs
    since = "" if last.step is None else f"since step {count(last.step)}; "
    changed = "once" if len(maps) == 2 else f"{count(len(maps) - 1)} times"
    return f"{pairs} ({since}changed {changed})"


def _relations(record: DistillRecord) -> str:
    told = []
    for item in record.relations:
        heads = "" if item.heads is None else f", {count(item.heads)} relation heads"
        told.append(f"{plain(item.student)} → {plain(item.teacher)}{heads}")
    return " · ".join(told)


def summary(record: DistillRecord, metric: str) -> list[tuple[str, str]]:
    """The `facts`, and the loss with its parts at both ends of the training: for forms without a plot."""
    courses = [("loss", tuple(value for _, value in record.curve or ()))]
    courses += [(f"part of the loss: {plain(name)}", values) for name, values in _parts(record).items()]
    ends = [(name, f"{values[0]:.4g} → {values[-1]:.4g}") for name, values in courses if values]
    return [*facts(record, metric), *ends]


def _parts(record: DistillRecord) -> dict[str, tuple[float, ...]]:
    return record.parts.whole if record.parts else {}


def draw_loss(record: DistillRecord, uid: str) -> str:
    """The loss over the steps, as SVG; empty where there is none."""
    return draw_panels(loss_panel(record.curve), uid, f"Loss of {plain(record.id)}")


def draw_parts(record: DistillRecord, uid: str) -> str:
    """Each part of the loss over the steps, as SVG; empty where there is none."""
    parts = record.parts
    if parts is None or len(parts.step) < 2:
        return ""
    panels = [
        Panel(_title(name), parts.step, values, _COLOURS[index % len(_COLOURS)])
        for index, (name, values) in enumerate(parts.whole.items())
    ]
    return draw_panels(panels, uid, f"Parts of the loss of {plain(record.id)}")


def _title(name: str) -> str:
    text = _TITLES.get(name, plain(name))
    return text if len(text) <= _TITLE_CHARACTERS else f"{text[: _TITLE_CHARACTERS - 1]}…"
