"""Data models as JSON files: sorted and indented for diffs, checked when read, whole or not written."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from edgeprune.errors import EdgepruneError, UsageError

__all__ = ["read_document", "schema_of", "to_json"]

_SHOWN_PROBLEMS = 3

Model = TypeVar("Model", bound=BaseModel)


def read_document(
    file: Path, model: type[Model], *, form: str, noun: str, again: str, nothing_there: str
) -> Model:
    """Reads a file that `to_json` made.

    Args:
        file: What to read.
        model: What it holds.
        form: The value that its `format` must have.
        noun: What it is, for messages: ``report``.
        again: How to make it anew, for hints: ``run the recipe again``.
        nothing_there: The hint where there is no such file.

    Raises:
        UsageError: There is no such file, it is not JSON, it has another version, or it does not fit.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"there is no {noun}", where=str(file), hint=nothing_there) from error
    except OSError as error:
        raise UsageError(f"the {noun} cannot be read: {error.strerror}", where=str(file)) from error
    except ValueError as error:
        raise UsageError(
            f"the {noun} is not valid JSON: {error}",
            where=str(file),
            hint=f"it was changed or cut short; {again}",
        ) from error
    found = document.get("format") if isinstance(document, dict) else None
    if found != form:
        what = f"a {noun} of format {found!r}" if found is not None else f"no edgeprune {noun}"
        raise UsageError(
            f"this is {what}; this version of edgeprune reads {form!r}",
            where=str(file),
            hint=f"read it with the edgeprune version that wrote it, or {again.partition(',')[0]}",
        )
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise UsageError(
            f"the {noun} does not fit its format: {_problems(error)}",
            where=str(file),
            hint=f"it was changed after it was written; {again}",
        ) from error


def _problems(error: ValidationError) -> str:
    problems = error.errors(include_url=False)
    shown = "; ".join(
        f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
        for problem in problems[:_SHOWN_PROBLEMS]
    )
    more = len(problems) - _SHOWN_PROBLEMS
    return f"{shown}{f'; and {more} more' if more > 0 else ''}"


def schema_of(model: type[BaseModel], form: str) -> dict[str, Any]:
    """The JSON Schema of a model's file, with an `$id` made of its format."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{form.replace('/', ':')}",
        **model.model_json_schema(),
    }


def to_json(document: BaseModel, noun: str) -> str:
    """The file's text; the same document gives the same bytes.

    Raises:
        EdgepruneError: A number is not finite, and JSON has no word for that.
    """
    broken = list(_not_finite(document.model_dump(mode="python"), ""))
    if broken:
        raise EdgepruneError(
            f"the {noun} holds numbers that are not finite: {', '.join(broken)}",
            hint="this is a bug in what measured them; please report it",
        )
    return json.dumps(document.model_dump(mode="json"), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _not_finite(value: Any, path: str) -> Iterator[str]:
    """Paths of all numbers that JSON cannot hold."""
    if isinstance(value, float) and not math.isfinite(value):
        yield path
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _not_finite(item, f"{path}.{name}" if path else str(name))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _not_finite(item, f"{path}.{index}")
