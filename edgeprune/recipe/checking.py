"""Plain data against a schema: every problem at once, in words, with a hint."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from edgeprune.errors import Problem
from edgeprune.recipe.document import KeyPath

__all__ = ["check", "suggest"]

Model = TypeVar("Model", bound=BaseModel)


def check(model: type[Model], data: Any, key: KeyPath = ()) -> tuple[Model | None, list[Problem]]:
    """Validate data, turning what pydantic found into problems.

    Args:
        model: The schema.
        data: Plain data.
        key: Where the data stands in its document; put before every problem's key path.

    Returns:
        The validated object, or None beside the list of all problems.
    """
    try:
        return model.model_validate(data), []
    except ValidationError as error:
        details = error.errors(include_url=False)
        return None, [_problem(model, data, dict(detail), key) for detail in _without_union_noise(details)]


def suggest(word: str, known: list[str]) -> str:
    """`did you mean 'x'?`, or the list of what there is."""
    close = get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"one of: {', '.join(sorted(known))}"


def _without_union_noise(details: Any) -> list[Any]:
    """One error per place: pydantic gives one for every member of a union that did not fit."""
    seen: set[tuple[Any, ...]] = set()
    kept = []
    for detail in details:
        place = _real_path(detail["loc"])
        if detail["type"] not in ("extra_forbidden", "missing") and place in seen:
            continue
        seen.add(place)
        kept.append(detail)
    return kept


def _real_path(loc: tuple[Any, ...]) -> KeyPath:
    """Pydantic's location without the union members' names, which no user has written."""
    return tuple(part for part in loc if not (isinstance(part, str) and _is_union_tag(part)))


def _is_union_tag(part: str) -> bool:
    return part in ("int", "str", "float") or part.startswith(("constrained-", "literal["))


def _problem(model: type[BaseModel], data: Any, detail: Mapping[str, Any], key: KeyPath) -> Problem:
    loc = _real_path(detail["loc"])
    kind, value = detail["type"], detail["input"]
    path = (*key, *loc)
    if kind == "extra_forbidden":
        known = _fields_at(model, loc[:-1])
        return Problem(
            path, f"unknown key {loc[-1]!r}", suggest(str(loc[-1]), known) if known else "remove it"
        )
    if kind == "missing":
        field = _describe(model, loc)
        noun = "section" if len(path) == 1 else "key"
        return Problem(path[:-1] or path, f"{noun} {loc[-1]!r} is missing", field)
    message = str(detail["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    message = message[0].lower() + message[1:] if message else kind
    if kind == "value_error":
        return Problem(path, message)
    if kind == "literal_error":
        expected = [str(word) for word in _literals(detail)]
        return Problem(path, f"{value!r} is not allowed here", suggest(str(value), expected))
    return Problem(path, f"{message}, got {_shown(value)}", _describe(model, loc))


def _literals(detail: Mapping[str, Any]) -> list[str]:
    text = str(detail.get("ctx", {}).get("expected", ""))
    return [word.strip("' ") for word in text.replace(" or ", ", ").split(",") if word.strip("' ")]


def _shown(value: Any) -> str:
    text = repr(value)
    name = {str: "text", int: "number", float: "number", bool: "yes/no", list: "list", dict: "mapping"}
    return f"{name.get(type(value), type(value).__name__)} {text if len(text) <= 60 else text[:57] + '…'}"


def _model_at(model: type[BaseModel], loc: KeyPath) -> type[BaseModel] | None:
    """The schema of the mapping at a key path, or None where it is an open mapping."""
    current: Any = model
    for part in loc:
        if isinstance(part, int):
            continue  # an item of a list: the annotation was already unwrapped to the item's model
        field = current.model_fields.get(part)
        current = (
            next((kind for kind in _unwrap(field.annotation) if _is_model(kind)), None) if field else None
        )
        if current is None:
            return None
    return current  # type: ignore[no-any-return]


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _unwrap(annotation: Any) -> list[Any]:
    arguments = get_args(annotation)
    return [annotation] if not arguments else [kind for argument in arguments for kind in _unwrap(argument)]


def _fields_at(model: type[BaseModel], loc: KeyPath) -> list[str]:
    found = _model_at(model, loc)
    return list(found.model_fields) if found else []


def _describe(model: type[BaseModel], loc: KeyPath) -> str:
    """The schema's own description of the field at a key path; the hint that is always at hand."""
    names = [part for part in loc if isinstance(part, str)]
    if not names:
        return ""
    parent = _model_at(model, tuple(names[:-1]))
    field = parent.model_fields.get(names[-1]) if parent else None
    return (field.description or "") if field else ""
