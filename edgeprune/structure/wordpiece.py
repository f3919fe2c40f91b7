"""WordPiece tokenizers with fewer tokens: `tokenizer.json` and the files beside it, renumbered.

A kept token's new number is its place among the kept ones, so `kept`, ascending old numbers, says all.
Which tokens may go is asked of `structure.vocabulary`.
"""

from __future__ import annotations

import json
import string
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from edgeprune.errors import EdgepruneError, UnsupportedError

__all__ = ["WordPiece", "read_wordpiece", "renumbering", "slice_tokenizer", "slice_tokenizer_folder"]

_FILE = "tokenizer.json"
_REMAKE = "save the tokenizer again with `save_pretrained`, so that its files agree"


@dataclass(frozen=True)
class WordPiece:
    """What a WordPiece tokenizer has.

    Attributes:
        vocabulary: Token to number, in ascending order; added tokens that are not in it have larger numbers.
        added: Content of each added token to its number, whether it is in the vocabulary or not.
        prefix: What marks a token that continues a word, `##` as a rule.
        begins_words: Whether a word of a text may itself begin with the characters of `prefix`, so that a
            token for the inside of words could stand at the beginning of one.
        required: Numbers that the tokenizer names outside its vocabulary: all added tokens, the unknown
            token, padding, what is put around a text.
    """

    vocabulary: Mapping[str, int]
    added: Mapping[str, int]
    prefix: str
    begins_words: bool
    required: frozenset[int]

    @property
    def tokens(self) -> dict[str, int]:
        """Every token to its number."""
        return {**self.vocabulary, **self.added}


def read_wordpiece(tokenizer_json: Mapping[str, Any]) -> WordPiece:
    """Read the content of a `tokenizer.json`.

    Raises:
        UnsupportedError: It is not WordPiece, or holds something whose token numbers are not known here.
        EdgepruneError: It contradicts itself, or is no tokenizer.
    """
    try:
        model = tokenizer_json["model"]
        _require_wordpiece(model)
        ordered = sorted(model["vocab"].items(), key=lambda item: item[1])
        named = {model["vocab"][token] for token in (model["unk_token"],) if token in model["vocab"]}

        def noted(number: int) -> int:
            named.add(number)
            return number

        _with_numbers(tokenizer_json, noted)
        found = WordPiece(
            vocabulary=dict(ordered),
            added={token["content"]: token["id"] for token in tokenizer_json.get("added_tokens") or ()},
            prefix=model["continuing_subword_prefix"],
            begins_words=_may_begin_words(
                model["continuing_subword_prefix"], tokenizer_json.get("pre_tokenizer")
            ),
            required=frozenset(named),
        )
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise EdgepruneError(f"it is no tokenizer: {error!r}", where=_FILE) from error
    _require_consistent(found)
    return found


def renumbering(kept: Sequence[int]) -> dict[int, int]:
    """Old number to new one.

    Raises:
        EdgepruneError: The kept numbers are none, negative, or not ascending.
    """
    if not kept or kept[0] < 0 or any(low >= high for low, high in pairwise(kept)):
        raise EdgepruneError(f"kept tokens must be ascending numbers from 0; they are {_listed(kept)}")
    return {old: new for new, old in enumerate(kept)}


def slice_tokenizer(tokenizer_json: Mapping[str, Any], kept: Sequence[int]) -> dict[str, Any]:
    """The same tokenizer with fewer tokens.

    Args:
        tokenizer_json: Content of a `tokenizer.json`; not changed.
        kept: Ascending numbers of the tokens that stay (see `structure.vocabulary.kept_vocabulary`).

    Returns:
        Content of the new `tokenizer.json`.

    Raises:
        UnsupportedError: It is not WordPiece, or holds something whose token numbers are not known here.
        EdgepruneError: `kept` lacks a token that the tokenizer cannot be without, or has one too many.
    """
    pieces, new = read_wordpiece(tokenizer_json), renumbering(kept)
    if missing := sorted(pieces.required - new.keys()):
        names = {number: token for token, number in pieces.tokens.items()}
        raise EdgepruneError(
            f"the tokenizer cannot be without {_listed([names[number] for number in missing])}", where=_FILE
        )
    if strange := sorted(new.keys() - set(pieces.tokens.values())):
        raise EdgepruneError(f"the tokenizer has no token number {_listed(strange)}", where=_FILE)
    sliced = _with_numbers(tokenizer_json, new.__getitem__)
    sliced["model"]["vocab"] = {
        token: new[number] for token, number in pieces.vocabulary.items() if number in new
    }
    return sliced


