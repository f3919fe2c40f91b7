"""`extends: other.yaml` and `--set key=value`: several writings, one document."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from edgeprune.errors import Problem, RecipeError, UsageError
from edgeprune.recipe.document import Document, KeyPath, parse_scalar, read_document

__all__ = ["compose", "read_extended"]


def compose(path: Path, overrides: Sequence[str] = ()) -> Document:
    """Read a file, what it extends, and apply overrides on top.

    Args:
        path: The file that the user named.
        overrides: ``key.path=value`` texts in the order given; values are read as YAML.

    Raises:
        UsageError: A file is missing or an override is malformed.
        RecipeError: A file is not YAML, or `extends` runs in a circle.
    """
    document = read_extended(path)
    for text in overrides:
        _override(document, text)
    return document


def read_extended(path: Path, above: tuple[Path, ...] = ()) -> Document:
    """Read a file on top of the one that it extends; mappings join, lists and scalars replace.

    The stages of a child that has `stages` replace the parent's as a whole: a chain is read in one place.
    """
    document = read_document(path)
    if "extends" not in document.data:
        return document
    parent_name = document.data.pop("extends")
    where = document.places.get(("extends",), str(path))
    if not isinstance(parent_name, str):
        raise RecipeError([Problem(("extends",), "expected the path of one recipe", "", where)])
    parent_path = path.parent / parent_name
    chain = (*above, path.resolve())
    if parent_path.resolve() in chain:
        names = " -> ".join(file.name for file in (*chain, parent_path.resolve()))
        raise RecipeError([Problem(("extends",), f"runs in a circle: {names}", "", where)])
    if not parent_path.is_file():
        message = f"there is no file {parent_path}"
        raise RecipeError([Problem(("extends",), message, "the path is relative to this file", where)])
    parent = read_extended(parent_path, chain)
    _merge(parent.data, document.data, (), parent.places, document.places)
    parent.path = path
    parent.files.append(path)
    return parent


def _merge(
    base: dict[str, Any],
    top: dict[str, Any],
    key: KeyPath,
    places: dict[KeyPath, str],
    top_places: dict[KeyPath, str],
) -> None:
    """Lay `top` over `base` in place, and its places over `places`."""
    for name, value in top.items():
        child = (*key, name)
        if isinstance(value, dict) and isinstance(base.get(name), dict):
            places[child] = top_places[child]
            _merge(base[name], value, child, places, top_places)
            continue
        base[name] = value
        _forget(places, child)
        places.update({path: place for path, place in top_places.items() if path[: len(child)] == child})


def _forget(places: dict[KeyPath, str], key: KeyPath) -> None:
    for path in [path for path in places if path[: len(key)] == key]:
        del places[path]


def _override(document: Document, text: str) -> None:
    """Apply one `key.path=value`. Inside `stages`, a stage is named by its name or its index."""
    name, separator, raw = text.partition("=")
    parts = name.strip().split(".")
    if not separator or not all(parts):
        raise UsageError(
            f"--set {text!r} is not of the form key.path=value",
            hint="e.g. --set stages.finetune.epochs=1",
        )
    try:
        value = parse_scalar(raw)
    except Exception as error:
        raise UsageError(
            f"--set {text!r}: the value is not valid YAML", hint=str(error).splitlines()[0]
        ) from error
    key = _key_path(document.data, parts, text)
    document.data = _replaced(document.data, key, value)
    _forget(document.places, key)
    document.places[key] = f"--set {text}"


def _key_path(data: Any, parts: Sequence[str], text: str) -> KeyPath:
    """The path that dotted words mean in a document; keys that are not there yet are allowed."""
    node: Any = data
    key: KeyPath = ()
    for part in parts:
        if isinstance(node, list):
            index = _index(node, part, key, text)
            node, key = node[index], (*key, index)
            if isinstance(node, str):
                node = {node: {}}  # `- export` is `- export: {}`
            if part.isdigit():
                continue
        if node is None:
            node = {}
        if not isinstance(node, dict):
            raise UsageError(
                f"--set {text!r}: {'.'.join(map(str, key))} is {node!r}, it has no key {part!r}",
                hint="set the whole value, or look the key path up in the recipe",
            )
        node, key = node.get(part, {}), (*key, part)
    return key


def _index(items: list[Any], part: str, key: KeyPath, text: str) -> int:
    """The item of a list that `part` means: an index, or the name of a stage."""
    if part.isdigit() and int(part) < len(items):
        return int(part)
    names = [item if isinstance(item, str) else next(iter(item or {}), "") for item in items]
    named = [index for index, name in enumerate(names) if name == part]
    where = ".".join(map(str, key))
    if len(named) == 1:
        return named[0]
    if len(named) > 1:
        raise UsageError(
            f"--set {text!r}: {where} has {part!r} {len(named)} times",
            hint=f"name one by its index: {', '.join(f'{where}.{index}' for index in named)}",
        )
    close = get_close_matches(part, names, n=1)
    raise UsageError(
        f"--set {text!r}: {where} has no {part!r}",
        hint=f"did you mean {close[0]!r}?"
        if close
        else f"it has: {', '.join(filter(None, names)) or 'nothing named'}",
    )


def _replaced(data: Any, key: KeyPath, value: Any) -> Any:
    """A copy of nested data with one value replaced; missing mappings on the way are made."""
    if not key:
        return value
    head, rest = key[0], key[1:]
    if isinstance(data, list):
        items = list(data)
        items[int(head)] = _replaced(items[int(head)], rest, value)
        return items
    mapping = dict(data) if isinstance(data, dict) else {}
    mapping[str(head)] = _replaced(mapping.get(str(head), {}), rest, value)
    return mapping
