"""The structure that a budget of `prune_structure` allows: by shares, by counted costs, by measured time."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgeprune.errors import Problem, RecipeError
from edgeprune.stages.latency_meeting import MISS, Met, meet
from edgeprune.stages.structure_balance import Asked, Balance, balance

if TYPE_CHECKING:
    from edgeprune.measurement.statistics import Interval
    from edgeprune.stages.contract import Work
    from edgeprune.stages.prune_structure import Budget, PruneStructureConfig
    from edgeprune.structure.choosing import Choice
    from edgeprune.structure.costs import CostTable, Shape
    from edgeprune.structure.importance import FloatArray, Importance

__all__ = ["Allowed", "allowed", "cut"]


@dataclass(frozen=True)
class Allowed:
    """What is kept, and what was asked to find it.

    Attributes:
        choice: What is kept.
        costs: Hidden width to what units cost, in the budget's own unit; empty for a budget in shares.
        errors: Of measured tables: by how much each misses a model that it was not made from, relative.
        met: How a budget of latency was met.
        balance: How heads were weighed against rows; None for a budget in shares, which trades nothing.
        notes: What was mended of a measurement, or missed.
    """

    choice: Choice
    costs: dict[int, CostTable] = field(default_factory=dict)
    errors: dict[int, float] = field(default_factory=dict)
    met: Met | None = None
    balance: Balance | None = None
    notes: list[str] = field(default_factory=list)


def allowed(
    work: Work,
    original: Any,
    model: Any,
    importance: Importance,
    hidden: FloatArray | None,
    asked: Callable[[], Asked],
) -> Allowed:
    """The most important units that the recipe's budget has room for.

    Args:
        work: Of the stage.
        original: The dense model, which shares and ratios are of.
        model: What will be cut; it is not changed.
        importance: Of its heads and rows.
        hidden: Of its hidden dimensions; None: their number is not up for choice.
        asked: Gives what structures are compared by; not called for a budget in shares.

    Raises:
        RecipeError: The budget cannot be met; the hint says what can. A hidden width above the encoder's.
        UnsupportedError: The target of a latency budget does not run such a model.
    """
    from edgeprune.structure.choosing import by_share
    from edgeprune.structure.costs import shape_of

    config: PruneStructureConfig = work.config
    budget, shape = config.given_budget, shape_of(original)
    if budget.latency:
        return _in_time(work, original, model, importance, hidden, asked())
    if budget.cost:
        tables = _counted(work, shape)
        ratio: float = getattr(budget, budget.cost)

        def choose(weighed: Importance) -> Choice:
            return _by_cost(config, shape, weighed, hidden, tables, ratio)

        found = _balance(work, model, importance, choose, asked())
        return Allowed(choose(found.applied(importance)), tables, balance=found)
    whole = shape.layers * shape.heads, shape.layers * shape.rows
    try:
        choice = by_share(
            importance,
            budget.heads,
            budget.ffn,
            config.alignment or 1,
            drop_layers=config.drop_layers,
            of=whole,
        )
    except RecipeError as error:
        raise RecipeError([problem.below(("budget",)) for problem in error.problems]) from error
    return Allowed(choice)


def cut(model: Any, choice: Choice) -> Any:
    """The model, in place, with what was chosen."""
    from edgeprune.structure.narrowing import hidden_width, slice_hidden
    from edgeprune.structure.slicing import slice_layers

    slice_layers(model, choice.layers)
    if choice.hidden is not None and len(choice.hidden) < hidden_width(model):
        slice_hidden(model, choice.hidden)
    return model


def _balance(
    work: Work,
    model: Any,
    importance: Importance,
    choose: Callable[[Importance], Choice],
    asked: Asked,
) -> Balance:
    """What heads count beside rows, by the answers of the cut model."""

    def lost(choice: Choice) -> float:
        work.progress(text="answers of a structure that may be chosen")
        return asked.lost(cut(deepcopy(model), choice))

    return balance(importance, choose, lost)


def _in_time(
    work: Work,
    original: Any,
    model: Any,
    importance: Importance,
    hidden: FloatArray | None,
    asked: Asked,
) -> Allowed:
    """By what units cost in time on the target, and by what the result takes when it is timed."""
    from edgeprune.stages.latency_measuring import LatencyMeter
    from edgeprune.structure.costs import shape_of

    config: PruneStructureConfig = work.config
    latency, shape = config.given_budget.latency, shape_of(original)
    assert latency is not None
    tables, errors, notes = dict[int, Any](), dict[int, float](), list[str]()
    with LatencyMeter(work, original) as meter:
        for width in _widths(config, shape):
            measured = meter.costs(width)
            tables[width], errors[width] = measured.table, measured.check_error
            notes.extend(measured.notes)

        def by_table(weighed: Importance, ratio: float) -> Choice:
            return _by_cost(config, shape, weighed, hidden, tables, ratio)

        found = _balance(work, model, importance, lambda weighed: by_table(weighed, latency.ratio), asked)
        weighed = found.applied(importance)

        def ratio(choice: Choice) -> Interval:
            return meter.ratio(cut(deepcopy(model), choice))

        met = meet(latency.ratio, lambda ratio: by_table(weighed, ratio), ratio)
    if abs(met.ratio.estimate / latency.ratio - 1) > MISS:
        notes.append(
            f"the structure takes {met.ratio.estimate:.3f} of the dense model's time, {latency.ratio:g} was "
            f"asked for: of {len(met.rounds)} structures that were timed, it is the nearest"
        )
    return Allowed(met.choice, tables, errors, met, found, notes)


def _counted(work: Work, shape: Shape) -> dict[int, CostTable]:
    """Parameters or FLOPs of units, by hidden width."""
    from edgeprune.structure.costs import CostTable

    config: PruneStructureConfig = work.config
    alignment, length = config.alignment or 1, work.sections["model.max_length"]
    return {
        width: CostTable.from_flops(shape.narrowed(width), alignment, length)
        if config.given_budget.flops
        else CostTable.from_parameters(shape.narrowed(width), alignment)
        for width in _widths(config, shape)
    }


def _widths(config: PruneStructureConfig, shape: Shape) -> list[int]:
    """Hidden widths to choose from, the dense one last.

    Raises:
        RecipeError: One that is wider than the encoder.
    """
    widths = sorted({*(config.widths or ()), shape.hidden})
    if widths[-1] > shape.hidden:
        problem = f"{widths[-1]} is wider than the encoder, which has {shape.hidden}"
        raise RecipeError([Problem(("widths",), problem, f"at most {shape.hidden}")])
    return widths


def _by_cost(
    config: PruneStructureConfig,
    shape: Shape,
    importance: Importance,
    hidden: FloatArray | None,
    tables: dict[int, CostTable],
    ratio: float,
) -> Choice:
    from edgeprune.structure.choosing import by_cost, by_cost_and_width

    settings: dict[str, Any] = {
        "drop_layers": config.drop_layers,
        "dense_cost": tables[shape.hidden].dense(shape.layers),
        "key": _key(config.given_budget),
    }
    alignment = config.alignment or 1
    if hidden is not None and len(tables) > 1:
        return by_cost_and_width(importance, hidden, tables, ratio, alignment, **settings)
    return by_cost(importance, tables[shape.hidden], ratio, alignment, **settings)


def _key(budget: Budget) -> tuple[str, ...]:
    """Where the recipe states the ratio."""
    return ("budget", "latency", "ratio") if budget.latency else ("budget", str(budget.cost))
