"""onnxruntime's own file format, for apps whose build of it has no more than one model needs.

Such a build reads no ONNX and optimizes nothing when it loads a model. So all is done here, up to the level
that is the same on every processor: what depends on one (ONNX Runtime's *layout* level) would make a file
that other processors cannot load.

The same model gives the same file but for the order of one table, which onnxruntime writes as its hashes
fall. Neither weights nor operators are touched by it.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["OPERATORS", "write_ort"]

OPERATORS = "required_operators.config"
_HEADER = f"""\
# Operators of model.ort and the types that they have there, for a build of ONNX Runtime from its source:
# build.sh --minimal_build --include_ops_by_config {OPERATORS} --enable_reduced_operator_type_support
"""


def write_ort(source: Path, architecture: str) -> list[str]:
    """Writes `model.ort` and the operators that it needs beside an ONNX file.

    Args:
        source: `model.onnx`, without weights in files of their own.
        architecture: Kind of machine that it is for, e.g. ``aarch64``.

    Returns:
        What was written, in sentences.
    """
    import onnxruntime

    path = source.with_suffix(".ort")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(path)
    options.add_session_config_entry("session.save_model_format", "ORT")
    # Products of signed activations, where the graph leaves them to the runtime: ARM has them, x86 has not.
    options.add_session_config_entry("session.qdqisint8allowed", str(int(architecture == "aarch64")))
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    _write_operators(path)
    return [
        f"model.ort: {path.stat().st_size / 1e6:.1f} MB, optimized for any {architecture} processor; "
        f"model.onnx, which it was made from, has {source.stat().st_size / 1e6:.1f} MB",
        f"{OPERATORS} lists the operators and types that a minimal build needs",
    ]


def _write_operators(path: Path) -> None:
    """Writes the list that a build takes."""
    with _silent():
        from onnxruntime.tools.ort_format_model import create_config_from_models

        target = path.with_name(OPERATORS)
        create_config_from_models([path], target, True)
    # It opens with the path of the model here, which is nobody else's business.
    lines = [line for line in target.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    target.write_text(_HEADER + "\n".join([*lines, ""]), encoding="utf-8")


@contextmanager
def _silent() -> Iterator[None]:
    """With the root logger as it was, which those tools set up for a program of their own.

    They also leave the model's file to the garbage collector, which warns.
    """
    root = logging.getLogger()
    handlers, level, disabled = list(root.handlers), root.level, logging.root.manager.disable
    logging.disable(max(disabled, logging.INFO))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            yield
    finally:
        logging.disable(disabled)
        root.setLevel(level)
        for handler in set(root.handlers) - set(handlers):
            root.removeHandler(handler)
