"""Bytes of a file -> cells of text, with the line of every row and the reason of every row that is none.

All formats give the same thing: a cell is text or missing (None). Scalars of JSONL and parquet become
their `str()`, so that the label 1 is "1" whatever file it comes from.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, Literal, cast

from edgeprune.errors import Problem, RecipeError

__all__ = ["Broken", "DataFile", "Table", "parse_delimited", "parse_jsonl", "parse_parquet"]

# Lines that a record takes, and its cells or why it has none.
_Record = tuple[range, list[str] | csv.Error]

_NOT_UTF8: Final = "not UTF-8"
_NOT_TEXT: Final = "a cell holds a list, an object or bytes"
_MALFORMED_JSON: Final = "malformed JSON"
_NOT_AN_OBJECT: Final = "not a JSON object"
# Text of whole documents in one cell is legitimate; csv's own limit of 128 KiB is not ours.
_LARGEST_CELL: Final = 2**31 - 1


@dataclass(frozen=True)
class DataFile:
    """One file of the task and what it is there for; `role` is its key under `task`."""

    path: Path
    role: Literal["train", "validation"]

    @property
    def name(self) -> str:
        """What messages call the file."""
        return self.path.name

    def error(self, message: str, hint: str = "") -> RecipeError:
        """An error about the file as a whole."""
        return RecipeError([Problem(key=("task", self.role), message=f"{self.name} {message}", hint=hint)])


@dataclass(frozen=True)
class Broken:
    """A row of a file that has no cells. `line` counts from 1 (in parquet: the row)."""

    line: int
    reason: str


@dataclass
class Table:
    """What a parser found.

    Attributes:
        columns: Names of all columns of the file, in its order.
        cells: Cells of the wanted columns that the file has, one entry per whole row.
        lines: Line (from 1) on which each whole row starts.
        broken: Rows that could not be read.
    """

    columns: list[str]
    cells: dict[str, list[str | None]]
    lines: list[int] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)

    def add(self, line: int, cells: Sequence[str | None]) -> None:
        """Take one row, cells in the order of `self.cells`; a row with undecodable text becomes broken."""
        if not _is_unicode(cells):
            self.broken.append(Broken(line, _NOT_UTF8))
            return
        self.lines.append(line)
        for column, cell in zip(self.cells.values(), cells, strict=True):
            column.append(cell)


class _Tsv(csv.excel_tab):
    """Tab-separated as GLUE writes it: a quote is a character like any other."""

    quoting = csv.QUOTE_NONE
    quotechar = None
    strict = True


class _Csv(csv.excel):
    """Comma-separated with quotes; strict, or a stray quote swallows the rows behind it without a word."""

    strict = True


def parse_delimited(file: DataFile, wanted: Iterable[str], kind: Literal["csv", "tsv"]) -> Table:
    """Read CSV or TSV with a header, plain or compressed.

    Blank lines hold no row. Where quoting is broken, every line that the parser gave up on counts as a row.

    Args:
        file: File to read, UTF-8 with or without byte order mark.
        wanted: Names of the columns to keep.
        kind: CSV is read with quotes, TSV without.

    Raises:
        RecipeError: The header is not text, or names a wanted column twice.
    """
    with _open(file.path) as stream, _large_cells():
        records = _records(_lines(stream), _Csv if kind == "csv" else _Tsv)
        header = _header(file, records)
        positions = _positions(file, header, wanted)
        table = Table(header, {name: [] for name in positions})
        for lines, record in records:
            if isinstance(record, csv.Error):
                reason = f"malformed ({str(record).partition(' - ')[0]})"
                table.broken.extend(Broken(line, reason) for line in lines)
            elif len(record) != len(header):
                table.broken.append(Broken(lines[0], f"wrong column count (header has {len(header)})"))
            else:
                table.add(lines[0], [record[position] for position in positions.values()])
    return table


def parse_jsonl(file: DataFile, wanted: Iterable[str]) -> Table:
    """Read one JSON object per line, plain or compressed; blank lines hold no row.

    An object that lacks a key has a missing cell there; `Table.columns` is the union over all objects.
    """
    names = list(dict.fromkeys(wanted))
    table = Table([], {name: [] for name in names})
    seen: dict[str, None] = {}
    with _open(file.path) as stream:
        for line, text in enumerate(_lines(stream), start=1):
            if not text.strip():
                continue
            try:
                record = json.loads(text)
            except (ValueError, RecursionError):
                reason = _MALFORMED_JSON if _is_unicode([text]) else _NOT_UTF8
                table.broken.append(Broken(line, reason))
                continue
            if not isinstance(record, dict):
                table.broken.append(Broken(line, _NOT_AN_OBJECT))
                continue
            seen.update(dict.fromkeys(record))
            values = [record.get(name) for name in names]
            if any(isinstance(value, list | dict) for value in values):
                table.broken.append(Broken(line, _NOT_TEXT))
            else:
                table.add(line, [_as_text(value) for value in values])
    table.columns = list(seen)
    table.cells = {name: cells for name, cells in table.cells.items() if name in seen}
    return table


def parse_parquet(file: DataFile, wanted: Iterable[str]) -> Table:
    """Read the wanted columns of a parquet file; `lines` are row numbers from 1.

    Raises:
        RecipeError: The file or a cell cannot be read, or a wanted column is there twice.
    """
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(file.path) as parquet:
            columns = list(parquet.schema_arrow.names)
            names = list(_positions(file, columns, wanted))
            arrow = parquet.read(columns=names)
        values = [arrow.column(name).to_pylist() for name in names]
    # ValueError: text that is not UTF-8, dates outside of Python's range.
    except (ArrowException, OSError, ValueError) as error:
        raise file.error(f"cannot be read as parquet: {error}") from error
    table = Table(columns, {name: [] for name in names})
    for line, row in enumerate(zip(*values, strict=True), start=1):
        if any(isinstance(value, list | dict | bytes) for value in row):
            table.broken.append(Broken(line, _NOT_TEXT))
        else:
            table.add(line, [_as_text(value) for value in row])
    return table


def _open(path: Path) -> BinaryIO:
    match path.suffix.lower():
        case ".bz2":
            return cast(BinaryIO, bz2.open(path, "rb"))
        case ".gz":
            return cast(BinaryIO, gzip.open(path, "rb"))
        case _:
            return path.open("rb")


def _lines(stream: BinaryIO) -> Iterator[str]:
    """Lines as text; bytes that are not UTF-8 become lone surrogates, which `_is_unicode` finds again."""
    for number, raw in enumerate(stream):
        text = raw.decode("utf-8", errors="surrogateescape")
        yield text.removeprefix("\ufeff") if number == 0 else text


def _is_unicode(cells: Iterable[str | None]) -> bool:
    try:
        "".join(cell for cell in cells if cell).encode()
    except UnicodeEncodeError:
        return False
    return True


def _as_text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)


@contextmanager
def _large_cells() -> Iterator[None]:
    before = csv.field_size_limit(_LARGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _records(lines: Iterator[str], dialect: type[csv.Dialect]) -> Iterator[_Record]:
    """Each record, or why it is none, with the range of lines it took. The reader goes on after an error."""
    reader = csv.reader(lines, dialect)
    while True:
        first = reader.line_num + 1
        try:
            record: list[str] | csv.Error = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            record = error
        if record != []:
            yield range(first, reader.line_num + 1), record


def _header(file: DataFile, records: Iterator[_Record]) -> list[str]:
    _, header = next(records, (range(0), []))
    if not header:
        raise file.error("is empty: it has no header")
    if isinstance(header, csv.Error):
        raise file.error(f"has a malformed header: {header}")
    if not _is_unicode(header):
        raise file.error("has a header that is not UTF-8", hint="save the file as UTF-8")
    return header


def _positions(file: DataFile, columns: Sequence[str], wanted: Iterable[str]) -> dict[str, int]:
    """Where the wanted columns are, for those that the file has."""
    found = {name: columns.index(name) for name in wanted if name in columns}
    for name in found:
        if columns.count(name) > 1:
            raise file.error(f"has {columns.count(name)} columns called {name!r}", hint="rename all but one")
    return found
