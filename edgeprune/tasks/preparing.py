"""Files of a task -> training and validation examples, with every row accounted for.

The law of this module: rows read = training + validation + filtered + unusable + left out by a sample + left
out as parts of what is held out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgeprune.errors import EdgepruneError, Problem, RecipeError
from edgeprune.recipe.schema import Split, TaskConfig
from edgeprune.tasks.examples import Examples
from edgeprune.tasks.parsing import DataFile
from edgeprune.tasks.reading import Rows, read_rows, wanted_columns
from edgeprune.tasks.sampling import draw_sample
from edgeprune.tasks.splitting import hold_out_groups, hold_out_rows, hold_out_whole
from edgeprune.tasks.unusable import (
    UNKNOWN_LABEL,
    Flaw,
    UnusableCount,
    check_share,
    count_flaws,
    counted_values,
)

__all__ = ["DataCounts", "PreparedData", "Sifted", "prepare", "sift"]

_EMPTY_TEXT: Final = "empty text"
_EMPTY_PAIR: Final = "empty text_pair"
_NO_LABEL: Final = "no label"


@dataclass(frozen=True)
class DataCounts:
    """What the task's data turned into; field for field `report.model.DataSummary`."""

    train: int
    validation: int
    labels: tuple[str, ...]
    train_per_label: dict[str, int]
    validation_per_label: dict[str, int]
    filtered: int
    unusable: tuple[UnusableCount, ...]
    split: str


@dataclass(frozen=True)
class PreparedData:
    """Everything that `prepare` found.

    Attributes:
        train: Training examples, in the order of the file.
        validation: Validation examples, in the order of the file.
        summary: The numbers, for the report.
        notes: What the reader of the report should know, one sentence each.
        duplicates: Validation examples whose text (and pair) is also a training example's.
        unsampled: Usable training rows that `task.sample` leaves out.
        parts: Usable rows that `task.split.whole_texts` leaves out: parts of validation texts.
    """

    train: Examples
    validation: Examples
    summary: DataCounts
    notes: tuple[str, ...]
    duplicates: int
    unsampled: int = 0
    parts: int = 0


@dataclass(frozen=True)
class Sifted:
    """The rows of one file, told apart.

    Attributes:
        file: Where they come from.
        examples: Usable rows, in the order of the file.
        groups: Value of `split.group` of each example ('' where missing); None when not asked for.
        filtered: Rows left out by `where`.
        flaws: One per unusable row, in the order of the file.
        notes: What the reader should know.
    """

    file: DataFile
    examples: Examples
    groups: tuple[str, ...] | None
    filtered: int
    flaws: tuple[Flaw, ...]
    notes: tuple[str, ...]


def prepare(task: TaskConfig, train: Path, validation: Path | None) -> PreparedData:
    """Read, map, filter, check and (where the task says so) split and sample the rows of a task.

    Args:
        task: The recipe's task.
        train: The file that `task.train` resolved to.
        validation: The file that `task.validation` resolved to; None when `task.split` is set.

    Raises:
        RecipeError: A file cannot be read or lacks columns; too many rows are unusable; nothing is left on
            one side; a class has no training row; a sample asks for more rows than there are. Problems of
            both files are reported together.
        EdgepruneError: `validation` does not fit `task.split`.
    """
    if (validation is None) != (task.split is not None):
        raise EdgepruneError("a task has either a validation file or a split", where="task.validation")
    files = [DataFile(train, "train")] + ([] if validation is None else [DataFile(validation, "validation")])
    sifted = _sift_all(task, files)
    if task.split is None:
        training, held = sifted[0].examples, sifted[1].examples
        how = f"its own file, {sifted[1].file.name}"
    else:
        training, held, how = _split(sifted[0], task.split)
    parts = 0 if task.split is None else len(sifted[0].examples) - len(training) - len(held)
    _check_classes(training, sifted[0])
    notes = [note for part in sifted for note in part.notes]
    if parts:
        notes.append(f"left out, as parts of validation texts: {parts:,} rows")
    usable = len(training)
    if task.sample is not None:
        training, note = draw_sample(training, task.sample, sifted[0].file.name)
        notes.append(note)
    duplicates = _count_duplicates(training, held)
    summary = DataCounts(
        train=len(training),
        validation=len(held),
        labels=training.classes,
        train_per_label=training.per_class(),
        validation_per_label=held.per_class(),
        filtered=sum(part.filtered for part in sifted),
        unusable=count_flaws(flaw for part in sifted for flaw in part.flaws),
        split=how,
    )
    notes += _notes_on_validation(held, duplicates)
    return PreparedData(training, held, summary, tuple(notes), duplicates, usable - len(training), parts)


