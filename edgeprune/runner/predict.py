"""Answers texts: one line of JSON for each, in their order, as soon as it is known.

Lines are texts as they stand; JSON is read from files that end in .jsonl, or where --format says so.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Iterator, Sequence

from .answering import bundle_words, open_answerer, positive
from .examples import (
    STDIN,
    Example,
    InputError,
    grouped,
    numbered_lines,
    opened_input,
    parse_example,
    parse_json,
)

__all__ = ["configure", "format_words", "read_examples", "run"]

TEXT, JSONL = "text", "jsonl"
SUFFIXES = (".jsonl", ".ndjson")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the words of this command."""
    parser.add_argument("file", nargs="?", help=f"file of lines; {STDIN} reads standard input")
    parser.add_argument(
        "--text", action="append", default=[], metavar="TEXT", help="a text; may be said again"
    )
    format_words(parser)
    parser.add_argument("--batch", type=positive, default=1, metavar="N", help="texts answered at once")
    bundle_words(parser)


def format_words(parser: argparse.ArgumentParser) -> None:
    """Declares how a file of texts is read."""
    suffixes = " and ".join(SUFFIXES)
    parser.add_argument(
        "--format",
        choices=(TEXT, JSONL),
        help=f"of the lines; left out: {JSONL} where the file's name ends in {suffixes}",
    )


def run(options: argparse.Namespace) -> int:
    """Runs the command: one JSON line on standard output for each text."""
    if (options.file is None) == (not options.text):
        raise InputError(f"give texts either by --text or in a file ({STDIN} for standard input)")
    answerer = open_answerer(options.bundle, options.threads)
    columns = answerer.manifest.columns
    if options.text:
        examples = _on_command_line(options.text, columns)
    else:
        examples = read_examples(options.file, options.format, columns)
    for group in grouped(examples, options.batch):
        for answer in answerer.answer(group):
            sys.stdout.write(json.dumps(answer.row()) + "\n")
        sys.stdout.flush()
    return 0


def read_examples(name: str, form: str | None, columns: Sequence[str]) -> Iterator[Example]:
    """Examples of a file or of standard input, as they come.

    Args:
        name: The file; ``-`` for standard input.
        form: ``text`` or ``jsonl``; None: by the file's name.
        columns: Names of the texts of an example.

    Raises:
        InputError: The file or a line of it cannot be read; the message has the line's number.
    """
    chosen = form or (JSONL if name.endswith(SUFFIXES) else TEXT)
    with opened_input(name) as stream:
        for number, line in numbered_lines(stream):
            try:
                if chosen == JSONL:
                    yield parse_example(parse_json(line), columns)
                    continue
                if form is None and _is_object(line):
                    raise InputError(f"is a JSON object; say --format {JSONL}, or {TEXT} if that is the text")
                yield _said(line, columns)
            except InputError as error:
                raise InputError(f"line {number} {error}") from error


def _on_command_line(texts: Sequence[str], columns: Sequence[str]) -> Iterator[Example]:
    for text in texts:
        try:
            yield _said(text, columns)
        except InputError as error:
            raise InputError(f"--text {text!r} {error}") from error


def _said(text: str, columns: Sequence[str]) -> Example:
    """An example that is one text as it stands."""
    if len(columns) > 1:
        raise InputError(
            f"is one text, but this model reads pairs ({', '.join(columns)}): give lines of JSON"
        )
    return parse_example(text, columns)


def _is_object(line: str) -> bool:
    if not line.lstrip().startswith("{"):
        return False
    try:
        parse_json(line)
    except InputError:
        return False
    return True
