"""Compiled models on drawn inputs of one length: enough to time a structure, which has learned nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeprune.errors import UnsupportedError
from edgeprune.measurement.batches import Batch

if TYPE_CHECKING:
    from edgeprune.runner.session import Session

__all__ = ["VOCABULARY", "caller", "first_token", "open_compiled", "random_inputs"]

VOCABULARY = 1024  # tokens that are drawn from: looking one up takes no longer in a larger table
INPUTS = 8  # different ones, taken in turn


def open_compiled(folder: Path, threads: int, where: str) -> Session:
    """A compiled model, ready to run.

    Args:
        folder: The artifact.
        threads: Threads that it may use.
        where: What it is timed for, for the error.

    Raises:
        UnsupportedError: The runtime does not take it.
    """
    from edgeprune.runner.session import open_session
    from edgeprune.runner.variant import RunnerError

    try:
        return open_session(folder, threads)
    except RunnerError as error:
        raise UnsupportedError(f"a model to time cannot be loaded: {error}", where=where) from error


def caller(session: Session) -> Callable[[Batch], Any]:
    """One call of it, as `measure_interleaved` makes them."""
    return lambda batch: session.run(*batch)


def first_token(config: Any) -> int:
    """The first token that is no padding; some architectures count positions by it."""
    return int(config.pad_token_id or 0) + 1


def random_inputs(config: Any, batch: int, length: int) -> list[Batch]:
    """Inputs without padding, always the same; token ids [batch, length].

    Args:
        config: A Hugging Face config: its vocabulary and padding token count.
        batch: Texts of a call.
        length: Tokens of each.
    """
    random = np.random.default_rng(0)
    start = first_token(config)
    end = min(int(config.vocab_size), start + VOCABULARY)
    found = []
    for _ in range(INPUTS):
        ids = random.integers(start, end, (batch, length))
        found.append(Batch(ids, np.ones_like(ids), np.zeros_like(ids)))
    return found
