"""From content to a bundle: a folder, or a zip of one, that is whole or absent."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from edgeprune import runner
from edgeprune.bundle import text
from edgeprune.bundle.content import Content
from edgeprune.durable import flush, flush_tree
from edgeprune.errors import EdgepruneError, UsageError
from edgeprune.runner import manifest as layout
from edgeprune.runner.manifest import File, Manifest
from edgeprune.runner.variant import RunnerError

__all__ = ["ZIP", "build"]

ZIP = ".zip"
_README, _REQUIREMENTS = "README.md", "requirements.txt"
# The first moment that a zip can name: the same on every day.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_FILE_MODE, _FOLDER_MODE = 0o644, 0o755
_UNIX = 3


def build(content: Content, path: Path) -> Manifest:
    """Writes a bundle; the same content gives the same bytes.

    A zip holds the folder `content.name`. It is not compressed: what a compressor gives depends on its
    version. A model would lose a tenth to a fifth.

    Args:
        content: What goes in.
        path: Where to. An ending of ``.zip`` makes a zip, all else a folder; must not be there, or be an
            empty folder.

    Returns:
        The manifest that is in it.

    Raises:
        UsageError: There is something at `path` already.
        EdgepruneError: A file cannot be read or written, or has a name that no bundle has.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UsageError("the output is there already", where=str(path), hint="name another, or delete it")
    try:
        return _build(content, path)
    except OSError as error:
        raise EdgepruneError(f"the bundle cannot be written: {error}", where=str(path)) from error


def _build(content: Content, path: Path) -> Manifest:
    _require_names(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
        made = Path(scratch) / content.name
        manifest = _fill(made, content)
        if path.suffix == ZIP:
            made = _packed(made, Path(scratch) / f"{content.name}{ZIP}")
            flush(made)
        else:
            flush_tree(made)
        made.replace(path)
    flush(path.parent)
    return manifest


def _require_names(content: Content) -> None:
    """Before a name is made a path, which could lead elsewhere."""
    for name in (content.name, *content.model, *(path.name for path in content.wheels)):
        if not layout.NAME.match(name):
            raise EdgepruneError(
                f"{name!r} is a name that no bundle has", hint="it may have letters, digits and ._+- in it"
            )


def _fill(folder: Path, content: Content) -> Manifest:
    """All files of the bundle, then the manifest over them."""
    folder.mkdir()
    texts = {
        _README: text.readme(content),
        _REQUIREMENTS: text.requirements(content),
        layout.SAMPLE: text.sample_lines(content.samples),
    }
    for name, said in texts.items():
        (folder / name).write_bytes(said.encode())
    for name, source in _copied(content):
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, place)
    files = {
        path.relative_to(folder).as_posix(): File(layout.sha256_of(path), path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    manifest = _manifest(content, files)
    layout.write_manifest(folder, manifest)
    for entry in (folder, *folder.rglob("*")):
        entry.chmod(_FOLDER_MODE if entry.is_dir() else _FILE_MODE)
    return _checked(folder)


def _copied(content: Content) -> Iterator[tuple[str, Path]]:
    """Path in the bundle and source of every file that is copied."""
    program = Path(runner.__file__).parent
    for path in sorted(program.rglob("*.py")):
        yield f"{layout.RUNNER}/{path.relative_to(program).as_posix()}", path
    for name, path in content.model.items():
        yield f"{layout.MODEL}/{name}", path
    for path in content.wheels:
        yield f"{layout.WHEELS}/{path.name}", path


def _manifest(content: Content, files: dict[str, File]) -> Manifest:
    return Manifest(
        name=content.name,
        version=layout.file_version(files),
        target=content.target,
        variant=content.variant,
        architecture=content.architecture,
        python=content.python,
        requirements=list(content.requirements),
        columns=list(content.columns),
        labels=list(content.labels),
        files=files,
        cpu_features=list(content.cpu_features),
        tolerance=content.tolerance,
        provenance=dict(content.provenance),
    )


def _checked(folder: Path) -> Manifest:
    """What a device will read, read here first."""
    try:
        return layout.read_manifest(folder)
    except RunnerError as error:
        raise EdgepruneError(f"no device could read this bundle: {error}") from error


def _packed(folder: Path, path: Path) -> Path:
    """A zip of the folder: names in order, no dates, no modes but ours."""
    files = sorted(entry for entry in folder.rglob("*") if entry.is_file())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            entry = zipfile.ZipInfo(file.relative_to(folder.parent).as_posix(), _EPOCH)
            entry.create_system = _UNIX
            entry.external_attr = (0o100000 | _FILE_MODE) << 16
            entry.file_size = file.stat().st_size
            with file.open("rb") as source, archive.open(entry, "w") as stored:
                shutil.copyfileobj(source, stored, 1 << 20)
    path.chmod(_FILE_MODE)
    return path
