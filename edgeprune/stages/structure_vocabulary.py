"""Which tokens `prune_structure` keeps, and by what the model answers without those that go."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeprune.errors import RecipeError

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeprune.stages.prune_structure import VocabularyConfig
    from edgeprune.structure.wordpiece import WordPiece
    from edgeprune.tasks.encoding import Encoded

__all__ = ["by_answers", "cut_tokenizer", "slice_vocabulary", "spelled"]

_BATCH = 256


def slice_vocabulary(
    wanted: VocabularyConfig,
    model: Any,
    source: Path,
    tokenizer: Any,
    encoded: Encoded,
    progress: Callable[..., None],
) -> tuple[tuple[int, ...], list[str]]:
    """Cut the word embeddings in place.

    Args:
        wanted: What the recipe asks for.
        model: As it is after its heads and rows were cut.
        source: Folder of the tokenizer's files.
        tokenizer: Made of them.
        encoded: The training texts, in its tokens.
        progress: Called with a text.

    Returns:
        The kept token numbers, and notes.

    Raises:
        RecipeError: An extra token is none, or the size is too small; the keys are below ``vocabulary``.
        UnsupportedError: The tokenizer or the model cannot be cut.
    """
    from edgeprune.structure.vocabulary import kept_vocabulary, slice_embeddings, used_tokens

    content = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    used = used_tokens(encoded.input_ids)
    rules: dict[str, Any] = {"min_count": wanted.min_count, "extra": wanted.extra}
    try:
        if wanted.by == "answers":
            needed = kept_vocabulary(content, used, **rules)
            rules["first"] = by_answers(model, content, needed, tokenizer, progress)
        kept = kept_vocabulary(content, used, size=wanted.size, **rules)
    except RecipeError as error:
        raise RecipeError([problem.below(("vocabulary",)) for problem in error.problems]) from error
    before = model.get_input_embeddings().num_embeddings
    notes = slice_embeddings(model, kept)
    said = f"{len(kept):,} of {before:,} tokens stay; words whose token is gone are spelled with smaller ones"
    return kept, [said, *notes]


def cut_tokenizer(source: Path, kept: tuple[int, ...], folder: Path) -> Any:
    """The tokenizer with these tokens alone, saved in `folder`."""
    import transformers

    from edgeprune.structure.wordpiece import slice_tokenizer_folder

    slice_tokenizer_folder(source, kept, folder)
    return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)


def by_answers(
    model: Any,
    tokenizer_json: Mapping[str, Any],
    needed: Collection[int],
    tokenizer: Any,
    progress: Callable[..., None],
) -> list[int]:
    """The other tokens, those first that a model's answers need most.

    What it costs on average that a token goes is how often it is read, times what the answer changes by. The
    first falls with the token's number, as Zipf's law says, where vocabularies are ordered by frequency; the
    second is KL(answer to the token || answer to its spelling), each as a text of its own.

    Args:
        model: A classifier of all tokens.
        tokenizer_json: Content of its tokenizer's file.
        needed: Token numbers that stay in any case; they can spell all others.
        tokenizer: The same, for what stands around a text.
        progress: Called with a text.
    """
    from edgeprune.structure.wordpiece import read_wordpiece

    progress(text="answers to words whose token may go")
    pieces = read_wordpiece(tokenizer_json)
    kept = set(needed)
    others = [(token, number) for token, number in pieces.vocabulary.items() if number not in kept]
    if not others:
        return []
    spellings = [spelled(token, pieces, kept) for token, _ in others]
    whole = _log_scores(model, [[number] for _, number in others], tokenizer)
    parts = _log_scores(model, spellings, tokenizer)
    lost = (np.exp(whole) * (whole - parts)).sum(axis=1)
    numbers = np.array([number for _, number in others], np.int64)
    order = np.argsort(-lost / (1 + numbers), kind="stable")
    return [int(number) for number in numbers[order]]


def spelled(token: str, pieces: WordPiece, kept: Collection[int]) -> list[int]:
    """What a token's characters become with other tokens, always the longest that fits next.

    Args:
        token: As the vocabulary writes it; one that continues a word is spelled as its continuation.
        pieces: The vocabulary.
        kept: Token numbers that may be used.

    Raises:
        ValueError: They cannot spell it.
    """
    inside = token.startswith(pieces.prefix)
    text, found = token.removeprefix(pieces.prefix), list[int]()
    begin = 0
    while begin < len(text):
        mark = pieces.prefix if inside or begin else ""
        for end in range(len(text), begin, -1):
            number = pieces.vocabulary.get(mark + text[begin:end])
            if number is not None and number in kept:
                break
        else:
            raise ValueError(f"{token!r} cannot be spelled from character {begin} on")
        found.append(number)
        begin = end
    return found


def _log_scores(model: Any, texts: Sequence[Sequence[int]], tokenizer: Any) -> npt.NDArray[np.float64]:
    """Logarithms of the class probabilities, [texts, classes]."""
    import torch

    model.eval()
    found: list[npt.NDArray[np.float64]] = []
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    with torch.inference_mode():
        for batch in _batches([texts[place] for place in order], tokenizer):
            scores = torch.log_softmax(model(**batch).logits.double(), dim=-1)
            found.append(scores.cpu().numpy())
    sorted_scores = np.concatenate(found)
    scores_by_place = np.empty_like(sorted_scores)
    scores_by_place[order] = sorted_scores
    return scores_by_place


def _batches(texts: Sequence[Sequence[int]], tokenizer: Any) -> Iterator[dict[str, Any]]:
    """With what the tokenizer puts around a text; short rows are filled."""
    import torch

    first, last = (
        [] if number is None else [number] for number in (tokenizer.cls_token_id, tokenizer.sep_token_id)
    )
    for begin in range(0, len(texts), _BATCH):
        rows = [torch.tensor([*first, *text, *last]) for text in texts[begin : begin + _BATCH]]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=tokenizer.pad_token_id)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        yield {"input_ids": ids, "attention_mask": mask}
