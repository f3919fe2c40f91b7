"""From a device's answers to the verdict on what is deployed there. Pure: arrays in, report rows out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgeprune.errors import ExitCode
from edgeprune.measurement import statistics
from edgeprune.measurement.verdict import Candidate, judge
from edgeprune.pipeline.measured import difference_to, reported
from edgeprune.report.deployment import Disagreement
from edgeprune.report.model import LatencyRow, Quality, VariantRow, Verdict
from edgeprune.stages.answering import ORIGINAL, scores
from edgeprune.tasks.scoring import decode

if TYPE_CHECKING:
    from edgeprune.pipeline.device_answers import Timings
    from edgeprune.recipe.schema import RecipeShell
    from edgeprune.tasks.examples import Examples

__all__ = ["SHOWN", "DeviceVerdict", "judge_on_device"]

SHOWN = 50
"""Disagreements that a report lists; it counts all of them."""

_VERDICTS: dict[str, Verdict] = {"accepted": "pass", "rejected": "fail"}

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class DeviceVerdict:
    """What the answers say.

    Attributes:
        verdict: May it ship.
        reason: Why, with the numbers.
        variant: The deployed variant as the device showed it.
        original: The reference on the same examples.
        disagreed: Examples that the two answer differently.
        disagreements: The first `SHOWN` of them.
        build_agreement: Share of answers that are those of the same files where they were built; None:
            nothing answers with them there.
    """

    verdict: Verdict
    reason: str
    variant: VariantRow
    original: VariantRow
    disagreed: int
    disagreements: list[Disagreement]
    build_agreement: float | None

    @property
    def exit_code(self) -> ExitCode:
        """What the process says to the shell."""
        return ExitCode.ACCEPTED if self.verdict == "pass" else ExitCode.REJECTED


def judge_on_device(
    row: VariantRow,
    device: Logits,
    original: Logits,
    built: Logits | None,
    examples: Examples,
    rows: list[int],
    timings: Timings | None,
    shell: RecipeShell,
) -> DeviceVerdict:
    """Compares the device's answers with the original's, example by example.

    Args:
        row: What the run's report says of the variant.
        device: Logits of the device, [examples, classes].
        original: Logits of the original, the same shape.
        built: Logits of the same files where they were built; None: nothing answers with them there.
        examples: What was asked.
        rows: Position of each example in the validation set.
        timings: Of the device; None: not measured, or the times of an emulator.
        shell: The recipe's sections.
    """
    answers, reference = device.argmax(axis=1), original.argmax(axis=1)
    confidence, metric = shell.acceptance.confidence, shell.task.metric
    difference = difference_to(reference, answers, np.asarray(examples.labels), shell)
    agreement = statistics.agreement(reference, answers, confidence)
    judgement = judge(Candidate(row.name, difference, agreement), shell.acceptance, metric)
    found = row.model_copy(
        update={
            "executed": "",
            "stand_in": "",
            "fusions": None,
            "throughput": None,
            "status": judgement.status,
            "reason": judgement.reason,
            "chosen": False,
            "quality": Quality(**scores(device, examples)["quality"]),
            "difference_points": reported(difference),
            "agreement": agreement.estimate,
            "latency": _latency(timings, shell),
            "load_seconds": timings.load["load_seconds"] if timings and timings.load else None,
            "peak_memory_bytes": timings.load["peak_memory_bytes"] if timings and timings.load else None,
        }
    )
    differ = np.flatnonzero(answers != reference).tolist()
    return DeviceVerdict(
        verdict=_VERDICTS.get(judgement.status, "inconclusive"),
        reason=judgement.reason,
        variant=found,
        original=_original(original, examples),
        disagreed=len(differ),
        disagreements=_disagreements(differ[:SHOWN], device, original, examples, rows),
        build_agreement=None if built is None else float((built.argmax(axis=1) == answers).mean()),
    )


def _original(logits: Logits, examples: Examples) -> VariantRow:
    return VariantRow(
        name=ORIGINAL,
        backend="pytorch",
        precision="fp32",
        status="reference",
        reason="the dense fine-tuned model, on the same examples; it does not run on the device",
        quality=Quality(**scores(logits, examples)["quality"]),
        peak_memory_bytes=None,
    )


def _latency(timings: Timings | None, shell: RecipeShell) -> list[LatencyRow]:
    """The model's part of each call, which is what a run measures too."""
    if timings is None:
        return []
    batch = shell.measurement.batch
    return [
        LatencyRow(length=entry["length"], batch=batch, calls=entry["calls"], **entry["session"])
        for entry in timings.lengths
    ]


def _disagreements(
    places: list[int], device: Logits, original: Logits, examples: Examples, rows: list[int]
) -> list[Disagreement]:
    _, device_scores = decode(device)
    _, original_scores = decode(original)

    def by_label(values: npt.NDArray[Any]) -> dict[str, float]:
        return {name: float(value) for name, value in zip(examples.classes, values, strict=True)}

    texts = list(examples.inputs())
    pairs = examples.text_pairs is not None
    return [
        Disagreement(
            row=rows[place],
            texts=list(texts[place][: 2 if pairs else 1]),
            label=examples.classes[examples.labels[place]],
            original=by_label(original_scores[place]),
            device=by_label(device_scores[place]),
        )
        for place in places
    ]
