"""`learn_masks`: a pre-trained encoder becomes a sparse one for the task.

With `smp` by pruning alone: the encoder's own parameters never change. The other methods of the family
train weights as well; they are here to be compared, on the same data, by the same loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from edgeprune.errors import Problem
from edgeprune.recipe.schema import Section, Share
from edgeprune.stages.contract import Outcome, Stage, Work
from edgeprune.stages.training_config import TrainingConfig

__all__ = ["LEARN_MASKS", "Distillation", "LearnMasksConfig", "MaskSchedule"]


class MaskSchedule(Section):
    """How the density falls from 1 to its target."""

    shape: Literal["cubic", "linear"] = "cubic"
    warmup: Share = Field(0.0, description="Share of the run before anything is pruned.")
    hold: Share = Field(
        0.3, description="Share of the run, at its end, at the target density; masks may still swap weights."
    )


class Distillation(Section):
    """What the original teaches: its logits."""

    temperature: float = Field(2.0, gt=0, le=100)
    weight: Share = Field(0.5, description="Share of the teacher in the loss; the rest is the labels'.")


class Block(Section):
    """A block of weights that is kept or pruned as a whole."""

    block: list[Annotated[int, Field(ge=1)]] = Field(min_length=2, max_length=2, description="Rows, columns.")


class LearnMasksConfig(TrainingConfig):
    """How masks are learned. What is left out is the method's own published value."""

    method: Literal["smp", "movement", "movement-soft", "magnitude", "l0", "pst", "pins"] = Field(
        "smp", description="What weights are ranked by, and what is trained beside."
    )
    density: float = Field(gt=0, le=1, description="Share of the prunable weights that is kept.")
    granularity: str | Block = Field(
        "weight", description="`weight`, `2:4` (N:M), `row`, `head`, `head+row` or `{block: [4, 4]}`."
    )
    allocation: Literal["uniform", "score", "global"] | None = Field(
        None, description="How the budget is shared: evenly, over layers by their scores, by one threshold."
    )
    schedule: MaskSchedule = Field(
        default_factory=lambda: MaskSchedule.model_validate({}), description="How the density falls."
    )
    distillation: Annotated[
        Distillation | None, BeforeValidator(lambda value: {} if value is True else value)
    ] = Field(default_factory=lambda: Distillation.model_validate({}), description="`null`: labels alone.")
    score_learning_rate: float | None = Field(None, gt=0, description="Peak rate of the scores.")
    head_learning_rate: float | None = Field(None, gt=0, description="Peak rate of the task head.")
    learning_rate: float | None = Field(None, gt=0, lt=1, description="Peak rate of the encoder's weights.")
    score_init: float | None = Field(None, description="Scores at the beginning.")
    share_temperature: float = Field(1.0, gt=0, description="p of `allocation: score`; above 1 evens out.")
    regularizer: float | None = Field(None, ge=0, description="λ, of the mean of σ(scores).")
    tau: float = Field(0.1, gt=0, lt=1, description="Final threshold of `movement-soft`.")
    rank: int | None = Field(None, ge=1, description="r of `pst`; left out: 8, or less for narrow encoders.")
    head: Literal["auto", "trained", "label-words"] = Field(
        "auto", description="`label-words`: the frozen MLM head read at one word per class."
    )
    label_words: dict[str, str] | None = Field(None, description="Class name: its word in the vocabulary.")
    head_storage: Literal["exact", "float16", "int8-rows"] = Field(
        "exact",
        description="How the mask pack holds the head: as it is, in half precision, or in INT8, a scale per "
        "row. The model's head is rounded likewise.",
    )
    warmup: Share = Field(0.0, description="Share of all steps over which the rates rise.")
    learning_schedule: Literal["linear", "cosine", "constant"] = Field(
        "linear", description="How the rates fall afterwards."
    )


