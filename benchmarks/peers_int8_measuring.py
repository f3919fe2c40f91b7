"""Answers and times of all entrants of one case, on the same texts in one process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from grid_running import say
from interleaved import Calls, inputs_of, timed
from peers_int8_entrants import Entrant
from peers_int8_sources import Case

from edgeprune.errors import EdgepruneError
from edgeprune.measurement import statistics
from edgeprune.measurement.latency import Length
from edgeprune.measurement.verdict import Candidate, judge_target

if TYPE_CHECKING:
    from edgeprune.measurement.reading import Reading
    from edgeprune.recipe.schema import Acceptance, RecipeShell
    from edgeprune.runner.session import Session

__all__ = ["Conditions", "Measured", "Scores", "answered", "judged", "measure", "scores_of"]


@dataclass(frozen=True)
class Conditions:
    """How all entrants are measured, beside what the recipe's `measurement` says.

    Attributes:
        threads: Of every runtime.
        examples: Validation examples; None: all.
    """

    threads: int
    examples: int | None = None


@dataclass(frozen=True)
class Scores:
    """Answers to the validation examples, counted.

    Attributes:
        n: Examples.
        correct: Right answers.
        agreement: Share of the answers that are those of the original in FP32.
        difference: Accuracy minus the original's, points, paired.
    """

    n: int
    correct: int
    agreement: statistics.Interval
    difference: statistics.Interval


@dataclass(frozen=True)
class Measured:
    """What was found of one entrant in one case.

    Attributes:
        entrant: Which.
        scores: None: it could not be made or opened, and has no calls either.
        calls: Its times, block by block beside those of all others.
        file_bytes: Of the model's files.
        executed: What the runtime says it runs.
        status: Of one of ours, by the recipe's acceptance: `accepted`, `rejected`, `inconclusive`.
        chosen: Whether it is the one of ours that would ship.
    """

    entrant: Entrant
    scores: Scores | None = None
    calls: Calls | None = None
    file_bytes: int = 0
    executed: str = ""
    status: str = ""
    chosen: bool = False


def measure(case: Case, entrants: Sequence[Entrant], conditions: Conditions) -> tuple[list[Measured], float]:
    """Answers first, then times, interleaved.

    Returns:
        All entrants, in their order, and the original's accuracy, 0..1.

    Raises:
        UsageError: There is a length that no text fits in.
        EdgepruneError: Nothing could be made.
    """
    from edgeprune.measurement.accuracy import predict
    from edgeprune.measurement.pytorch import open_original
    from edgeprune.measurement.reading import read_texts
    from edgeprune.tasks.examples import Examples

    examples = Examples.load(case.data / "validation")
    shell = case.recipe.shell
    protocol = shell.measurement
    if conditions.examples is not None:
        examples = examples.select(range(min(conditions.examples, len(examples))))
    reading = read_texts({"": case.model}, examples, shell.model.max_length)[""]
    labels = np.asarray(examples.labels)
    inputs = inputs_of(reading, protocol.lengths, protocol.batch)
    original = open_original(case.model, conditions.threads)
    expected = predict(original, reading.encoded, protocol.batch, reading.pad_id, "original").argmax(axis=1)
    found: dict[str, Measured] = {}
    sessions: dict[str, Session] = {}
    for entrant in entrants:
        say(f"{entrant.name}: {entrant.problem or 'being asked'}")
        found[entrant.name], session = answered(entrant, shell, conditions.threads, reading, labels, expected)
        if session:
            sessions[entrant.name] = session
    if not sessions:
        raise EdgepruneError("nothing could be made or opened", where=case.name)
    say(f"{case.name}: {len(sessions)} models are timed interleaved")
    calls = timed(sessions, inputs, protocol.calls, protocol.warmup)
    measured = [replace(row, calls=calls.get(name)) for name, row in found.items()]
    return judged(measured, shell.acceptance), float((expected == labels).mean())


def answered(
    entrant: Entrant,
    shell: RecipeShell,
    threads: int,
    reading: Reading,
    labels: np.ndarray,
    expected: np.ndarray,
) -> tuple[Measured, Session | None]:
    """One entrant's scores, and its session; None: it has none, and the row says why.

    Args:
        entrant: Which.
        shell: Of the recipe.
        threads: That it may use.
        reading: The texts as its tokens.
        labels: True class ids, int [N].
        expected: The original's answers, int [N].
    """
    from edgeprune.measurement.accuracy import predict
    from edgeprune.runner.session import open_session
    from edgeprune.runner.variant import RunnerError

    if entrant.folder is None:
        return Measured(entrant), None
    try:
        session = open_session(entrant.folder, threads)
        logits = predict(session, reading.encoded, shell.measurement.batch, reading.pad_id, entrant.name)
    except (RunnerError, EdgepruneError) as error:
        return Measured(replace(entrant, problem=str(error))), None
    scores = scores_of(labels, expected, logits.argmax(axis=1), shell.acceptance.confidence)
    size = sum((session.folder / name).stat().st_size for name in session.variant.files.values())
    return Measured(entrant, scores, None, size, session.executed().summary), session


def scores_of(labels: np.ndarray, expected: np.ndarray, answers: np.ndarray, confidence: float) -> Scores:
    """Answers beside the original's; all three int [N]."""
    return Scores(
        len(labels),
        int((answers == labels).sum()),
        statistics.agreement(expected, answers, confidence),
        statistics.accuracy_difference(labels, expected, answers, confidence),
    )


def judged(measured: Sequence[Measured], acceptance: Acceptance) -> list[Measured]:
    """With what the recipe's acceptance says of ours, but for speed: the original is not timed here."""
    plain = acceptance.model_copy(update={"min_speedup": None})
    candidates = [
        Candidate(row.entrant.name, row.scores.difference, row.scores.agreement, _medians(row.calls))
        for row in measured
        if row.entrant.side == "ours" and row.scores and row.calls
    ]
    said = {item.name: item for item in judge_target(candidates, plain).variants} if candidates else {}
    return [
        replace(row, status=item.status, chosen=item.chosen) if (item := said.get(row.entrant.name)) else row
        for row in measured
    ]


def _medians(calls: Calls) -> Mapping[Length, float]:
    return {length: float(np.median(rows)) / 1e6 for length, rows in calls.items()}
