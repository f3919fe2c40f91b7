"""Where things that are fetched or made once are kept, for all who keep some."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["default_cache"]


def default_cache() -> Path:
    """`$EDGEPRUNE_CACHE`, or `edgeprune` in the user's cache folder."""
    chosen = os.environ.get("EDGEPRUNE_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeprune"
