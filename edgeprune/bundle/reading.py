"""From a bundle back to what it says, every file checked against its manifest first."""

from __future__ import annotations

import errno
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgeprune.bundle.content import Content, Sample
from edgeprune.bundle.text import parse_samples
from edgeprune.errors import EdgepruneError, UnsupportedError, UsageError
from edgeprune.runner import manifest as layout
from edgeprune.runner.manifest import Manifest
from edgeprune.runner.variant import RunnerError

__all__ = ["Bundle", "opened", "read"]

_SHOWN = 3
_CACHE = "__pycache__"
# A manifest has some hundred bytes a file; a zip that claims more is none of ours.
_LARGEST_MANIFEST = 1 << 24
# What zipfile raises for a file that is no zip, or a damaged or an encrypted one.
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError)
_MAKE = "`edgeprune bundle` makes one"
_DAMAGED = "it was changed or cut short: make it again with `edgeprune bundle`, or copy it again"


@dataclass(frozen=True)
class Bundle:
    """A whole bundle in a folder.

    Attributes:
        folder: Where it is.
        manifest: What it says about itself.
        samples: Examples with their answers.
    """

    folder: Path
    manifest: Manifest
    samples: tuple[Sample, ...]

    @property
    def content(self) -> Content:
        """What it was built from, with the files in this folder; built again, it is the same bundle."""
        said = self.manifest
        return Content(
            name=said.name,
            target=said.target,
            variant=said.variant,
            architecture=said.architecture,
            requirements=tuple(said.requirements),
            columns=tuple(said.columns),
            labels=tuple(said.labels),
            model={path.name: path for path in self._below(layout.MODEL)},
            samples=self.samples,
            tolerance=said.tolerance,
            cpu_features=tuple(said.cpu_features),
            wheels=self._below(layout.WHEELS),
            python=said.python,
            provenance=said.provenance,
        )

    def _below(self, folder: str) -> tuple[Path, ...]:
        names = sorted(name for name in self.manifest.files if name.startswith(f"{folder}/"))
        return tuple(self.folder / name for name in names)


@contextmanager
def opened(path: Path) -> Iterator[Bundle]:
    """A bundle as a folder: as it is, or unpacked for the time of the context.

    Args:
        path: Its folder or its zip.

    Raises:
        UsageError: There is no such file or folder.
        UnsupportedError: It is no bundle, or not a whole one.
    """
    if path.is_dir():
        yield read(path)
        return
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as scratch:
        yield _unpacked(path, Path(scratch))


def read(folder: Path) -> Bundle:
    """Reads and checks the bundle in a folder.

    Raises:
        UsageError: There is no such folder.
        UnsupportedError: It is no bundle, a file is missing, changed or not in the manifest, or its samples
            cannot be read.
    """
    if not folder.is_dir():
        raise UsageError("there is no such bundle", where=str(folder), hint=_MAKE)
    return _checked(folder, str(folder))


def _checked(folder: Path, where: str) -> Bundle:
    try:
        manifest = layout.read_manifest(folder)
        found = layout.problems(folder, manifest)
        if not found:
            found = _strangers(folder, manifest)
        if found:
            more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            raise RunnerError(f"the bundle is not whole: {'; '.join(found[:_SHOWN])}{more}")
        samples = parse_samples((folder / layout.SAMPLE).read_text(encoding="ascii"))
    except (RunnerError, OSError, ValueError) as error:
        raise UnsupportedError(str(error), where=where, hint=_DAMAGED) from error
    return Bundle(folder, manifest, samples)


def _strangers(folder: Path, manifest: Manifest) -> list[str]:
    """Files that the manifest does not name; Python's caches may be there."""
    known = {layout.FILE, *manifest.files}
    names = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if not path.is_dir()]
    return [
        f"{name.as_posix()!r} is not in its manifest"
        for name in names
        if name.as_posix() not in known and _CACHE not in name.parts
    ]


def _unpacked(path: Path, folder: Path) -> Bundle:
    """The files of a zip that its manifest names, no more of each than it says, in an empty folder."""
    try:
        with zipfile.ZipFile(path) as archive:
            _unpack(archive, folder)
    except FileNotFoundError as error:
        raise UsageError("there is no such bundle", where=str(path), hint=_MAKE) from error
    except (RunnerError, *_ZIP_ERRORS) as error:
        raise UnsupportedError(str(error), where=str(path), hint=_DAMAGED) from error
    except OSError as error:
        if error.errno == errno.EINVAL:  # a table of contents that points before the file's beginning
            raise UnsupportedError("the zip is damaged", where=str(path), hint=_DAMAGED) from error
        raise EdgepruneError(f"the bundle cannot be unpacked: {error}", where=str(path)) from error
    return _checked(folder, str(path))


def _unpack(archive: zipfile.ZipFile, folder: Path) -> None:
    listed = [entry for entry in archive.infolist() if not entry.is_dir()]
    entries = {entry.filename: entry for entry in listed}
    if len(entries) < len(listed):
        raise RunnerError("the zip has a name twice")
    heads = [name for name in entries if name.split("/")[-1] == layout.FILE and name.count("/") < 2]
    if len(heads) != 1:
        raise RunnerError(f"the zip has {len(heads)} files {layout.FILE} where a bundle has one")
    top = heads[0].removesuffix(layout.FILE)
    _extract(archive, entries.pop(f"{top}{layout.FILE}"), folder / layout.FILE, _LARGEST_MANIFEST)
    manifest = layout.read_manifest(folder)  # its names lead nowhere else
    for name, file in manifest.files.items():
        entry = entries.pop(f"{top}{name}", None)
        if entry is None:
            raise RunnerError(f"the bundle is not whole: {name} is missing")
        _extract(archive, entry, folder.joinpath(*name.split("/")), file.bytes)
    if entries:
        raise RunnerError(f"the bundle is not whole: {next(iter(entries))!r} is not in its manifest")


def _extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, place: Path, largest: int) -> None:
    if entry.file_size > largest:
        message = f"{entry.filename!r} has {entry.file_size} bytes instead of {largest}"
        raise RunnerError(f"the bundle is not whole: {message}")
    place.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(entry) as stored, place.open("wb") as file:
        shutil.copyfileobj(stored, file, 1 << 20)
