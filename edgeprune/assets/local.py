"""Sources that are on this machine already: used in place, hashed at each call, never copied."""

from __future__ import annotations

import os
from pathlib import Path

from edgeprune.assets.asset import Asset, Attempt, Kind, SourceFailure
from edgeprune.assets.contents import read_contents, require_fit
from edgeprune.assets.uri import DATA_VARIABLE, FileSource, LocalSource

__all__ = ["use_in_place"]


def use_in_place(source: LocalSource, kind: Kind, base: Path, tried: tuple[Attempt, ...]) -> Asset:
    """Serve a local file or folder.

    Args:
        source: The source.
        kind: What it must be fit for.
        base: Folder that relative `file://` paths start from.
        tried: Sources before this one, for the asset's record.

    Raises:
        SourceFailure: It is absent, unreadable or not fit for `kind`.
    """
    try:
        path = _locate(source, base)
        require_fit(path, kind)
        contents = read_contents(path)
    except OSError as error:
        raise SourceFailure(f"cannot be read: {error.strerror or error}: {error.filename}") from error
    return Asset(source.uri, path, contents.sha256, contents.size_bytes, tried, "used in place")


def _locate(source: LocalSource, base: Path) -> Path:
    """The absolute path of a source. Links stay links: their names carry the file format."""
    if isinstance(source, FileSource):
        return (base / _expand(source.path)).absolute()
    folder = os.environ.get(DATA_VARIABLE)
    if not folder:
        raise SourceFailure(
            f"the environment variable {DATA_VARIABLE} is not set",
            f"set {DATA_VARIABLE} to the folder that holds {source.path}",
        )
    return _expand(folder).absolute() / source.path


def _expand(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise SourceFailure(f"the home folder that {path!r} starts with is not known") from error
