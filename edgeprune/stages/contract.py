"""What a stage is: `requires → apply → ensures`, with everything that its result depends on declared.

A stage's file holds its config schema, one `apply` function and one `Stage` row; importing it is cheap,
the heavy libraries are imported inside `apply`. The pipeline does the rest: order, cache, locks, resume.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgeprune.errors import Problem
from edgeprune.recipe.schema import Section, Target

__all__ = ["RUNNER", "Outcome", "Stage", "Work"]

RUNNER = tuple(
    f"runner.{name}" for name in ("session", "throughput", "probe", "variant", "cpu", "collecting")
)
"""What of the runner answers and times; the rest, e.g. its commands, changes nothing that a stage makes."""


@dataclass(frozen=True)
class Outcome:
    """What a stage found out, beside the files that it wrote.

    Attributes:
        record: Plain JSON values: numbers for the report.
        notes: What the reader should know: a fallback, rows left out, a choice that was made.
    """

    record: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Work:
    """Everything that a stage may use; what is not here, its result must not depend on.

    Attributes:
        config: The stage's checked body, `resolve` applied.
        inputs: Artifact kind (or `compiled/<backend>/<variant>`) to its folder; read only.
        assets: Asset role (`model`, `train`, `validation`) to its local path; read only.
        sections: The recipe sections that the stage declared in `reads`.
        seed: The recipe's seed.
        output: Empty folder to fill; becomes the artifact.
        scratch: Private folder that survives a killed run, for checkpoints; gone once published.
        progress: ``progress(step=…, total=…, loss=…)``, as often as is useful.
    """

    config: Any
    inputs: Mapping[str, Path]
    assets: Mapping[str, Path]
    sections: Mapping[str, Any]
    seed: int
    output: Path
    scratch: Path
    progress: Callable[..., None]


def _unchanged(config: Any) -> Any:
    return config


@dataclass(frozen=True)
class Stage:
    """One kind of step.

    Attributes:
        name: Its name in recipes, keys and reports.
        summary: One line for `edgeprune plan`.
        config: Schema of its body.
        apply: Does the work.
        requires: Artifact kinds that an earlier node must have provided.
        provides: Artifact kinds that its output serves as from here on.
        assets: Roles of the assets that it reads.
        reads: Recipe sections (attribute paths, e.g. `model.max_length`) that its result depends on.
        ignores: Fields of those sections that its result does not depend on, e.g. `task.metric`.
        seeded: Its result depends on the recipe's seed.
        ensures: Files, relative to the output, that must be there and not empty afterwards.
        code: Modules or packages of edgeprune whose source decides the result (part of the cache key).
        libraries: Distributions whose version decides the result (part of the cache key).
        resolve: Replaces `auto` values by what this machine gives, before the key is made.
        check: Problems that the schema cannot see; key paths relative to the body.
        pattern: The sparsity pattern that its result has, for that body: a word of `Target.speeds_up`,
            another ``n:m``, or words joined by ``+``; None where it makes no zeros.
        also: Artifact kinds that it requires for that body, beside `requires`.
        models: Models that its body names: key of the body to their sources. Each becomes an asset of that
            role, so it must not be a role of `assets`.
        fit: Fills in what the recipe's targets decide, before the key is made; what no target of the recipe
            gives is an error.
        varies: Fields of this row that are others for that body, e.g. `seeded` for one that trains.
        dense: The body for doing the same to the original, which is only compared with: without a training.
        packs: Whether it leaves a mask pack, which any zeros make smaller.
        in_recipe: Users list it; otherwise the plan adds it.
    """

    name: str
    summary: str
    config: type[Section]
    apply: Callable[[Work], Outcome]
    requires: tuple[str, ...]
    provides: tuple[str, ...]
    assets: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    ignores: tuple[str, ...] = ()
    seeded: bool = False
    ensures: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    resolve: Callable[[Any], Any] = _unchanged
    check: Callable[[Any], list[Problem]] = lambda config: []
    pattern: Callable[[Any], str | None] = lambda config: None
    packs: Callable[[Any], bool] = lambda config: False
    also: Callable[[Any], tuple[str, ...]] = lambda config: ()
    models: Callable[[Any], Mapping[str, list[str]]] = lambda config: {}
    fit: Callable[[Any, Sequence[Target]], Any] = lambda config, targets: config
    varies: Callable[[Any], Mapping[str, Any]] = lambda config: {}
    dense: Callable[[Any], Any] = _unchanged
    in_recipe: bool = True

    def of(self, config: Any) -> Stage:
        """The row for a body: with what `varies`."""
        return replace(self, **self.varies(config))

    def needs(self, config: Any) -> tuple[str, ...]:
        """All artifact kinds that it requires for that body."""
        return (*self.requires, *self.also(config))
