"""Peers at their documented settings: onnxruntime's own quantizer, and NNCF for OpenVINO.

onnxruntime: its guide asks for `quant_pre_process` first, and for transformers for its transformer optimizer
before that; static in QDQ format, both types of activations, MinMax (the default), per channel (accuracy) and
per tensor (throughput), `reduce_range` on x86 without VNNI only. For transformers it recommends dynamic.

NNCF: `nncf.quantize` with `model_type=TRANSFORMER` (which moves outliers by SmoothQuant), both presets, fast
bias correction; OpenVINO then runs what is left unquantized in FP32 or, as it does by itself where the CPU
has it, in bfloat16. `quantize_with_accuracy_control` ranks on the training examples that ours is judged on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from peers_int8_entrants import Entrant, attempt

from edgeprune import backends
from edgeprune.backends.contract import Compiler, Request, write_artifact
from edgeprune.errors import UnsupportedError

__all__ = ["NNCF", "ONNXRUNTIME", "Feed", "Material", "NncfPeer", "OnnxruntimePeer", "peers"]

Feed = dict[str, np.ndarray]


@dataclass(frozen=True)
class Material:
    """What every peer gets.

    Attributes:
        request: The exported model, target, length and CPU; variant and output are set per peer.
        calibration: One text each at its own length, the model's inputs by name.
        judged: The same of other texts, for accuracy control.
        labels: Of `judged`.
        folder: Where they work.
        accuracy_control: Whether NNCF's accuracy control takes part.
    """

    request: Request
    calibration: Sequence[Feed]
    judged: Sequence[Feed]
    labels: Sequence[int]
    folder: Path
    accuracy_control: bool = False

    @property
    def onnx(self) -> Path:
        """The exported model."""
        return self.request.onnx_folder / "model.onnx"


@dataclass(frozen=True)
class OnnxruntimePeer:
    """One way of onnxruntime's quantizer.

    Attributes:
        activations: Type of static activations; None: dynamic; `float`: nothing is quantized.
        fused: Whether its transformer optimizer goes first.
        per_channel: Scales of weights.
    """

    activations: Literal["s8", "u8", "float"] | None
    fused: bool
    per_channel: bool = True

    @property
    def name(self) -> str:
        """For the table."""
        kind = {None: "dynamic", "float": "fp32"}.get(self.activations, f"static {self.activations}s8")
        scales = (
            "" if self.activations == "float" else " per " + ("channel" if self.per_channel else "tensor")
        )
        return f"onnxruntime {kind}{scales}{', fused' if self.fused else ''}"


@dataclass(frozen=True)
class NncfPeer:
    """One way of NNCF.

    Attributes:
        preset: `mixed`: asymmetric activations; `performance`: symmetric ones; None: nothing is quantized.
        rest: Precision of what stays unquantized.
        control: Whether accuracy control goes on from there.
    """

    preset: Literal["mixed", "performance"] | None
    rest: Literal["fp32", "bf16"]
    control: bool = False

    @property
    def name(self) -> str:
        """For the table."""
        if self.preset is None:
            return f"openvino {self.rest}"
        return f"nncf {self.preset}{' accuracy control' if self.control else ''}, rest {self.rest}"


ONNXRUNTIME = (
    OnnxruntimePeer("float", fused=True),
    *(OnnxruntimePeer(None, fused, channel) for fused in (False, True) for channel in (False, True)),
    *(
        OnnxruntimePeer(activations, fused, channel)
        for activations in ("u8", "s8")
        for fused in (False, True)
        for channel in (False, True)
    ),
)
NNCF = (
    NncfPeer(None, "bf16"),
    *(NncfPeer(preset, rest) for preset in ("mixed", "performance") for rest in ("fp32", "bf16")),
)
NNCF_CONTROLLED = tuple(NncfPeer("mixed", rest, control=True) for rest in ("fp32", "bf16"))


def peers(material: Material, *, full_precision: bool = True) -> list[Entrant]:
    """All peers; those that cannot be made say why.

    Args:
        material: What they get.
        full_precision: Whether those that leave the model in FP32 take part.
    """
    quantizers: dict[str, Callable[[Path], Any]] = {}
    openvino = (*NNCF, *NNCF_CONTROLLED) if material.accuracy_control else NNCF
    onnxruntime = [peer for peer in ONNXRUNTIME if full_precision or peer.activations != "float"]
    quantizers |= {peer.name: _onnxruntime(peer, material) for peer in onnxruntime}
    quantizers |= {peer.name: _nncf(peer, material) for peer in openvino}
    return [
        attempt(name, "peer", material.folder / f"peer-{number}", make)
        for number, (name, make) in enumerate(quantizers.items())
    ]


def _onnxruntime(peer: OnnxruntimePeer, material: Material) -> Callable[[Path], Any]:
    def make(output: Path) -> Any:
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static

        prepared = _prepared(material, fused=peer.fused)
        model = output / "model.onnx"
        common: dict[str, Any] = {
            "per_channel": peer.per_channel,
            "reduce_range": material.request.cpu.saturates_int8,
            "weight_type": QuantType.QInt8,
        }
        if peer.fused:
            # Without it the quantizer refuses operators that ONNX's shape inference does not know.
            common["extra_options"] = {"DefaultTensorType": 1}
        if peer.activations == "float":
            model.write_bytes(prepared.read_bytes())
        elif peer.activations is None:
            quantize_dynamic(prepared, model, **common)
        else:
            types = {"s8": QuantType.QInt8, "u8": QuantType.QUInt8}
            reader = _Reader(material.calibration)
            quantize_static(
                prepared,
                model,
                reader,
                quant_format=QuantFormat.QDQ,
                activation_type=types[peer.activations],
                **common,
            )
        _describe(material, "onnxruntime", output, {"model": "model.onnx"}, "as it is")
        return {
            **asdict(peer),
            "calibration": len(material.calibration),
            "reduce_range": common["reduce_range"],
        }

    return make


def _prepared(material: Material, *, fused: bool) -> Path:
    """The exported model after what onnxruntime's guide asks for; made once."""
    from onnxruntime.quantization.shape_inference import quant_pre_process
    from onnxruntime.transformers.optimizer import optimize_model

    done = material.folder / f"prepared-{'fused' if fused else 'plain'}.onnx"
    if done.is_file():
        return done
    if not fused:
        quant_pre_process(material.onnx, done, auto_merge=True)
        return done
    optimized = done.with_suffix(".optimized.onnx")
    optimize_model(str(material.onnx), model_type="bert", num_heads=0, hidden_size=0).save_model_to_file(
        str(optimized)
    )
    quant_pre_process(optimized, done, skip_optimization=True, auto_merge=True)
    return done


