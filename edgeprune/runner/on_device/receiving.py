"""Takes in the files of a bundle: what is here already stays, what comes is checked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, BinaryIO

from ..manifest import Manifest, read_manifest, sha256_of
from ..variant import RunnerError
from .refusal import UNREACHABLE, Refusal

__all__ = ["copy_bytes", "drop_damaged", "receive", "sizes_here", "take_over"]

_CHUNK = 1 << 18
_AGAIN = "say the same again: it goes on from where it was"


def sizes_here(incoming: Path, manifest: Manifest) -> dict[str, int]:
    """Bytes of each file that an earlier upload left; 0 where they cannot be the beginning of it."""
    sizes = {}
    for name, file in manifest.files.items():
        path = incoming / name
        size = path.stat().st_size if path.is_file() else 0
        sizes[name] = size if size <= file.bytes else 0
    return sizes


def take_over(releases: Path, incoming: Path, manifest: Manifest, sizes: dict[str, int]) -> dict[str, int]:
    """Copies files that a release here has too, as most versions differ in their model alone.

    Copies, not links: what happens to one release must not happen to another.

    Args:
        releases: Folder of the releases; need not be there.
        incoming: Where the copies go.
        manifest: Of the bundle that comes.
        sizes: See `sizes_here`.

    Returns:
        `sizes` with the copies in it.
    """
    known: dict[str, Path] = {}
    for folder in releases.iterdir() if releases.is_dir() else []:
        try:
            files = read_manifest(folder).files
        except RunnerError:
            continue
        known.update({file.sha256: folder / name for name, file in files.items()})
    sizes = dict(sizes)
    for name, file in manifest.files.items():
        source = known.get(file.sha256)
        if sizes[name] == file.bytes or source is None or not source.is_file():
            continue
        path = incoming / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)
        if sha256_of(path) == file.sha256:
            sizes[name] = file.bytes
        else:  # that release was changed here
            path.unlink()
            sizes[name] = 0
    return sizes


def receive(given: BinaryIO, incoming: Path, manifest: Manifest) -> None:
    """Writes what comes behind what is here. What has arrived stays when it breaks off.

    Args:
        given: Frames: a line of JSON with `path`, `offset` and `bytes`, then these bytes; last a line with
            `end`.
        incoming: Folder of the upload.
        manifest: Of the bundle; names every file that may come.

    Raises:
        Refusal: The upload breaks off, or does not fit what is here.
    """
    while True:
        frame = _frame(given)
        if frame.get("end"):
            return
        name, offset = frame.get("path"), frame.get("offset")
        if name not in manifest.files:
            raise Refusal(UNREACHABLE, "the upload broke off", _AGAIN)
        path = incoming / name
        path.parent.mkdir(parents=True, exist_ok=True)
        size = path.stat().st_size if path.is_file() else 0
        if offset not in (0, size):
            raise Refusal(UNREACHABLE, f"{name} was changed by another upload", _AGAIN)
        with path.open("ab" if offset else "wb") as stream:
            copy_bytes(given, stream, frame["bytes"])


def copy_bytes(given: BinaryIO, stream: BinaryIO, count: int) -> None:
    """Copies so many bytes.

    Raises:
        Refusal: There are fewer.
    """
    while count:
        piece = given.read(min(_CHUNK, count))
        if not piece:
            raise Refusal(UNREACHABLE, "the upload broke off", _AGAIN)
        stream.write(piece)
        count -= len(piece)


def drop_damaged(incoming: Path, manifest: Manifest) -> list[str]:
    """Deletes files that are not those of the manifest, and names them and those that are missing."""
    damaged = []
    for name, file in manifest.files.items():
        path = incoming / name
        if not path.is_file() or sha256_of(path) != file.sha256:
            damaged.append(name)
            path.unlink(missing_ok=True)
    return damaged


def _frame(given: BinaryIO) -> dict[str, Any]:
    """The next frame's line; empty where it is cut off."""
    try:
        frame = json.loads(given.readline())
    except ValueError:
        return {}
    return frame if isinstance(frame, dict) else {}
