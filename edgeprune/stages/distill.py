"""`distill`: a compressed model wins back accuracy, taught by the original or by another model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from edgeprune.errors import Problem
from edgeprune.recipe.schema import Section, Share
from edgeprune.stages.contract import Outcome, Stage, Work
from edgeprune.stages.training_config import TrainingConfig

__all__ = ["DISTILL", "DistillConfig", "DistillLosses"]

ORIGINAL = "original"


class LogitsLoss(Section):
    """T² · KL(teacher || student)."""

    weight: float = Field(1.0, ge=0, description="Of this part in the sum; 0: left out.")
    temperature: float = Field(2.0, gt=0, le=100, description="T; softens both sides' logits.")


class LabelsLoss(Section):
    """Cross entropy under the labels."""

    weight: float = Field(0.0, ge=0, description="Of this part in the sum; 0: left out.")


class HiddenLoss(Section):
    """The share of the teacher's variance that the student's hidden states miss."""

    weight: float = Field(1.0, ge=0, description="Of this part in the sum; 0: left out.")
    layers: Literal["uniform", "last", "closest"] = Field(
        "uniform", description="Which layers are compared: all by depth, the last, or those that are closest."
    )


class RelationsLoss(Section):
    """KL of the relations between tokens, in the last layer that has attention heads."""

    weight: float = Field(1.0, ge=0, description="Of this part in the sum; 0: left out.")
    of: Literal["value", "query-key", "all"] = Field(
        "value", description="Vectors whose relations are compared; `query-key`: of both, each with its own."
    )


class DistillLosses(Section):
    """The parts of the loss."""

    logits: LogitsLoss = Field(
        default_factory=lambda: LogitsLoss.model_validate({}), description="What the teacher answers."
    )
    labels: LabelsLoss = Field(
        default_factory=lambda: LabelsLoss.model_validate({}), description="What the data say."
    )
    hidden: HiddenLoss | None = Field(
        default_factory=lambda: HiddenLoss.model_validate({}),
        description="Hidden states; `null`: not compared.",
    )
    relations: RelationsLoss | None = Field(None, description="Attention relations; `null`: not compared.")


class SyntheticTexts(Section):
    """Texts made of training texts, which the teacher answers as it does those."""

    count: int = Field(ge=1, description="How many, beside the training texts; an epoch passes over both.")
    min_words: int = Field(
        0, ge=0, description="Training texts with fewer words are not what they are made of."
    )


class DistillConfig(TrainingConfig):
    """How the student is trained."""

    learning_rate: float = Field(2e-4, gt=0, lt=1, description="Peak rate of AdamW.")
    teacher: str | list[str] = Field(
        ORIGINAL,
        min_length=1,
        description="`original`, the fine-tuned dense model; or sources of another classifier of the same "
        "classes and tokens, as in `model.source`.",
    )
    losses: DistillLosses = Field(
        default_factory=lambda: DistillLosses.model_validate({}), description="The parts of the loss."
    )
    synthetic: SyntheticTexts | None = Field(
        None, description="Texts to learn from beside the training texts; left out: none."
    )
    dropout: Share | None = Field(
        None, description="Of the student while it is trained; left out: as its encoder was pre-trained."
    )
    train_embeddings: bool = Field(
        True, description="Whether the word embeddings are trained too; without them a step is shorter."
    )
    cache_budget_mb: float = Field(
        2048.0, ge=0, description="Megabytes on disk that the teacher's hidden states may take."
    )
    warmup: Share = Field(0.06, description="Share of all steps over which the rate rises.")
    schedule: Literal["linear", "cosine", "constant"] = Field(
        "linear", description="How the rate falls afterwards."
    )
    averaging: float = Field(
        0.0, ge=0, lt=1, description="Decay of a moving average of the weights, e.g. 0.998; 0: none."
    )


def check(config: DistillConfig) -> list[Problem]:
    """Nothing to learn from, or labels to learn where there are none."""
    losses = config.losses
    if config.synthetic and losses.labels.weight:
        message = "synthetic texts have no labels, and losses.labels.weight is not 0"
        return [Problem(("synthetic",), message, "learn from the teacher's answers alone, or leave one out")]
    parts = [part for part in (losses.logits, losses.labels, losses.hidden, losses.relations) if part]
    if any(part.weight for part in parts):
        return []
    message = "every part of the loss has weight 0: there is nothing to learn from"
    return [Problem(("losses",), message, "leave it out for logits and hidden states")]


def also(config: DistillConfig) -> tuple[str, ...]:
    """The original, where it teaches."""
    return (ORIGINAL,) if config.teacher == ORIGINAL else ()


def models(config: DistillConfig) -> Mapping[str, list[str]]:
    """The teacher, where it is not the original."""
    if config.teacher == ORIGINAL:
        return {}
    return {"teacher": [config.teacher] if isinstance(config.teacher, str) else config.teacher}


def apply(work: Work) -> Outcome:
    """Train under the teacher, score on the validation examples, save as it came, with its masks."""
    from edgeprune.stages.student_training import distill

    return distill(work)


DISTILL = Stage(
    name="distill",
    summary="let the original teach a compressed model",
    config=DistillConfig,
    apply=apply,
    requires=("data", "model"),
    provides=("model",),
    reads=("model.max_length",),
    seeded=True,
    ensures=("model.safetensors", "config.json", "tokenizer.json"),
    code=(
        "stages.distill", "stages.student_training", "stages.teachers", "stages.training_config",
        "stages.validating", "stages.quiet", "training", "structure", "distillation", "tasks", "runner.cpu",
        "durable",
    ),
    libraries=("torch", "transformers", "accelerate", "tokenizers", "scikit-learn", "numpy"),
    resolve=DistillConfig.resolved,
    check=check,
    also=also,
    models=models,
)  # fmt: skip
