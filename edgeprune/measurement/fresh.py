"""Load time and peak memory, each found by a new process that does nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgeprune.errors import EdgepruneError
from edgeprune.measurement.batches import Batch
from edgeprune.runner.probe import Probed

__all__ = ["probe_artifact", "probe_original"]

TIMEOUT_SECONDS = 600
TAIL_LINES = 12


def probe_artifact(folder: Path, threads: int, inputs: Batch | None = None) -> Probed:
    """Load time and peak memory of a compiled model.

    Args:
        folder: The compiled artifact.
        threads: Threads that it may use.
        inputs: What it answers; left out: one made-up row of full length.

    Raises:
        EdgepruneError: The process failed; the message ends with what it said.
    """
    return _probe("edgeprune.runner", ["probe", "--artifact", str(folder)], threads, inputs)


def probe_original(folder: Path, threads: int, inputs: Batch) -> Probed:
    """Load time and peak memory of the original PyTorch model.

    Args:
        folder: Hugging Face folder.
        threads: Threads that it may use.
        inputs: What it answers.

    Raises:
        EdgepruneError: The process failed; the message ends with what it said.
    """
    return _probe("edgeprune.measurement.pytorch", ["--model", str(folder)], threads, inputs)


def _probe(module: str, words: Sequence[str], threads: int, inputs: Batch | None) -> Probed:
    # -P: files in the user's current folder must not shadow the modules that the process imports.
    command = [sys.executable, "-P", "-m", module, *words, "--threads", str(threads)]
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as folder:
        if inputs is not None:
            path = Path(folder) / "inputs.npz"
            np.savez(path, ids=inputs.ids, mask=inputs.mask, types=inputs.types)
            command += ["--inputs", str(path)]
        return _parse(command, _run(command))


def _run(command: Sequence[str]) -> str:
    """Standard output of a command that succeeds."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise EdgepruneError(
            f"measuring load time and memory took longer than {TIMEOUT_SECONDS} s", where=" ".join(command)
        ) from error
    if done.returncode:
        tail = "\n".join(done.stderr.strip().splitlines()[-TAIL_LINES:])
        raise EdgepruneError(
            f"measuring load time and memory ended with exit code {done.returncode}:\n{tail}",
            where=" ".join(command),
            hint="run this command to see all that it says",
        )
    return done.stdout


def _parse(command: Sequence[str], output: str) -> Probed:
    """Reads the last line; runtimes may have written others before it."""
    lines = output.strip().splitlines()
    try:
        values = json.loads(lines[-1])
        return Probed(**{**values, "shape": tuple(values["shape"])})
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise EdgepruneError(
            f"a probe's answer cannot be read: {output[-400:]!r}", where=" ".join(command)
        ) from error
