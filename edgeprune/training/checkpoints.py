"""Checkpoints that are known to be whole.

The Trainer writes a checkpoint file by file; a run killed meanwhile leaves half of one. So each
finished checkpoint gets a seal, written last and after a flush to disk, with the size of every file;
one without a true seal is thrown away on resume.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from edgeprune.durable import flush_tree, write_text

__all__ = ["newest_whole", "seal"]

_SEAL = "sealed.json"


def seal(checkpoint: Path) -> None:
    """Flush a finished checkpoint's files to disk and write its seal, atomically."""
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file())
    sizes = {file.relative_to(checkpoint).as_posix(): file.stat().st_size for file in files}
    flush_tree(checkpoint)
    write_text(checkpoint / _SEAL, json.dumps(sizes))


def newest_whole(folder: Path) -> Path | None:
    """The newest sealed checkpoint in a folder; broken ones are deleted on the way.

    Args:
        folder: Holds `checkpoint-<step>` folders; may not exist.

    Returns:
        Its path, or None when training has to start anew.
    """
    found = [path for path in folder.glob("checkpoint-*") if path.name.rpartition("-")[2].isdigit()]
    whole = None
    for path in sorted(found, key=lambda path: int(path.name.rpartition("-")[2]), reverse=True):
        if not _is_whole(path):
            shutil.rmtree(path)
        elif whole is None:
            whole = path
    return whole


def _is_whole(checkpoint: Path) -> bool:
    try:
        sizes = json.loads((checkpoint / _SEAL).read_text(encoding="utf-8"))
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False
