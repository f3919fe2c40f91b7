"""What a deployment says, in words and cells: shared by its page, its Markdown and its console form."""

from __future__ import annotations

from dataclasses import dataclass

from edgeprune.report import content
from edgeprune.report.deployment import Deployment, Disagreement
from edgeprune.report.formatting import count, minutes, percent, plain, size
from edgeprune.report.model import TargetRow

__all__ = [
    "EMULATED",
    "DisagreementCells",
    "as_target",
    "bundle_facts",
    "device_facts",
    "disagreement_cells",
    "disagreements_caption",
    "sample",
]

EMULATED = (
    "This device is emulated: its processor is imitated by software. It answers as such a processor does; "
    "its times and its memory mean nothing, so none are shown."
)
_SHOWN_CHARACTERS = 600


@dataclass(frozen=True)
class DisagreementCells:
    """One example that the device answers otherwise; answers as finished text, texts shortened."""

    row: str
    texts: tuple[str, ...]
    label: str
    original: str
    device: str


def as_target(deployment: Deployment) -> TargetRow:
    """The deployment in the form in which a report has a target, so that both look the same."""
    variant = deployment.variant.model_copy(update={"chosen": deployment.verdict == "pass"})
    return TargetRow(
        name=f"{deployment.target} on {deployment.device.name}",
        description=f"{deployment.bundle.name}, version {deployment.bundle.version}.",
        architecture=deployment.device.row.architecture,
        verdict=deployment.verdict,
        reason=deployment.reason,
        measured=True,
        chosen=variant.name if variant.chosen else None,
        device=deployment.device.row,
        variants=[*([deployment.original] if deployment.original else []), variant],
    )


def sample(deployment: Deployment) -> str:
    """How much of the validation set the device answered, and how its answers were compared."""
    sampled = deployment.sampled
    number, of = count(sampled.answered), count(sampled.available)
    drawn = f"{number} of {of} validation examples, drawn with seed {sampled.seed}"
    answered = f"The device answered {f'all {of} validation examples' if sampled.whole else drawn}."
    if deployment.build_agreement is None:
        return answered
    share = percent(deployment.build_agreement)
    return f"{answered} The same files gave the same answer on {share} of them where they were built."


def device_facts(deployment: Deployment) -> list[tuple[str, str]]:
    """What is known of the device: pairs of name and value, those without a value left out."""
    device = deployment.device
    facts = [
        ("address", plain(device.address)),
        ("processor", content.device(device.row)),
        ("memory", "" if device.memory_bytes is None else size(device.memory_bytes)),
        ("system", plain(device.system)),
        ("Python", plain(device.python)),
        ("runtime", plain(device.runtime)),
        ("conditions", ", ".join(plain(text) for text in device.conditions)),
    ]
    return [(name, value) for name, value in facts if value]


def bundle_facts(deployment: Deployment) -> list[tuple[str, str]]:
    """What was installed: pairs of name and value."""
    bundle = deployment.bundle
    sent = f"{size(bundle.sent_bytes)} sent" if bundle.sent_bytes else "all of it was there already"
    replaced = "nothing" if bundle.replaced is None else f"version {plain(bundle.replaced)}"
    facts = [
        ("bundle", plain(bundle.name)),
        ("version", plain(bundle.version)),
        ("size", f"{size(bundle.total_bytes)}, {sent}"),
        ("path", plain(bundle.path)),
        ("replaced", replaced),
        ("run", f"{plain(deployment.recipe)}, {plain(deployment.run_id)}"),
        ("took", minutes(deployment.seconds)),
    ]
    return [(name, value) for name, value in facts if value]


def disagreements_caption(deployment: Deployment, shown: int) -> str:
    """How many examples the device answers otherwise, and how many of them are shown."""
    answered = count(deployment.sampled.answered)
    if not deployment.disagreed:
        return f"The device gave the original's answer on all {answered} examples."
    others = count(deployment.disagreed)
    text = f"The device answered {others} of {answered} examples otherwise than the original"
    left_out = deployment.disagreed - shown
    return f"{text}; {count(shown)} are shown, deployment.json has more." if left_out else f"{text}."


def disagreement_cells(deployment: Deployment, limit: int) -> list[DisagreementCells]:
    """The first `limit` examples that the device answers otherwise, surest answers of the device first.

    The surer the device is of another answer, the less is it a tie that rounding decided.
    """
    ordered = sorted(deployment.disagreements, key=lambda found: (-max(found.device.values()), found.row))
    return [_cells(found) for found in ordered[:limit]]


def _cells(found: Disagreement) -> DisagreementCells:
    return DisagreementCells(
        row=count(found.row),
        texts=tuple(_shortened(plain(text)) for text in found.texts),
        label="" if found.label is None else plain(found.label),
        original=_answer(found.original),
        device=_answer(found.device),
    )


def _answer(scores: dict[str, float]) -> str:
    """The label with the highest score, and that score."""
    label = max(scores, key=lambda name: scores[name])
    return f"{plain(label)} ({scores[label]:.3f})"


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…"
