"""The artifact store: folders that are whole or absent, shared by all runs on a machine.

<cache>/artifacts/<stage>-<key>/     a published artifact: its files and artifact.json
<cache>/work/<stage>-<key>/          scratch of a node in the making; survives a killed run
<cache>/tmp/<stage>-<key>-<random>/  output in the making; worthless after a crash
<cache>/locks/<stage>-<key>.lock     one maker per artifact; the system frees it when the process dies
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgeprune.assets.contents import file_sha256
from edgeprune.durable import flush, flush_tree

__all__ = ["Artifact", "ArtifactStore"]

_MANIFEST = "artifact.json"
_FORMAT = "edgeprune.artifact/1"


@dataclass(frozen=True)
class Artifact:
    """A published artifact, as its manifest tells.

    Attributes:
        path: Its folder; read only.
        stage: Name of the stage that made it.
        key: Its address: the hash of all its ingredients.
        ingredients: What went into the key, readable.
        files: Relative path to SHA-256 and size of each file.
        record: Numbers that the stage found.
        notes: What the reader of a report should know about it.
        seconds: Wall-clock time of the attempt that finished it.
        created: Unix time of publication.
    """

    path: Path
    stage: str
    key: str
    ingredients: dict[str, Any]
    files: dict[str, dict[str, Any]]
    record: dict[str, Any]
    notes: list[str]
    seconds: float
    created: float
    format: str = field(default=_FORMAT)


class ArtifactStore:
    """Published artifacts below one cache folder.

    Args:
        root: The cache folder; made when missing.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("artifacts", "work", "tmp", "locks"):
            (root / name).mkdir(parents=True, exist_ok=True)

    def path(self, stage: str, key: str) -> Path:
        """Where the artifact of that key is, or will be."""
        return self.root / "artifacts" / f"{stage}-{key}"

    def find(self, stage: str, key: str, *, verify: bool = True) -> Artifact | None:
        """The artifact of that key, or None when there is none or it is damaged.

        Args:
            stage: Name of its stage.
            key: Its key.
            verify: Also compare every file's hash (about a second per gigabyte).
        """
        path = self.path(stage, key)
        try:
            manifest = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
            artifact = Artifact(path=path, **manifest)
        except (OSError, ValueError, TypeError):
            return None
        if artifact.format != _FORMAT or artifact.key != key:
            return None
        if verify and self.damage(artifact):
            return None
        return artifact

    def damage(self, artifact: Artifact) -> list[str]:
        """Files of an artifact that are missing or not what they were when it was published."""
        damaged = []
        for name, facts in artifact.files.items():
            file = artifact.path / name
            if (
                not file.is_file()
                or file.stat().st_size != facts["size"]
                or file_sha256(file) != facts["sha256"]
            ):
                damaged.append(name)
        return damaged

    @contextmanager
    def lock(self, stage: str, key: str, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold the artifact's lock; at most one process makes it, others wait and then find it.

        Args:
            stage: Name of its stage.
            key: Its key.
            waiting: Called once when somebody else holds the lock.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self.root / "locks" / f"{stage}-{key}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            waiting()
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def scratch(self, stage: str, key: str) -> Path:
        """The node's private folder that survives a crash. The artifact's lock must be held."""
        path = self.root / "work" / f"{stage}-{key}"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def new_output(self, stage: str, key: str) -> Path:
        """An empty folder to fill, beside which nothing of an earlier crash is left. Lock must be held."""
        self._sweep(stage, key)
        return Path(tempfile.mkdtemp(prefix=f"{stage}-{key}-", dir=self.root / "tmp"))

    def publish(
        self,
        output: Path,
        *,
        stage: str,
        key: str,
        ingredients: dict[str, Any],
        record: dict[str, Any],
        notes: list[str],
        seconds: float,
    ) -> Artifact:
        """Make a filled output folder the artifact of its key: hashed, flushed to disk, renamed.

        The artifact's lock must be held. A damaged artifact under the same key is replaced.
        """
        files = {}
        for file in sorted(path for path in output.rglob("*") if path.is_file()):
            files[file.relative_to(output).as_posix()] = {
                "sha256": file_sha256(file),
                "size": file.stat().st_size,
            }
        path = self.path(stage, key)
        artifact = Artifact(path, stage, key, ingredients, files, record, notes, seconds, time.time())
        manifest = {name: value for name, value in asdict(artifact).items() if name != "path"}
        (output / _MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True), encoding="utf-8")
        output.chmod(0o755)
        if path.exists():  # damaged: find() refused it
            broken = Path(tempfile.mkdtemp(prefix=f"{stage}-{key}-", dir=self.root / "tmp"))
            path.rename(broken / path.name)
            shutil.rmtree(broken, ignore_errors=True)
        flush_tree(output)
        output.rename(path)
        flush(path.parent)
        self.clean(stage, key)
        return artifact

    def clean(self, stage: str, key: str) -> None:
        """Remove what making this artifact left besides it. The artifact's lock must be held."""
        shutil.rmtree(self.root / "work" / f"{stage}-{key}", ignore_errors=True)
        self._sweep(stage, key)

    def _sweep(self, stage: str, key: str) -> None:
        """Remove output folders of this artifact that were never published."""
        for leftover in (self.root / "tmp").glob(f"{stage}-{key}-*"):
            shutil.rmtree(leftover, ignore_errors=True)
