"""Opens a compiled model and answers with it, whichever runtime it was compiled for.

Shapes: ids, mask, types int64 [batch, length]; logits float32 [batch, classes].
"""

from __future__ import annotations

import json
import tempfile
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Mapping, TypeVar

import numpy as np

from .cpu import describe, usable_cores
from .variant import RunnerError, Variant, read_variant

__all__ = [
    "INPUTS",
    "Executed",
    "OnnxruntimeSession",
    "OpenvinoSession",
    "Operator",
    "Session",
    "open_session",
    "opened",
]

# What `Session.run` takes, in this order, by the names that models give them.
INPUTS = ("input_ids", "attention_mask", "token_type_ids")

# The variant of OpenVINO that reads weights compressed, and the share of zeros that a product's must have.
SPARSE = "int8-sparse"
LEAST_ZEROS = 0.5

Opened = TypeVar("Opened")


@dataclass(frozen=True)
class Operator:
    """One operator as the runtime runs it.

    Attributes:
        kind: What the runtime calls it, e.g. ``BiasGelu``.
        replaces: Names of the model's operators that it does the work of; None: the runtime does not say.
    """

    kind: str
    replaces: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Executed:
    """What the runtime says it runs, as opposed to what was asked for.

    Attributes:
        summary: One line for a report.
        products: Precision of the weights of a matrix product to the number of such products, e.g.
            ``{"int8": 38, "f32": 12}``. Products of two activations count by the second one,
            and a fused attention once, by its weights.
        operators: Everything that it runs; empty where it does not say.
    """

    summary: str
    products: dict[str, int]
    operators: tuple[Operator, ...] = ()


