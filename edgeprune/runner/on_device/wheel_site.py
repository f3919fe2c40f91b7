"""Makes a folder of importable packages out of wheels, without a network, with pip or without."""

from __future__ import annotations

import compileall
import os
import platform
import re
import shutil
import sys
import zipfile
from importlib import util
from pathlib import Path
from typing import Callable, Iterable, Iterator, NamedTuple

__all__ = ["Wheel", "fits", "fitting", "pip_words", "unpack", "wheels_in"]

_WHEEL = re.compile(r"([^-]+)-([^-]+)(?:-\d[^-]*)?-([^-]+)-([^-]+)-([^-]+)\.whl\Z")
# glibc that the old names of platforms stand for, PEP 600.
_LEGACY = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}


class Wheel(NamedTuple):
    """One wheel, as its file name tells (PEP 427)."""

    path: Path
    name: str
    version: str
    pythons: list[str]
    abis: list[str]
    platforms: list[str]


def wheels_in(folder: Path) -> list[Wheel]:
    """The wheels of a folder, by name; files with other names are none."""
    matches = ((path, _WHEEL.match(path.name)) for path in sorted(folder.glob("*.whl")))
    return [
        Wheel(path, match[1], match[2], *(match[part].split(".") for part in (3, 4, 5)))
        for path, match in matches
        if match
    ]


def pip_words(wheels: Iterable[Wheel], folder: Path, site: Path) -> list[str] | None:
    """What to give to ``python -m pip``, which picks the wheel that fits best; None where there is no pip.

    Dependencies are not followed: the bundle holds what its runner needs, and leaves out what it does not.
    """
    if util.find_spec("pip") is None:
        return None
    pins = sorted({f"{wheel.name}=={wheel.version}" for wheel in wheels})
    options = ["--isolated", "--no-input", "--disable-pip-version-check", "--no-cache-dir", "--quiet"]
    return [
        "install",
        *options,
        "--no-index",
        "--no-deps",
        f"--find-links={folder}",
        f"--target={site}",
        *pins,
    ]


def fitting(wheels: Iterable[Wheel]) -> tuple[list[Wheel], list[str]]:
    """One wheel of each distribution that this Python takes, and the names of those that have none."""
    chosen: dict[str, Wheel] = {}
    names: dict[str, None] = {}
    for wheel in wheels:
        names[wheel.name] = None
        if wheel.name not in chosen and fits(wheel):
            chosen[wheel.name] = wheel
    return list(chosen.values()), [name for name in names if name not in chosen]


def fits(wheel: Wheel) -> bool:
    """Whether this Python on this machine can import what the wheel holds."""
    own = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    return any(
        _python_fits(python, abi, own) and _platform_fits(system)
        for python in wheel.pythons
        for abi in wheel.abis
        for system in wheel.platforms
    )


def unpack(wheels: Iterable[Wheel], site: Path) -> None:
    """Writes the modules of each wheel into `site` and compiles them; scripts and headers are left out."""
    for wheel in wheels:
        with zipfile.ZipFile(wheel.path) as archive:
            for entry, name in _modules(archive):
                path = site.joinpath(*name.split("/"))
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as source, path.open("wb") as copy:
                    shutil.copyfileobj(source, copy)
    compileall.compile_dir(str(site), quiet=2)


def _modules(archive: zipfile.ZipFile) -> Iterator[tuple[zipfile.ZipInfo, str]]:
    """Entries that belong on the module path, and their places there."""
    for entry in archive.infolist():
        parts = entry.filename.split("/")
        if entry.is_dir() or ".." in parts or entry.filename.startswith("/"):
            continue
        if not parts[0].endswith(".data"):
            yield entry, entry.filename
        elif parts[1] in ("purelib", "platlib"):
            yield entry, "/".join(parts[2:])


def _python_fits(python: str, abi: str, own: str) -> bool:
    if abi == "none":
        return python in ("py3", own)
    if abi == "abi3":  # made for this Python or an older one
        minor = python[3:] if python.startswith("cp3") else ""
        return minor.isdigit() and int(minor) <= sys.version_info[1]
    return python == own and abi == own


def _platform_fits(tag: str) -> bool:
    machine = platform.machine().lower()
    if tag == "any":
        return True
    if sys.platform == "darwin":
        found = re.match(r"macosx_(\d+)_(\d+)_(\w+)\Z", tag)
        release = tuple(int(part) for part in platform.mac_ver()[0].split(".")[:2])
        return (
            bool(found) and found[3] in (machine, "universal2") and (int(found[1]), int(found[2])) <= release
        )
    if tag == f"linux_{machine}":
        return True
    modern = re.match(rf"manylinux_(\d+)_(\d+)_{machine}\Z", tag)
    needed = (int(modern[1]), int(modern[2])) if modern else _LEGACY.get(tag[: -len(machine) - 1])
    return needed is not None and tag.endswith(machine) and needed <= _glibc()


def _glibc() -> tuple[int, ...]:
    """Version of the C library; (0,) where it is another one, which no manylinux wheel fits."""
    confstr: Callable[[str], str | None] | None = getattr(os, "confstr", None)
    try:
        text = confstr("CS_GNU_LIBC_VERSION") if confstr else None
    except (OSError, ValueError):
        text = None
    return tuple(int(part) for part in text.split()[-1].split(".")[:2]) if text else (0,)
