"""Which rows are held out for validation or drawn for training. Pure functions of sizes, groups and a seed.

The order comes from `random.Random(seed).random()`, which Python promises to keep the same between
versions (it promises that for neither `shuffle` nor `sample`, and numpy for none of its generators).
"""

from __future__ import annotations

import random
from collections.abc import Sequence

__all__ = ["draw_rows", "hold_out_groups", "hold_out_rows"]


def draw_rows(rows: int, count: int, seed: int) -> list[int]:
    """Draw the indices of some rows; a larger draw with the same seed holds every row of a smaller one.

    Args:
        rows: How many there are.
        count: How many to draw, at most `rows`.
        seed: Seed of the draw.

    Returns:
        Indices in ascending order.
    """
    return sorted(_shuffled(rows, seed)[:count])


def hold_out_rows(rows: int, share: float, seed: int) -> list[int]:
    """Draw the indices of rows to hold out.

    Args:
        rows: How many there are.
        share: Share to hold out, between 0 and 1 exclusive.
        seed: Seed of the draw.

    Returns:
        Indices in ascending order, `share * rows` of them rounded, but at least one and never all;
        none when there are fewer than two rows.
    """
    if rows < 2:
        return []
    count = min(max(round(share * rows), 1), rows - 1)
    return draw_rows(rows, count, seed)


def hold_out_groups(groups: Sequence[str], share: float, seed: int) -> list[int]:
    """Draw whole groups to hold out, until they have about the share of all rows.

    Groups come in a random order, and one is taken when that brings the held-out rows nearer to the share.

    Args:
        groups: Group of each row.
        share: Share of the rows to hold out, between 0 and 1 exclusive.
        seed: Seed of the draw.

    Returns:
        Indices of the rows of all drawn groups in ascending order; at least one group and never all; none
        when there are fewer than two groups.
    """
    members: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    if len(members) < 2:
        return []
    by_group = list(members.values())
    order = [by_group[position] for position in _shuffled(len(by_group), seed)]
    target = share * len(groups)
    held: list[int] = []
    for indices in order:
        nearer = abs(len(held) + len(indices) - target) < abs(len(held) - target)
        if nearer and len(held) + len(indices) < len(groups):
            held.extend(indices)
    if not held:
        held = min(order, key=len)
    return sorted(held)


def _shuffled(count: int, seed: int) -> list[int]:
    draw = random.Random(seed).random
    return sorted(range(count), key=lambda _: draw())
