"""What a device's answers are compared with: those of the original, and those of the same files here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgeprune.errors import EdgepruneError
from edgeprune.stages.answering import ORIGINAL

if TYPE_CHECKING:
    from edgeprune.pipeline.finished import FinishedRun
    from edgeprune.tasks.examples import Examples

__all__ = ["answers_of_the_original", "answers_where_built"]

_JUDGING = ("measure", "answer")
_MODEL = "model.safetensors"

Logits = npt.NDArray[np.float32]


def answers_of_the_original(run: FinishedRun, validation: Examples, rows: list[int]) -> Logits:
    """Logits of the original on some validation examples.

    The run kept them where it measured a target; else the original answers now.

    Args:
        run: The run.
        validation: All validation examples.
        rows: Positions of those that are wanted.

    Returns:
        float32 [rows, classes].

    Raises:
        EdgepruneError: The original is gone from the cache.
    """
    for node, facts in run.nodes.items():
        if facts["stage"] in _JUDGING and run.has(node):
            with np.load(run.artifact(node).path / "logits.npz") as kept:
                if ORIGINAL in kept:
                    return np.asarray(kept[ORIGINAL][rows], np.float32)
    return _answer_now(run, validation.select(rows))


def _answer_now(run: FinishedRun, examples: Examples) -> Logits:
    from edgeprune.measurement.accuracy import predict
    from edgeprune.measurement.pytorch import open_original
    from edgeprune.measurement.reading import read_texts
    from edgeprune.runner.cpu import describe, usable_cores
    from edgeprune.stages.quiet import quiet_libraries

    quiet_libraries()
    trained = next((node for node in run.nodes if run.has(node) and _MODEL in run.artifact(node).files), None)
    if trained is None:
        raise EdgepruneError("the original is gone from the cache", hint="run the recipe again")
    folder = run.artifact(trained).path
    reading = read_texts({ORIGINAL: folder}, examples, run.shell.model.max_length)[ORIGINAL]
    original = open_original(folder, usable_cores(describe()))
    return predict(original, reading.encoded, run.shell.measurement.batch, reading.pad_id, ORIGINAL)


def answers_where_built(run: FinishedRun, node: str, examples: Examples) -> tuple[Logits | None, str]:
    """Logits of a compiled model on this machine; None and why, where nothing here answers with it.

    Args:
        run: The run.
        node: Id of the step that compiled it.
        examples: What is asked.

    Returns:
        float32 [examples, classes] or None, and the reason for None.
    """
    from edgeprune.measurement.accuracy import predict
    from edgeprune.measurement.reading import read_texts
    from edgeprune.runner.session import open_session
    from edgeprune.runner.variant import RunnerError
    from edgeprune.stages.quiet import quiet_libraries

    quiet_libraries()
    folder = run.artifact(node).path
    try:
        session = open_session(folder)
    except RunnerError as error:
        return None, f"not compared with the same files here: {error}"
    reading = read_texts({node: folder}, examples, session.variant.max_length)[node]
    return predict(session, reading.encoded, run.shell.measurement.batch, reading.pad_id, node), ""
