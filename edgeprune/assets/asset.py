"""What the room hands out: an asset, and the sources that were passed over on the way to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["Asset", "Attempt", "Kind", "SourceFailure"]

Kind = Literal["model", "dataset"]


@dataclass(frozen=True)
class Attempt:
    """One source that did not serve, or whose cached copy had to be thrown away.

    Attributes:
        uri: The source as the recipe writes it.
        reason: Why it did not serve, values included.
    """

    uri: str
    reason: str

    def __str__(self) -> str:
        return f"{self.uri}: {self.reason}"


@dataclass(frozen=True)
class Asset:
    """A model folder or a data file that is on this machine and whole.

    Attributes:
        uri: The source that served.
        path: The folder (model) or file (dataset); absolute.
        sha256: Hash of the file's bytes, or of the folder's listing (see `contents.Contents`).
        size_bytes: Total size of the file or of all files in the folder.
        tried: Sources before `uri` and why each did not serve. For a cached asset this is what happened
            when it was fetched, so a mirror stays visible as a mirror.
        detail: Which bytes these are in the source's own terms: a commit, a wheel and its hash.
    """

    uri: str
    path: Path
    sha256: str
    size_bytes: int
    tried: tuple[Attempt, ...]
    detail: str


class SourceFailure(Exception):  # noqa: N818  (an outcome of one source, not yet an error of the asset)
    """One source cannot serve; the next one is tried. Who asks from outside turns it into an error."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint
