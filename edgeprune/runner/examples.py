"""What the commands are asked: texts on the command line, lines of text, or lines of JSON."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Iterator, List, Sequence, Tuple

__all__ = [
    "STDIN",
    "Example",
    "InputError",
    "grouped",
    "numbered_lines",
    "opened_input",
    "parse_example",
    "parse_json",
]

STDIN = "-"
_MARK = "\ufeff"  # what some editors put in front of UTF-8

# One sentence, or the two of a pair.
Example = Tuple[str, ...]


class InputError(Exception):
    """What was given cannot be read; the message says where and what to write instead."""


def parse_example(value: Any, columns: Sequence[str]) -> Example:
    """The one or two texts that a value of JSON stands for.

    Args:
        value: An object with the columns as keys, or with `text` (and `text_pair`), other keys aside; a
            string; or a list of one or two strings.
        columns: Names of the texts of an example.

    Raises:
        InputError: It is none of these, or has another number of texts than there are columns.
    """
    texts = _texts(value, columns)
    if len(texts) != len(columns):
        raise InputError(f"has {len(texts)} text(s); this model reads {_wanted(columns)}")
    for text in texts:
        if not isinstance(text, str):
            raise InputError(f"has {type(text).__name__} where a text should be")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError(f"has half a character ({text[error.start]!r}), which is no text") from error
    return tuple(texts)


def parse_json(text: str) -> Any:
    """The value of one line of JSON.

    Raises:
        InputError: It is not JSON.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise InputError("is nested too deeply") from error
    except ValueError as error:
        raise InputError(f"is not JSON: {error}" if text.strip() else "is empty") from error


@contextmanager
def opened_input(name: str) -> Iterator[BinaryIO]:
    """The file of this name, or standard input for ``-``.

    Raises:
        InputError: There is no such file, or it may not be read.
    """
    if name == STDIN:
        yield sys.stdin.buffer
        return
    try:
        stream = Path(name).open("rb")  # noqa: SIM115 - the caller's block is inside ours
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}") from error
    with stream:
        yield stream


def numbered_lines(stream: BinaryIO) -> Iterator[tuple[int, str]]:
    """Lines as they come, from 1, without their ends.

    Raises:
        InputError: A line is not UTF-8.
    """
    for number, raw in enumerate(stream, start=1):
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"line {number} is not UTF-8: {error.reason} at byte {error.start}") from error
        line = line[:-1] if line.endswith("\n") else line
        line = line[:-1] if line.endswith("\r") else line
        yield number, line[len(_MARK) :] if number == 1 and line.startswith(_MARK) else line


def grouped(examples: Iterator[Example], size: int) -> Iterator[List[Example]]:
    """Groups of `size` in the same order, the last one smaller.

    What was read before something that cannot be read comes as a group of its own before the error.
    """
    group: List[Example] = []
    try:
        for example in examples:
            group.append(example)
            if len(group) == size:
                yield group
                group = []
    except InputError:
        if group:
            yield group
        raise
    if group:
        yield group


def _texts(value: Any, columns: Sequence[str]) -> list[Any]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        raise InputError(f"is {type(value).__name__}; this model reads {_wanted(columns)}")
    if all(column in value for column in columns):
        return [value[column] for column in columns]
    if "text" in value:
        return [value["text"], *([value["text_pair"]] if "text_pair" in value else [])]
    lacking = ", ".join(repr(column) for column in columns if column not in value)
    raise InputError(f"lacks {lacking}; this model reads {_wanted(columns)}")


def _wanted(columns: Sequence[str]) -> str:
    """What to write, as an example of JSON."""
    keys = ", ".join(f"{json.dumps(column)}: …" for column in columns)
    return f"{{{keys}}} or " + ("a string" if len(columns) == 1 else "a list of two strings")
