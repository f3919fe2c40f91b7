"""The original: the Hugging Face model in PyTorch, FP32, which everything is measured against.

``python -m edgeprune.measurement.pytorch --model DIR --threads N --inputs FILE`` prints its load time and
peak memory as one JSON line, like the runner's probe does for compiled models.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.errors import EdgepruneError
from edgeprune.runner.probe import measure, read_batch
from edgeprune.runner.session import INPUTS
from edgeprune.runner.variant import RunnerError

__all__ = ["Original", "main", "open_original"]


class Original:
    """The original as a predictor.

    Attributes:
        threads: Threads that PyTorch was told to use, in the whole process.
        executed: What runs, in words for the report.
    """

    def __init__(self, model: Any, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.threads = threads
        self._torch = torch
        self._model = model.float().eval()
        known = inspect.signature(model.forward).parameters
        self._inputs = [name for name in INPUTS if name in known]
        attention = getattr(model.config, "_attn_implementation", None) or "default"
        self.executed = f"torch {torch.__version__}, float32, {attention} attention, {threads} threads"

    def run(self, ids: np.ndarray, mask: np.ndarray, types: np.ndarray) -> np.ndarray:
        """Logits of one batch.

        Args:
            ids: Token ids, int64 [batch, length].
            mask: 1 for tokens, 0 for padding, same shape.
            types: 0 for the first sentence, 1 for the second, same shape.

        Returns:
            float32 [batch, classes].
        """
        torch = self._torch
        arrays = dict(zip(INPUTS, (ids, mask, types), strict=True))
        with torch.inference_mode():
            tensors = {name: torch.from_numpy(np.ascontiguousarray(arrays[name])) for name in self._inputs}
            logits: np.ndarray = self._model(**tensors).logits.numpy()
        return logits


def open_original(folder: Path, threads: int) -> Original:
    """Loads the original from a local folder.

    Args:
        folder: Of the original (`config.json`, `model.safetensors`).
        threads: Threads to use; set for the whole process, as PyTorch knows no other way.

    Raises:
        EdgepruneError: There is no model that can be loaded.
    """
    from edgeprune.structure.loading import load

    try:
        model = load(folder)
    except EdgepruneError as error:
        message = f"the original cannot be loaded: {error.message}"
        raise EdgepruneError(message, where=error.where, hint=error.hint) from error
    return Original(model, threads)


def _import_libraries() -> None:
    import torch  # noqa: F401 - imported to be timed
    from transformers import AutoModelForSequenceClassification  # noqa: F401


def main(arguments: Sequence[str] | None = None) -> int:
    """Probes the original and writes one JSON line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Load time and peak memory of a PyTorch model")
    parser.add_argument("--model", type=Path, required=True, help="Hugging Face folder")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--inputs", type=Path, required=True, help=".npz with ids, mask, types")
    options = parser.parse_args(arguments)
    try:
        batch = read_batch(options.inputs)
        probed = measure(_import_libraries, lambda: open_original(options.model, options.threads), batch)
    except RunnerError as error:
        sys.stderr.write(f"error: {error}\n")
        return int(EdgepruneError.exit_code)
    except EdgepruneError as error:
        sys.stderr.write(f"error: {error}\n")
        return int(error.exit_code)
    sys.stdout.write(json.dumps(asdict(probed)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