def slice_tokenizer_folder(source: Path, kept: Sequence[int], target: Path) -> None:
    """Write a Hugging Face tokenizer's files with fewer tokens.

    Args:
        source: Folder with `tokenizer.json` and what `save_pretrained` writes beside it.
        kept: Ascending numbers of the tokens that stay.
        target: Made if it is not there; may be `source`. Files that are not the tokenizer's stay away.

    Raises:
        UnsupportedError: There is no `tokenizer.json`, or it is not WordPiece.
        EdgepruneError: The files contradict one another, or `kept`; a file cannot be read or written.
    """
    if not (source / _FILE).is_file():
        raise UnsupportedError(
            f"there is no {_FILE}",
            where=str(source),
            hint="a fast tokenizer is needed; it is saved in this file",
        )
    files = _sliced_files(source, kept)
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (target / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise EdgepruneError(f"the tokenizer cannot be saved: {error}", where=str(target)) from error


def _sliced_files(source: Path, kept: Sequence[int]) -> dict[str, str]:
    """Name to new content of each of the tokenizer's files."""
    sliced, new = slice_tokenizer(_read(source / _FILE), kept), renumbering(kept)
    files = {_FILE: _written(sliced)}
    special, settings, added = (
        source / f"{name}.json" for name in ("special_tokens_map", "tokenizer_config", "added_tokens")
    )
    if special.is_file():
        files[special.name] = _written(_read(special))
    if settings.is_file():
        values = _read(settings)
        if "added_tokens_decoder" in values:
            numbers = _known([int(number) for number in values["added_tokens_decoder"]], new, settings)
            tokens = values["added_tokens_decoder"].values()
            values["added_tokens_decoder"] = dict(zip(map(str, numbers), tokens, strict=True))
        files[settings.name] = _written(values)
    if added.is_file():
        values = _read(added)
        files[added.name] = _written(dict(zip(values, _known(values.values(), new, added), strict=True)))
    if (source / "vocab.txt").is_file():
        files["vocab.txt"] = "".join(f"{token}\n" for token in sliced["model"]["vocab"])
    return files


def _known(numbers: Collection[int], new: Mapping[int, int], path: Path) -> list[int]:
    """The new numbers."""
    if strange := [number for number in numbers if number not in new]:
        raise EdgepruneError(
            f"it names token number {_listed(strange)}, which {_FILE} does not have",
            where=str(path),
            hint=_REMAKE,
        )
    return [new[number] for number in numbers]


def _with_numbers(tokenizer_json: Mapping[str, Any], new: Callable[[int], int]) -> dict[str, Any]:
    """A copy with every token number outside the vocabulary put through `new`: the one list of places."""
    copied: dict[str, Any] = deepcopy(dict(tokenizer_json))
    for token in copied.get("added_tokens") or ():
        token["id"] = new(token["id"])
    if copied.get("padding"):
        copied["padding"]["pad_id"] = new(copied["padding"]["pad_id"])
    if copied.get("post_processor"):
        _renumber_post_processor(copied["post_processor"], new)
    return copied


def _renumber_post_processor(processor: dict[str, Any], new: Callable[[int], int]) -> None:
    """In place."""
    match processor["type"]:
        case "BertProcessing" | "RobertaProcessing":
            for end in ("sep", "cls"):
                token, number = processor[end]
                processor[end] = [token, new(number)]
        case "TemplateProcessing":
            for special in processor["special_tokens"].values():
                special["ids"] = [new(number) for number in special["ids"]]
        case "Sequence":
            for part in processor["processors"]:
                _renumber_post_processor(part, new)
        case "ByteLevel":
            pass
        case other:
            raise UnsupportedError(f"where a post-processor {other!r} keeps token numbers is not known here")


def _require_wordpiece(model: Mapping[str, Any]) -> None:
    # Early versions of the format have no type.
    kind = model.get("type", "WordPiece" if "max_input_chars_per_word" in model else "another kind")
    if kind != "WordPiece":
        raise UnsupportedError(
            f"the tokenizer is {kind}; only a WordPiece vocabulary can be cut",
            where=_FILE,
            hint="leave this model's vocabulary whole: merges and scores of other kinds build on one another",
        )


def _require_consistent(pieces: WordPiece) -> None:
    numbers = list(pieces.tokens.values())
    two = [token for token, number in pieces.added.items() if pieces.vocabulary.get(token, number) != number]
    outside = {number for token, number in pieces.added.items() if token not in pieces.vocabulary}
    faults = {
        "two numbers for one token": bool(two),
        "two tokens of one number": len(set(numbers)) < len(numbers),
        "an added token numbered before the vocabulary's last": bool(outside)
        and min(outside) < max(pieces.vocabulary.values(), default=-1),
        "a number without a token": not pieces.required <= set(numbers),
    }
    if found := [fault for fault, there in faults.items() if there]:
        raise EdgepruneError(f"the tokenizer has {' and '.join(found)}", where=_FILE, hint=_REMAKE)


def _may_begin_words(prefix: str, pre_tokenizer: Mapping[str, Any] | None) -> bool:
    """No, if the prefix is of two characters or more and its first is punctuation that stands alone."""
    return len(prefix) < 2 or not (_punctuation(prefix[0]) and _isolates_punctuation(pre_tokenizer))


def _isolates_punctuation(pre_tokenizer: Mapping[str, Any] | None) -> bool:
    if not pre_tokenizer:
        return False
    if pre_tokenizer["type"] == "Sequence":
        return any(map(_isolates_punctuation, pre_tokenizer["pretokenizers"]))
    behavior = {"BertPreTokenizer": "Isolated", "Punctuation": pre_tokenizer.get("behavior")}
    return behavior.get(pre_tokenizer["type"]) == "Isolated"


def _punctuation(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character).startswith("P")


def _read(path: Path) -> Any:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise EdgepruneError(f"it cannot be read: {error}", where=str(path)) from error
    if not isinstance(values, dict):
        raise EdgepruneError(f"it holds {json.dumps(values)[:80]}, not an object", where=str(path))
    return values


def _written(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def _listed(values: Sequence[Any], most: int = 4) -> str:
    shown = ", ".join(str(value) for value in values[:most]) or "none"
    return shown + (f" and {len(values) - most} more" if len(values) > most else "")
