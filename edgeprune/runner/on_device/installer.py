"""Answers one request: facts, an upload, a bundle's run, the way back.

The request is a line of JSON on standard input, with raw bytes behind it where something is sent. The answer
is a line of JSON after `MARK` on standard output, with raw bytes behind it where something is fetched. Shells
and start-up files may have said something before the mark.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Callable, Mapping, Optional

from ..manifest import FILE, RUNNER, WHEELS, Manifest, parse_manifest, sha256_of
from ..processor import describe_own
from ..selftest import unfit
from ..variant import RunnerError
from .facts import collect, free_bytes
from .home import NAME, Home, flush, flush_tree
from .receiving import copy_bytes, drop_damaged, receive, sizes_here, take_over
from .refusal import UNREACHABLE, UNSUPPORTED, USAGE, Refusal, disk_full, of_system
from .trying import make_site, run_runner, self_test

__all__ = ["COMMANDS", "MARK", "main"]

MARK = b"\x1eedgeprune\x1e"

_SENT = "the manifest that was sent"
_ABANDONED = 3600.0  # seconds without a change, after which another upload is not under way any more
_SPARE = 1 << 20  # bytes for folders, links and what the self-test writes

Request = Mapping[str, Any]


def main(given: BinaryIO, out: BinaryIO) -> int:
    """Answers the request that `given` holds, and returns the exit code."""
    request = json.loads(given.readline())
    try:
        return COMMANDS[request["command"]](request, given, out) or 0
    except Refusal as refusal:
        _answer(out, {"refused": refusal.answer})
    except RunnerError as error:
        _answer(out, {"refused": Refusal(UNSUPPORTED, str(error)).answer})
    except OSError as error:
        _answer(out, {"refused": of_system(error).answer})
    return 0


def say_facts(request: Request, given: BinaryIO, out: BinaryIO) -> None:
    """What this machine is, and which bundles it has. Changes nothing."""
    root = _root(request)
    homes = [Home(root, folder.name) for folder in _bundles(root)]
    bundles = {home.folder.name: home.versions() for home in homes}
    facts = {**collect(root, request["distributions"]), "root": str(root)}
    _answer(out, {"facts": facts, "bundles": bundles})


def check(request: Request, given: BinaryIO, out: BinaryIO) -> None:
    """Says what this machine lacks for a bundle, one sentence each. Changes nothing."""
    _answer(out, {"problems": _problems(parse_manifest(request["manifest"], _SENT))})


def prepare(request: Request, given: BinaryIO, out: BinaryIO) -> None:
    """Says how many bytes of each file are here, after taking over what other versions have of them.

    Nothing changes where the bundle cannot run.
    """
    home, manifest = _home_and_manifest(request)
    problems = _problems(manifest)
    if problems:
        _answer(out, {"problems": problems})
        return
    with home.locked(request["patience"]):
        if home.is_whole(manifest.version):
            _answer(out, {"problems": [], "whole": True, "sizes": {}})
            return
        incoming = home.incoming / manifest.version
        home.drop_uploads(keep=manifest.version, untouched=_ABANDONED)
        incoming.mkdir(parents=True, exist_ok=True)
        sizes = sizes_here(incoming, manifest)
        needed = manifest.total_bytes - sum(sizes.values()) + _SPARE
        if free_bytes(home.folder) < needed:
            home.drop_uploads(keep=manifest.version)
        missing = needed - free_bytes(home.folder)
        if missing > 0:
            raise disk_full(home.folder, missing)
        sizes = take_over(home.releases, incoming, manifest, sizes)
        _answer(out, {"problems": [], "whole": False, "sizes": sizes})


def install(request: Request, given: BinaryIO, out: BinaryIO) -> None:
    """Receives what is missing, checks all of it, tries it out, and lets it answer if that is asked for."""
    home, manifest = _home_and_manifest(request)
    release, incoming = home.release(manifest.version), home.incoming / manifest.version
    with home.locked(request["patience"]):
        if home.is_whole(manifest.version):
            self_test(release)
        else:
            incoming.mkdir(parents=True, exist_ok=True)
            (incoming / FILE).write_text(request["manifest"], encoding="ascii")
            receive(given, incoming, manifest)
            damaged = drop_damaged(incoming, manifest)
            if damaged:
                _answer(out, {"damaged": damaged})
                return
            make_site(incoming)
            self_test(incoming)
            _publish(home, incoming, release)
        replaced = home.activate(manifest.version) if request["activate"] else None
        _answer(out, {"replaced": replaced, "path": str(release)})


def activate(request: Request, given: BinaryIO, out: BinaryIO) -> None:
    """Lets a version answer that is installed already."""
    home, version = Home(_root(request), request["name"]), request["version"]
    if not NAME.match(version):
        raise Refusal(USAGE, f"{version!r} is no version of a bundle")
    with home.locked(request["patience"]):
        if not home.is_whole(version):
            raise Refusal(UNSUPPORTED, f"version {version} is not there whole", "deploy it again")
        _answer(out, {"replaced": home.activate(version)})


def roll_back(request: Request, given: BinaryIO, out: BinaryIO) -> None:
    """Lets the version before answer again, and keeps the one that answers now to go back to."""
    root, name = _root(request), request["name"]
    home = Home(root, name)
    if not home.releases.is_dir():
        there = ", ".join(folder.name for folder in _bundles(root))
        hint = f"there are: {there}" if there else "deploy one first"
        raise Refusal(USAGE, f"no bundle {name!r} is installed in {root}", hint)
    with home.locked(request["patience"]):
        now, before = home.linked("current"), home.linked("previous")
        if before is None or before == now:
            raise Refusal(USAGE, f"{name} has no earlier version in {root}", "deploy the one that you want")
        if not home.is_whole(before):
            raise Refusal(UNSUPPORTED, f"version {before} was changed on the device", "deploy it again")
        home.point("current", before)
        if now is not None:
            home.point("previous", now)
        _answer(out, home.versions())


def run(request: Request, given: BinaryIO, out: BinaryIO) -> int:
    """Runs the runner of the bundle in a folder; what is behind the request is its standard input."""
    folder = _root(request) / request["path"]
    if not (folder / RUNNER / "__main__.py").is_file():
        raise Refusal(UNREACHABLE, f"there is no bundle in {folder}", "deploy it")
    _answer(out, {})
    return run_runner(folder, request["words"])


def fetch(request: Request, given: BinaryIO, out: BinaryIO) -> None:
    """Sends a file."""
    path = _root(request) / request["path"]
    digest = sha256_of(path)
    with path.open("rb") as stream:
        _answer(out, {"sha256": digest})
        shutil.copyfileobj(stream, out)


def put(request: Request, given: BinaryIO, out: BinaryIO) -> None:
    """Receives a file into the work folder of a bundle; it is there whole or not at all."""
    home = Home(_root(request), request["name"])
    if not NAME.match(request["file"]):
        raise Refusal(USAGE, f"{request['file']!r} is no name of a file on a device")
    home.work.mkdir(parents=True, exist_ok=True)
    path = home.work / request["file"]
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as stream:
            copy_bytes(given, stream, request["bytes"])
        if sha256_of(partial) != request["sha256"]:
            raise Refusal(UNREACHABLE, f"{path.name} was damaged on its way", "say the same again")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    _answer(out, {"path": str(path)})


def clean(request: Request, given: BinaryIO, out: BinaryIO) -> None:
    """Deletes half-done uploads and the work folder of a bundle."""
    home = Home(_root(request), request["name"])
    if home.folder.is_dir():
        with home.locked(request["patience"]):
            for folder in (home.incoming, home.work):
                if folder.is_dir():
                    shutil.rmtree(folder)
    _answer(out, {})


COMMANDS: Mapping[str, Callable[[Request, BinaryIO, BinaryIO], Optional[int]]] = {
    "facts": say_facts,
    "check": check,
    "prepare": prepare,
    "install": install,
    "activate": activate,
    "rollback": roll_back,
    "run": run,
    "fetch": fetch,
    "put": put,
    "clean": clean,
}


def _root(request: Request) -> Path:
    return Path.home() / str(request["root"])


def _bundles(root: Path) -> list[Path]:
    """Folders of the bundles that were put below `root`, by name."""
    return sorted(path.parent for path in root.glob("*/releases") if NAME.match(path.parent.name))


def _home_and_manifest(request: Request) -> tuple[Home, Manifest]:
    manifest = parse_manifest(request["manifest"], _SENT)
    return Home(_root(request), manifest.name), manifest


def _problems(manifest: Manifest) -> list[str]:
    if any(name.startswith(f"{WHEELS}/") for name in manifest.files):
        manifest = replace(manifest, requirements=[])  # it brings them
    return unfit(manifest, describe_own())


def _publish(home: Home, incoming: Path, release: Path) -> None:
    """Makes a tried upload a release, after the disk holds all of it."""
    flush_tree(incoming)
    home.releases.mkdir(exist_ok=True)
    if release.exists():  # it was damaged here
        home.discard(release)
    incoming.rename(release)
    flush(home.releases)


def _answer(out: BinaryIO, document: Mapping[str, Any]) -> None:
    out.write(MARK + json.dumps(document).encode("ascii") + b"\n")
    out.flush()