class Session(ABC):
    """A model that is loaded and ready. Not for several threads at once.

    Attributes:
        folder: Where it was read from.
        variant: What that folder says about itself.
        threads: Threads that the runtime was told to use.
    """

    def __init__(self, folder: Path, variant: Variant, threads: int) -> None:
        self.folder = folder
        self.variant = variant
        self.threads = threads

    @property
    def model_path(self) -> Path:
        """The model file."""
        return self.folder / self.variant.files["model"]

    def run(self, ids: np.ndarray, mask: np.ndarray, types: np.ndarray) -> np.ndarray:
        """Logits of one batch.

        Args:
            ids: Token ids, int64 [batch, length].
            mask: 1 for tokens, 0 for padding, same shape.
            types: 0 for the first sentence, 1 for the second, same shape.

        Returns:
            float32 [batch, classes].

        Raises:
            RunnerError: The three do not have the same two-dimensional shape.
        """
        return self._answer(self.feed(ids, mask, types))

    def feed(self, ids: np.ndarray, mask: np.ndarray, types: np.ndarray) -> dict[str, np.ndarray]:
        """What the runtime is given for one batch: exactly the inputs that the model has, padded.

        Args:
            ids: See `run`.
            mask: See `run`.
            types: See `run`.

        Raises:
            RunnerError: The three do not have the same two-dimensional shape.
        """
        if ids.ndim != 2 or not ids.shape == mask.shape == types.shape:
            raise RunnerError(
                f"inputs have the shapes {ids.shape}, {mask.shape}, {types.shape}; need one 2-D shape"
            )
        arrays = dict(zip(INPUTS, self._pad(ids, mask, types)))
        return {name: arrays[name] for name in self.variant.inputs}

    def _pad(self, ids: np.ndarray, mask: np.ndarray, types: np.ndarray) -> list[np.ndarray]:
        """The inputs, contiguous and filled up to a whole bucket; the mask hides what is added."""
        length = ids.shape[1]
        whole = -(-length // self.variant.bucket) * self.variant.bucket
        # A model may have no positions beyond its maximum, so the last bucket may be a short one.
        missing = max(length, min(whole, self.variant.max_length)) - length
        fills = (self.variant.pad_id, 0, 0)
        arrays = (ids, mask, types)
        return [
            np.pad(np.asarray(array, np.int64), ((0, 0), (0, missing)), constant_values=fill)
            if missing
            else np.ascontiguousarray(array, np.int64)
            for array, fill in zip(arrays, fills)
        ]

    @abstractmethod
    def _answer(self, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """Logits float32 [batch, classes] for exactly the inputs that the model has."""

    @abstractmethod
    def executed(self) -> Executed:
        """What the runtime says it runs. Costs up to a second: ask once, not while measuring."""


class OnnxruntimeSession(Session):
    """onnxruntime on the CPU. `run` may be called from several threads at once."""

    def __init__(self, folder: Path, variant: Variant, threads: int) -> None:
        super().__init__(folder, variant, threads)
        import onnxruntime

        self._runtime = onnxruntime
        self._session = self._open(self._options())

    def _options(self) -> Any:
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.execution_mode = self._runtime.ExecutionMode.ORT_SEQUENTIAL
        # Threads that keep spinning after an answer steal the cores of whatever runs next.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        return options

    def _open(self, options: Any) -> Any:
        providers = ["CPUExecutionProvider"]
        return self._runtime.InferenceSession(str(self.model_path), options, providers=providers)

    def _answer(self, arrays: dict[str, np.ndarray]) -> np.ndarray:
        logits: np.ndarray = self._session.run(["logits"], arrays)[0]
        return logits

    def executed(self) -> Executed:
        """Reads the operator trace of one answer of a second, profiled session."""
        with tempfile.TemporaryDirectory(prefix="edgeprune-") as folder:
            options = self._options()
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "trace")
            # The trace leaves out weights that were packed for a kernel, and with them their type.
            options.add_session_config_entry("session.disable_prepacking", "1")
            session = self._open(options)
            ones = np.ones((1, 4), np.int64)
            sample = dict(zip(INPUTS, (ones, ones, np.zeros_like(ones))))
            session.run(["logits"], {name: sample[name] for name in self.variant.inputs})
            trace = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        events = [event["args"] for event in trace if event.get("cat") == "Node"]
        nodes = [event for event in events if "op_name" in event]
        products = Counter(_operand_precision(node) for node in nodes if _is_product(node["op_name"]))
        providers = ", ".join(sorted({str(node["provider"]) for node in nodes}))
        summary = f"onnxruntime {self._runtime.__version__}, {providers}, {_describe(products)}"
        operators = tuple(Operator(str(node["op_name"])) for node in nodes)
        return Executed(summary, dict(products), operators)


class OpenvinoSession(Session):
    """OpenVINO on the CPU, compiled once for all lengths.

    Attributes:
        compiled: The runtime's compiled model.
    """

    def __init__(self, folder: Path, variant: Variant, threads: int, hint: str = "LATENCY") -> None:
        super().__init__(folder, variant, threads)
        import openvino

        asked = "bf16" if variant.precision == "bf16" else "f32"
        sparse = variant.precision == SPARSE
        settings = {
            "PERFORMANCE_HINT": hint,
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": asked,
        }
        if sparse:
            settings["CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE"] = LEAST_ZEROS
        self._runtime = openvino
        self.compiled = openvino.Core().compile_model(str(self.model_path), "CPU", settings)
        self._hint: str = self.compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        if self._hint != asked:
            raise RunnerError(f"{folder} needs {asked}, but OpenVINO runs {self._hint} on this CPU")
        if sparse and not self._sparse_products():
            raise RunnerError(
                f"{folder} is to run with sparse weights, and OpenVINO does that for no product: it takes an "
                f"Intel AMX processor, {LEAST_ZEROS:.0%} zeros, and sizes that are multiples of 64"
            )
        self._request = self.compiled.create_infer_request()

    def _sparse_products(self) -> int:
        """Products that read their weights in compressed form, by the kernels that were picked."""
        infos = [node.get_rt_info() for node in self.compiled.get_runtime_model().get_ordered_ops()]
        return sum("sparse" in info["primitiveType"].astype(str) for info in infos if "primitiveType" in info)

    def _answer(self, arrays: dict[str, np.ndarray]) -> np.ndarray:
        for name, array in arrays.items():
            self._request.set_tensor(name, self._runtime.Tensor(array, shared_memory=True))
        self._request.infer()
        # The tensor is the request's own memory: the next answer overwrites it.
        return np.array(self._request.get_tensor("logits").data, dtype=np.float32)

    def executed(self) -> Executed:
        """Reads the graph that the CPU plugin made."""
        products: Counter[str] = Counter()
        operators = []
        for node in self.compiled.get_runtime_model().get_ordered_ops():
            info = node.get_rt_info()
            kind = info["layerType"].astype(str)
            if _is_product(kind):
                precision = info["runtimePrecision"].astype(str)
                products["int8" if precision in ("u8", "i8") else precision] += 1
            names = info["originalLayersNames"].astype(str) if "originalLayersNames" in info else ""
            operators.append(Operator(kind, tuple(name for name in names.split(",") if name)))
        version = self._runtime.__version__.split("-")[0]
        summary = f"openvino {version}, precision hint {self._hint}, {_describe(products)}"
        if self.variant.precision == SPARSE:
            summary += f", {self._sparse_products()} with sparse weights"
        return Executed(summary, dict(products), tuple(operators))


SESSIONS: dict[str, Callable[[Path, Variant, int], Session]] = {
    "onnxruntime": OnnxruntimeSession,
    "openvino": OpenvinoSession,
}


def open_session(folder: str | Path, threads: int | None = None) -> Session:
    """Loads the compiled model in `folder`.

    Args:
        folder: Holds `variant.json`, the model and its tokenizer.
        threads: Threads to use; left out: what the variant says, or else the physical cores.

    Raises:
        RunnerError: The folder is not a compiled model, its runtime is not installed here, or the runtime
            refuses the model or the precision.
    """
    return opened(Path(folder), threads, SESSIONS)


def opened(
    folder: Path, threads: int | None, kinds: Mapping[str, Callable[[Path, Variant, int], Opened]]
) -> Opened:
    """What the backend's entry of `kinds` makes of the compiled model in `folder`; see `open_session`."""
    variant = read_variant(folder)
    if variant.backend not in kinds:
        known = ", ".join(sorted(kinds))
        raise RunnerError(f"{folder} is for {variant.backend!r}; this runner knows {known}")
    strange = [name for name in variant.inputs if name not in INPUTS]
    if strange:
        raise RunnerError(f"{folder} needs the inputs {strange}; this runner feeds {', '.join(INPUTS)}")
    count = threads or variant.threads or usable_cores(describe())
    try:
        return kinds[variant.backend](folder, variant, count)
    except ModuleNotFoundError as error:
        raise RunnerError(f"{folder} needs {variant.backend}: pip install {variant.backend}") from error
    except RunnerError:
        raise
    except Exception as error:  # the runtimes have no common error type
        raise RunnerError(f"{variant.backend} cannot load {folder}: {error}") from error


def _is_product(operator: str) -> bool:
    """Whether an executed operator multiplies matrices, by the names that both runtimes use."""
    return any(part in operator for part in ("MatMul", "Gemm", "FullyConnected", "Attention"))


def _operand_precision(node: dict[str, Any]) -> str:
    """Type of the second operand of a traced onnxruntime node, e.g. ``f32`` or ``int8``."""
    shapes: list[dict[str, Any]] = node["input_type_shape"]
    name = next(iter(shapes[1]))
    return {"float": "f32", "float16": "f16", "bfloat16": "bf16", "uint8": "int8"}.get(name, name)


def _describe(products: Counter[str]) -> str:
    counts = ", ".join(f"{count} in {precision}" for precision, count in products.most_common())
    return f"matrix products: {counts or 'none found'}"
