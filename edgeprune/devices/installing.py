"""Puts a bundle on a device, runs it there, takes files back. The same for every kind of device.

What happens there, and why a broken-off upload leaves the device as it was: `runner.on_device.home`.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeprune.devices.asking import ask
from edgeprune.devices.checking import Versions, facts, refuse
from edgeprune.devices.contract import PATIENCE, Answer, Device
from edgeprune.errors import DeviceError, UnsupportedError
from edgeprune.runner.manifest import Manifest, manifest_text, problems, read_manifest
from edgeprune.runner.variant import RunnerError

__all__ = [
    "Installed",
    "activate",
    "clean",
    "fetch",
    "install",
    "put",
    "rollback",
    "run_bundle",
    "versions",
    "whole",
]

Progress = Callable[[int, int], None]

_PIECE = 1 << 18
_SLOWEST = 20_000  # bytes a second, below which an upload is given up
_BUSY = 60.0  # seconds that somebody else's change is waited for
_AGAIN = "say the same again: it goes on from where it was"


@dataclass(frozen=True)
class Installed:
    """A bundle that is on a device, tried out there.

    Attributes:
        name: Of the bundle.
        version: Of the bundle.
        path: Its folder on the device, absolute.
        sent_bytes: Bytes of its files that went over the line.
        already: Bytes of its files that were there: from another version, or an upload that broke off.
        seconds: From the first question to the answer that it is installed.
        replaced: Version that answered before; None: there was none, or it was this one, or it still does.
    """

    name: str
    version: str
    path: str
    sent_bytes: int
    already: int
    seconds: float
    replaced: str | None


def install(
    device: Device, folder: Path, progress: Progress | None = None, *, activate: bool = True
) -> Installed:
    """Puts the bundle in `folder` on a device, tries it out there, and lets it answer.

    Until it has passed its own test there, the version that answered before answers on; that one is kept for
    `rollback`. An upload that broke off goes on from where it was.

    Args:
        device: Where to.
        folder: A bundle, as a folder.
        progress: Called with bytes that are there and bytes in all.
        activate: Whether it answers from now on; else `activate` has it do so later.

    Raises:
        UnsupportedError: The bundle is not whole, or the device cannot run it.
        DeviceError: The device cannot be reached, its disk is full, the connection broke off, or somebody
            else is installing the same bundle.
    """
    start = time.monotonic()
    manifest = whole(folder)
    request = {"manifest": manifest_text(manifest), "patience": _BUSY, "activate": activate}
    patience = PATIENCE + manifest.total_bytes / _SLOWEST
    sent = 0
    for _ in range(2):  # what was damaged by an upload that broke off is deleted there, and sent once more
        state = ask(device, "prepare", request, patience=PATIENCE).document
        refuse(device, manifest, state["problems"])
        upload = _Upload(folder, manifest, {} if state["whole"] else state["sizes"], progress)
        frames = _END if state["whole"] else upload.frames()
        answer = ask(device, "install", request, frames, patience).document
        sent += upload.sent
        if "damaged" not in answer:
            return Installed(
                name=manifest.name,
                version=manifest.version,
                path=answer["path"],
                sent_bytes=sent,
                already=max(0, manifest.total_bytes - sent),
                seconds=time.monotonic() - start,
                replaced=answer["replaced"],
            )
    damaged = ", ".join(answer["damaged"])
    raise DeviceError(
        f"files arrive damaged or get lost: {damaged}",
        where=device.name,
        hint="say the same again; if that does not help, look at its disk and memory",
    )


def activate(device: Device, name: str, version: str) -> str | None:
    """Lets an installed version of a bundle answer; the one that did is kept for `rollback`.

    Returns:
        The version that answered before; None where there was none, or it was this one.

    Raises:
        UnsupportedError: That version is not there whole.
        DeviceError: The device cannot be reached.
    """
    request = {"name": name, "version": version, "patience": _BUSY}
    replaced: str | None = ask(device, "activate", request).document["replaced"]
    return replaced


def rollback(device: Device, name: str) -> Versions:
    """Lets the version before answer again; a second time goes forward again.

    Returns:
        What is there now.

    Raises:
        UsageError: There is no such bundle, or no earlier version of it.
        UnsupportedError: The earlier version was changed on the device.
        DeviceError: The device cannot be reached.
    """
    return Versions.of(ask(device, "rollback", {"name": name, "patience": _BUSY}).document)


def versions(device: Device, name: str) -> Versions:
    """What is installed of a bundle; all empty where nothing is.

    Raises:
        DeviceError: The device cannot be reached.
    """
    found = facts(device, ())
    return found.bundles.get(name, Versions(None, None, (), f"{found.root}/{name}"))


def run_bundle(
    device: Device,
    path: str,
    words: Sequence[str],
    given: bytes = b"",
    patience: float = PATIENCE,
) -> Answer:
    """Runs an installed bundle's runner, with the packages that came with it.

    Args:
        device: Where it is.
        path: Its folder there; `Installed.path`, or ``NAME/current`` below the device's root.
        words: Command of the runner and what belongs to it.
        given: Standard input of the runner.
        patience: Seconds after which it is given up.

    Returns:
        What the runner said, whatever its exit code.

    Raises:
        DeviceError: The device cannot be reached, or there is no bundle in `path`.
    """
    reply = ask(device, "run", {"path": path, "words": list(words)}, given, patience)
    return Answer(reply.code, reply.rest, reply.err)


def put(device: Device, name: str, file: str, content: bytes) -> str:
    """Writes a file into the work folder of a bundle on a device, and returns its path there; see `clean`.

    Raises:
        UsageError: `name` or `file` has characters that no bundle has.
        DeviceError: The device cannot be reached, or its disk is full.
    """
    request = {
        "name": name,
        "file": file,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    path: str = ask(device, "put", request, content).document["path"]
    return path


def fetch(device: Device, path: str) -> bytes:
    """Content of a file on a device.

    Raises:
        DeviceError: The device cannot be reached, there is no such file, or it was damaged on its way.
    """
    reply = ask(device, "fetch", {"path": path})
    if hashlib.sha256(reply.rest).hexdigest() != reply.document["sha256"]:
        raise DeviceError(f"{path} was damaged on its way", where=device.name, hint="say the same again")
    return reply.rest


def clean(device: Device, name: str) -> None:
    """Deletes half-done uploads and the work folder of a bundle on a device.

    Raises:
        DeviceError: The device cannot be reached.
    """
    ask(device, "clean", {"name": name, "patience": _BUSY})


def whole(folder: Path) -> Manifest:
    """What the bundle in `folder` says about itself, after each of its files was compared with it.

    Raises:
        UnsupportedError: It is no bundle, or a file is missing or was changed.
    """
    try:
        manifest = read_manifest(folder)
        found = problems(folder, manifest)
    except (RunnerError, OSError) as error:
        raise UnsupportedError(str(error), hint="make the bundle again: `edgeprune bundle`") from error
    if found:
        raise UnsupportedError(
            f"the bundle is not whole: {'; '.join(found)}",
            where=str(folder),
            hint="make the bundle again: `edgeprune bundle`",
        )
    return manifest


_END = b'{"end": true}\n'


class _Upload:
    """The files of a bundle as frames; counts what it gives.

    Args:
        folder: The bundle.
        manifest: Of the bundle.
        sizes: Bytes of each file that are there.
        progress: See `install`.
    """

    def __init__(
        self, folder: Path, manifest: Manifest, sizes: Mapping[str, int], progress: Progress | None
    ) -> None:
        self.sent = 0
        self._folder, self._manifest, self._sizes, self._progress = folder, manifest, sizes, progress

    def frames(self) -> Iterator[bytes]:
        here, total = sum(self._sizes.values()), self._manifest.total_bytes
        for name, file in self._manifest.files.items():
            offset = self._sizes.get(name, 0)
            if offset == file.bytes and offset:
                continue
            header = {"path": name, "offset": offset, "bytes": file.bytes - offset}
            yield json.dumps(header).encode("ascii") + b"\n"
            with (self._folder / name).open("rb") as stream:
                stream.seek(offset)
                left = file.bytes - offset
                while left:
                    piece = stream.read(min(_PIECE, left))
                    if not piece:
                        message = f"{name} became shorter while it was sent"
                        raise DeviceError(message, where=str(self._folder), hint=_AGAIN)
                    yield piece
                    left -= len(piece)
                    self.sent += len(piece)
                    if self._progress:
                        self._progress(here + self.sent, total)
        yield _END
