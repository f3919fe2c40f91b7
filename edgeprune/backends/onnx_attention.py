"""onnxruntime's own attention operator in the place of the operators that an export spells attention out in.

The session does not recognise today's exports by itself; onnxruntime's offline optimizer does, and it finds
each layer's own number of heads, so layers with different numbers are fused like any others.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["load_with_attention"]

_DOMAIN = "com.microsoft"


def load_with_attention(path: Path) -> tuple[Any, list[str]]:
    """An exported model with `Attention` operators where the optimizer knows the form of its attention.

    Nothing else is fused here: the session fuses GELU by itself, and its residual addition with
    LayerNormalization is slower than the two alone (measured: see `onnxruntime.py`).

    Args:
        path: The ONNX file.

    Returns:
        The model, as exported where nothing was fused, and what was done to it in sentences.
    """
    import onnx

    try:
        with _quiet():
            model = _fused(onnx.load(path))
    except Exception as error:  # a search for patterns; the model runs as well without
        return onnx.load(path), [f"attention is left as exported: {type(error).__name__}: {error}"]
    count = sum(node.op_type == "Attention" and node.domain == _DOMAIN for node in model.graph.node)
    if not count:
        return onnx.load(path), []
    if all(entry.domain != _DOMAIN for entry in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(_DOMAIN, 1))
    del model.graph.value_info[:]
    return model, [f"attention of {count} {'layer' if count == 1 else 'layers'} fused before compiling"]


def _fused(model: Any) -> Any:
    from onnxruntime.transformers.fusion_options import FusionOptions
    from onnxruntime.transformers.optimizer import optimize_by_fusion

    options = FusionOptions("bert")
    for name in ("gelu", "skip_layer_norm", "bias_skip_layer_norm", "embed_layer_norm", "bias_gelu"):
        setattr(options, f"enable_{name}", False)
    return optimize_by_fusion(model, "bert", optimization_options=options).model


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the optimizer's remarks on what it does not find: what it found is looked up afterwards."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        yield
    finally:
        logging.disable(before)
