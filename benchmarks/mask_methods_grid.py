"""The grid of benchmarks/mask_methods.py: from its YAML to cells, each with the settings that make it."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from edgeprune.errors import RecipeError, UsageError
from edgeprune.recipe.checking import check
from edgeprune.recipe.document import read_document
from edgeprune.recipe.schema import Section

__all__ = ["DENSE", "Cell", "Grid", "cells_of", "read_grid"]

DENSE = "dense"  # in the place of a method: the fine-tuned original
STAGE = "learn_masks"


class Grid(Section):
    """What the YAML says."""

    recipe: str = Field(description="Path of the recipe, relative to this file.")
    shared: dict[str, Any] = Field(default_factory=dict, alias="set", description="Key path: value.")
    methods: dict[str, dict[str, Any]] = Field(
        min_length=1, description=f"Name in the table: settings of stages.{STAGE}."
    )
    densities: list[float] = Field(min_length=1)
    seeds: list[int] = Field(min_length=1)


@dataclass(frozen=True)
class Cell:
    """One training: a method at a density with a seed, or (method `DENSE`) the original of a seed."""

    method: str
    density: float
    seed: int
    overrides: tuple[str, ...]

    @property
    def step(self) -> str:
        """The step that the run stops after."""
        return "finetune" if self.method == DENSE else STAGE

    def __str__(self) -> str:
        kept = "" if self.method == DENSE else f" {100 * self.density:g} %"
        return f"{self.method}{kept} seed {self.seed}"


def read_grid(path: Path) -> Grid:
    """The checked grid.

    Raises:
        RecipeError: Every problem of the file.
    """
    document = read_document(path)
    grid, problems = check(Grid, document.data)
    if grid is None:
        raise RecipeError(document.locate(problems))
    return grid


def cells_of(
    grid: Grid,
    *,
    only: Collection[str] = (),
    densities: Sequence[float] | None = None,
    seeds: Sequence[int] | None = None,
    overrides: Sequence[str] = (),
) -> list[Cell]:
    """Originals first, then all cells of one seed after the other, so that a part of the grid is of use.

    Args:
        grid: What the YAML says.
        only: Methods to take; empty: all.
        densities: Instead of the grid's.
        seeds: Instead of the grid's.
        overrides: ``--set`` texts for every cell; laid over the grid's own settings for every cell.

    Raises:
        UsageError: `only` names a method that the grid does not have.
    """
    strange = [name for name in only if name not in grid.methods]
    if strange:
        hint = f"its methods are: {', '.join(grid.methods)}"
        raise UsageError(f"the grid has no method {', '.join(map(repr, strange))}", hint=hint)
    common = [*(_override(key, value) for key, value in grid.shared.items()), *overrides]
    seeds = grid.seeds if seeds is None else seeds
    cells = [Cell(DENSE, 1.0, seed, (*common, _override("seed", seed))) for seed in seeds]
    for seed in seeds:
        for density in grid.densities if densities is None else densities:
            for name in (name for name in grid.methods if not only or name in only):
                own = {**grid.methods[name], "density": density}
                settings = [_override(f"stages.{STAGE}.{key}", value) for key, value in own.items()]
                cells.append(Cell(name, density, seed, (*common, *settings, _override("seed", seed))))
    return cells


def _override(key: str, value: Any) -> str:
    return f"{key}={json.dumps(value)}"  # JSON is YAML
