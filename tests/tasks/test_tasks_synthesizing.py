"""Laws of texts that are made of training texts."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.errors import EdgepruneError
from edgeprune.tasks.examples import Examples
from edgeprune.tasks.synthesizing import synthesize

WORDS = ["a", "slow", "film", "fine", "quite"]
LINKS = {",", "and", "but"}
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join), min_size=1, max_size=8)
SEEDS = st.integers(0, 2**32)


def _examples(texts: list[str], pairs: list[str] | None = None) -> Examples:
    labels = tuple(index % 2 for index in range(len(texts)))
    return Examples(("no", "yes"), tuple(texts), labels, None if pairs is None else tuple(pairs))


@given(TEXTS, SEEDS, st.integers(0, 30), st.integers(0, 30))
def test_more_texts_begin_with_the_fewer(texts: list[str], seed: int, fewer: int, more: int) -> None:
    examples = _examples(texts)
    made = synthesize(examples, fewer + more, seed)
    assert len(made) == fewer + more
    assert made.select(range(fewer)) == synthesize(examples, fewer, seed)


@given(TEXTS, SEEDS)
def test_every_word_is_one_of_the_training_texts_or_a_link(texts: list[str], seed: int) -> None:
    known = {word for text in texts for word in text.split()} | LINKS
    longest = max(len(text.split()) for text in texts)
    for text in synthesize(_examples(texts), 40, seed).texts:
        assert set(text.split()) <= known
        assert len(text.split()) <= 2 * longest + 1


@given(TEXTS, SEEDS, st.integers(0, 7))
def test_short_texts_are_not_what_others_are_made_of(texts: list[str], seed: int, least: int) -> None:
    examples = _examples(texts)
    long = _examples([text for text in texts if len(text.split()) >= least])
    if not len(long):
        with pytest.raises(EdgepruneError, match=f"no training text has {least} words"):
            synthesize(examples, 1, seed, min_words=least)
        return
    for text in synthesize(examples, 40, seed, min_words=least).texts:
        assert len(text.split()) >= least
    assert synthesize(long, 40, seed) == synthesize(long, 40, seed, min_words=least)


@given(TEXTS, TEXTS, SEEDS)
def test_of_a_pair_one_side_stays(texts: list[str], others: list[str], seed: int) -> None:
    count = min(len(texts), len(others))
    examples = _examples(texts[:count], others[:count])
    made = synthesize(examples, 40, seed)
    assert made.text_pairs is not None
    plain = [(" ".join(one.split()), " ".join(other.split())) for one, other in examples.inputs()]
    for text, pair in made.inputs():
        assert any(text == one or pair == other for one, other in plain)


def test_all_three_ways_are_taken_about_equally_often() -> None:
    texts = [f"x{index} y{index} z{index} w{index}" for index in range(50)]
    texts += [f"x{index} v{index} z{index} w{index}" for index in range(50)]  # y and v may change places
    made = synthesize(_examples(texts), 3000, 0).texts
    kinds = Counter(_way(text.split(), texts) for text in made)
    assert all(850 < kinds[way] < 1150 for way in ("replaced", "followed", "grafted")), kinds


def _way(words: list[str], texts: list[str]) -> str:
    if set(words) & LINKS or (
        len(words) == 8 and " ".join(words[:4]) in texts and " ".join(words[4:]) in texts
    ):
        return "followed"
    return (
        "replaced" if " ".join(words) in texts else "grafted"
    )  # a word fits between its own neighbours only


def test_there_must_be_something_to_make_texts_from() -> None:
    with pytest.raises(EdgepruneError, match="no training texts"):
        synthesize(_examples([]), 1, 0)
