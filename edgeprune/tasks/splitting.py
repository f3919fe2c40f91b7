"""Which rows are held out for validation or drawn for training. Pure functions of sizes, groups and a seed.

The order comes from `random.Random(seed).random()`, which Python promises to keep the same between
versions (it promises that for neither `shuffle` nor `sample`, and numpy for none of its generators).
"""

from __future__ import annotations

import random
from collections.abc import Sequence

__all__ = ["draw_rows", "hold_out_groups", "hold_out_rows", "hold_out_whole"]


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


def hold_out_whole(texts: Sequence[str], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Draw texts that are no part of another to hold out, and find the rows that are parts of those.

    Some sets hold sentences and, as rows of their own, phrases of them. Drawn row by row, nearly every
    phrase that is held out would have a longer or shorter form of itself in training.

    A part of a text is a run of its words; case and the width of spaces do not count. Rows with the same
    words stay together. Rows of a single word are never left out: it says nothing of the text.

    Args:
        texts: Of the rows.
        share: Share of the texts that are no part of another, between 0 and 1 exclusive.
        seed: Seed of the draw.

    Returns:
        Indices of the rows that are held out, and of the rest's rows whose text is a part of one of them,
        both in ascending order; nothing where there are fewer than two texts to draw from.
    """
    rows: dict[str, list[int]] = {}
    for index, text in enumerate(texts):
        rows.setdefault(f" {' '.join(text.lower().split())} ", []).append(index)
    whole = _Texts()
    for text in sorted(rows, key=lambda text: -len(text)):
        if not whole.holds(text):
            whole.add(text)
    first = sorted(whole.texts, key=lambda text: rows[text][0])
    held = _Texts()
    for position in hold_out_rows(len(first), share, seed):
        held.add(first[position])
    drawn = frozenset(held.texts)
    parts = (text for text in rows if text not in drawn and len(text.split()) > 1 and held.holds(text))
    return (
        sorted(index for text in drawn for index in rows[text]),
        sorted(index for text in parts for index in rows[text]),
    )


class _Texts:
    """Texts that are searched for a run of words; all with a space at both ends."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._with: dict[str, list[int]] = {}

    def add(self, text: str) -> None:
        """One more."""
        for word in set(text.split()):
            self._with.setdefault(word, []).append(len(self.texts))
        self.texts.append(text)

    def holds(self, part: str) -> bool:
        """Whether a text has these words in a row; only those with the rarest of them are looked at."""
        candidates = min((self._with.get(word, []) for word in part.split()), key=len, default=[])
        return any(part in self.texts[position] for position in candidates)


def _shuffled(count: int, seed: int) -> list[int]:
    draw = random.Random(seed).random
    return sorted(range(count), key=lambda _: draw())
