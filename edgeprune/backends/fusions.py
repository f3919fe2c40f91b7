"""Which operators of a model a runtime runs as one, read off what it says it runs.

Runtimes fuse silently, by patterns: a graph that they do not recognise still runs, only not as fused. So
what was fused is looked up and reported, never assumed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeprune.runner.session import Operator

__all__ = ["Fusions", "find_fusions", "fused_operators", "operator_kinds"]

# Every attention has exactly one of these in an exported encoder, and nothing else there has any.
_ATTENTION = ("Softmax", "Attention")


@dataclass(frozen=True)
class Fusions:
    """What one runtime fused of one model.

    Attributes:
        fused: Operators that do the work of several of the model's, by the runtime's names, to their number.
        attention_layers: Layers of the model that have attention heads.
        attention_fused: Those of them whose softmax does not run by itself, but inside another operator.
    """

    fused: Mapping[str, int]
    attention_layers: int
    attention_fused: int

    def record(self) -> dict[str, Any]:
        """As plain data."""
        attention = {"layers": self.attention_layers, "fused": self.attention_fused}
        return {"fused": dict(self.fused), "attention": attention}


def find_fusions(operators: Sequence[Operator], exported: Path, compiled: Path) -> Fusions:
    """Compares what runs with the model that it was made from, whether fused before or by the session.

    Args:
        operators: What the runtime says it runs.
        exported: The ONNX file as exported.
        compiled: The file that the runtime loads; looked into if it, or what it was made from beside it, is
            ONNX too.
    """
    before = operator_kinds(exported)
    own = set(before)
    if (written := compiled.with_suffix(".onnx")).is_file():
        own |= operator_kinds(written, standard=True).keys()  # a runtime's own operators are its fusions
    layers = sum(before[kind] for kind in _ATTENTION)
    alone = sum(operator.kind == "Softmax" for operator in operators)
    return Fusions(fused_operators(operators, own), layers, max(0, layers - alone))


def fused_operators(operators: Sequence[Operator], own: Collection[str]) -> dict[str, int]:
    """Kinds of operators that do the work of several of the model's, the most frequent first.

    Args:
        operators: What the runtime says it runs.
        own: Kinds of operators that the model itself has. Where a runtime does not say what its operators
            stand for, those of any other kind are taken for fused.
    """
    fused = Counter(
        operator.kind
        for operator in operators
        if (operator.kind not in own if operator.replaces is None else len(operator.replaces) > 1)
    )
    return dict(sorted(fused.items(), key=lambda item: (-item[1], item[0])))


def operator_kinds(path: Path, *, standard: bool = False) -> Counter[str]:
    """How many operators of each kind an ONNX file has; if `standard`, of those that ONNX itself defines."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    return Counter(node.op_type for node in graph.node if not standard or node.domain in ("", "ai.onnx"))
