"""The grid of benchmarks/mask_methods.py: mask methods at densities."""

from __future__ import annotations

from typing import Any

from grid_cells import Grid, Making, override
from pydantic import Field

__all__ = ["MaskGrid"]

STAGE = "learn_masks"


class MaskGrid(Grid):
    """What the YAML says."""

    methods: dict[str, dict[str, Any]] = Field(
        min_length=1, description=f"Name in the table: settings of stages.{STAGE}."
    )
    densities: list[float] = Field(min_length=1)

    @property
    def names(self) -> list[str]:
        """Of the methods."""
        return list(self.methods)

    @property
    def levels(self) -> list[float]:
        """The densities."""
        return self.densities

    def making(self, method: str, level: float) -> Making:
        """The method's settings, at a density."""
        own = {**self.methods[method], "density": level}
        settings = tuple(override(f"stages.{STAGE}.{key}", value) for key, value in own.items())
        return Making(self.recipe, (STAGE,), settings)
