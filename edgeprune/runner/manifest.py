"""`manifest.json`: what a bundle says about itself, and whether its files are the ones that it names.

A bundle is a folder (or a zip of one) with this layout::

    manifest.json     this
    README.md         three commands
    requirements.txt  what the runner needs beside Python
    runner/           the program, run as `python runner COMMAND`
    model/            one compiled model: variant.json, its files, tokenizer.json
    sample.jsonl      texts and the answers that they must get here too
    wheels/           optional: the requirements, for a device without a network
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Iterable, Mapping

from .variant import RunnerError, keys_of

__all__ = [
    "FILE",
    "FORMAT",
    "MODEL",
    "NAME",
    "RUNNER",
    "SAMPLE",
    "WHEELS",
    "File",
    "Manifest",
    "file_version",
    "manifest_text",
    "parse_manifest",
    "problems",
    "read_manifest",
    "sha256_of",
    "unmet_features",
    "write_manifest",
]

FORMAT = "edgeprune.bundle/1"
FILE = "manifest.json"
MODEL, RUNNER, SAMPLE, WHEELS = "model", "runner", "sample.jsonl", "wheels"

# What every file system, shell and archive takes as it is; a bundle has no other file names.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*\Z")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class File:
    """One file of a bundle.

    Attributes:
        sha256: Of its content, 64 hexadecimal digits.
        bytes: Its size.
    """

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """What a bundle says about itself.

    Attributes:
        name: What it is installed as, e.g. ``bert_sst2_mobile-arm64``; made of letters, digits, ``._-``.
        version: See `file_version`.
        target: The target that it was compiled for.
        variant: ``backend/precision`` of the model.
        architecture: ``x86_64`` or ``aarch64``; what the device's processor must be.
        python: Lowest version of Python that the runner takes, e.g. ``3.9``.
        requirements: What must be installed, as pip takes it, e.g. ``onnxruntime>=1.20``.
        cpu_features: Features (see `cpu`) without which the model gives wrong answers or none; of ``a|b`` one
            is enough. See `unmet_features`.
        columns: Names of the one or two texts of an example.
        labels: Class names in the order of the logits.
        tolerance: Largest difference of a sample's scores from the expected ones, 0..1.
        files: Path in the bundle to size and hash, the manifest itself not among them.
        provenance: Where it comes from: recipe, run, artifact, versions.
    """

    name: str
    version: str
    target: str
    variant: str
    architecture: str
    python: str
    requirements: list[str]
    columns: list[str]
    labels: list[str]
    files: dict[str, File]
    cpu_features: list[str] = field(default_factory=list)
    tolerance: float = 0.02
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def backend(self) -> str:
        """The runtime that answers."""
        return self.variant.partition("/")[0]

    @property
    def total_bytes(self) -> int:
        """Size of all files together."""
        return sum(file.bytes for file in self.files.values())


def file_version(files: Mapping[str, File]) -> str:
    """Version of a bundle: the first 16 digits of the SHA-256 over its table of paths and hashes."""
    table = "".join(f"{path}\n{files[path].sha256}\n" for path in sorted(files))
    return hashlib.sha256(table.encode("ascii")).hexdigest()[:16]


def unmet_features(needed: Iterable[str], features: Iterable[str]) -> list[str]:
    """The entries of `Manifest.cpu_features` that a processor with these features does not meet."""
    there = set(features)
    return [entry for entry in needed if not there.intersection(entry.split("|"))]


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for chunk in iter(lambda: stream.read(_CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()


def write_manifest(folder: Path, manifest: Manifest) -> Path:
    """Writes `manifest` into `folder` and returns the file's path; the same manifest gives the same bytes."""
    path = folder / FILE
    path.write_text(manifest_text(manifest), encoding="ascii")
    return path


def manifest_text(manifest: Manifest) -> str:
    """Content of the file for `manifest`, ASCII; `parse_manifest` reads it."""
    document = {"format": FORMAT, **asdict(manifest)}
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=True) + "\n"


def read_manifest(folder: Path) -> Manifest:
    """Reads and checks the form of what a bundle says; `problems` looks at its files.

    Raises:
        RunnerError: There is no manifest, it is not ours, a key is missing or unknown, a path leads out of
            the bundle, or the version is not the one of its table of files.
    """
    path = folder / FILE
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        raise RunnerError(f"{path} cannot be read: {error}") from error
    return parse_manifest(text, str(path))


def parse_manifest(text: str, path: str) -> Manifest:
    """Reads and checks the text of a manifest.

    Args:
        text: Content of the file.
        path: What to call it in errors.

    Raises:
        RunnerError: See `read_manifest`.
    """
    document = keys_of(text, Manifest, FORMAT, path, "make the bundle again")
    try:
        document["files"] = {str(name): File(**entry) for name, entry in document["files"].items()}
    except (AttributeError, TypeError) as error:
        raise RunnerError(f"{path} has no table of files: {error}") from error
    manifest = Manifest(**document)
    for name in (manifest.name, *(part for file in manifest.files for part in file.split("/"))):
        if not NAME.match(name):
            raise RunnerError(f"{path} has the name {name!r}, which no bundle has")
    if manifest.version != file_version(manifest.files):
        raise RunnerError(f"{path} was changed: version {manifest.version} is not that of its files")
    return manifest


def problems(folder: Path, manifest: Manifest) -> list[str]:
    """What is wrong with the files of the bundle in `folder`, one sentence each; empty: it is whole.

    Files that the manifest does not name are not looked at: Python leaves caches beside its modules.
    """
    found = []
    for name, file in manifest.files.items():
        path = folder.joinpath(*name.split("/"))
        if not path.is_file():
            found.append(f"{name} is missing")
        elif path.stat().st_size != file.bytes:
            found.append(f"{name} has {path.stat().st_size} bytes instead of {file.bytes}")
        elif sha256_of(path) != file.sha256:
            found.append(f"{name} was changed: its SHA-256 is not the manifest's")
    return found