class _Reader:
    """onnxruntime's way to ask for calibration examples, one at a time."""

    def __init__(self, feeds: Iterable[Feed]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self._feeds, None)


def _nncf(peer: NncfPeer, material: Material) -> Callable[[Path], Any]:
    def make(output: Path) -> Any:
        request = material.request
        if peer.rest == "bf16" and (
            reason := backends.check("openvino", "bf16", request.target, request.cpu)
        ):
            raise UnsupportedError(reason)
        source = _openvino_files(peer, material)
        for ending in (".xml", ".bin"):
            (output / f"model{ending}").write_bytes(source.with_suffix(ending).read_bytes())
        # The runner asks OpenVINO for bfloat16 where a variant is named so, else for FP32; INT8 stays INT8.
        precision = "bf16" if peer.rest == "bf16" else "as it is"
        _describe(material, "openvino", output, {"model": "model.xml", "weights": "model.bin"}, precision)
        if peer.preset is None:
            return asdict(peer)
        return {**asdict(peer), "subset_size": len(material.calibration), "nncf": metadata.version("nncf")}

    return make


def _openvino_files(peer: NncfPeer, material: Material) -> Path:
    """OpenVINO's own format of the exported model or of what NNCF made of it; made once for both rests."""
    import openvino

    done = material.folder / f"openvino-{peer.preset}-{peer.control}.xml"
    if not done.is_file():
        model = openvino.Core().read_model(material.onnx)
        if peer.preset is not None:
            model = _quantized(peer, model, material)
        openvino.save_model(model, done, compress_to_fp16=False)
    return done


def _quantized(peer: NncfPeer, model: Any, material: Material) -> Any:
    if find_spec("nncf") is None:
        raise UnsupportedError("NNCF is not installed: pip install nncf")
    os.environ.setdefault("NNCF_CI", "1")  # it sends usage statistics elsewhere without it
    import nncf

    settings: dict[str, Any] = {
        "preset": nncf.QuantizationPreset(peer.preset),
        "model_type": nncf.ModelType.TRANSFORMER,
        "subset_size": len(material.calibration),
    }
    data = nncf.Dataset(list(material.calibration))
    if not peer.control:
        return nncf.quantize(model, data, **settings)
    judged = nncf.Dataset(list(zip(material.judged, material.labels, strict=True)), lambda pair: pair[0])

    def accuracy(compiled: Any, pairs: Iterable[tuple[Feed, int]]) -> tuple[float, list[float]]:
        right = [float(compiled(feed)["logits"].argmax() == label) for feed, label in pairs]
        return sum(right) / len(right), right

    return nncf.quantize_with_accuracy_control(model, data, judged, accuracy, **settings)


def _describe(
    material: Material, backend: str, output: Path, files: Mapping[str, str], precision: str
) -> None:
    """`variant.json` and tokenizer, so that the same runner opens it as opens ours.

    Inputs are not rounded up to whole buckets: OpenVINO's own way is a model with dynamic lengths.
    """
    from edgeprune.backends.onnx_file import input_names, read_onnx

    request = replace(material.request, variant=precision, output=output)
    inputs = input_names(read_onnx(material.onnx, weights=False))
    write_artifact(request, backend, Compiler(dict(files), inputs), {backend: metadata.version(backend)})
