"""The one error tree, and the one table of exit codes.

    EdgepruneError              1   a bug, or anything that has no better name
    ├── UsageError              2   a wrong command line
    ├── RecipeError             2   one or more problems in a recipe, a target or the data they name
    ├── AcceptanceError         3   everything ran; the result may not ship
    ├── AssetError              4   a model or data source cannot be had
    ├── DeviceError             4   a device cannot be reached
    └── UnsupportedError        5   this target or this machine cannot do what is asked

Every error says what happened (`message`), where (`where`: file:line, key path, stage) and what to do
next (`hint`). Code below the pipeline knows key paths, not files: `Problem.key` is turned into a
file and a line by whoever holds the recipe's location map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

__all__ = [
    "AcceptanceError",
    "AssetError",
    "DeviceError",
    "EdgepruneError",
    "ExitCode",
    "Problem",
    "RecipeError",
    "UnsupportedError",
    "UsageError",
]


class ExitCode(IntEnum):
    """What the process says to the shell (table in docs/architecture.md)."""

    ACCEPTED = 0
    CRASH = 1
    USAGE = 2
    REJECTED = 3
    UNREACHABLE = 4
    UNSUPPORTED = 5


class EdgepruneError(Exception):
    """Base of all errors that edgeprune raises on purpose.

    Args:
        message: What happened, one sentence, values included.
        where: File and line, key path, stage or node; empty when the message says it.
        hint: What to do next; empty when there is nothing sensible to say.
    """

    exit_code: ExitCode = ExitCode.CRASH

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}\n  hint: {self.hint}" if self.hint else text


class UsageError(EdgepruneError):
    """The command line asks for something that does not exist or does not fit together."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a recipe, a target or the data they name.

    Attributes:
        key: Path of keys and list indices from the document's root, e.g. ``("task", "columns", "text")``.
        message: What is wrong, values included.
        hint: What to write instead; may be empty.
        where: ``file:line:column`` once known. Filled in from `key` by `recipe.Locations`.
    """

    key: tuple[str | int, ...]
    message: str
    hint: str = ""
    where: str = ""

    @property
    def path(self) -> str:
        """The key path as a user writes it: ``stages.0.finetune.epochs``."""
        return ".".join(str(part) for part in self.key)

    def at(self, where: str) -> Problem:
        """The same problem with its place filled in; a place that is already known is kept."""
        return self if self.where else replace(self, where=where)

    def below(self, key: tuple[str | int, ...]) -> Problem:
        """The same problem, its key counted from further up."""
        return replace(self, key=(*key, *self.key))

    def __str__(self) -> str:
        head = ": ".join(part for part in (self.where, self.path, self.message) if part)
        return f"{head}\n  hint: {self.hint}" if self.hint else head


class RecipeError(EdgepruneError):
    """All problems of one document at once, so that a user mends them in one go."""

    exit_code = ExitCode.USAGE

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class AcceptanceError(EdgepruneError):
    """The run finished and its report is written; at least one judged target was not accepted."""

    exit_code = ExitCode.REJECTED


class AssetError(EdgepruneError):
    """No source of an asset could be used; the message names each one and why it failed."""

    exit_code = ExitCode.UNREACHABLE


class DeviceError(EdgepruneError):
    """A device cannot be reached, or what it sent back cannot be used."""

    exit_code = ExitCode.UNREACHABLE


class UnsupportedError(EdgepruneError):
    """A target, variant or operator that this machine cannot do. Never replaced by another silently."""

    exit_code = ExitCode.UNSUPPORTED
