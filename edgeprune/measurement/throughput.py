"""Throughput of several models: texts answered a second, in rounds in which the models take turns.

In a round every model answers for the same time, models in a new random order, the same batches for all in
a new random order. So a slow model, which gets to fewer batches, answers a fair sample of them too.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgeprune.measurement.batches import Batch
from edgeprune.runner.collecting import no_garbage_collection
from edgeprune.runner.throughput import ThroughputSession

__all__ = ["ROUNDS", "Rounds", "measure_rounds"]

ROUNDS = 3


@dataclass(frozen=True)
class Rounds:
    """One model's raw numbers.

    Attributes:
        texts: Answered in each round.
        seconds: That each round took, until its last answer.
        streams: Batches that were under way at once.
    """

    texts: Sequence[int]
    seconds: Sequence[float]
    streams: int

    @property
    def texts_per_second(self) -> float:
        """Over all rounds."""
        return sum(self.texts) / sum(self.seconds)

    @property
    def spread(self) -> tuple[float, float]:
        """Texts a second of the slowest and of the fastest round."""
        rates = [texts / seconds for texts, seconds in zip(self.texts, self.seconds, strict=True)]
        return min(rates), max(rates)


def measure_rounds(
    models: Mapping[str, ThroughputSession],
    batches: Mapping[str, Sequence[Batch]],
    seconds: float,
    *,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> dict[str, Rounds]:
    """Warms up all models, then counts what each one answers.

    Args:
        models: By name.
        batches: Name of the model to its batches: the same texts for every model.
        seconds: Per model and round.
        rounds: How many; at least one.
        seed: Of the orders.

    Returns:
        Name to its rounds, which stand at the same place for every model.
    """
    order = np.random.default_rng(seed)
    names = list(models)
    for name in names:
        models[name].warm_up(batches[name])
    texts: dict[str, list[int]] = {name: [] for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    gc.collect()
    with no_garbage_collection():
        for _ in range(rounds):
            places = order.permutation(len(batches[names[0]])).tolist()
            for position in order.permutation(len(names)).tolist():
                name = names[position]
                found = models[name].measure([batches[name][place] for place in places], seconds)
                texts[name].append(found.texts)
                times[name].append(found.seconds)
    return {name: Rounds(texts[name], times[name], models[name].streams) for name in names}
