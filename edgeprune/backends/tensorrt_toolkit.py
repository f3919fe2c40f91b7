"""The two TensorRT builders behind one interface: parse an ONNX file, build engines of it.

| toolkit | module | builds for |
|---|---|---|
| TensorRT for RTX | `tensorrt_rtx_bindings` | compute capabilities by name, with no GPU in the machine |
| TensorRT | `tensorrt` | the GPU in the machine |

Engines of one do not load in the other. Both are asked for strongly typed networks, where every operator
runs in the type that the graph gives it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgeprune.backends.nvidia_gpu import compute_capability
from edgeprune.backends.two_four import sparse_kernels
from edgeprune.errors import UnsupportedError
from edgeprune.runner.collecting import no_garbage_collection

__all__ = ["FULL", "RTX", "Network", "Shapes", "Toolkit", "open_toolkits", "parse"]

RTX, FULL = "tensorrt_rtx_bindings", "tensorrt"
_SHOWN = 3
# What the parser adds where there is no GPU, and what it says of every model with token ids.
_NOISE = ("catchCudaError", "Int64 binding", "Invalid Node - ")


@dataclass(frozen=True)
class Shapes:
    """The shapes [batch, tokens] that an engine takes, and the one that it is tuned for."""

    least: tuple[int, int]
    usual: tuple[int, int]
    most: tuple[int, int]

    def __str__(self) -> str:
        least, usual, most = ("×".join(map(str, shape)) for shape in (self.least, self.usual, self.most))
        return f"{least} to {most} (examples × tokens), tuned for {usual}"


@dataclass(frozen=True)
class Toolkit:
    """One of the two builders.

    Attributes:
        name: In words.
        ending: Of the names of its engine files.
        module: The imported bindings.
        capabilities: Compute capabilities that it builds for here.
    """

    name: str
    ending: str
    module: Any
    capabilities: tuple[float, ...]

    @property
    def version(self) -> str:
        """Name and version."""
        return f"{self.name} {self.module.__version__}"


def open_toolkits() -> list[Toolkit]:
    """The toolkits that work here; at least one.

    Raises:
        UnsupportedError: One that is installed cannot be loaded, or there is none.
    """
    found = []
    if find_spec(RTX):
        module = _load(RTX)
        names = [name for name in module.ComputeCapability.__members__ if re.fullmatch(r"SM\d+", name)]
        capabilities = tuple(float(f"{name[2:-1]}.{name[-1]}") for name in names)
        found.append(Toolkit("TensorRT for RTX", "rtx.engine", module, capabilities))
    # Without a GPU the full one cannot even make a builder.
    if find_spec(FULL) and (here := compute_capability()):
        found.append(Toolkit("TensorRT", "engine", _load(FULL), (here,)))
    if not found:
        raise UnsupportedError(
            "TensorRT builds only where there is an NVIDIA GPU, and here is none",
            hint='pip install "edgeprune[tensorrt]" builds without one',
        )
    return found


def _load(name: str) -> Any:
    try:
        return import_module(name)
    except (ImportError, OSError) as error:
        raise UnsupportedError(
            f"{name} is installed and cannot be loaded: {error}", hint='pip install "edgeprune[tensorrt]"'
        ) from error


class Network:
    """A parsed model, ready to be built for several GPUs."""

    def __init__(self, toolkit: Toolkit, builder: Any, network: Any, log: Any) -> None:
        self.toolkit = toolkit
        self._builder = builder
        self._network = network
        self._log = log

    @property
    def warnings(self) -> list[str]:
        """What the toolkit warned of so far, each once."""
        return list(dict.fromkeys(_readable(text) for text in self._log.warnings if not _is_noise(text)))

    @property
    def sparse_kernels(self) -> int | None:
        """Layers of the last engine that got sparse kernels; None: the log does not say."""
        return sparse_kernels(self._log.sparsity)

    def build(self, capability: float, shapes: Shapes, *, sparse: bool = False) -> bytes:
        """The serialized engine for one compute capability.

        Args:
            capability: NVIDIA's number of the GPU.
            shapes: What the engine takes.
            sparse: Whether kernels for 2:4 weights may be picked.

        FP32 products are left exact: TensorRT's own default is TF32, which has FP16's ten bits of mantissa.

        Raises:
            UnsupportedError: The toolkit builds none; its reasons are in the message.
        """
        trt = self.toolkit.module
        config = self._builder.create_builder_config()
        config.clear_flag(trt.BuilderFlag.TF32)
        if sparse:
            config.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
        if self.toolkit.ending == "rtx.engine":
            config.num_compute_capabilities = 1
            member = "SM" + str(capability).replace(".", "")
            config.set_compute_capability(getattr(trt.ComputeCapability, member), 0)
        profile = self._builder.create_optimization_profile()
        for place in range(self._network.num_inputs):
            name = self._network.get_input(place).name
            profile.set_shape(name, shapes.least, shapes.usual, shapes.most)
        config.add_optimization_profile(profile)
        self._log.errors.clear()
        self._log.sparsity.clear()
        # TensorRT calls our logger while it holds a lock. An earlier builder that is collected there, such as
        # one that a failed attempt left in its traceback, waits for that lock, and so for ever.
        with no_garbage_collection():
            engine = self._builder.build_serialized_network(self._network, config)
        if engine is None:
            raise UnsupportedError(
                f"{self.toolkit.version} builds no engine for compute capability {capability}: "
                f"{_listed([_readable(text) for text in self._log.errors])}"
            )
        return bytes(memoryview(engine))


def parse(toolkit: Toolkit, path: Path) -> Network:
    """Reads an ONNX file.

    Raises:
        UnsupportedError: The toolkit does not take it; nodes and reasons are in the message.
    """
    trt = toolkit.module
    log = _make_log(trt)
    with no_garbage_collection():
        builder = trt.Builder(log)
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, log)
        taken = parser.parse_from_file(str(path))
    if not taken:
        errors = [parser.get_error(place) for place in range(parser.num_errors)]
        reasons = [
            f"node {error.node_name()!r} ({error.node_operator()}): {_readable(error.desc())}"
            if error.node_operator()
            else _readable(error.desc())
            for error in errors
        ]
        raise UnsupportedError(f"{toolkit.version} does not take the model: {_listed(reasons)}")
    return Network(toolkit, builder, network, log)


def _make_log(trt: Any) -> Any:
    """A logger that keeps what is needed of the log; the toolkits' own writes to the terminal."""

    class Log(trt.ILogger):  # type: ignore[misc]  # its module has no types
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.warnings: list[str] = []
            self.errors: list[str] = []
            self.sparsity: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if "(Sparsity)" in message:
                self.sparsity.append(message)
            if severity == trt.ILogger.Severity.WARNING:
                self.warnings.append(message)
            elif severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)

    return Log()


def _is_noise(text: str) -> bool:
    return any(part in text for part in _NOISE)


def _readable(text: str) -> str:
    """One line of a message: without its places in the toolkits' sources, and what says nothing."""
    lines = [line for line in text.splitlines() if not _is_noise(line)] or text.splitlines()
    joined = " ".join(line.strip() for line in lines)
    return re.sub(r"\s*In \w+ at /\S+?:\d+|^\w+\.\w+:\d+: ", "", joined).strip()


def _listed(reasons: Sequence[str]) -> str:
    """The first reasons, and how many more there are."""
    kept = list(dict.fromkeys(reasons)) or ["it gives no reason"]
    more = f"; and {len(kept) - _SHOWN} more" if len(kept) > _SHOWN else ""
    return "; ".join(kept[:_SHOWN]) + more
