"""What one score decides about: a weight, a block, N of M neighbours, an FFN row, an attention head."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Granularity", "expand", "score_shape"]

Kind = Literal["weight", "block", "n:m", "row", "head", "head+row"]


@dataclass(frozen=True)
class Granularity:
    """The unit that is kept or pruned as a whole.

    Attributes:
        kind: `weight`, `block`, `n:m`: every encoder matrix by itself. `head`: attention heads (Q, K and V
            rows with their biases, O columns). `row`: FFN rows with their bias and the second matrix's
            columns. `head+row`: both.
        block: (rows, columns) of a block.
        group: (kept, of how many) for N:M.
    """

    kind: Kind
    block: tuple[int, int] | None = None
    group: tuple[int, int] | None = None

    @classmethod
    def parse(cls, value: str | Mapping[str, Sequence[int]]) -> Granularity:
        """From a recipe's value: `weight`, `row`, `head`, `head+row`, `2:4` or ``{block: [4, 4]}``.

        Raises:
            ValueError: It is none of these.
        """
        if isinstance(value, Mapping):
            if set(value) != {"block"}:
                raise ValueError(f"unknown granularity {', '.join(map(str, value))!r}; known: block")
            return cls._blocks(value["block"])
        if value in ("weight", "row", "head", "head+row"):
            return cls(value)  # type: ignore[arg-type]  # mypy does not narrow by `in`
        if found := re.fullmatch(r"block (\d+)x(\d+)", value):
            return cls._blocks([int(found[1]), int(found[2])])
        if found := re.fullmatch(r"(\d+):(\d+)", value):
            kept, group = int(found[1]), int(found[2])
            if not 0 < kept < group:
                raise ValueError(f"{value}: N:M needs 0 < N < M")
            return cls("n:m", group=(kept, group))
        raise ValueError(
            f"unknown granularity {value!r}; known: weight, row, head, head+row, 2:4 (N:M), {{block: [r, c]}}"
        )

    @classmethod
    def _blocks(cls, sides: Sequence[int]) -> Granularity:
        if len(sides) != 2 or any(side < 1 for side in sides):
            raise ValueError(f"a block has two sides of at least 1, not {list(sides)}")
        return cls("block", block=(int(sides[0]), int(sides[1])))

    @property
    def structured(self) -> bool:
        """Whole heads and rows, which the slicing of `prune_structure` can remove."""
        return self.kind in ("row", "head", "head+row")

    @property
    def pattern(self) -> str:
        """The word that targets use for what they turn into speed."""
        return str(self) if self.kind == "n:m" else self.kind

    def __str__(self) -> str:
        if self.block:
            return f"block {self.block[0]}x{self.block[1]}"
        return f"{self.group[0]}:{self.group[1]}" if self.group else self.kind


def score_shape(granularity: Granularity, shape: tuple[int, int]) -> tuple[int, int]:
    """Shape of the scores of one matrix by itself (`weight`, `block`, `n:m`).

    Args:
        granularity: The unit.
        shape: (outputs, inputs) of the weight.

    Raises:
        ValueError: Inputs are no multiple of N:M's group, or the unit spans several matrices.
    """
    outputs, inputs = shape
    if granularity.structured:
        raise ValueError(f"{granularity} spans several matrices; its scores belong to the layer")
    if granularity.block:
        # The last block of a row or column may be a partial one.
        return math.ceil(outputs / granularity.block[0]), math.ceil(inputs / granularity.block[1])
    if granularity.group and inputs % granularity.group[1]:
        raise ValueError(
            f"{inputs} inputs are no multiple of {granularity.group[1]}, which {granularity} needs"
        )
    return outputs, inputs


def expand(mask: Tensor, granularity: Granularity, shape: tuple[int, int]) -> Tensor:
    """From one value per unit to one per weight.

    Args:
        mask: Of `score_shape`.
        granularity: The unit.
        shape: (outputs, inputs) of the weight.
    """
    if granularity.block is None:
        return mask
    rows, columns = granularity.block
    spread: Any = mask.repeat_interleave(rows, 0).repeat_interleave(columns, 1)
    return spread[: shape[0], : shape[1]]