def sift(rows: Rows, task: TaskConfig, *, group: str | None = None) -> Sifted:
    """Tell usable rows from filtered and unusable ones, and map labels to class ids.

    Args:
        rows: All rows of one file.
        task: The recipe's task.
        group: Column to keep beside the examples.

    Raises:
        RecipeError: `where` leaves nothing, no row is usable, or more are unusable than allowed.
    """
    # A file of nothing but broken rows may have no columns to look at.
    passing = _passing(rows, task) if rows.lines else []
    filtered = len(rows.lines) - len(passing)
    flaws = {entry.line: Flaw(entry.reason, rows.place(entry.line)) for entry in rows.broken}
    chosen: list[int] = []
    if passing:
        for index, flaw in zip(passing, _flaws(rows, task, passing), strict=True):
            if flaw is None:
                chosen.append(index)
            else:
                flaws[rows.lines[index]] = flaw
    in_order = tuple(flaws[line] for line in sorted(flaws))
    check_share(rows.file.name, in_order, len(rows) - filtered, task.max_unusable)
    if not chosen:
        raise _nothing_left(rows, task, len(in_order))
    examples = _examples(rows, task, chosen)
    groups = None if group is None else tuple(cell or "" for cell in _cells(rows, group, chosen))
    notes = list(_unseen(rows, task))
    if groups and "" in groups:
        alone = groups.count("")
        notes.append(f"{alone:,} rows of {rows.file.name} have no {group!r}; the split keeps them together")
    return Sifted(rows.file, examples, groups, filtered, in_order, tuple(notes))


def _sift_all(task: TaskConfig, files: Sequence[DataFile]) -> list[Sifted]:
    sifted: list[Sifted] = []
    problems: list[Problem] = []
    group = task.split.group if task.split is not None else None
    for file in files:
        try:
            rows = read_rows(file, task.format, wanted_columns(task, split=file.role == "train"))
            sifted.append(sift(rows, task, group=group))
        except RecipeError as error:
            problems.extend(error.problems)
    if problems:
        raise RecipeError(problems)
    return sifted


def _passing(rows: Rows, task: TaskConfig) -> list[int]:
    conditions = [(rows.column(name), frozenset(values)) for name, values in task.where.items()]
    return [
        index
        for index in range(len(rows.lines))
        if all((cells[index] or "") in allowed for cells, allowed in conditions)
    ]


def _unseen(rows: Rows, task: TaskConfig) -> Iterator[str]:
    for name, values in task.where.items():
        seen = {cell or "" for cell in rows.column(name)}
        for value in values:
            if value not in seen:
                yield f"`where` keeps {name} = {value!r}, which no row of {rows.file.name} has"


def _flaws(rows: Rows, task: TaskConfig, indices: Sequence[int]) -> Iterator[Flaw | None]:
    columns = task.columns
    texts = _cells(rows, columns.text, indices)
    pairs = [None] * len(texts) if columns.text_pair is None else _cells(rows, columns.text_pair, indices)
    labels = _cells(rows, columns.label, indices)
    for index, text, pair, label in zip(indices, texts, pairs, labels, strict=True):
        reason, value = None, None
        if _is_empty(text):
            reason = _EMPTY_TEXT
        elif columns.text_pair is not None and _is_empty(pair):
            reason = _EMPTY_PAIR
        elif (label or "") not in task.labels:
            reason, value = (UNKNOWN_LABEL, label) if label else (_NO_LABEL, None)
        yield None if reason is None else Flaw(reason, rows.place(rows.lines[index]), value)


