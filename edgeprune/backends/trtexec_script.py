"""`build.sh`: the same engine built on the device, with the `trtexec` that comes with full TensorRT."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeprune.backends.tensorrt_toolkit import Shapes

__all__ = ["write_script"]

_SCRIPT = """#!/bin/sh
# Builds model.engine of model.onnx for the GPU of this device, with TensorRT 10 or newer.
# What is given to this script is given to trtexec too; set TRTEXEC to its path if it is not found.
set -eu
cd "$(dirname "$0")"
: "${{TRTEXEC:=$(command -v trtexec || echo /usr/src/tensorrt/bin/trtexec)}}"
exec {line}
"""


def write_script(path: Path, inputs: Sequence[str], shapes: Shapes, *, sparse: bool = False) -> None:
    """Writes the script: strongly typed, without TF32, nothing timed but kernels.

    Args:
        path: The script.
        inputs: Names of the model's inputs, each [batch, tokens].
        shapes: What the engine takes.
        sparse: Whether kernels for 2:4 weights may be picked; the builder's log then says which were.
    """
    options = [
        "--onnx=model.onnx",
        "--saveEngine=model.engine",
        "--stronglyTyped",  # TensorRT 11 knows nothing else, and takes the option still
        "--noTF32",
        "--skipInference",
        *(["--sparsity=enable"] if sparse else []),
    ]
    ends = {"min": shapes.least, "opt": shapes.usual, "max": shapes.most}
    for end, (batch, tokens) in ends.items():
        options.append(f"--{end}Shapes=" + ",".join(f"{name}:{batch}x{tokens}" for name in inputs))
    line = " \\\n  ".join(['"$TRTEXEC"', *map(shlex.quote, options), '"$@"'])
    path.write_text(_SCRIPT.format(line=line), encoding="utf-8")
    path.chmod(0o755)
