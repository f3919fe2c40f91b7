"""What a file or folder holds, as hashes; and whether it can serve as a model or as data."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from edgeprune.assets.asset import Kind, SourceFailure

__all__ = [
    "MODEL_FILES",
    "PICKLED_FILES",
    "Contents",
    "FileFact",
    "file_sha256",
    "first_difference",
    "no_safetensors",
    "read_contents",
    "require_fit",
]

_SHARD_INDEX = "model.safetensors.index.json"
_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
MODEL_FILES = (
    "config.json",
    "*.safetensors",
    _SHARD_INDEX,
    "tokenizer_config.json",
    *_TOKENIZER_FILES,
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
)
"""Patterns of the files, at the top of a repository, that a model needs. None can hold code."""

PICKLED_FILES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")
"""Patterns of weight files that run code when loaded; named in errors, never fetched from the Hub."""


@dataclass(frozen=True)
class FileFact:
    """Hash and size of one file."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Contents:
    """The files of an asset.

    Attributes:
        sha256: For a file, of its bytes. For a folder, of one line ``path NUL sha256 LF`` per file, paths
            relative to it, with ``/``, in the order of their UTF-8 bytes.
        files: Relative path to hash and size; a single file stands under its own name.
    """

    sha256: str
    files: Mapping[str, FileFact]

    @property
    def size_bytes(self) -> int:
        """Total size of all files."""
        return sum(fact.size_bytes for fact in self.files.values())


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 lower-case hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_contents(path: Path) -> Contents:
    """Hash a file, or every file in a folder. Links to files are followed.

    Raises:
        SourceFailure: A folder holds a link to a folder, a socket or the like, which a hash cannot cover.
        OSError: Something cannot be read.
    """
    if not path.is_dir():
        fact = _fact(path)
        return Contents(fact.sha256, {path.name: fact})
    facts = {file.relative_to(path).as_posix(): _fact(file) for file in _files_below(path)}
    ordered = sorted(facts, key=os.fsencode)
    listing = b"".join(os.fsencode(name) + b"\0" + facts[name].sha256.encode() + b"\n" for name in ordered)
    return Contents(hashlib.sha256(listing).hexdigest(), {name: facts[name] for name in ordered})


def first_difference(expected: Mapping[str, FileFact], found: Mapping[str, FileFact]) -> str | None:
    """Where two listings differ, in words; None when they are equal."""
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            return f"{name} is missing"
        if name not in expected:
            return f"{name} was not there when it was fetched"
        was, now = expected[name], found[name]
        if was.size_bytes != now.size_bytes:
            return f"{name} has {now.size_bytes} bytes, not {was.size_bytes}"
        if was.sha256 != now.sha256:
            return f"{name} has SHA-256 {now.sha256}, not {was.sha256}"
    return None


def require_fit(path: Path, kind: Kind, called: str = "") -> None:
    """Check that a path can serve: a dataset is a file, a model is a folder with all that loading it needs.

    Args:
        path: The file or folder.
        kind: What it shall be.
        called: What to call it in a message; the path itself when empty.

    Raises:
        SourceFailure: It cannot, and why.
        OSError: It cannot be read.
    """
    called = called or str(path)
    if not path.exists():
        raise SourceFailure(f"there is no {called}")
    if kind == "dataset":
        if not path.is_file():
            raise SourceFailure(f"{called} is a folder; a dataset is one file", "name the file inside it")
        return
    if not path.is_dir():
        raise SourceFailure(
            f"{called} is a file; a model is a folder", "name the folder with its config.json"
        )
    _require_model(path, called)


def no_safetensors(names: Iterable[str], what: str) -> SourceFailure:
    """The failure of a model without `*.safetensors`, which says what weights it has instead."""
    pickled = sorted(name for name in names if any(fnmatchcase(name, pattern) for pattern in PICKLED_FILES))
    has = f", only {', '.join(pickled)}, and pickled weights are never loaded" if pickled else ""
    return SourceFailure(
        f"{what} has no *.safetensors{has}",
        "choose a revision or a model with safetensors, or save it so once (save_pretrained) and use file://",
    )


def _require_model(folder: Path, called: str) -> None:
    names = {entry.name for entry in folder.iterdir()}
    if "config.json" not in names:
        raise SourceFailure(f"{called} has no config.json", "name the folder that holds config.json")
    if not any(fnmatchcase(name, "*.safetensors") for name in names):
        raise no_safetensors(names, called)
    if _SHARD_INDEX in names:
        missing = sorted(_shards(folder / _SHARD_INDEX, called) - names)
        if missing:
            raise SourceFailure(f"{called} lacks {', '.join(missing)}, which {_SHARD_INDEX} names")
    if not any(fnmatchcase(name, pattern) for name in names for pattern in _TOKENIZER_FILES):
        raise SourceFailure(f"{called} has no tokenizer ({', '.join(_TOKENIZER_FILES)})")


def _shards(index: Path, called: str) -> set[str]:
    try:
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceFailure(f"{index.name} of {called} is no index of weights") from error


def _files_below(folder: Path) -> Iterator[Path]:
    """Every file in a folder; refuses what a listing would silently leave out."""
    for entry in folder.iterdir():
        if entry.is_dir():
            if entry.is_symlink():
                raise SourceFailure(f"{entry} is a link to a folder", "replace it by the folder itself")
            yield from _files_below(entry)
        else:
            yield entry


def _fact(path: Path) -> FileFact:
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode):
        raise SourceFailure(f"{path} is not a regular file")
    return FileFact(file_sha256(path), facts.st_size)