def _is_empty(text: str | None) -> bool:
    return text is None or not text.strip()


def _cells(rows: Rows, name: str, indices: Sequence[int]) -> list[str | None]:
    cells = rows.column(name)
    return [cells[index] for index in indices]


def _examples(rows: Rows, task: TaskConfig, indices: Sequence[int]) -> Examples:
    names = task.label_names
    ids = {value: names.index(name) for value, name in task.labels.items()}
    columns = task.columns

    def texts(name: str) -> tuple[str, ...]:
        return tuple(cell or "" for cell in _cells(rows, name, indices))

    return Examples(
        classes=tuple(names),
        texts=texts(columns.text),
        labels=tuple(ids[cell or ""] for cell in _cells(rows, columns.label, indices)),
        text_pairs=None if columns.text_pair is None else texts(columns.text_pair),
    )


def _nothing_left(rows: Rows, task: TaskConfig, unusable: int) -> RecipeError:
    if unusable:
        return rows.file.error(f"has no usable row: all {unusable:,} that `where` keeps are unusable")
    found = "; ".join(f"{name} has {counted_values(rows.column(name))}" for name in task.where)
    message = f"no row of {rows.file.name} passes the filter (it has {len(rows):,} rows)"
    return RecipeError([Problem(key=("task", "where"), message=message, hint=found)])


def _split(sifted: Sifted, split: Split) -> tuple[Examples, Examples, str]:
    """Training part, validation part, and how it was done in words."""
    count, name = len(sifted.examples), sifted.file.name
    dropped: list[int] = []
    if split.whole_texts:
        held, dropped = hold_out_whole(sifted.examples.texts, split.validation, split.seed)
        how = f"whole texts drawn from {name}, seed {split.seed}"
        key, lacking = "whole_texts", f"{name} has fewer than two texts that are no part of another"
    elif sifted.groups is None:
        held = hold_out_rows(count, split.validation, split.seed)
        how = f"drawn row by row from {name}, seed {split.seed}"
        key, lacking = "validation", f"{name} has only {count:,} usable row"
    else:
        held = hold_out_groups(sifted.groups, split.validation, split.seed)
        groups, taken = len(set(sifted.groups)), len({sifted.groups[index] for index in held})
        how = f"{taken:,} of {groups:,} groups by {split.group!r} drawn from {name}, seed {split.seed}"
        key, lacking = "group", f"all {count:,} usable rows of {name} have the same {split.group!r}"
    if not held:
        problem = Problem(("task", "split", key), f"{lacking}: nothing can be held out")
        raise RecipeError([problem])
    out = frozenset((*held, *dropped))
    training = sifted.examples.select(index for index in range(count) if index not in out)
    return training, sifted.examples.select(held), f"{how}: {len(held) / count:.1%} of the usable rows"


def _check_classes(training: Examples, sifted: Sifted) -> None:
    before = sifted.examples.per_class()
    problems = [
        Problem(
            key=("task", "labels"),
            message=f"class {name!r} has no training row ({sifted.file.name} has {before[name]:,} usable)",
            hint="another `split.seed` or a smaller share leaves some in training"
            if before[name]
            else "take the class out of `labels`, or check the values that are mapped to it",
        )
        for name, count in training.per_class().items()
        if count == 0
    ]
    if problems:
        raise RecipeError(problems)


def _count_duplicates(training: Examples, held: Examples) -> int:
    known = frozenset(training.inputs())
    return sum(key in known for key in held.inputs())


def _notes_on_validation(held: Examples, duplicates: int) -> Iterator[str]:
    if duplicates:
        yield (
            "validation examples that are also training examples, letter by letter: "
            f"{duplicates:,} of {len(held):,} ({duplicates / len(held):.1%}); they flatter every score"
        )
    missing = [name for name, count in held.per_class().items() if count == 0]
    if missing:
        yield f"no validation example has class {', '.join(map(repr, missing))}; scores say nothing about it"
