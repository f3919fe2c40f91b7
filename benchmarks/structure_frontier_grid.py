"""The grids of benchmarks/structure_frontier.py: importance measures at shares of heads and FFN rows."""

from __future__ import annotations

from typing import Any

from grid_cells import Grid, Making, override
from pydantic import Field

from edgeprune.recipe.schema import Section

__all__ = ["CUT", "DISTILL", "MASKS", "StructureGrid"]

MASKS, CUT, DISTILL = "learn_masks", "prune_structure", "distill"


class Method(Section):
    """How a method differs from the grid's recipe."""

    recipe: str | None = Field(None, description="Instead of the grid's; it has learn_masks before the cut.")
    settings: dict[str, Any] = Field(default_factory=dict, alias="set", description="Key path: value.")


class StructureGrid(Grid):
    """What the YAML says."""

    methods: dict[str, Method] = Field(min_length=1, description="Name in the table: what it changes.")
    shares: list[float] = Field(min_length=1, description="Of all heads, and of all FFN rows.")

    @property
    def names(self) -> list[str]:
        """Of the methods."""
        return list(self.methods)

    @property
    def levels(self) -> list[float]:
        """The shares."""
        return self.shares

    def making(self, method: str, level: float) -> Making:
        """The method's settings, with a budget of one share of heads and FFN rows."""
        own = self.methods[method]
        budget = override(f"stages.{CUT}.budget", {"heads": level, "ffn": level})
        settings = (*(override(key, value) for key, value in own.settings.items()), budget)
        steps = (CUT, DISTILL) if own.recipe is None else (MASKS, CUT, DISTILL)
        return Making(own.recipe or self.recipe, steps, settings)
