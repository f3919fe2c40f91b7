"""Where a bundle lies on a device, and which of its versions answers.

Below a root folder that the caller names, each bundle has its own::

    NAME/lock               held by whoever changes anything here
    NAME/incoming/VERSION/  an upload under way, or what is left of one: the next goes on from there
    NAME/releases/VERSION/  a bundle that is whole and passed its self-test; never changed
    NAME/current            link to the release that answers
    NAME/previous           link to the one before it
    NAME/work/              files that the caller puts beside, e.g. texts to answer

A release appears by a rename and begins to answer by the rename of a link, so that whoever looks through
`current` finds one version whole, at whatever moment something breaks off.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

from ..manifest import problems, read_manifest
from ..variant import RunnerError
from .refusal import UNREACHABLE, USAGE, Refusal

__all__ = ["NAME", "Home", "flush", "flush_tree"]

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*\Z")


class Home:
    """The folder of one bundle on this device, whatever its version."""

    def __init__(self, root: Path, name: str) -> None:
        if not NAME.match(name):
            raise Refusal(USAGE, f"{name!r} is no name of a bundle")
        self.folder = root / name
        self.incoming = self.folder / "incoming"
        self.releases = self.folder / "releases"
        self.work = self.folder / "work"

    def release(self, version: str) -> Path:
        """Where a version lies once it is whole."""
        return self.releases / version

    def linked(self, link: str) -> str | None:
        """Version that a link names; None where there is no such link, or no such release."""
        path = self.folder / link
        return path.readlink().name if path.is_symlink() and path.is_dir() else None

    def point(self, link: str, version: str) -> None:
        """Has a link name a version, from one moment to the next."""
        fresh = self.folder / f".{link}.new"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(Path(self.releases.name) / version)
        fresh.replace(self.folder / link)
        flush(self.folder)

    def versions(self) -> dict[str, Any]:
        """What is here."""
        names = sorted(path.name for path in self.releases.iterdir()) if self.releases.is_dir() else []
        return {
            "current": self.linked("current"),
            "previous": self.linked("previous"),
            "releases": names,
            "path": str(self.folder),
        }

    def is_whole(self, version: str) -> bool:
        """Whether a release is here and every file of it is the one that its manifest names."""
        folder = self.release(version)
        try:
            return not problems(folder, read_manifest(folder)) if folder.is_dir() else False
        except RunnerError:
            return False

    def discard(self, path: Path) -> None:
        """Deletes a folder; what is left if that breaks off lies where the next upload clears up."""
        gone = self.incoming / f".gone-{path.name}"
        if gone.exists():
            shutil.rmtree(gone)
        self.incoming.mkdir(parents=True, exist_ok=True)
        path.replace(gone)
        shutil.rmtree(gone)

    def drop_uploads(self, keep: str, untouched: float = 0.0) -> None:
        """Deletes what uploads of other versions left.

        Args:
            keep: Version whose upload stays.
            untouched: Only those that nothing was written to for so many seconds.
        """
        for folder in list(self.incoming.iterdir()) if self.incoming.is_dir() else []:
            times = [path.lstat().st_mtime for path in (folder, *folder.rglob("*"))]
            if folder.name.startswith(".gone-") or (
                folder.name != keep and time.time() - max(times) >= untouched
            ):
                shutil.rmtree(folder)

    @contextmanager
    def locked(self, patience: float) -> Iterator[None]:
        """Nobody else changes anything here until the end of the block.

        The system frees the lock with the process. An upload that was cut off may take a moment to end.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("a") as stream:
            last = time.monotonic() + patience
            while True:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= last:
                        hint = "wait for it to end, and say the same again"
                        message = f"something else is changing {self.folder} right now"
                        raise Refusal(UNREACHABLE, message, hint) from None
                time.sleep(0.1)
            yield

    def activate(self, version: str) -> str | None:
        """Lets a release answer and deletes those that nothing leads to; returns what answered before it.

        Raises:
            OSError: The system refuses; either version answers.
        """
        before = self.linked("current")
        if before != version:
            if before is not None:
                self.point("previous", before)
            self.point("current", version)
        kept = {version, self.linked("previous")}
        for folder in list(self.releases.iterdir()):
            if folder.name not in kept:
                self.discard(folder)
        return before if before != version else None


def flush(path: Path) -> None:
    """Has the disk hold a file's bytes, or a folder's names, before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_tree(folder: Path) -> None:
    """`flush` everything in a folder, and then the folder itself."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            flush_tree(entry)
        else:
            flush(entry)
    flush(folder)
