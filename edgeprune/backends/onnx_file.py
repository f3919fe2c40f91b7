"""Reading the exported model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeprune.errors import EdgepruneError

__all__ = ["input_names", "read_onnx"]


def read_onnx(path: Path, *, weights: bool = True) -> Any:
    """The ONNX model in a file.

    Args:
        path: The file.
        weights: Whether weights that lie in files of their own are read too.

    Raises:
        EdgepruneError: There is no such file, or it is not ONNX.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        return onnx.load(path, load_external_data=weights)
    except (OSError, DecodeError) as error:
        message = f"the exported model cannot be read: {error}"
        raise EdgepruneError(message, where=str(path), hint="export it again") from error


def input_names(model: Any) -> list[str]:
    """What a model must be fed, in its order: its inputs that are not weights."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value.name for value in model.graph.input if value.name not in weights]
