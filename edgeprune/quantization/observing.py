"""Running an FP32 model over calibration examples and keeping what its activations were."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgeprune.errors import EdgepruneError, UnsupportedError
from edgeprune.quantization.ranges import Method, Observed, Range, find_range

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["Batch", "Calibration", "observe", "open_model", "run"]

Batch = Mapping[str, npt.NDArray[Any]]
"""Input arrays by name, as `tasks.encoding.collate` gives them; inputs that the model lacks are left out."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """What was seen of a model's activations.

    Attributes:
        tensors: Statistics by tensor.
        channel_peaks: Largest magnitude per channel (last axis) by tensor, where it has channels: what
            smoothing divides by.
        examples: Examples that were run.
    """

    tensors: Mapping[str, Observed]
    channel_peaks: Mapping[str, npt.NDArray[np.float32]]
    examples: int

    def ranges(self, method: Method, *, symmetric: bool, share: float = 99.99) -> dict[str, Range]:
        """The range of every tensor by one method (see `ranges.find_range`)."""
        return {
            name: find_range(seen, method, symmetric=symmetric, share=share)
            for name, seen in self.tensors.items()
        }

    def notes(self) -> list[str]:
        """What makes the ranges doubtful, for the report."""
        notes = []
        if self.examples == 1:
            notes.append("INT8 ranges come from one calibration example")
        constant = [name for name, seen in self.tensors.items() if seen.is_constant]
        if constant:
            shown = ", ".join(constant[:3]) + (", …" if len(constant) > 3 else "")
            notes.append(
                f"{len(constant)} of {len(self.tensors)} activations never changed during calibration "
                f"({shown}): other inputs may be clipped"
            )
        return notes


def observe(
    model: ModelProto,
    tensors: Sequence[str],
    batches: Iterable[Batch],
    progress: Callable[[int], None] = lambda _: None,
) -> Calibration:
    """Statistics of activations over calibration batches; memory is that of one batch.

    Padding is counted like any token, so batches should hold examples of one length.

    Args:
        model: FP32, prepared (see `graphs.prepared`).
        tensors: Activations to look at (see `graphs.activations`).
        batches: Calibration examples, from training data.
        progress: Told the number of batches done, after each.

    Raises:
        EdgepruneError: There are no examples, or an activation is NaN or infinite.
        UnsupportedError: onnxruntime cannot run the model.
    """
    session = open_model(_with_outputs(model, tensors))
    seen = {name: Observed(name) for name in tensors}
    peaks: dict[str, npt.NDArray[np.float32]] = {}
    examples = 0
    for number, batch in enumerate(batches, start=1):
        arrays = run(session, batch, list(tensors)) if tensors else []
        for name, values in zip(tensors, arrays, strict=True):
            seen[name].add(values)
            _keep_peaks(peaks, name, values)
        examples += len(next(iter(batch.values())))
        progress(number)
    if not examples:
        raise EdgepruneError(
            "there are no calibration examples", where="quantization", hint="calibrate with at least one"
        )
    return Calibration(seen, peaks, examples)


def open_model(model: ModelProto) -> Any:
    """An onnxruntime session on the CPU.

    Raises:
        UnsupportedError: onnxruntime refuses the model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its exceptions share no base of their own
        raise UnsupportedError(
            f"onnxruntime cannot run the model: {error}", where="quantization", hint="export it again"
        ) from error


def run(session: Any, batch: Batch, outputs: list[str]) -> list[npt.NDArray[Any]]:
    """Outputs of one batch.

    Raises:
        UnsupportedError: onnxruntime cannot run the model on it.
    """
    known = {entry.name for entry in session.get_inputs()}
    given = {name: values for name, values in batch.items() if name in known}
    try:
        found: list[npt.NDArray[Any]] = session.run(outputs, given)
    except Exception as error:  # as above
        shapes = ", ".join(f"{name} {list(values.shape)}" for name, values in given.items())
        raise UnsupportedError(
            f"onnxruntime cannot run the model on a calibration batch ({shapes}): {error}",
            where="quantization",
            hint="check that the examples were encoded with the model's own tokenizer",
        ) from error
    return found


def _with_outputs(model: ModelProto, tensors: Sequence[str]) -> ModelProto:
    """A copy that also gives these tensors out."""
    import onnx

    result = onnx.ModelProto()
    result.CopyFrom(model)
    present = {value.name for value in result.graph.output}
    for name in tensors:
        if name not in present:
            result.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return result


def _keep_peaks(peaks: dict[str, npt.NDArray[np.float32]], name: str, values: npt.NDArray[Any]) -> None:
    if values.ndim < 2 or not values.size:
        return
    found = np.abs(values).reshape(-1, values.shape[-1]).max(axis=0)
    if name not in peaks:
        peaks[name] = found
    elif peaks[name].shape == found.shape:  # scores have as many columns as tokens: no channels
        peaks[name] = np.maximum(peaks[name], found)
