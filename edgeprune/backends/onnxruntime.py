"""onnxruntime: FP32, FP16, INT8 with activations quantized while running, and INT8 from a quantized model."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from edgeprune.backends.contract import Compiler, Request
from edgeprune.backends.onnx_attention import load_with_attention
from edgeprune.backends.onnx_file import input_names, read_onnx
from edgeprune.errors import UnsupportedError
from edgeprune.recipe.schema import Target
from edgeprune.runner.cpu import Cpu

__all__ = ["Onnxruntime"]

# Embedding tables are most of a small encoder. Measured on MiniLM-L6 with a linear head on frozen features,
# SST-2 validation: with the tables in INT8 the file has 23 MB instead of 59, latency is equal within 2 %, and
# 830 of 872 answers are those of FP32, against 828 with the tables left in FP32.
QUANTIZED_OPERATORS = ["MatMul", "Gather", "Attention"]

_MOBILE = "-ort"
"""Ending of a variant that is also written in onnxruntime's own format, and runs from that."""


class Onnxruntime:
    """Compiles for onnxruntime's CPU provider.

    Attention is fused beforehand, and everything else left to the session, which optimises for the CPU that
    it finds, so the files fit every architecture. Measured in the shape of MiniLM-L6 with onnxruntime 1.32 on
    x86 with VNNI, one thread, at 16 and 64 tokens: fused attention has 1.08× and 1.04× the speed in FP32,
    1.13× and 1.03× in dynamic INT8; with a quarter of heads and FFN rows 1.31× and 1.11×, 1.29× and 1.15×.
    What it does in static INT8 is in docs/lab-notes.md.
    """

    def refusal(self, variant: str, target: Target, cpu: Cpu) -> str | None:
        """FP16 is for ARM; everything else runs on every CPU that onnxruntime runs on."""
        if variant != "fp16" or target.architecture == "aarch64":
            return None
        return (
            f"FP16 is for aarch64 CPUs here, and target {target.name!r} is {target.architecture}, where "
            "onnxruntime computes it in FP32 and converts between"
        )

    def compile(self, request: Request) -> Compiler:
        """Writes `model.onnx`, and for a mobile variant what is made of it."""
        source = request.onnx_folder / "model.onnx"
        if not request.runs_here:  # where it does, the finished artifact is opened
            _require_known_operators(source)
        inputs = input_names(read_onnx(source, weights=False))
        precision = request.variant.removesuffix(_MOBILE)
        files = {"model": "model.onnx"}
        if precision == "fp32":
            files, notes = _keep_precision(request.onnx_folder, request.output)
        elif precision == "fp16":
            notes = _halve(source, request.output)
        elif precision == "int8-dynamic":
            notes = _quantize(request)
        else:
            notes = _take_quantized(request, precision)
        if precision != request.variant:
            notes += _write_mobile(request, files)
            files = {"model": "model.ort"}
        return Compiler(files=files, inputs=inputs, notes=notes)


def _require_known_operators(path: Path) -> None:
    """Nothing, if onnxruntime knows all operators of a model: it has the same ones on every architecture.

    Raises:
        UnsupportedError: It does not; a node or operator is in the message.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except (state.Fail, state.InvalidGraph) as error:
        raise UnsupportedError(
            f"onnxruntime does not take the model: {error}",
            where=str(path),
            hint="take onnxruntime's variants out of the target, or export with another opset",
        ) from error
    except state.NotImplemented:
        pass  # an operator has no kernel for this architecture; of another it says nothing


def _keep_precision(source: Path, output: Path) -> tuple[dict[str, str], list[str]]:
    """The FP32 model's files, and what was done to it."""
    import onnx

    if len(list(source.glob("model.onnx*"))) > 1:
        return _copy_model(source, output), [
            "attention is left as exported: the weights have files of their own"
        ]
    model, notes = load_with_attention(source / "model.onnx")
    onnx.save(model, output / "model.onnx")
    return {"model": "model.onnx"}, notes


def _copy_model(source: Path, output: Path) -> dict[str, str]:
    """Copies the model; one above 2 GB has its weights in files beside it, named after it."""
    files: dict[str, str] = {}
    for path in sorted(source.glob("model.onnx*")):
        shutil.copyfile(path, output / path.name)
        files["model" if path.name == "model.onnx" else f"weights-{len(files)}"] = path.name
    return files


