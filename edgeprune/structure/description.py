"""`structure.json`: what a saved model is beyond its config.json, so that it can be rebuilt.

    {"format": "edgeprune.structure/1", "head": "label-words", "label_words": {"bad": "terrible", …},
     "pooling": "first"}

A folder without the file holds an ordinary Hugging Face classifier.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgeprune.errors import EdgepruneError, UnsupportedError

__all__ = ["FORMAT", "STRUCTURE_FILE", "Head", "Pooling", "Structure", "read_structure", "write_structure"]

FORMAT = "edgeprune.structure/1"
STRUCTURE_FILE = "structure.json"

Head = Literal["trained", "label-words"]
Pooling = Literal["first", "mean"]


@dataclass(frozen=True)
class Structure:
    """How a model differs from what its config.json alone describes.

    Attributes:
        head: `trained`: the architecture's own classification head. `label-words`: its MLM head, read at
            one word per class.
        label_words: Class name to word, in the order of class ids; empty for a trained head.
        pooling: What the head sees: the first token's state, or the mean over all tokens.
    """

    head: Head = "trained"
    label_words: Mapping[str, str] = field(default_factory=dict)
    pooling: Pooling = "first"


def read_structure(folder: Path) -> Structure:
    """What a folder's `structure.json` says; the default where there is none.

    Raises:
        UnsupportedError: It is of a version, or says something, that this edgeprune does not know.
        EdgepruneError: It cannot be read.
    """
    path = folder / STRUCTURE_FILE
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Structure()
    except (OSError, ValueError, RecursionError) as error:
        raise EdgepruneError(f"it cannot be read: {error}", where=str(path)) from error
    if not isinstance(values, dict):
        raise EdgepruneError(f"it holds {json.dumps(values)[:80]}, not an object", where=str(path))
    return _checked(values, path)


def write_structure(structure: Structure, folder: Path) -> None:
    """Write `structure.json`, or remove an old one where the model needs none."""
    path = folder / STRUCTURE_FILE
    if structure == Structure():
        path.unlink(missing_ok=True)
        return
    values = {
        "format": FORMAT,
        "head": structure.head,
        "label_words": dict(structure.label_words),
        "pooling": structure.pooling,
    }
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _checked(values: dict[str, Any], path: Path) -> Structure:
    if values.get("format") != FORMAT:
        raise UnsupportedError(
            f"its format is {values.get('format')!r}; this version of edgeprune reads {FORMAT!r}",
            where=str(path),
            hint="a newer edgeprune may have written it",
        )
    unknown = sorted(values.keys() - {"format", "head", "label_words", "pooling"})
    if unknown:  # leaving one out would load another model than the one that was saved
        raise UnsupportedError(f"unknown keys: {', '.join(unknown)}", where=str(path))
    head, words = values.get("head"), values.get("label_words", {})
    pooling = values.get("pooling", "first")
    if pooling not in ("first", "mean"):
        raise UnsupportedError(f"unknown pooling {pooling!r}; known: first, mean", where=str(path))
    if head not in ("trained", "label-words"):
        raise UnsupportedError(f"unknown head {head!r}; known: trained, label-words", where=str(path))
    if not isinstance(words, dict) or not all(isinstance(word, str) for word in words.values()):
        raise EdgepruneError(f"label_words is {words!r}, not class names with words", where=str(path))
    if (head == "label-words") != bool(words):
        raise EdgepruneError(f"head {head!r} does not fit label_words {words!r}", where=str(path))
    return Structure(head, words, pooling)
