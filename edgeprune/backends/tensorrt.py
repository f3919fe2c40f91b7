"""TensorRT on NVIDIA GPUs: engines built ahead of time, and a script that builds them on the device."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.backends.contract import Compiler, Request
from edgeprune.backends.nvidia_gpu import compute_capability, why_untimed
from edgeprune.errors import UnsupportedError
from edgeprune.recipe.schema import Target
from edgeprune.runner.cpu import Cpu

if TYPE_CHECKING:
    from edgeprune.backends.tensorrt_toolkit import Network, Shapes, Toolkit

__all__ = ["DEFAULT_CAPABILITIES", "QUANTIZED", "SPARSE", "Tensorrt"]

# GeForce RTX 30 and 40, and the workstation cards of their time.
DEFAULT_CAPABILITIES = (8.6, 8.9)
# Variants that are built of a quantized model, symmetric QDQ.
QUANTIZED = ("int8", "int8-fp16", "int8-2:4")
HALF = ("fp16", "int8-fp16", "2:4", "int8-2:4")
# In FP16 beside what is quantized, of weights with two of four neighbours zero.
SPARSE = ("2:4", "int8-2:4")


class Tensorrt:
    """Compiles with TensorRT for RTX, which needs no GPU, and with full TensorRT where there is a GPU.

    The artifact holds what is built, `model.onnx`; an engine per compute capability, as far as they can be
    built here; and `build.sh` for devices that build their own, as a Jetson does. Engines of the same model
    need not have the same bytes: the builder leaves the order of some of its tables open.
    """

    def refusal(self, variant: str, target: Target, cpu: Cpu) -> str | None:
        """A device that could not be measured, or nothing that could build."""
        if target.device.kind == "local":
            return "the runner has no TensorRT session yet: give the target `device: {kind: none}`"
        if find_spec("tensorrt_rtx_bindings") is None and compute_capability() is None:
            return (
                "full TensorRT builds only where there is an NVIDIA GPU, and here is none; "
                'pip install "edgeprune[tensorrt]" builds without one'
            )
        return None

    def compile(self, request: Request) -> Compiler:
        """Writes `model.onnx`, an engine per compute capability, and `build.sh`."""
        from edgeprune.backends.onnx_file import input_names, read_onnx
        from edgeprune.backends.tensorrt_toolkit import Shapes, open_toolkits, parse
        from edgeprune.backends.trtexec_script import write_script

        _require_one_file(request.onnx_folder)
        model = read_onnx(request.onnx_folder / "model.onnx")
        inputs = input_names(model)
        notes = _write_model(request, model)
        toolkits = open_toolkits()
        tokens, batch = request.max_length, request.batch
        shapes = Shapes((1, 1), (batch, max(1, tokens // 2)), (batch, tokens))
        write_script(request.output / "build.sh", inputs, shapes, sparse=request.variant in SPARSE)
        networks = [parse(toolkit, request.output / "model.onnx") for toolkit in toolkits]
        engines, said = _build(request, networks, shapes)
        files = {"model": "model.onnx", "build": "build.sh"} | {f"engine {name}": name for name in engines}
        notes += [f"engines take {shapes}", *said, *_not_done(request, toolkits)]
        return Compiler(files=files, inputs=inputs, notes=notes)


def _build(request: Request, networks: Sequence[Network], shapes: Shapes) -> tuple[list[str], list[str]]:
    """Writes an engine per toolkit and compute capability; names of the files, and notes.

    A GPU may lack what a variant needs: TensorRT for RTX has no FP32 products for 7.5. That is noted, as long
    as there is an engine for another.
    """
    files, failures, notes = [], [], []
    for network in networks:
        toolkit = network.toolkit
        for capability in _buildable(request, toolkit):
            name = f"sm{str(capability).replace('.', '')}.{toolkit.ending}"
            try:
                engine = network.build(capability, shapes, sparse=request.variant in SPARSE)
            except UnsupportedError as error:
                failures.append(error.message)
                continue
            (request.output / name).write_bytes(engine)
            files.append(name)
            notes.append(f"{name}: {len(engine) / 1e6:.1f} MB, by {toolkit.version}")
            if request.variant in SPARSE:
                notes.append(f"{name}: {_use_of_sparsity(network.sparse_kernels)}")
        notes += [f"{toolkit.name} warns: {text}" for text in network.warnings]
    if failures and not files:
        raise UnsupportedError("; ".join(failures))
    return files, [*notes, *failures]


def _require_one_file(folder: Path) -> None:
    """Models above 2 GB have their weights in files of their own."""
    if len(list(folder.glob("model.onnx*"))) > 1:
        message = "a model with weights in files of their own cannot be built for TensorRT yet"
        raise UnsupportedError(message, where=str(folder))


def _write_model(request: Request, model: Any) -> list[str]:
    """Writes the model in the types that it will run in, and says what was done to it."""
    import onnx

    quantized, half = request.variant in QUANTIZED, request.variant in HALF
    _require_symmetric(model, quantized=quantized)
    output = request.output / "model.onnx"
    notes = ["INT8 where the quantized model has it (symmetric)"] if quantized else []
    if request.variant in SPARSE:
        notes.append(_require_two_four(model))
    if half:
        from edgeprune.backends.onnx_half import in_half

        model, done = in_half(model)
        onnx.save(model, output)
        return [*notes, *done]
    shutil.copyfile(request.onnx_folder / "model.onnx", output)
    return [*notes, "everything else in FP32; TF32 is off"] if quantized else ["in FP32; TF32 is off"]


def _require_symmetric(model: Any, *, quantized: bool) -> None:
    """Raises for what TensorRT would refuse, or take for something else."""
    from edgeprune.backends.symmetric_qdq import is_quantized, qdq_problems

    problems = qdq_problems(model)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        message = f"TensorRT takes symmetric INT8 only: {problems[0]}{more}"
        raise UnsupportedError(message, hint="quantize in the dialect `symmetric`")
    if quantized != is_quantized(model):
        raise UnsupportedError(f"the model is {'not' if quantized else 'already'} quantized")


def _require_two_four(model: Any) -> str:
    """Which products can use sparse kernels, as a note; raises where none can."""
    from edgeprune.backends.two_four import two_four_products

    products = two_four_products(model)
    if not products.sparse:
        raise UnsupportedError(
            f"none of the model's {len(products.dense)} products has 2:4 weights",
            hint="learn_masks with `granularity: 2:4`, and nothing after it that fills the zeros",
        )
    total = len(products.sparse) + len(products.dense)
    return f"{len(products.sparse)} of {total} products have 2:4 weights, so sparse kernels are allowed"


def _use_of_sparsity(kernels: int | None) -> str:
    """Speed by 2:4 is claimed on the builder's word only."""
    if kernels is None:
        return "the builder does not say whether it picked sparse kernels, so none are claimed"
    return f"the builder picked sparse kernels for {kernels} layers"


def _wanted(target: Target) -> tuple[float, ...]:
    return tuple(target.compute_capabilities or DEFAULT_CAPABILITIES)


def _same_host(request: Request) -> bool:
    """What an engine does on another kind of host than the one that it was built on is not known."""
    return request.target.architecture == request.cpu.architecture


def _buildable(request: Request, toolkit: Toolkit) -> list[float]:
    """Compute capabilities that are wanted and that the toolkit builds for here."""
    return [each for each in _wanted(request.target) if _same_host(request) and each in toolkit.capabilities]


def _not_done(request: Request, toolkits: Sequence[Toolkit]) -> list[str]:
    """Engines that are left to the device, and what is not measured; and why."""
    if _same_host(request):
        reason = f"{' and '.join(toolkit.name for toolkit in toolkits)} cannot build for it here"
    else:
        reason = f"this machine is {request.cpu.architecture}, the device {request.target.architecture}"
    tried = {capability for toolkit in toolkits for capability in _buildable(request, toolkit)}
    left = [capability for capability in _wanted(request.target) if capability not in tried]
    return [
        *(f"no engine for compute capability {each}: {reason}; build.sh is for it" for each in left),
        f"latency not measured here: {why_untimed()}",
    ]
