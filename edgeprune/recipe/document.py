"""YAML files as plain data that still know where every value was written.

YAML 1.2 is read (so `1e-4` is a number and `no` is a word). A `Document` keeps, beside the plain
mapping, the place of every key path, through `extends` and `--set`, so that each later problem can be
shown at the line that a user must change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeprune.errors import Problem, RecipeError, UsageError

__all__ = ["Document", "KeyPath", "parse_scalar", "read_document"]

KeyPath = tuple[str | int, ...]


@dataclass
class Document:
    """Plain data and the place of each key path in it.

    Attributes:
        data: Mappings, lists and scalars; nothing of the YAML library left in it.
        places: Key path to ``file:line:column`` (1-based) or ``--set key=value``.
        path: The file that was asked for.
        files: Every file that went into it, the asked-for one last.
    """

    data: dict[str, Any]
    places: dict[KeyPath, str]
    path: Path
    files: list[Path] = field(default_factory=list)

    def place(self, key: KeyPath) -> str:
        """The place of a key path, or of its nearest parent that was written down."""
        while key and key not in self.places:
            key = key[:-1]
        return self.places.get(key, str(self.path))

    def locate(self, problems: Iterable[Problem]) -> list[Problem]:
        """The same problems, each with its place filled in, in the order of the file."""
        located = [problem.at(self.place(problem.key)) for problem in problems]
        return sorted(located, key=_reading_order)


def _reading_order(problem: Problem) -> tuple[str, int, int]:
    file, _, rest = problem.where.partition(":")
    numbers = [int(part) for part in rest.split(":") if part.isdigit()]
    return (file, *[*numbers, 0, 0][:2])  # type: ignore[return-value]


def read_document(path: Path) -> Document:
    """Read a YAML file.

    Args:
        path: The file; UTF-8.

    Raises:
        UsageError: There is no such file, or it cannot be read.
        RecipeError: It is not YAML, or its top level is not a mapping.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}", hint="`edgeprune recipes` lists what is here") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    if "<<<<<<< " in text and ">>>>>>> " in text:
        line = text[: text.index("<<<<<<< ")].count("\n") + 1
        raise RecipeError(
            [Problem((), "merge conflict markers", "resolve the conflict first", f"{path}:{line}")]
        )
    try:
        tree = YAML(typ="rt", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise RecipeError([Problem((), f"not valid YAML: {error.problem}", "", where)]) from error
    except YAMLError as error:
        raise RecipeError([Problem((), f"not valid YAML: {error}", "", str(path))]) from error
    if not isinstance(tree, Mapping):
        what = "is empty" if tree is None else f"is a {_kind(tree)}"
        raise RecipeError([Problem((), f"top level {what}; expected a mapping of sections", "", f"{path}:1")])
    places: dict[KeyPath, str] = {}
    data = _plain(tree, (), path, places)
    return Document(data=data, places=places, path=path, files=[path])


def parse_scalar(text: str) -> Any:
    """A value as YAML would read it in a file (`1e-4` a number, `[a, b]` a list, `yes` a word)."""
    from ruamel.yaml import YAML

    return _plain(YAML(typ="rt", pure=True).load(text), (), Path("--set"), {})


def _kind(value: object) -> str:
    return {"CommentedSeq": "list", "CommentedMap": "mapping"}.get(type(value).__name__, "scalar")


def _plain(node: Any, key: KeyPath, path: Path, places: dict[KeyPath, str]) -> Any:
    """Strip the YAML library's types off a tree, noting the place of every key on the way."""
    if isinstance(node, Mapping):
        result = {}
        for name, value in node.items():
            child = (*key, _scalar(name))
            line, column = node.lc.key(name)  # type: ignore[attr-defined]
            places[child] = f"{path}:{line + 1}:{column + 1}"
            result[child[-1]] = _plain(value, child, path, places)
        return result
    if isinstance(node, list):
        items = []
        for index, value in enumerate(node):
            line, column = node.lc.item(index)  # type: ignore[attr-defined]
            places[(*key, index)] = f"{path}:{line + 1}:{column + 1}"
            items.append(_plain(value, (*key, index), path, places))
        return items
    return _scalar(node)


def _scalar(value: Any) -> Any:
    """A YAML scalar as the plain Python type of the same value."""
    if value is None or isinstance(value, bool):
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if type(value).__name__ == "ScalarBoolean":
        return bool(value)
    return str(value)  # dates and the like: recipes have no such values, the schema will say so
