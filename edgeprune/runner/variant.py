"""`variant.json`: what a folder with one compiled model says about itself."""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

__all__ = ["FILE", "FORMAT", "RunnerError", "Variant", "keys_of", "read_variant", "write_variant"]

FORMAT = "edgeprune.variant/1"
FILE = "variant.json"


class RunnerError(Exception):
    """This artifact cannot be used here; the message says which, why, and what to do."""


@dataclass(frozen=True)
class Variant:
    """One compiled model.

    Attributes:
        backend: Runtime that answers, e.g. ``onnxruntime``.
        precision: What was asked for, e.g. ``int8-dynamic``; a session says what is executed.
        files: Role to file name in the same folder; ``model`` is always there.
        inputs: Names of the model's inputs, a subset of `session.INPUTS`.
        labels: Class names in the order of the logits.
        max_length: Tokens that an input is cut to.
        architecture: Kind of machine it was compiled for, e.g. ``aarch64``.
        threads: Threads it was meant to use; None: the physical cores.
        bucket: Inputs are padded to a multiple of this many tokens; 1: not padded.
        pad_id: Token that padding is made of.
        made_with: Library to version, of those that made the files.
        notes: What was done to the model, one sentence each.
    """

    backend: str
    precision: str
    files: dict[str, str]
    inputs: list[str]
    labels: list[str]
    max_length: int
    architecture: str
    threads: int | None = None
    bucket: int = 1
    pad_id: int = 0
    made_with: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def write_variant(folder: Path, variant: Variant) -> Path:
    """Writes `variant` into `folder` and returns the file's path."""
    path = folder / FILE
    text = json.dumps({"format": FORMAT, **asdict(variant)}, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def keys_of(text: str, kind: type, form: str, path: str, hint: str) -> dict[str, Any]:
    """What a file says, once it is known to have the keys that it should have.

    Args:
        text: JSON, one object with `format` and the fields of `kind`.
        kind: A dataclass; fields with a default may be left out.
        form: What `format` must say.
        path: What to call the file in errors.
        hint: What to do about a file that is not right.

    Raises:
        RunnerError: It is no JSON, of another format, or a key is missing or unknown.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise RunnerError(f"{path} cannot be read: {error}") from error
    if not isinstance(document, dict) or document.pop("format", None) != form:
        raise RunnerError(f"{path} is not in the format {form}; {hint}")
    known = {entry.name for entry in fields(kind)}
    needed = {
        entry.name for entry in fields(kind) if entry.default is MISSING and entry.default_factory is MISSING
    }
    wrong = sorted(needed - document.keys()) + sorted(document.keys() - known)
    if wrong:
        raise RunnerError(f"{path} lacks or does not know the keys: {', '.join(wrong)}; {hint}")
    return document


def read_variant(folder: Path) -> Variant:
    """Reads and checks what `folder` says about itself.

    Raises:
        RunnerError: There is no such file, it is not ours, it lacks or adds a key, or it names a file
            that is not in the folder.
    """
    path = folder / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise RunnerError(f"{path} cannot be read: {error}") from error
    variant = Variant(**keys_of(text, Variant, FORMAT, str(path), "compile it again"))
    for role, name in variant.files.items():
        if Path(name).name != name or not (folder / name).is_file():
            raise RunnerError(f"{path} names the file {name!r} ({role}), which is not in its folder")
    if "model" not in variant.files:
        raise RunnerError(f"{path} names no model file")
    return variant
