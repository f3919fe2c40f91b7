"""A smaller vocabulary: only the token rows that the task's data and a safety list use.

In small encoders the table of word embeddings is most of the file. A word whose own token is gone is spelled
with smaller ones, in the worst case letter by letter; that it never becomes the unknown token is what
`kept_vocabulary` sees to. A word all of whose tokens are kept is spelled as before: WordPiece takes the
longest token that fits, and what was the longest of all is the longest of those that are left.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import nn

from edgeprune.errors import EdgepruneError, Problem, RecipeError, UnsupportedError
from edgeprune.structure.wordpiece import WordPiece, read_wordpiece, renumbering

__all__ = ["kept_vocabulary", "slice_embeddings", "used_tokens"]

_RESERVED = re.compile(r"\[unused\d+\]")  # BERT's rows without a word
_CONFIG_IDS = ("bos", "cls", "decoder_start", "eos", "mask", "pad", "sep", "unk")


class _Reading(NamedTuple):
    """One way in which a token can stand in a word.

    Attributes:
        first: At the word's beginning; else inside it.
        text: The characters that it stands for.
    """

    first: bool
    text: str


def used_tokens(token_ids: Iterable[Sequence[int]]) -> Counter[int]:
    """How often each token occurs in encoded texts."""
    counts: Counter[int] = Counter()
    for ids in token_ids:
        counts.update(ids)
    return counts


def kept_vocabulary(
    tokenizer_json: Mapping[str, Any],
    used: Mapping[int, int],
    *,
    min_count: int = 1,
    size: int | None = None,
    extra: Collection[str] = (),
    first: Sequence[int] = (),
) -> tuple[int, ...]:
    """The tokens that a task needs.

    These are the used ones, `extra`, all that the tokenizer names outside its vocabulary, the safety list
    (every token of a single character, at the beginning of words and inside them), and what `_needed` adds
    where the safety list cannot spell all of the rest.

    Args:
        tokenizer_json: Content of a WordPiece tokenizer's `tokenizer.json`.
        used: Token number to how often the data uses it, from `used_tokens`.
        min_count: Tokens that are used less often may go.
        size: So many tokens stay, or a few more where their spelling needs them: those above, then others in
            the order of their numbers, which in the vocabularies of BERT and its kin is that of how frequent
            they were. Words that the data lacks and others use are then read as before.
        extra: More tokens to keep, as the vocabulary writes them (`film`, `##ing`).
        first: Token numbers that come before those others where `size` has room, in this order.

    Returns:
        Their numbers, ascending. No word is unknown with them that is not with the whole vocabulary. (One
        that is may become known, if single characters are missing and a longer piece that led astray goes.)

    Raises:
        UnsupportedError: The tokenizer is not WordPiece.
        RecipeError: `extra` has what is no token, or `size` is below what is needed; the keys are ``extra``
            and ``size``.
        EdgepruneError: `used` has a number that is no token's, or the tokenizer is damaged.
    """
    pieces = read_wordpiece(tokenizer_json)
    tokens = pieces.tokens
    if unknown := [token for token in extra if token not in tokens]:
        hint = "write it as it stands in the vocabulary; a text of several tokens is several entries"
        raise RecipeError([Problem(("extra",), f"{token!r} is not a token", hint) for token in unknown])
    if strange := used.keys() - set(tokens.values()):
        raise EdgepruneError(
            f"the data uses token number {min(strange)}, which the tokenizer does not have",
            hint="the data was encoded with another tokenizer",
        )
    chosen = {number for number, count in used.items() if count >= min_count} | pieces.required
    wanted = {token for token, number in tokens.items() if number in chosen or token in extra}
    needed = _needed(pieces, wanted)
    if size is not None:
        needed = _needed(pieces, _filled(tokens, needed, size, first))
    return tuple(sorted(tokens[token] for token in needed))


def _filled(tokens: Mapping[str, int], needed: Collection[str], size: int, first: Sequence[int]) -> set[str]:
    """With as many of `first`, and then of the lowest numbers, as there is room for."""
    if size < len(needed):
        problem = f"{size:,} tokens are too few: {len(needed):,} are used by the data or needed to spell"
        raise RecipeError([Problem(("size",), problem, "raise `size`, or `min_count`")])
    places = {number: place for place, number in enumerate(first)}
    order = sorted(tokens, key=lambda token: (places.get(tokens[token], len(places)), tokens[token]))
    spare = (token for token in order if token not in needed)
    in_texts = (token for token in spare if not _RESERVED.fullmatch(token))
    return {*needed, *islice(in_texts, size - len(needed))}


def slice_embeddings(model: Any, kept: Sequence[int]) -> list[str]:
    """Keep only these rows of a model's word embeddings; in place, `config.json`'s numbers follow.

    A label-word head has rows of its own, taken when it was attached; it does not change.

    Args:
        model: A Hugging Face encoder or sequence classifier. The table's dtype, device and `requires_grad`
            stay; an optimizer must be made anew.
        kept: Ascending old token numbers.

    Returns:
        Notes: which token numbers of the config are gone because their tokens are.

    Raises:
        UnsupportedError: The model's table cannot be cut, or not so.
        EdgepruneError: `kept` is not in order, or lacks the padding token.
    """
    table, new, config = model.get_input_embeddings(), renumbering(kept), model.config
    _require_sliceable(model, table, new)
    numbers = {
        name: getattr(config, name)
        for name in (f"{part}_token_id" for part in _CONFIG_IDS)
        if getattr(config, name, None) is not None
    }
    table.weight = nn.Parameter(
        table.weight.detach()[torch.tensor(list(kept), device=table.weight.device)],
        requires_grad=table.weight.requires_grad,
    )
    table.num_embeddings = config.vocab_size = len(kept)
    if table.padding_idx is not None:
        table.padding_idx = new[table.padding_idx]
    for name, number in numbers.items():
        setattr(config, name, new.get(number))
    return [
        f"{name} was token {number}, which is cut out; the config has none now"
        for name, number in numbers.items()
        if number not in new
    ]


def _require_sliceable(model: Any, table: Any, new: Mapping[int, int]) -> None:
    where, config = type(model).__name__, model.config
    if type(table) is not nn.Embedding:
        raise UnsupportedError(
            f"the word embeddings are {type(table).__name__}, not nn.Embedding", where=where
        )
    if model.get_output_embeddings() is not None:
        raise UnsupportedError("the MLM head shares the vocabulary; cut a classifier", where=where)
    if max(new) >= table.num_embeddings:
        raise UnsupportedError(
            f"token {max(new)} is to be kept; the model has {table.num_embeddings}",
            where=where,
            hint="the tokenizer is not the one that this model was trained with",
        )
    padding = {number for number in (table.padding_idx, config.pad_token_id) if number is not None}
    if lost := padding - new.keys():
        raise EdgepruneError(f"token {min(lost)} is padding and must be kept", where=where)
    # RoBERTa and MPNet count positions from the padding token's number on.
    offset = getattr(getattr(model.base_model, "embeddings", None), "padding_idx", None)
    if offset is not None and new.get(offset) != offset:
        raise UnsupportedError(
            f"positions are counted from the number of the padding token, {offset}; it would change",
            where=where,
            hint=f"keep the tokens 0 to {offset}",
        )


def _needed(pieces: WordPiece, wanted: Collection[str]) -> set[str]:
    """`wanted`, and what else keeps every text spelled that the whole vocabulary can spell.

    WordPiece goes from left to right and gives up, the word unknown, where no token fits. With tokens of one
    character for all characters, at the beginning of words and inside, it never does. A vocabulary need not
    have them: `##z` may be missing where `##yz` is there. Then `##yz` is *rigid*: it must be kept, and no
    cut may fall into its midst, before the z.

    The whole vocabulary cuts a word at some places. A part of it makes the same cuts up to the first token
    that is gone, then others. A cut falls into the midst of a rigid token only by a kept token R that
    stretches from the midst of an earlier token M to there. So M is made rigid too, for every such R and M;
    one at the beginning of a word need only be kept. Then no cut can be the first in the midst of a rigid
    token: its R would start either where the whole vocabulary cuts, and there the longest token that fits
    ends at that vocabulary's next cut; or in the midst of a rigid M, and that cut was earlier.
    """
    readings = {token: tuple(_readings(token, pieces)) for token in pieces.vocabulary}
    letters = {reading for ways in readings.values() for reading in ways if len(reading.text) == 1}
    unspelled = {
        token: [way for way in ways if not letters.issuperset(_letters(way))]
        for token, ways in readings.items()
    }
    kept = set(wanted)
    kept |= {token for token, ways in readings.items() if unspelled[token] or not letters.isdisjoint(ways)}
    rigid = {way.text for ways in unspelled.values() for way in ways if not way.first}
    while rigid:
        inner = [way.text for token in kept for way in readings.get(token, ()) if not way.first]
        ends = _ends(inner, rigid)
        entered = {
            token for token, ways in readings.items() if any(_ends_with(way.text, ends) for way in ways)
        }
        grown = rigid | {way.text for token in entered for way in readings[token] if not way.first}
        kept |= entered
        if grown == rigid:
            break
        rigid = grown
    return kept


def _readings(token: str, pieces: WordPiece) -> Iterator[_Reading]:
    continues = token.startswith(pieces.prefix)
    if pieces.begins_words or not continues:
        yield _Reading(True, token)
    if continues and token != pieces.prefix:
        yield _Reading(False, token.removeprefix(pieces.prefix))


def _letters(reading: _Reading) -> set[_Reading]:
    return {_Reading(reading.first and at == 0, letter) for at, letter in enumerate(reading.text)}


def _ends(texts: Iterable[str], rigid: Collection[str]) -> set[str]:
    """What earlier tokens would end with, so that one of `texts` stretches from them into a rigid one."""
    heads = {text[:cut] for text in rigid for cut in range(1, len(text))}
    ends: set[str] = set()
    for text in texts:
        last = max((cut for cut in range(1, len(text)) if text[cut:] in heads), default=0)
        ends |= {text[:cut] for cut in range(1, last + 1)}
    return ends


def _ends_with(text: str, ends: Collection[str]) -> bool:
    """Whether a true end of it, not the whole, is among `ends`."""
    return any(text[cut:] in ends for cut in range(1, len(text)))
