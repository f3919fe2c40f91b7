"""What this machine is, as plain data: processor, system, clock, temperatures, disk, installed versions."""

from __future__ import annotations

import platform
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Iterable

from ..machine import read_state, system_name
from ..processor import describe_own
from ..requirements import installed_version

__all__ = ["collect", "free_bytes"]


def collect(folder: Path, distributions: Iterable[str] = ()) -> dict[str, Any]:
    """What is known about this machine.

    Args:
        folder: Where bundles lie or will lie; says which disk is meant.
        distributions: Names of Python distributions whose versions are asked for.
    """
    return {
        "cpu": asdict(describe_own()),
        "os": system_name(),
        "python": platform.python_version(),
        "executable": sys.executable,
        **asdict(read_state()),
        "free_bytes": free_bytes(folder),
        "installed": {name: installed_version(name) for name in distributions},
    }


def free_bytes(folder: Path) -> int:
    """What may still be written on the disk of `folder`, which need not be there yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
