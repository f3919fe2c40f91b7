"""Says how long a compiled model takes to load and how much memory it needs.

Meant for a fresh process: imports that were done before, or memory that something else took, would be
somebody else's numbers.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Callable, Protocol

import numpy as np

from .session import open_session
from .variant import RunnerError, read_variant

__all__ = [
    "Answers",
    "Probed",
    "configure",
    "measure",
    "peak_memory_bytes",
    "read_batch",
    "run",
    "sample_batch",
]

CALLS = 5
Batch = tuple[np.ndarray, np.ndarray, np.ndarray]


class Answers(Protocol):
    """Anything that turns ids, mask and types into logits."""

    def run(self, ids: np.ndarray, mask: np.ndarray, types: np.ndarray) -> np.ndarray:
        """Logits [batch, classes] of int64 [batch, length] inputs."""


@dataclass(frozen=True)
class Probed:
    """What one fresh process found.

    Attributes:
        import_seconds: Importing the runtime; part of `load_seconds`.
        load_seconds: From before the runtime's import until the first answer.
        peak_memory_bytes: Highest resident set of the process, after all answers.
        calls: Answers given.
        shape: Batch and length of the inputs.
    """

    import_seconds: float
    load_seconds: float
    peak_memory_bytes: int
    calls: int
    shape: tuple[int, int]


def measure(
    import_runtime: Callable[[], object],
    open_model: Callable[[], Answers],
    batch: Batch,
    calls: int = CALLS,
) -> Probed:
    """Imports, loads and answers `calls` times with `batch`, timing all until the first answer.

    Args:
        import_runtime: Imports what the model needs, and nothing else.
        open_model: Loads the model.
        batch: ids, mask and types, int64 [batch, length].
        calls: Answers to give before memory is read.
    """
    start = time.perf_counter()
    import_runtime()
    imported = time.perf_counter()
    model = open_model()
    model.run(*batch)
    ready = time.perf_counter()
    for _ in range(calls - 1):
        model.run(*batch)
    rows, length = batch[0].shape
    return Probed(imported - start, ready - start, peak_memory_bytes(), calls, (rows, length))


def peak_memory_bytes() -> int:
    """Highest resident set of this process so far.

    Linux's `ru_maxrss` outlives the start of a new program, so that a process started by a large one would
    report the large one; `VmHWM` belongs to the program that runs now.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def sample_batch(length: int, rows: int = 1) -> Batch:
    """Inputs of full length, all of token 1: enough to load and to reach the peak of memory."""
    ids = np.ones((rows, length), np.int64)
    return ids, np.ones_like(ids), np.zeros_like(ids)


def read_batch(path: Path) -> Batch:
    """Reads ids, mask and types from an `.npz` file with these three names.

    Raises:
        RunnerError: The file cannot be read, or lacks one of them.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return arrays["ids"], arrays["mask"], arrays["types"]
    except (OSError, ValueError, KeyError) as error:
        raise RunnerError(f"{path} holds no ids, mask and types: {error}") from error


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the words of this command."""
    parser.add_argument("--artifact", type=Path, required=True, help="folder of a compiled model")
    parser.add_argument("--threads", type=int, help="threads to use; left out: what the model says")
    parser.add_argument("--inputs", type=Path, help=".npz with ids, mask, types; left out: made up")
    parser.add_argument("--calls", type=int, default=CALLS, help="answers before memory is read")


def run(options: argparse.Namespace) -> int:
    """Runs the command: one JSON line on standard output."""
    variant = read_variant(options.artifact)
    batch = read_batch(options.inputs) if options.inputs else sample_batch(variant.max_length)
    probed = measure(
        # A backend's name is the name of the module to import.
        import_runtime=lambda: _import(variant.backend),
        open_model=lambda: open_session(options.artifact, options.threads),
        batch=batch,
        calls=options.calls,
    )
    sys.stdout.write(json.dumps(asdict(probed)) + "\n")
    return 0


def _import(runtime: str) -> None:
    try:
        import_module(runtime)
    except ModuleNotFoundError as error:
        raise RunnerError(f"{runtime} is not installed here: pip install {runtime}") from error