def _halve(source: Path, output: Path) -> list[str]:
    """Writes the FP16 model and says what was done."""
    import onnx

    from edgeprune.backends.onnx_half import in_half

    model, fused = load_with_attention(source)
    model, notes = in_half(model)
    onnx.save(model, output / "model.onnx")
    unknown = (
        "which operators compute in FP16 depends on the device's onnxruntime: 1.27 adds in FP16, and "
        "computes matrix products, attention and GELU in FP32"
    )
    return [*fused, *notes, unknown]


def _write_mobile(request: Request, files: dict[str, str]) -> list[str]:
    """Writes onnxruntime's own format beside the ONNX file, and says what was done."""
    from edgeprune.backends.onnx_mobile import write_ort

    if len(files) > 1:
        raise UnsupportedError(
            "the weights have files of their own, and a model.ort holds at most 2 GB",
            where=f"onnxruntime/{request.variant}",
            hint=f"use the variant {request.variant.removesuffix(_MOBILE)}",
        )
    return write_ort(request.output / "model.onnx", request.target.architecture)


def _take_quantized(request: Request, precision: str) -> list[str]:
    """Writes a quantized model in the form that onnxruntime runs fastest (see `quantization.forms`)."""
    import onnx

    from edgeprune.backends.onnx_int8_attention import fuse_int8_attention
    from edgeprune.backends.onnx_int8_products import explicit_products
    from edgeprune.quantization.forms import rows_first, unsigned

    model = rows_first(read_onnx(request.onnx_folder / "model.onnx"))
    notes = []
    if precision == "int8-static-s8s8" and request.target.architecture == "x86_64":
        model = unsigned(model)
        notes.append(
            "activations count from 128: the same levels, unsigned, as x86 has no products of signed ones"
        )
    try:
        model, fused = fuse_int8_attention(model)
    except Exception as error:  # a search for patterns; the model runs as well without
        fused = [f"attention is left as quantized: {type(error).__name__}: {error}"]
    model = explicit_products(model)
    del model.graph.value_info[:]  # see `_forget_shapes`
    onnx.save(model, request.output / "model.onnx")
    return [*notes, *fused]


def _quantize(request: Request) -> list[str]:
    """Writes the INT8 model and says what was done."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    narrow = _needs_narrow_weights(request)
    with TemporaryDirectory(prefix="edgeprune-") as folder:
        # As a loaded model: given a path, the quantizer writes its working files beside the source.
        prepared = Path(folder) / "prepared.onnx"
        model, fused = load_with_attention(request.onnx_folder / "model.onnx")
        quant_pre_process(model, prepared, skip_optimization=True, skip_symbolic_shape=True)
        quantize_dynamic(
            onnx.load(prepared),
            request.output / "model.onnx",
            op_types_to_quantize=QUANTIZED_OPERATORS,
            per_channel=True,
            reduce_range=narrow,
            weight_type=QuantType.QInt8,
            # What the type of a tensor is taken for where ONNX's inference stops, as behind an Attention.
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
    _forget_shapes(request.output / "model.onnx")
    bits = 7 if narrow else 8
    notes = [
        *fused,
        f"linear layers: weights symmetric INT{bits} per output channel, activations UINT8 while running",
        "embedding tables: UINT8 per table",
    ]
    if narrow:
        notes.append("weights use 7 of 8 bits: this CPU has no VNNI and would overflow its 16-bit sums")
    elif request.target.architecture == "x86_64" and not request.runs_here:
        notes.append("weights use all 8 bits: exact on CPUs with VNNI, may lose accuracy on those without")
    return notes


def _forget_shapes(path: Path) -> None:
    """Takes the shapes that the quantizer inferred out of a model again.

    With them the session fuses residual additions into LayerNormalization, and its fused operator is slower
    than the two alone. Measured with onnxruntime 1.32 on x86 with AVX-512, one thread, in the shape of
    MiniLM-L6, at 16 and 64 tokens: without the shapes, and so without that fusion, INT8 has 1.10× and 1.16×
    the speed, and 1.41× and 1.68× with a quarter of heads and FFN rows.
    """
    import onnx

    model = onnx.load(path)
    del model.graph.value_info[:]
    onnx.save(model, path)


def _needs_narrow_weights(request: Request) -> bool:
    """Whether the device is known to saturate: of one elsewhere that is not known."""
    return request.runs_here and request.cpu.saturates_int8
