"""What answers for an engine whose device is not here: the ONNX that it was built of, on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeprune.errors import UnsupportedError
from edgeprune.runner.session import OnnxruntimeSession
from edgeprune.runner.variant import read_variant

__all__ = ["STAND_IN", "open_stand_in"]

STAND_IN = "the same ONNX on onnxruntime's CPU provider"


class _StandIn(OnnxruntimeSession):
    """onnxruntime on a model with Q/DQ as it is written.

    Its own integer kernels are left out: on some processors they add in saturating 16 bits, which no
    accelerator does, and the answers would be another machine's.
    """

    def _options(self) -> Any:
        options = super()._options()
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        return options


def open_stand_in(folder: Path, threads: int) -> OnnxruntimeSession:
    """Opens the ONNX file of a compiled model of any backend that leaves one as its model.

    Args:
        folder: The compiled artifact.
        threads: Threads to use.

    Raises:
        UnsupportedError: It has no ONNX file, or onnxruntime does not take it.
    """
    variant = read_variant(folder)
    name = variant.files["model"]
    if not name.endswith(".onnx"):
        raise UnsupportedError(f"no ONNX file answers for {variant.backend}: its model is {name}")
    try:
        return _StandIn(folder, variant, threads)
    except Exception as error:  # onnxruntime has no common error type
        message = f"onnxruntime cannot load the ONNX of {variant.backend}/{variant.precision}: {error}"
        raise UnsupportedError(message, where=str(folder)) from error
