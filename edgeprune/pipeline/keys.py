"""Cache keys: an artifact's address is the hash of everything that its content depends on."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edgeprune.assets.contents import file_sha256

__all__ = ["code_hash", "digest", "library_versions"]

_PACKAGE = Path(__file__).resolve().parent.parent


def digest(ingredients: Any) -> str:
    """SHA-256 (hex, whole) of plain JSON data, independent of the order of keys."""
    text = json.dumps(ingredients, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def code_hash(modules: tuple[str, ...]) -> str:
    """SHA-256 over the sources of modules and packages of edgeprune.

    Args:
        modules: Dotted names below edgeprune, e.g. ``("stages.finetune", "training")``.

    Raises:
        FileNotFoundError: A stage names code that does not exist (a bug in its row).
    """
    files: list[Path] = []
    for name in modules:
        path = _PACKAGE / name.replace(".", "/")
        if path.is_dir():
            files += sorted(file for file in path.rglob("*") if file.suffix in (".py", ".j2"))
        else:
            files.append(path.with_suffix(".py"))
    listing = [(file.relative_to(_PACKAGE).as_posix(), file_sha256(file)) for file in sorted(set(files))]
    return digest(listing)


def library_versions(names: tuple[str, ...]) -> dict[str, str]:
    """Installed version of each distribution; `absent` where there is none."""
    return {name: _version(name) for name in sorted(names)}


@cache
def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
