"""`structure.json`: what a saved model is beyond its config.json, so that it can be rebuilt.

    {"format": "edgeprune.structure/1", "head": "label-words", "label_words": {"bad": "terrible", …},
     "pooling": "first",
     "layers": [{"source": 0, "heads": [1, 4], "rows": [0, 7, …]}, …], "hidden": [0, 2, …]}

`layers` and `hidden` are there where something was cut out; their numbers are those of the dense model. A
folder without the file holds an ordinary Hugging Face classifier.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from edgeprune.errors import EdgepruneError, UnsupportedError

__all__ = [
    "FORMAT",
    "STRUCTURE_FILE",
    "Head",
    "KeptLayer",
    "Pooling",
    "Structure",
    "read_structure",
    "write_structure",
]

FORMAT = "edgeprune.structure/1"
STRUCTURE_FILE = "structure.json"

Head = Literal["trained", "label-words"]
Pooling = Literal["first", "mean"]


@dataclass(frozen=True)
class KeptLayer:
    """What is left of one layer; numbers are those of the dense model, ascending.

    Attributes:
        source: The layer.
        heads: Its kept attention heads; none: the output bias is all that its attention gives.
        rows: Its kept FFN rows; none: likewise.
    """

    source: int
    heads: tuple[int, ...]
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Structure:
    """How a model differs from what its config.json alone describes.

    Attributes:
        head: `trained`: the architecture's own classification head. `label-words`: its MLM head, read at
            one word per class.
        label_words: Class name to word, in the order of class ids; empty for a trained head.
        pooling: What the head sees: the first token's state, or the mean over all tokens.
        layers: The layers that are left and what is left of them; None: nothing was cut out.
        hidden: Kept hidden dimensions; None: all.
    """

    head: Head = "trained"
    label_words: Mapping[str, str] = field(default_factory=dict)
    pooling: Pooling = "first"
    layers: tuple[KeptLayer, ...] | None = None
    hidden: tuple[int, ...] | None = None


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
    values: dict[str, Any] = {
        "format": FORMAT,
        "head": structure.head,
        "label_words": dict(structure.label_words),
        "pooling": structure.pooling,
    }
    if structure.layers is not None:
        values["layers"] = [asdict(layer) for layer in structure.layers]
    if structure.hidden is not None:
        values["hidden"] = list(structure.hidden)
    path.write_text(_pretty(values), encoding="utf-8")


def _pretty(values: Mapping[str, Any]) -> str:
    """JSON with a line per key, and per layer: thousands of row numbers are not worth a line each."""
    lines = []
    for name, value in values.items():
        many = name == "layers"
        items = [json.dumps(item) for item in value] if many else [json.dumps(value, ensure_ascii=False)]
        text = "[\n    " + ",\n    ".join(items) + "\n  ]" if many else items[0]
        lines.append(f"  {json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _checked(values: dict[str, Any], path: Path) -> Structure:
    if values.get("format") != FORMAT:
        raise UnsupportedError(
            f"its format is {values.get('format')!r}; this version of edgeprune reads {FORMAT!r}",
            where=str(path),
            hint="a newer edgeprune may have written it",
        )
    unknown = sorted(values.keys() - {"format", "head", "label_words", "pooling", "layers", "hidden"})
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
    return Structure(head, words, pooling, _layers(values.get("layers"), path), _hidden(values, path))


def _layers(values: Any, path: Path) -> tuple[KeptLayer, ...] | None:
    if values is None:
        return None
    if not isinstance(values, list) or not all(
        isinstance(item, dict) and item.keys() == {"source", "heads", "rows"} for item in values
    ):
        raise EdgepruneError("layers is no list of {source, heads, rows}", where=str(path))
    sources = _numbers([item["source"] for item in values], "layers", path)
    return tuple(
        KeptLayer(source, _numbers(item["heads"], "heads", path), _numbers(item["rows"], "rows", path))
        for source, item in zip(sources, values, strict=True)
    )


def _hidden(values: Mapping[str, Any], path: Path) -> tuple[int, ...] | None:
    return _numbers(values["hidden"], "hidden", path) if "hidden" in values else None


def _numbers(values: Any, what: str, path: Path) -> tuple[int, ...]:
    """Ascending whole numbers from 0."""
    if not isinstance(values, list) or not all(type(item) is int and item >= 0 for item in values):
        raise EdgepruneError(f"{what}: not a list of whole numbers", where=str(path))
    if any(low >= high for low, high in pairwise(values)):
        raise EdgepruneError(f"{what}: not in ascending order", where=str(path))
    return tuple(values)
