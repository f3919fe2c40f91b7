"""What INT8 costs in each part of a model, and the fewest parts to leave in FP32 until it is accepted.

A group is what is quantized or kept together: linear layers that read the same activation (a layer's Q, K
and V), the two products of one attention, the uses of one embedding table. They are found in the graph, so
that no architecture needs an entry anywhere.

The cost of a group is that of the model in which it alone is in INT8, against FP32, on calibration examples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import takewhile
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgeprune.errors import EdgepruneError
from edgeprune.quantization.graphs import Operator
from edgeprune.quantization.observing import Batch, open_model, run
from edgeprune.quantization.qdq import Settings, chosen, quantize_graph
from edgeprune.quantization.ranges import Range

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = [
    "Cost",
    "Group",
    "Logits",
    "Search",
    "Trial",
    "compare",
    "costs",
    "fewest_to_keep",
    "groups",
    "logits_of",
    "matching",
]

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Group:
    """Operators that are quantized or kept together.

    Attributes:
        name: What their nodes' names share, e.g. ``bert/encoder/layer.0/attention/self``.
        kind: See `graphs`.
        nodes: Their names.
    """

    name: str
    kind: str
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Cost:
    """Answers in INT8 against those in FP32, over the same examples.

    Attributes:
        divergence: Mean Kullback-Leibler divergence of the class probabilities, in nats.
        squared_error: Mean squared difference of a logit.
        changed: Share of examples with another class.
    """

    divergence: float
    squared_error: float
    changed: float


@dataclass(frozen=True)
class Trial:
    """One model that was tried.

    Attributes:
        kept: Names of the groups in FP32.
        accepted: What the judge said.
        detail: What the judge said in words.
    """

    kept: tuple[str, ...]
    accepted: bool
    detail: str


@dataclass(frozen=True)
class Search:
    """Where a search ended.

    Attributes:
        kept: Groups to leave in FP32; the last ones that were tried when nothing was accepted.
        accepted: Whether the judge accepts the model with them.
        trail: All that was tried, in order.
    """

    kept: tuple[Group, ...]
    accepted: bool
    trail: tuple[Trial, ...]

    @property
    def nodes(self) -> frozenset[str]:
        """What to give to `qdq.Settings.keep`."""
        return frozenset(node for group in self.kept for node in group.nodes)


def groups(model: ModelProto, settings: Settings) -> tuple[Group, ...]:
    """Groups of what these settings have in INT8, in the order of the graph.

    Args:
        model: Prepared (see `graphs.prepared`).
        settings: What to quantize and how.
    """
    members: dict[tuple[str, str], list[Operator]] = {}
    for operator in chosen(model, settings):
        members.setdefault((operator.kind, _together(operator)), []).append(operator)
    nodes = {key: tuple(operator.name for operator in part) for key, part in members.items()}
    paths = Counter(_shared_path(part) for part in nodes.values())
    pairs = Counter((_shared_path(part), kind) for (kind, _), part in nodes.items())
    found = []
    for (kind, _), part in nodes.items():
        path = _shared_path(part)
        name = path if paths[path] == 1 else f"{path} ({kind})"
        found.append(Group(name if pairs[path, kind] == 1 else part[0], kind, part))
    return tuple(found)


def matching(found: Sequence[Group], patterns: Sequence[str]) -> tuple[frozenset[str], list[str]]:
    """Nodes that patterns name, and the patterns that name none.

    Args:
        found: To choose from.
        patterns: Of names of groups or of their nodes, with ``*`` and ``?``; a group goes as a whole.
    """
    nodes, strange = set[str](), []
    for pattern in patterns:
        meant = [
            group for group in found if any(fnmatchcase(name, pattern) for name in (group.name, *group.nodes))
        ]
        nodes |= {node for group in meant for node in group.nodes}
        if not meant:
            strange.append(pattern)
    return frozenset(nodes), strange


def costs(
    model: ModelProto,
    ranges: Mapping[str, Range],
    settings: Settings,
    batches: Sequence[Batch],
    progress: Callable[[int, int], None] = lambda *_: None,
) -> dict[Group, Cost]:
    """The cost of every group, most costly first.

    Args:
        model: FP32, prepared.
        ranges: See `qdq.quantize_graph`.
        settings: What to quantize and how; what it keeps already has no cost.
        batches: Calibration examples.
        progress: Told the groups done and their number, after each.

    Raises:
        EdgepruneError: There are no examples.
        UnsupportedError: onnxruntime cannot run one of the models.
    """
    expected = logits_of(model, batches)
    every = groups(model, settings)
    found: dict[Group, Cost] = {}
    for number, group in enumerate(every, start=1):
        others = frozenset(node for other in every if other is not group for node in other.nodes)
        alone, _ = quantize_graph(model, ranges, replace(settings, keep=settings.keep | others))
        found[group] = compare(logits_of(alone, batches), expected)
        progress(number, len(every))
    return dict(sorted(found.items(), key=lambda item: -item[1].divergence))


def compare(found: Logits, expected: Logits) -> Cost:
    """The cost of answers [examples, classes] in the place of others."""
    wanted = _log_softmax(expected)
    divergence = (np.exp(wanted) * (wanted - _log_softmax(found))).sum(axis=1)
    return Cost(
        divergence=float(divergence.mean()),
        squared_error=float(np.square(found.astype(np.float64) - expected).mean()),
        changed=float((found.argmax(axis=1) != expected.argmax(axis=1)).mean()),
    )


def fewest_to_keep(
    ranking: Sequence[Group],
    accept: Callable[[frozenset[str]], tuple[bool, str]],
    *,
    most: int | None = None,
) -> Search:
    """Keep groups in FP32, the most costly first, until the model is accepted; then give back what it can.

    Without the last group that was kept, the model was not accepted. The others are tried without, one by
    one, the least costly first. Whoever is given back stays in INT8.

    Args:
        ranking: Groups, most costly first (see `costs`).
        accept: Told the nodes to keep in FP32; judges the model in INT8 otherwise, and says why.
        most: Groups that may be kept; left out: all.

    Returns:
        The groups and the trail. Not accepted means that `most` groups were not enough.
    """
    trail: list[Trial] = []

    def accepted(kept: Sequence[Group]) -> bool:
        verdict, detail = accept(frozenset(node for group in kept for node in group.nodes))
        trail.append(Trial(tuple(group.name for group in kept), verdict, detail))
        return verdict

    limit = len(ranking) if most is None else min(most, len(ranking))
    for count in range(limit + 1):
        kept = list(ranking[:count])
        if accepted(kept):
            break
    else:
        return Search(tuple(ranking[:limit]), False, tuple(trail))
    for group in reversed(kept[:-1]):
        without = [other for other in kept if other is not group]
        if accepted(without):
            kept = without
    return Search(tuple(kept), True, tuple(trail))


def _together(operator: Operator) -> str:
    """What the operators of a group have in common."""
    if operator.kind == "linear":
        return operator.activations[0]
    if operator.kind == "embedding":
        return str(operator.weight)
    return operator.name.rpartition("/")[0]


def _shared_path(names: Sequence[str]) -> str:
    """``/a/b/query/MatMul`` and ``/a/b/key/MatMul`` share ``a/b``; ``/a/b/MatMul`` alone has ``a/b``."""
    paths = [name.strip("/").split("/")[:-1] for name in names]
    shared = takewhile(lambda parts: len(set(parts)) == 1, zip(*paths, strict=False))
    return "/".join(parts[0] for parts in shared) or names[0]


def logits_of(model: ModelProto, batches: Sequence[Batch]) -> Logits:
    """Answers of an ONNX classifier, [examples, classes], in the order of the batches.

    Raises:
        EdgepruneError: There are no examples.
        UnsupportedError: onnxruntime cannot run the model.
    """
    session = open_model(model)
    name = session.get_outputs()[0].name
    parts = [run(session, batch, [name])[0] for batch in batches]
    if not parts:
        raise EdgepruneError(
            "there are no calibration examples", where="quantization", hint="calibrate with at least one"
        )
    return np.concatenate(parts)


def _log_softmax(logits: Logits) -> npt.NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
