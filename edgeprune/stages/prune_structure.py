"""`prune_structure`: heads, FFN rows, layers and unused tokens leave; matrices get smaller."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, SerializeAsAny, model_validator

from edgeprune.errors import Problem, RecipeError
from edgeprune.recipe.schema import Section, Share, Target
from edgeprune.stages.contract import RUNNER, Outcome, Stage, Work

__all__ = [
    "PRUNE_STRUCTURE",
    "Budget",
    "LatencyBudget",
    "MeasuredLatency",
    "PruneStructureConfig",
    "VocabularyConfig",
]

Ratio = Field(gt=0, lt=1)
_KINDS = ("parameters", "flops", "latency")
_OF_BUDGETS = frozenset({"importance", "drop_layers", "layers", "widths", "alignment", "calibration"})


class LatencyBudget(Section):
    """Time of one call on a target, as a share of the dense model's in the same runtime and precision."""

    target: str = Field(description="One of the recipe's targets; it has to be this machine.")
    ratio: float = Field(gt=0, lt=1, description="Share of the dense model's time.")
    variant: str | None = Field(
        None, description="`backend/precision` whose time counts; left out: the target's first."
    )
    length: int = Field(64, ge=4, le=8192, description="Tokens of the timed inputs.")
    batch: int = Field(1, ge=1, le=1024, description="Texts of a call.")


class MeasuredLatency(LatencyBudget):
    """What the plan makes of it: the time depends on more than a name.

    Attributes:
        machine: The target, reduced to the variant that is timed.
        cpu: The processor that is measured.
    """

    machine: Target
    cpu: str


