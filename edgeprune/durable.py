"""Files that survive a crash: whole or absent, and on the disk before anything relies on them."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["flush", "flush_tree", "write_text"]


def flush(path: Path) -> None:
    """Have the disk hold a file's bytes, or a folder's names, before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_tree(folder: Path) -> None:
    """`flush` everything in a folder, and then the folder itself."""
    for entry in folder.iterdir():
        if entry.is_dir():
            flush_tree(entry)
        else:
            flush(entry)
    flush(folder)


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader sees its old content or its new one, never half of it.

    A path of a file that is no Unicode arrives in texts as lone surrogates; they are written escaped.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="\n", errors="backslashreplace") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
