"""Fetched assets on disk: whole or absent, verified at each look, one process at a time per asset.

    <cache>/assets/<name>/record.json      what it is, where it came from, the hash of each file
    <cache>/assets/<name>/content/<payload> the model folder or the data file
    <cache>/assets/.locks/<name>.lock      held while an asset is fetched or replaced
    <cache>/assets/.partial/<name>.<…>/    a fetch under way, or what a killed process left behind

`<name>` is readable and ends in a hash of the kind and the URI.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeprune.assets.asset import Asset, Attempt, Kind, SourceFailure
from edgeprune.assets.contents import FileFact, first_difference, read_contents
from edgeprune.assets.uri import FetchedSource
from edgeprune.durable import flush, flush_tree

__all__ = ["DamagedEntry", "Entry", "entry_for"]

_FORMAT = "edgeprune.asset/1"
_RECORD = "record.json"
_CONTENT = "content"


class DamagedEntry(Exception):  # noqa: N818  (an outcome, not an error: the asset is fetched again)
    """A cached asset is not what was stored; the message says which file differs and how."""


@dataclass(frozen=True)
class Entry:
    """The place of one fetched asset in the cache."""

    source: FetchedSource
    root: Path
    name: str

    @property
    def folder(self) -> Path:
        """Where the whole asset lies, once published."""
        return self.root / self.name

    @property
    def _partial(self) -> Path:
        return self.root / ".partial"

    def payload(self, folder: Path) -> Path:
        """Where the model folder or data file lies in an entry's folder."""
        return folder / _CONTENT / self.source.payload_name

    def read(self) -> Asset | None:
        """The asset as it was published, every file hashed again; None when it was never fetched.

        Raises:
            DamagedEntry: The record or a file is not what was stored.
        """
        record_path = self.folder / _RECORD
        payload = self.payload(self.folder)
        try:
            if not self.folder.is_dir():
                return None
            record = _Record.from_json(record_path.read_bytes())
            contents = read_contents(payload)
        except OSError as error:
            raise DamagedEntry(f"{error.filename}: {error.strerror or error}") from error
        except (SourceFailure, _UnreadableRecordError) as error:
            raise DamagedEntry(str(error)) from error
        difference = first_difference(record.files, contents.files)
        if difference is None and (record.uri, record.sha256) != (self.source.uri, contents.sha256):
            difference = f"{_RECORD} describes something else"
        if difference is not None:
            raise DamagedEntry(difference)
        return Asset(
            record.uri, payload.absolute(), contents.sha256, contents.size_bytes, record.tried, record.detail
        )

    @contextmanager
    def locked(self, on_wait: Callable[[], None]) -> Iterator[None]:
        """Hold this asset's lock; `on_wait` is called once if another process holds it."""
        import filelock

        locks = self.root / ".locks"
        locks.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(locks / f"{self.name}.lock")
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            on_wait()
            lock.acquire()
        try:
            self._sweep()
            yield
        finally:
            lock.release()

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """An empty folder on the cache's file system, gone afterwards. Only with the lock held."""
        self._partial.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{self.name}.", dir=self._partial))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, staged: Path, tried: tuple[Attempt, ...], detail: str) -> Asset:
        """Make a staged payload the asset. It is durable before it can be seen. Only with the lock held.

        Args:
            staged: A folder below `staging()` with the payload at `payload(staged)`.
            tried: Sources before this one and why they did not serve.
            detail: Which bytes these are in the source's own terms.
        """
        payload = self.payload(staged)
        contents = read_contents(payload)
        record = _Record(self.source.uri, contents.sha256, detail, tried, contents.files)
        (staged / _RECORD).write_bytes(record.to_json(self.source.kind, contents.size_bytes))
        flush_tree(staged)
        replaced = self._partial / f"{self.name}.replaced"
        if self.folder.exists():
            self.folder.rename(replaced)
        staged.rename(self.folder)
        flush(self.root)
        shutil.rmtree(replaced, ignore_errors=True)
        final = self.payload(self.folder).absolute()
        return Asset(record.uri, final, record.sha256, contents.size_bytes, tried, detail)

    def _sweep(self) -> None:
        """Remove what killed processes left: whoever holds an asset's lock is the only one at work on it."""
        import filelock

        if not self._partial.is_dir():
            return
        for leftover in self._partial.iterdir():
            name = leftover.name.rpartition(".")[0]
            if name == self.name:
                shutil.rmtree(leftover, ignore_errors=True)
                continue
            try:
                with filelock.FileLock(self.root / ".locks" / f"{name}.lock").acquire(blocking=False):
                    shutil.rmtree(leftover, ignore_errors=True)
            except filelock.Timeout:
                continue


def entry_for(source: FetchedSource, cache: Path) -> Entry:
    """The place of a source's asset below the cache folder; nothing is created."""
    digest = hashlib.sha256(f"{source.kind}\n{source.uri}".encode()).hexdigest()
    readable = re.sub(r"[^A-Za-z0-9]+", "-", source.uri.partition("#")[0]).strip("-")[:60]
    return Entry(source, cache / "assets", f"{readable}-{digest[:16]}")


class _UnreadableRecordError(Exception):
    """A record that was not written by this program, or is cut short."""


@dataclass(frozen=True)
class _Record:
    """What `record.json` holds, as far as it is read back."""

    uri: str
    sha256: str
    detail: str
    tried: tuple[Attempt, ...]
    files: Mapping[str, FileFact]

    def to_json(self, kind: Kind, size_bytes: int) -> bytes:
        document = {
            "format": _FORMAT,
            "uri": self.uri,
            "kind": kind,
            "sha256": self.sha256,
            "size_bytes": size_bytes,
            "detail": self.detail,
            "tried": [asdict(attempt) for attempt in self.tried],
            "files": {name: asdict(fact) for name, fact in self.files.items()},
        }
        return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"

    @classmethod
    def from_json(cls, text: bytes) -> _Record:
        try:
            document: dict[str, Any] = json.loads(text)
            if document["format"] != _FORMAT:
                raise _UnreadableRecordError(
                    f"{_RECORD} has the format {document['format']!r}, not {_FORMAT!r}"
                )
            return cls(
                document["uri"],
                document["sha256"],
                document["detail"],
                tuple(Attempt(**attempt) for attempt in document["tried"]),
                {name: FileFact(**fact) for name, fact in document["files"].items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _UnreadableRecordError(
                f"{_RECORD} cannot be read ({type(error).__name__}: {error})"
            ) from error