class Budget(Section):
    """What may stay: shares of heads and rows, or one share of what the dense encoder costs."""

    heads: Share | None = Field(None, description="Share of the original's attention heads.")
    ffn: Share | None = Field(None, description="Share of the original's FFN rows.")
    parameters: float | None = Field(None, gt=0, lt=1, description="Share of the encoder's parameters.")
    flops: float | None = Field(
        None, gt=0, lt=1, description="Share of the encoder's FLOPs at `model.max_length`."
    )
    latency: SerializeAsAny[LatencyBudget] | None = Field(
        None, description="Share of the measured time on a target."
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Budget:
        shares = self.heads is not None or self.ffn is not None
        costs = [name for name in _KINDS if getattr(self, name) is not None]
        if shares + len(costs) != 1:
            raise ValueError(
                "give `heads` and/or `ffn`, or exactly one of `parameters`, `flops` and `latency`"
            )
        return self

    @property
    def cost(self) -> str | None:
        """Which cost it bounds; None where it is in shares."""
        return next((name for name in _KINDS if getattr(self, name) is not None), None)


class Calibration(Section):
    """Training examples that importance is measured on."""

    examples: int = Field(2048, ge=1, description="How many; all where there are fewer.")
    seed: int = Field(0, ge=0, description="Of the draw.")


class VocabularyConfig(Section):
    """Token rows that stay: what the training data use, and what keeps every other text readable."""

    min_count: int = Field(1, ge=1, description="How often a token must occur in the training texts.")
    size: int | None = Field(
        None,
        ge=1,
        description="So many tokens stay: the used ones, and then others. Left out: the used ones alone.",
    )
    by: Literal["frequency", "answers"] = Field(
        "frequency",
        description="Which others `size` has room for: those of the lowest numbers, or those whose spelling "
        "with smaller tokens changes the answers most, weighed by how frequent they are.",
    )
    extra: list[str] = Field(
        default_factory=list, description="Tokens that stay in any case, as the vocabulary writes them."
    )


class PruneStructureConfig(Section):
    """What is cut out, and by what it is chosen."""

    budget: Budget | None = Field(
        None, description="What may stay; left out: all heads and rows, and `vocabulary` is cut alone."
    )
    importance: Literal["taylor", "magnitude", "masks", "scores"] = Field(
        "taylor", description="What units are ranked by; the last two need `learn_masks` before."
    )
    weights: Literal["original", "model"] | None = Field(
        None,
        description="Which weights are cut: the original's, or those of the stage before; left out: the "
        "original's where masks or scores rank, else those of the stage before.",
    )
    drop_layers: bool = Field(True, description="A layer that keeps nothing goes as a whole.")
    layers: int | None = Field(
        None,
        ge=1,
        description="How many layers may stay at most; those go without which the answers change least. Left "
        "out: as many as the budget buys.",
    )
    widths: list[int] | None = Field(
        None, min_length=1, description="Hidden widths to choose from, beside the dense one; left out: none."
    )
    vocabulary: VocabularyConfig | None = Field(None, description="Left out: all tokens stay.")
    alignment: int | None = Field(
        None, ge=1, description="Kept FFN widths are multiples of it; left out: the targets' largest."
    )
    calibration: Calibration = Field(
        default_factory=lambda: Calibration.model_validate({}),
        description="What Taylor importance is measured on.",
    )

    @property
    def given_budget(self) -> Budget:
        """The budget, for what comes to run only where there is one."""
        if self.budget is None:
            raise ValueError("nothing is chosen without a budget")
        return self.budget


def check(config: PruneStructureConfig) -> list[Problem]:
    """Widths that nothing decides on, and shares that keep nothing."""
    budget, problems = config.budget, list[Problem]()
    if config.vocabulary and config.vocabulary.by == "answers" and config.vocabulary.size is None:
        hint = "say how many tokens stay in all: size"
        problems.append(Problem(("vocabulary", "by"), "without a size there is nothing to choose", hint))
    if budget is None:
        return [*problems, *_without_budget(config)]
    if config.widths is not None and (budget.cost is None or config.importance != "taylor"):
        problems.append(
            Problem(
                ("widths",),
                "a hidden width is chosen by what it costs and by Taylor importance",
                "give a budget in parameters, flops or latency, and importance: taylor",
            )
        )
    if config.layers is not None and not config.drop_layers:
        problems.append(
            Problem(("layers",), "no layer can go while drop_layers is false", "leave one of the two out")
        )
    if budget.heads == 0 and budget.ffn == 0:
        problems.append(
            Problem(("budget",), "no head and no FFN row would be left", "give one of them a share above 0")
        )
    return problems


def _without_budget(config: PruneStructureConfig) -> list[Problem]:
    """Nothing to do, and settings that only a budget gives a meaning."""
    if config.vocabulary is None:
        hint = "give a `budget` for heads and rows, a `vocabulary` for tokens, or both"
        return [Problem((), "nothing is to be cut", hint)]
    idle = sorted(_OF_BUDGETS & config.model_fields_set)
    return [Problem((name,), "nothing is chosen without a budget", "give a `budget`, too") for name in idle]


def resolve(config: PruneStructureConfig) -> PruneStructureConfig:
    """Whose weights are cut. Masks were learned for a pre-trained model's weights, not for trained ones."""
    return config.model_copy(update={"weights": _weights(config)})


def _weights(config: PruneStructureConfig) -> Literal["original", "model"]:
    return config.weights or ("original" if config.importance in ("masks", "scores") else "model")


def also(config: PruneStructureConfig) -> tuple[str, ...]:
    """Masks, for what is ranked by them; the model, where its weights are cut."""
    masks = ("masks",) if config.importance in ("masks", "scores") else ()
    return (*masks, *(("model",) if _weights(config) == "model" else ()))


def fit(config: PruneStructureConfig, targets: Sequence[Target]) -> PruneStructureConfig:
    """The targets' alignment, and the target and processor of a latency budget.

    Raises:
        RecipeError: The recipe has no such target, or it cannot be measured on this machine.
    """
    if config.budget is None:
        return config
    aligned = config.alignment or max((target.alignment for target in targets), default=1)
    changed: dict[str, Any] = {"alignment": aligned}
    if config.budget.latency:
        latency = _on_machine(config.budget.latency, targets)
        changed["budget"] = config.budget.model_copy(update={"latency": latency})
    return config.model_copy(update=changed)


def _on_machine(latency: LatencyBudget, targets: Sequence[Target]) -> MeasuredLatency:
    from edgeprune.backends import dialect
    from edgeprune.runner.cpu import describe

    key, names = ("budget", "latency", "target"), ", ".join(target.name for target in targets)
    target = next((target for target in targets if target.name == latency.target), None)
    if target is None:
        raise RecipeError(
            [Problem(key, f"{latency.target!r} is no target of this recipe", f"it has: {names}")]
        )
    machine = describe()
    if target.device.kind == "none" or target.architecture != machine.architecture:
        raise RecipeError(
            [
                Problem(
                    key,
                    f"{target.name!r} cannot be measured on this machine ({machine.architecture})",
                    "use a budget in flops, or run this where the target's device is",
                )
            ]
        )
    known = [
        f"{entry.backend}/{variant}"
        for entry in target.backends
        for variant in entry.variants
        if dialect(entry.backend, variant) is None  # what is timed is compiled as exported
    ]
    wanted = latency.variant or next(iter(known), "")
    if wanted not in known:
        raise RecipeError(
            [
                Problem(
                    ("budget", "latency", "variant"),
                    f"{target.name!r} has no variant {wanted!r} that can be timed before it is quantized",
                    f"it has: {', '.join(known) or 'none'}",
                )
            ]
        )
    backend, _, variant = wanted.partition("/")
    told = latency.model_dump() | {"variant": wanted}
    return MeasuredLatency(**told, machine=target.only(backend, variant), cpu=machine.model)


def pattern(config: PruneStructureConfig) -> str | None:
    """It leaves no zeros: what is cut is gone, and every target has less to do."""
    return None


def apply(work: Work) -> Outcome:
    """Rank, choose within the budget, cut, score, save."""
    from edgeprune.stages.structure_pruning import prune

    return prune(work)


PRUNE_STRUCTURE = Stage(
    name="prune_structure",
    summary="cut out heads, FFN rows and layers, so that matrices get smaller",
    config=PruneStructureConfig,
    apply=apply,
    requires=("data", "original"),
    provides=("model",),
    reads=("model.max_length",),
    seeded=False,
    ensures=("model.safetensors", "config.json", "tokenizer.json"),
    code=(
        "stages.prune_structure", "stages.structure_pruning", "stages.structure_record",
        "stages.structure_budget", "stages.structure_balance", "stages.structure_depth",
        "stages.structure_vocabulary",
        "stages.latency_measuring", "stages.latency_meeting",
        "stages.validating", "stages.export", "stages.quiet",
        "training.predicting", "structure", "tasks", "measurement", "backends", *RUNNER, "durable",
    ),
    libraries=("torch", "transformers", "tokenizers", "scikit-learn", "numpy", "onnx", "onnxruntime"),
    resolve=resolve,
    check=check,
    also=also,
    fit=fit,
)  # fmt: skip
