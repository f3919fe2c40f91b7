"""Grids of trainings: from a YAML file to cells (method × level × seed), each with the settings that make it.

A level is what the grid steps through beside methods: a density, a share of heads and rows.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field

from edgeprune.errors import RecipeError, UsageError
from edgeprune.recipe.checking import check
from edgeprune.recipe.document import read_document
from edgeprune.recipe.schema import Section

__all__ = ["DENSE", "Cell", "Grid", "Making", "cells_of", "override", "read_grid"]

DENSE = "dense"  # in the place of a method: the fine-tuned original
ORIGINAL = "finetune"  # the step that makes it


@dataclass(frozen=True)
class Making:
    """How the cells of a method at a level are made.

    Attributes:
        recipe: Path of the recipe, relative to the grid.
        steps: Those that a row tells of; the run stops after the last.
        overrides: ``--set`` texts.
    """

    recipe: str
    steps: tuple[str, ...]
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cell:
    """One training: a method at a level with a seed, or (method `DENSE`) the original of a seed."""

    method: str
    level: float
    seed: int
    overrides: tuple[str, ...]
    recipe: str = ""
    steps: tuple[str, ...] = (ORIGINAL,)

    @property
    def step(self) -> str:
        """The step that the run stops after."""
        return self.steps[-1]

    def __str__(self) -> str:
        level = "" if self.method == DENSE else f" {100 * self.level:g} %"
        return f"{self.method}{level} seed {self.seed}"


class Grid(Section):
    """What the YAML of every grid says."""

    recipe: str = Field(description="Path of the recipe, relative to this file.")
    shared: dict[str, Any] = Field(default_factory=dict, alias="set", description="Key path: value.")
    seeds: list[int] = Field(min_length=1)

    @property
    @abstractmethod
    def names(self) -> list[str]:
        """Of the methods, in the order of the table."""

    @property
    @abstractmethod
    def levels(self) -> list[float]:
        """Shares of what is compressed, in the order in which they are run."""

    @abstractmethod
    def making(self, method: str, level: float) -> Making:
        """Recipe, steps and settings of a cell, beside those of every cell and the seed."""


AnyGrid = TypeVar("AnyGrid", bound=Grid)


def read_grid(path: Path, kind: type[AnyGrid]) -> AnyGrid:
    """The checked grid.

    Args:
        path: The YAML.
        kind: What it has to be.

    Raises:
        RecipeError: Every problem of the file.
    """
    document = read_document(path)
    grid, problems = check(kind, document.data)
    if grid is None:
        raise RecipeError(document.locate(problems))
    return grid


def cells_of(
    grid: Grid,
    *,
    only: Collection[str] = (),
    levels: Sequence[float] | None = None,
    seeds: Sequence[int] | None = None,
    overrides: Sequence[str] = (),
) -> list[Cell]:
    """Originals first, then all cells of one seed after the other, so that a part of the grid is of use.

    Args:
        grid: What the YAML says.
        only: Methods to take; empty: all.
        levels: Instead of the grid's.
        seeds: Instead of the grid's.
        overrides: ``--set`` texts for every cell; laid over the grid's own settings for every cell.

    Raises:
        UsageError: `only` names a method that the grid does not have.
    """
    strange = [name for name in only if name not in grid.names]
    if strange:
        hint = f"its methods are: {', '.join(grid.names)}"
        raise UsageError(f"the grid has no method {', '.join(map(repr, strange))}", hint=hint)
    common = (*(override(key, value) for key, value in grid.shared.items()), *overrides)
    seeds = grid.seeds if seeds is None else seeds
    cells = [Cell(DENSE, 1.0, seed, (*common, override("seed", seed)), grid.recipe) for seed in seeds]
    for seed in seeds:
        for level in grid.levels if levels is None else levels:
            for name in (name for name in grid.names if not only or name in only):
                made = grid.making(name, level)
                settings = (*common, *made.overrides, override("seed", seed))
                cells.append(Cell(name, level, seed, settings, made.recipe, made.steps))
    return cells


def override(key: str, value: Any) -> str:
    """A ``--set`` text."""
    return f"{key}={json.dumps(value)}"  # JSON is YAML
