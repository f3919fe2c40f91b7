"""Texts made of training texts, for a teacher to answer: more to learn from where labels are short.

Each is one training text, changed in one of three ways, drawn with equal chances:

- some of its words become words that stand between the same neighbours in other texts;
- a run of another text's words is put into it, in place of a run that is no longer;
- another text follows it, with a word between them.

Distillation on such texts: Tang et al. 2019, "Distilling Task-Specific Knowledge from BERT into Simple Neural
Networks", section 3.4, whose words are drawn by their part of speech. What the texts mean is left open, so
they have no labels: only what a teacher answers can be learned from them.

All draws are `random.Random(seed).random()`, which Python promises to keep the same between versions.
"""

from __future__ import annotations

import random
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Final

from edgeprune.errors import EdgepruneError
from edgeprune.tasks.examples import Examples

__all__ = ["synthesize"]

_EDGE: Final = ""  # stands before the first and after the last word
_LINKS: Final = ((",",), ("and",), ("but",), ())
_TRIES: Final = 4
_LONGEST_RUN: Final = 8
_CHANGED: Final = 0.15

Draw = Callable[[], float]


def synthesize(examples: Examples, count: int, seed: int, *, min_words: int = 0) -> Examples:
    """Make texts of training texts.

    Args:
        examples: The training examples; words are what white space separates.
        count: How many to make.
        seed: Of all draws.
        min_words: Of an example, pairs counted together, for it to be changed. What is put into it or follows
            it may be shorter.

    Returns:
        As many examples. Of a pair, one text is changed. Their labels are those of the texts that they
        were made from, and may be wrong.

    Raises:
        EdgepruneError: There is no example to make texts from, or none has as many words.
    """
    if not len(examples):
        raise EdgepruneError("there are no training texts to make others from")
    draw = random.Random(seed).random
    columns = [_Column(texts) for texts in (examples.texts, examples.text_pairs) if texts is not None]
    words = [sum(column.words(index) for column in columns) for index in range(len(examples))]
    sources = [index for index, number in enumerate(words) if number >= min_words]
    if not sources:
        raise EdgepruneError(
            f"no training text has {min_words} words to make others from",
            hint=f"the longest has {max(words)}: lower synthetic.min_words",
        )
    chosen: list[int] = []
    made: list[list[str]] = [[] for _ in columns]
    for _ in range(count):
        index = sources[_below(draw, len(sources))]
        changed = _below(draw, len(columns))
        chosen.append(index)
        for number, column in enumerate(columns):
            made[number].append(column.changed(index, draw) if number == changed else column.text(index))
    return Examples(
        classes=examples.classes,
        texts=tuple(made[0]),
        labels=tuple(examples.labels[index] for index in chosen),
        text_pairs=tuple(made[1]) if len(columns) > 1 else None,
    )


class _Column:
    """Texts as words, and which words follow which."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = [text.split() for text in texts]
        counts: dict[str, Counter[str]] = {}
        for words in self._texts:
            for left, right in pairwise((_EDGE, *words, _EDGE)):
                counts.setdefault(left, Counter())[right] += 1
        self._followers = {left: list(found) for left, found in counts.items()}
        self._ends = {left: list(accumulate(found.values())) for left, found in counts.items()}
        self._pairs = {(left, right) for left, found in counts.items() for right in found}

    def words(self, index: int) -> int:
        """How many a text has."""
        return len(self._texts[index])

    def text(self, index: int) -> str:
        """As it is, but for white space."""
        return " ".join(self._texts[index])

    def changed(self, index: int, draw: Draw) -> str:
        """In one of the three ways."""
        way = (self._replaced, self._grafted, self._followed)[_below(draw, 3)]
        return " ".join(way(self._texts[index], draw))

    def _replaced(self, words: Sequence[str], draw: Draw) -> list[str]:
        """At least one word is drawn anew, where there is one."""
        changed = list(words)
        sure = _below(draw, len(words)) if words else 0
        for place in range(len(words)):
            if place == sure or draw() < _CHANGED:
                left = changed[place - 1] if place else _EDGE
                right = words[place + 1] if place + 1 < len(words) else _EDGE
                changed[place] = self._between(left, right, draw) or words[place]
        return changed

    def _between(self, left: str, right: str, draw: Draw) -> str | None:
        """A word by how often it follows `left`, if one of a few draws also stands before `right`."""
        # Never empty: some text goes on after `left`, even where it was drawn itself.
        followers, ends = self._followers[left], self._ends[left]
        for _ in range(_TRIES):
            word = followers[bisect(ends, _below(draw, ends[-1]))]
            if word != _EDGE and (word, right) in self._pairs:
                return word
        return None

    def _grafted(self, words: Sequence[str], draw: Draw) -> list[str]:
        other = self._texts[_below(draw, len(self._texts))]
        length = 1 + _below(draw, min(len(other), _LONGEST_RUN)) if other else 0
        start = _below(draw, len(other) - length + 1)
        gone = _below(draw, min(len(words), length) + 1)
        place = _below(draw, len(words) - gone + 1)
        return [*words[:place], *other[start : start + length], *words[place + gone :]]

    def _followed(self, words: Sequence[str], draw: Draw) -> list[str]:
        other = self._texts[_below(draw, len(self._texts))]
        return [*words, *_LINKS[_below(draw, len(_LINKS))], *other]


def _below(draw: Draw, count: int) -> int:
    """A whole number from 0 to `count` - 1."""
    return int(draw() * count)