def resolve(config: LearnMasksConfig) -> LearnMasksConfig:
    """The method's own values where none are given, and this machine's precision: they are in the key."""
    from edgeprune.masking.granularity import Granularity
    from edgeprune.masking.plan import METHODS

    method = METHODS[config.method]
    own = "uniform" if Granularity.parse(plain_granularity(config)).group else method.allocations[0]
    rate = config.learning_rate or method.weight_rate
    filled: dict[str, Any] = {
        "allocation": config.allocation or own,
        "learning_rate": rate or None,
        "score_learning_rate": config.score_learning_rate or method.score_rate or None,
        # A head on a frozen encoder has to make up for what the encoder does not learn.
        "head_learning_rate": config.head_learning_rate or (5e-4 if method.base_frozen else rate),
        "score_init": method.score_init if config.score_init is None else config.score_init,
        "regularizer": method.regularizer if config.regularizer is None else config.regularizer,
    }
    return config.resolved().model_copy(update=filled)


def check(config: LearnMasksConfig) -> list[Problem]:
    """What a method cannot do, and granularities that do not exist."""
    from edgeprune.masking.granularity import Granularity
    from edgeprune.masking.plan import METHODS

    problems = []
    method = METHODS[config.method]
    try:
        granularity = Granularity.parse(plain_granularity(config))
    except ValueError as error:
        return [Problem(("granularity",), str(error), "for blocks: {block: [4, 4]}")]
    if granularity.kind not in method.granularities:
        can = ", ".join(method.granularities)
        problems.append(
            Problem(("granularity",), f"{config.method!r} cannot prune by {granularity}", f"it can by: {can}")
        )
    if config.head_storage != "exact" and config.method != "smp":
        problems.append(
            Problem(
                ("head_storage",), f"{config.method!r} makes no mask pack", "leave it out, or method: smp"
            )
        )
    if config.allocation is not None and config.allocation not in method.allocations:
        can = ", ".join(method.allocations)
        problems.append(
            Problem(
                ("allocation",), f"{config.method!r} cannot share {config.allocation!r}", f"it can: {can}"
            )
        )
    if granularity.group:
        kept, group = granularity.group
        if config.allocation not in (None, "uniform"):
            message = (
                f"{granularity} keeps the same everywhere; there is nothing to share {config.allocation!r}"
            )
            problems.append(Problem(("allocation",), message, "leave it out"))
        if abs(config.density - kept / group) > 1e-9:
            message = f"{granularity} keeps {kept / group:g} of the weights, not {config.density:g}"
            problems.append(Problem(("density",), message, f"set it to {kept / group:g}"))
    if config.schedule.warmup + config.schedule.hold > 1:
        problems.append(
            Problem(("schedule",), "warm-up and hold are longer than the run", "their sum is at most 1")
        )
    if config.head == "label-words" and not config.label_words:
        problems.append(
            Problem(("head",), "a label-word head needs words", "add `label_words: {negative: terrible, …}`")
        )
    return problems


def pattern(config: LearnMasksConfig) -> str:
    """The pattern of its zeros, in the words of `Target.speeds_up`."""
    from edgeprune.masking.granularity import Granularity

    return Granularity.parse(plain_granularity(config)).pattern


def plain_granularity(config: LearnMasksConfig) -> str | Mapping[str, list[int]]:
    """The granularity as `Granularity.parse` takes it."""
    value = config.granularity
    return {"block": value.block} if isinstance(value, Block) else value


def apply(work: Work) -> Outcome:
    """Attach, train, fold; save the sparse model, its masks and scores, and the mask pack."""
    from edgeprune.stages.mask_learning import learn

    return learn(work)


LEARN_MASKS = Stage(
    name="learn_masks",
    summary="learn which weights of the encoder the task needs",
    config=LearnMasksConfig,
    apply=apply,
    requires=("data", "original"),
    provides=("model", "masks"),
    assets=("model",),
    reads=("model.max_length", "model.pooling"),
    seeded=True,
    ensures=("model.safetensors", "config.json", "tokenizer.json", "masks.safetensors"),
    code=(
        "stages.learn_masks", "stages.mask_learning", "stages.mask_record", "stages.training_config",
        "stages.validating", "stages.quiet", "training", "masking", "structure", "distillation",
        "tasks", "runner.cpu", "durable",
    ),
    libraries=("torch", "transformers", "accelerate", "tokenizers", "scikit-learn", "numpy"),
    resolve=resolve,
    check=check,
    pattern=pattern,
    packs=lambda config: config.method == "smp",
)  # fmt: skip
