"""An FP32 ONNX model in FP16, for runtimes that take the types of a graph as they are.

What is in FP32 afterwards: the logits; LayerNormalization, whose sums of squares leave the range of FP16
(beyond 65,504) at inputs of a few hundred; and sums over tokens. Softmax is in FP16: its terms are at most 1
and its sum is at most the number of tokens, and a change of type within attention may keep a runtime from
fusing it. What is quantized stays so: only the scales become FP16, and with them what is dequantized.
"""

from __future__ import annotations

from typing import Any

from edgeprune.errors import UnsupportedError

__all__ = ["in_half"]

# The converter's own bound. Constants beyond it are set to it: the attention mask has the lowest FP32 number.
LARGEST = 10_000.0
LAYER_NORM_OPSET = 17
HALF_SCALE_OPSET = 19
# Below it FP16's steps are coarser than half a percent, which is what INT8 itself rounds by.
COARSE_SCALE = 2.0**-17
_IN_FP32 = ("LayerNormalization", "ReduceMean", "ReduceSum")


def in_half(model: Any) -> tuple[Any, list[str]]:
    """The model with weights and activations in FP16, and what was done in sentences.

    Args:
        model: An exported ONNX model, FP32 or with explicit Q/DQ; changed in place, or a new one.

    Raises:
        UnsupportedError: FP16 cannot hold a weight, or LayerNorm is spelled out in operators that it cannot
            hold.
    """
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    _require_layer_norm(model)
    _require_range(model)
    model, coarse = _with_room_for_scales(model)
    blocked = [*DEFAULT_OP_BLOCK_LIST, *_IN_FP32]
    converted = convert_float_to_float16(model, keep_io_types=True, op_block_list=blocked)
    # The converter appends its casts at the end; readers other than onnxruntime expect them before their use.
    OnnxModel(converted).topological_sort()
    del converted.graph.value_info[:]
    return converted, [
        "weights and activations in FP16; LayerNorm, sums over tokens and the logits in FP32",
        f"constants beyond ±{LARGEST:g}, as in the attention mask, are set to ±{LARGEST:g}",
        *coarse,
    ]


def _require_layer_norm(model: Any) -> None:
    opset = _opset(model)
    if opset < LAYER_NORM_OPSET:
        raise UnsupportedError(
            f"in opset {opset} LayerNorm is spelled out in operators whose values FP16 cannot hold",
            hint=f"set stages.export.opset to {LAYER_NORM_OPSET} or more",
        )


def _with_room_for_scales(model: Any) -> tuple[Any, list[str]]:
    """A quantized model in an opset whose Q/DQ take scales in FP16, and what that costs."""
    from onnx import numpy_helper, version_converter

    scales = {
        node.input[1] for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")
    }
    if not scales:
        return model, []
    values = [numpy_helper.to_array(each) for each in model.graph.initializer if each.name in scales]
    coarse = sum(int((each < COARSE_SCALE).sum()) for each in values)
    if _opset(model) < HALF_SCALE_OPSET:
        model = version_converter.convert_version(model, HALF_SCALE_OPSET)
    if not coarse:
        return model, []
    total = sum(each.size for each in values)
    return model, [f"{coarse} of {total} scales are below {COARSE_SCALE:.1g}: FP16 holds them coarsely"]


def _opset(model: Any) -> int:
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)


def _require_range(model: Any) -> None:
    """Every weight must be a number that FP16 holds; single numbers are constants, which are cut."""
    import numpy as np
    import onnx

    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        if values.size > 1 and not np.abs(values).max() <= LARGEST:
            worst = float(np.abs(values).max())
            found = f"a value of {worst:g}" if np.isfinite(worst) else "a value that is no finite number"
            raise UnsupportedError(
                f"weight {tensor.name!r} has {found}; at most {LARGEST:g} is taken into FP16",
                hint="use the variant fp32",
            )
