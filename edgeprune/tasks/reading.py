"""A file of the task -> its rows, with only the columns that the task names.

Rows are put in a `datasets.Dataset` that lives in memory: nothing is written to the user's cache.
"""

from __future__ import annotations

import difflib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from edgeprune.errors import Problem, RecipeError
from edgeprune.recipe.schema import TaskConfig
from edgeprune.tasks.parsing import Broken, DataFile, Table, parse_delimited, parse_jsonl, parse_parquet

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["Rows", "WantedColumn", "format_of", "read_rows", "wanted_columns"]

Format = Literal["tsv", "csv", "jsonl", "parquet"]

_FORMATS: Final[dict[str, Format]] = {
    ".tsv": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
_COMPRESSIONS: Final = (".gz", ".bz2")
_COLUMNS_SHOWN: Final = 20


class WantedColumn(NamedTuple):
    """A column that the recipe names, and the key under which it does."""

    name: str
    key: tuple[str, ...]


@dataclass(frozen=True)
class Rows:
    """The rows of one file.

    Attributes:
        file: Where they come from.
        data: The wanted columns of all whole rows, as text or None.
        lines: Line (from 1; in parquet the row) of each row of `data`.
        broken: Rows that could not be read, with the reason.
    """

    file: DataFile
    data: Dataset
    lines: tuple[int, ...]
    broken: tuple[Broken, ...]

    def __len__(self) -> int:
        """Number of rows that the file has, broken ones included."""
        return len(self.lines) + len(self.broken)

    def column(self, name: str) -> list[str | None]:
        """All cells of one column, broken rows left out."""
        cells: list[str | None] = self.data[name][:]
        return cells

    def place(self, line: int) -> str:
        """How a message points at a line: ``train.tsv:17``."""
        return f"{self.file.name}:{line}"


def wanted_columns(task: TaskConfig, *, split: bool) -> list[WantedColumn]:
    """The columns that `task` names; `split` says whether this file is the one to be split."""
    columns = task.columns
    wanted = [WantedColumn(columns.text, ("task", "columns", "text"))]
    if columns.text_pair is not None:
        wanted.append(WantedColumn(columns.text_pair, ("task", "columns", "text_pair")))
    wanted.append(WantedColumn(columns.label, ("task", "columns", "label")))
    wanted.extend(WantedColumn(name, ("task", "where", name)) for name in task.where)
    if split and task.split is not None and task.split.group is not None:
        wanted.append(WantedColumn(task.split.group, ("task", "split", "group")))
    return wanted


def format_of(file: DataFile, configured: str) -> Format:
    """The format of a file: what the recipe says, or what the name ends in.

    Args:
        file: The file; only its name counts. A last ``.gz`` or ``.bz2`` is compression.
        configured: `task.format`.

    Raises:
        RecipeError: The format is `auto` and the name says nothing.
    """
    if configured != "auto":
        return next(known for known in _FORMATS.values() if known == configured)
    suffixes = [suffix.lower() for suffix in file.path.suffixes]
    if suffixes and suffixes[-1] in _COMPRESSIONS:
        suffixes.pop()
    if not suffixes or suffixes[-1] not in _FORMATS:
        problem = Problem(
            key=("task", "format"),
            message=f"the name {file.name!r} does not say which format it has",
            hint="set `format` to tsv, csv, jsonl or parquet",
        )
        raise RecipeError([problem])
    return _FORMATS[suffixes[-1]]


def read_rows(file: DataFile, configured: str, wanted: Sequence[WantedColumn]) -> Rows:
    """Read the wanted columns of one file.

    Args:
        file: The file and its role.
        configured: `task.format`.
        wanted: Columns that must be there.

    Raises:
        RecipeError: The file cannot be read, holds no rows, or lacks columns; all missing columns are named.
    """
    try:
        table = _parse(file, format_of(file, configured), [column.name for column in wanted])
    except (OSError, EOFError, zlib.error) as error:
        raise file.error(f"cannot be read: {error}") from error
    if table.columns or table.lines:
        _check_columns(file, table.columns, wanted)
    if not table.lines and not table.broken:
        raise file.error("holds no rows")
    return Rows(file, _in_memory(table), tuple(table.lines), tuple(table.broken))


def _parse(file: DataFile, kind: Format, names: Sequence[str]) -> Table:
    match kind:
        case "jsonl":
            return parse_jsonl(file, names)
        case "parquet":
            return parse_parquet(file, names)
        case "csv" | "tsv":
            return parse_delimited(file, names, kind)


def _check_columns(file: DataFile, columns: Sequence[str], wanted: Sequence[WantedColumn]) -> None:
    problems = [
        Problem(column.key, f"{file.name} has no column {column.name!r}", _columns_hint(column.name, columns))
        for column in wanted
        if column.name not in columns
    ]
    if problems:
        raise RecipeError(problems)


def _columns_hint(name: str, columns: Sequence[str]) -> str:
    shown = ", ".join(columns[:_COLUMNS_SHOWN])
    more = f" and {len(columns) - _COLUMNS_SHOWN} more" if len(columns) > _COLUMNS_SHOWN else ""
    close = difflib.get_close_matches(name, columns, n=1)
    return f"columns are: {shown}{more}" + (f"; did you mean {close[0]!r}?" if close else "")


def _in_memory(table: Table) -> Dataset:
    from datasets import Dataset, Features, Value

    # large_string: 64-bit offsets, so that a column may hold more than 2 GiB of text.
    features = Features({name: Value("large_string") for name in table.cells})
    return Dataset.from_dict(table.cells, features=features)
