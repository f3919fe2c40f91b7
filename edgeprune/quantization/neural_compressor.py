"""Calibration by neural-compressor 3.x, along its PyTorch 2 export path.

The call sequence is export, prepare, calibrate, convert, export to ONNX. What it emits keeps weights in FP32
and quantizes them while running. So its ranges are read out of the graph (`stripping`), and `qdq` writes the
INT8 model.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from edgeprune.errors import EdgepruneError, UnsupportedError
from edgeprune.quantization.observing import Batch
from edgeprune.quantization.ranges import Method, Range
from edgeprune.quantization.stripping import strip
from edgeprune.quantization.weights import require_finite

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["ALGORITHMS", "calibrate_torch", "require"]

ALGORITHMS: Mapping[Method, str] = MappingProxyType({"minmax": "minmax", "mse": "kl"})
"""Its names of what it has. Its minmax is a moving average over batches. What it calls kl is torchao's
HistogramObserver, which takes the range with the least squared error."""

_PACKAGES = {"neural_compressor": "neural-compressor", "torchao": "torchao", "onnxscript": "onnxscript"}
"""What is imported here, and what pip calls it; onnxscript is what the export to ONNX needs."""
_INSTALL = 'pip install "neural-compressor[pt]" onnxscript, or use the engine onnxruntime'


def require(where: str = "quantization") -> None:
    """Nothing, if what this engine imports is installed; imports nothing itself.

    Raises:
        UnsupportedError: Something is missing.
    """
    missing = [package for module, package in _PACKAGES.items() if find_spec(module) is None]
    if missing:
        raise UnsupportedError(
            f"the engine neural-compressor needs what is not installed: {', '.join(missing)}",
            where=where,
            hint=_INSTALL,
        )


def calibrate_torch(
    model: Any, batches: Sequence[Batch], method: Method
) -> tuple[ModelProto, dict[str, Range]]:
    """The model in FP32, exported and prepared, and the ranges of the activations that would be quantized.

    Args:
        model: A Hugging Face classifier in evaluation mode.
        batches: Calibration examples; all with the same inputs.
        method: A key of `ALGORITHMS`.

    Raises:
        EdgepruneError: There are no examples, or a weight is NaN or infinite.
        UnsupportedError: neural-compressor is not installed, has no such method, or cannot take the model.
    """
    require()
    if method not in ALGORITHMS:
        raise UnsupportedError(
            f"neural-compressor has no calibration by {method}",
            where="quantization",
            hint=f"it has: {', '.join(ALGORITHMS)}; the engine onnxruntime has all",
        )
    if not batches:
        raise EdgepruneError(
            "there are no calibration examples", where="quantization", hint="calibrate with at least one"
        )
    for name, values in model.named_parameters():
        require_finite(values.detach().float().cpu().numpy(), name)
    with _collected() as said:
        exported = _run(model, batches, method, said)
    found, ranges = strip(exported)
    _name_after_weights(found)
    return found, ranges


def _run(model: Any, batches: Sequence[Batch], method: Method, said: Sequence[str]) -> ModelProto:
    import torch

    try:
        from neural_compressor.torch.export import export
        from neural_compressor.torch.quantization import StaticQuantConfig, convert, prepare
    except ImportError as error:
        raise UnsupportedError(
            f"neural-compressor is installed and cannot be loaded: {error}",
            where="quantization",
            hint=_INSTALL,
        ) from error
    names = tuple(batches[0])
    wrapped = _positional(model, names)
    rows = [tuple(torch.from_numpy(batch[name]) for name in names) for batch in batches]
    example = tuple(_two_rows(values) for values in rows[0])
    each = ({0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC},) * len(names)
    try:
        # `forward` takes all inputs in one parameter, the graph that is made of it one in each.
        graph = export(wrapped, example, dynamic_shapes=(each,))
        observed = prepare(graph, StaticQuantConfig(act_algo=ALGORITHMS[method]))
        with torch.inference_mode():
            for row in rows:
                observed(*row)
        converted = convert(observed)
        program = torch.export.export(converted, example, dynamic_shapes=each)
        written = torch.onnx.export(
            program, dynamo=True, input_names=list(names), output_names=["logits"], verbose=False
        )
    except Exception as error:  # each of the five steps has exceptions of its own
        reason = " ".join([f"{type(error).__name__}: {error}", *said])
        raise UnsupportedError(
            f"neural-compressor cannot take this model: {reason}",
            where="quantization",
            hint="use the engine onnxruntime",
        ) from error
    result: ModelProto = written.model_proto
    return result


def _positional(model: Any, names: Sequence[str]) -> Any:
    """The classifier as a function from tensors, in the order of `names`, to logits."""
    import torch

    class Positional(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *values: Any) -> Any:
            return self.model(**dict(zip(names, values, strict=True))).logits

    return Positional().eval()


def _two_rows(values: Any) -> Any:
    """An example input whose batch is not one, which an export would take for a fixed size."""
    return values if len(values) > 1 else values.repeat(2, *[1] * (values.ndim - 1))


def _name_after_weights(model: ModelProto) -> None:
    """``model.bert.….query.weight`` names its MatMul ``/bert/…/query/MatMul``, as the other exporter does."""
    taken = {node.name for node in model.graph.node}
    for node in model.graph.node:
        index = {"MatMul": 1, "Gather": 0}.get(node.op_type)
        weight = node.input[index].removesuffix("_transposed") if index is not None else ""
        if weight.startswith("model.") and weight.endswith(".weight"):
            path = weight.removeprefix("model.").removesuffix(".weight").replace(".", "/")
            name = f"/{path}/{node.op_type}"
            if name not in taken:
                taken.add(name)
                node.name = name


class _Collector(logging.Handler):
    def __init__(self, texts: list[str]) -> None:
        super().__init__(logging.ERROR)
        self.texts = texts

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@contextmanager
def _collected() -> Iterator[list[str]]:
    """Its errors as a list, as some are logged and not raised; and no remarks on hardware and progress."""
    logger = logging.getLogger("neural_compressor")
    handlers, disabled, said = list(logger.handlers), logging.root.manager.disable, list[str]()
    logging.disable(max(disabled, logging.WARNING))
    logger.handlers = [_Collector(said)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield said
    finally:
        logger.handlers = handlers
        logging.disable(disabled)
