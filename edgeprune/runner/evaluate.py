"""Answers a file of examples and keeps every answer with its logits, to be judged elsewhere."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Iterator, List, Sequence, TextIO, Tuple

from .answering import Answer, Answerer, bundle_words, open_answerer, positive
from .examples import STDIN, Example, InputError, numbered_lines, opened_input, parse_example, parse_json

__all__ = ["configure", "parse_label", "read_labelled", "run"]

Labelled = Tuple[Example, "int | None"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the words of this command."""
    parser.add_argument(
        "file", help=f"JSONL: the texts, and `label` (class name or number) if known; {STDIN}: standard input"
    )
    parser.add_argument(
        "--out", required=True, metavar="FILE", help=f"JSONL with each answer; {STDIN}: standard output"
    )
    parser.add_argument("--batch", type=positive, default=1, metavar="N", help="texts answered at once")
    bundle_words(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the command: the answers in a file, and one JSON line on standard output that sums them up."""
    answerer = open_answerer(options.bundle, options.threads)
    with opened_input(options.file) as stream:
        examples = list(read_labelled(stream, answerer.manifest.columns, answerer.manifest.labels))
    right: List[bool] = []
    start = time.perf_counter()
    with _written(options.out) as out:
        for row, answer, label in _answers(answerer, examples, options.batch):
            line = {"row": row, "predicted": answer.index, "logits": answer.logits, "label": label}
            out.write(json.dumps(line) + "\n")
            right += [] if label is None else [label == answer.index]
    summary = {
        "n": len(examples),
        "labelled": len(right),
        "accuracy": sum(right) / len(right) if right else None,
        "seconds": time.perf_counter() - start,
    }
    sys.stdout.write(json.dumps(summary) + "\n")
    return 0


def read_labelled(stream: BinaryIO, columns: Sequence[str], labels: Sequence[str]) -> Iterator[Labelled]:
    """Examples of a file of JSON lines, with the number of their class; None where it is not said.

    Args:
        stream: The file, open for bytes.
        columns: Names of the texts of an example.
        labels: Class names in the order of their numbers.

    Raises:
        InputError: A line cannot be read; the message has its number.
    """
    for number, line in numbered_lines(stream):
        try:
            value = parse_json(line)
            label = value.get("label") if isinstance(value, dict) else None
            yield parse_example(value, columns), parse_label(label, labels)
        except InputError as error:
            raise InputError(f"line {number} {error}") from error


def parse_label(label: Any, labels: Sequence[str]) -> int | None:
    """The number of a class that is given by name or by number.

    Raises:
        InputError: There is no such class.
    """
    if label is None:
        return None
    if isinstance(label, str) and label in labels:
        return labels.index(label)
    if isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(labels):
        return label
    raise InputError(
        f"has the label {label!r}; the classes are {', '.join(labels)} (or 0 to {len(labels) - 1})"
    )


def _answers(
    answerer: Answerer, examples: Sequence[Labelled], size: int
) -> Iterator[tuple[int, Answer, int | None]]:
    for start in range(0, len(examples), size):
        group = examples[start : start + size]
        answers = answerer.answer([example for example, _ in group])
        for offset, (answer, (_, label)) in enumerate(zip(answers, group)):
            yield start + offset, answer, label


@contextmanager
def _written(name: str) -> Iterator[TextIO]:
    """A file that has its name when it is whole and safe on the disk, and is not there before."""
    if name == STDIN:
        yield sys.stdout
        return
    path = Path(name)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        stream = part.open("x", encoding="ascii", newline="\n")
    except OSError as error:
        raise InputError(f"{name} cannot be written: {error.strerror}") from error
    try:
        with stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except BaseException:
        part.unlink()
        raise
