"""The examples of a task: what every later stage trains on, calibrates with and is judged by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgeprune.errors import EdgepruneError

__all__ = ["Examples"]

_HEAD_FILE: Final = "classes.json"
_ROWS_FILE: Final = "examples.jsonl"


@dataclass(frozen=True)
class Examples:
    """Sentences or pairs with the id of their class.

    Attributes:
        classes: Names of the classes; a class's id is its position.
        texts: The sentence, or the first one of a pair.
        labels: Class id of each example.
        text_pairs: The second sentence of each pair; None when the task has single sentences.

    Raises:
        EdgepruneError: Lengths differ, or a label is not the id of a class.
    """

    classes: tuple[str, ...]
    texts: tuple[str, ...]
    labels: tuple[int, ...]
    text_pairs: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        pairs = self.texts if self.text_pairs is None else self.text_pairs
        if not len(self.texts) == len(pairs) == len(self.labels):
            raise EdgepruneError(
                f"{len(self.texts)} texts, {len(pairs)} pairs and {len(self.labels)} labels are no examples"
            )
        if self.labels and not (min(self.labels) >= 0 and max(self.labels) < len(self.classes)):
            raise EdgepruneError(
                f"labels {min(self.labels)}..{max(self.labels)} are not ids of {len(self.classes)} classes"
            )

    def __len__(self) -> int:
        return len(self.texts)

    def inputs(self) -> Iterator[tuple[str, str]]:
        """What a model sees of each example: text and pair ('' where there is no pair)."""
        return zip(self.texts, self.text_pairs or ("",) * len(self), strict=True)

    def per_class(self) -> dict[str, int]:
        """Number of examples of each class, by name, zeros included."""
        counts = dict.fromkeys(self.classes, 0)
        for label in self.labels:
            counts[self.classes[label]] += 1
        return counts

    def select(self, indices: Iterable[int]) -> Examples:
        """The examples at these positions, in this order."""
        chosen = list(indices)
        return Examples(
            classes=self.classes,
            texts=tuple(self.texts[index] for index in chosen),
            labels=tuple(self.labels[index] for index in chosen),
            text_pairs=None if self.text_pairs is None else tuple(self.text_pairs[index] for index in chosen),
        )

    def joined(self, others: Examples) -> Examples:
        """These and then others of the same task.

        Raises:
            EdgepruneError: Their classes differ, or only one of the two has pairs.
        """
        pairs = self.text_pairs, others.text_pairs
        if self.classes != others.classes or (pairs[0] is None) != (pairs[1] is None):
            raise EdgepruneError("examples of two different tasks cannot be joined")
        return Examples(
            classes=self.classes,
            texts=(*self.texts, *others.texts),
            labels=(*self.labels, *others.labels),
            text_pairs=None if pairs[0] is None or pairs[1] is None else (*pairs[0], *pairs[1]),
        )

    def fingerprint(self) -> str:
        """SHA-256 of what `save` writes: equal for equal examples, on every machine."""
        digest = hashlib.sha256(self._head())
        for line in self._lines():
            digest.update(line)
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write `classes.json` and `examples.jsonl` (one example per line). Same examples, same bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _HEAD_FILE).write_bytes(self._head())
        with (folder / _ROWS_FILE).open("wb") as stream:
            stream.writelines(self._lines())

    @classmethod
    def load(cls, folder: Path) -> Examples:
        """Read what `save` wrote.

        Raises:
            EdgepruneError: The folder does not hold whole examples.
        """
        try:
            head = json.loads((folder / _HEAD_FILE).read_bytes())
            with (folder / _ROWS_FILE).open("rb") as stream:
                rows = [json.loads(line) for line in stream]
            ids = {name: position for position, name in enumerate(head["classes"])}
            examples = cls(
                classes=tuple(head["classes"]),
                texts=tuple(row["text"] for row in rows),
                labels=tuple(ids[row["label"]] for row in rows),
                text_pairs=tuple(row["text_pair"] for row in rows) if head["pairs"] else None,
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EdgepruneError(
                f"examples cannot be read: {type(error).__name__}: {error}",
                where=str(folder),
                hint="delete this folder and run again; it is made from the task's files",
            ) from error
        if len(examples) != head["count"]:
            raise EdgepruneError(f"{len(examples)} examples instead of {head['count']}", where=str(folder))
        return examples

    def _head(self) -> bytes:
        return _json_line({"classes": self.classes, "pairs": self.text_pairs is not None, "count": len(self)})

    def _lines(self) -> Iterator[bytes]:
        names = [self.classes[label] for label in self.labels]
        if self.text_pairs is None:
            for text, label in zip(self.texts, names, strict=True):
                yield _json_line({"text": text, "label": label})
        else:
            for text, pair, label in zip(self.texts, self.text_pairs, names, strict=True):
                yield _json_line({"text": text, "text_pair": pair, "label": label})


def _json_line(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"
