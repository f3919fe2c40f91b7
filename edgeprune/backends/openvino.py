"""OpenVINO on the CPU: FP32, bfloat16, and INT8 from a quantized model, with sparse weights or without."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from edgeprune.backends.contract import Compiler, Request
from edgeprune.backends.onnx_file import read_onnx
from edgeprune.errors import UnsupportedError
from edgeprune.recipe.schema import Target
from edgeprune.runner.cpu import Cpu

__all__ = ["Openvino"]

# OpenVINO prepares a dynamic model anew for an input length that it has not seen; rounded-up lengths are
# fewer. Measured on MiniLM-L6 at the lengths of SST-2, one thread, busy machine, speed against no rounding:
# lengths still new 1.14× in bf16 and 1.01× in f32 (means); lengths all seen 0.95× to 0.97× in both (medians).
# So it buys steadier first answers with a little speed later, and not more than that.
BUCKET = 8
_UNKNOWN = re.compile(r"No conversion rule found for operations: ([^\n]+)")
_SHOWN = 3
# What a CPU must have one of.
FEATURES = {"bf16": ("amx_bf16", "avx512_bf16"), "int8-sparse": ("amx_int8",)}


class Openvino:
    """Compiles to OpenVINO's own format, weights kept in the precision that the model has.

    `int8-sparse` reads weights that are at least half zeros in compressed form. Only some products can, and
    it is refused where the runtime does that for none.

    FP32 and bfloat16 have the same files: the precision is chosen when the model is loaded, never left to the
    runtime, whose default is bfloat16 wherever the CPU has it.
    """

    def refusal(self, variant: str, target: Target, cpu: Cpu) -> str | None:
        """Some variants need an x86 CPU with a feature; of another machine it is not known, nor refused."""
        needed = FEATURES.get(variant)
        if needed is None:
            return None
        if target.architecture != "x86_64":
            return f"{variant} is for x86_64 CPUs here, and target {target.name!r} is {target.architecture}"
        local = target.device.kind == "local" and cpu.architecture == target.architecture
        if local and not set(needed) & set(cpu.features):
            lacks = f"neither of {' and '.join(needed)}" if len(needed) > 1 else f"no {needed[0]}"
            return f"this CPU ({cpu.model}) has {lacks}"
        return None

    def compile(self, request: Request) -> Compiler:
        """Writes `model.xml` and `model.bin`."""
        import openvino

        source = request.onnx_folder / "model.onnx"
        try:
            model = openvino.Core().read_model(source)
        except RuntimeError as error:
            raise UnsupportedError(
                f"OpenVINO cannot read the model: {_reason(str(error), source)}",
                where=str(source),
                hint="take OpenVINO's variants out of the target, or export with another opset",
            ) from error
        _name_by_place(model)
        openvino.save_model(model, request.output / "model.xml", compress_to_fp16=False)
        notes = [f"inputs are padded to a multiple of {BUCKET} tokens: fewer lengths are new to the runtime"]
        if request.variant in FEATURES and not request.runs_here:
            needed = " or ".join(FEATURES[request.variant])
            notes.append(f"whether the device's CPU has {needed} is not known; loading fails without it")
        return Compiler(
            files={"model": "model.xml", "weights": "model.bin"},
            inputs=[port.get_any_name() for port in model.inputs],
            notes=notes,
            bucket=BUCKET,
        )


def _reason(said: str, path: Path) -> str:
    """What OpenVINO says, on one line; of operators that it does not know also the nodes, as it does not."""
    unknown = _UNKNOWN.search(said)
    # It writes an operator of the standard as Kind-opset, and others as domain.Kind.
    listed = re.split(r"[,\s]+", unknown[1]) if unknown else []
    kinds = {re.sub(r"-\d+$", "", kind).rpartition(".")[2] for kind in listed}
    nodes = (
        [node for node in read_onnx(path, weights=False).graph.node if node.op_type in kinds] if kinds else []
    )
    if not nodes:
        return " ".join(said.split())
    named = ", ".join(f"{node.name or node.output[0]!r} ({node.op_type})" for node in nodes[:_SHOWN])
    more = f" and {len(nodes) - _SHOWN} more" if len(nodes) > _SHOWN else ""
    return f"it does not know the operators of the nodes {named}{more}"


def _name_by_place(model: Any) -> None:
    """Names constants, and nodes that the model leaves unnamed: the same model must give the same bytes.

    OpenVINO numbers unnamed nodes by how many the process has made before, and such a name may meet that of a
    constant, which exporters number too; then it changes one of the two.
    """
    for place, node in enumerate(model.get_ordered_ops()):
        if node.get_friendly_name() == node.get_name() or node.get_type_name() == "Constant":
            node.set_friendly_name(f"{node.get_type_name()}_at_{place}")
