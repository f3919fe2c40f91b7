"""Wheels for a device, fetched here: what the runner needs and no more; the device needs no network."""

from __future__ import annotations

import re
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.assets.asset import SourceFailure
from edgeprune.assets.pip import download, run_pip
from edgeprune.errors import AssetError, UnsupportedError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__ = ["UNUSED", "fetch_wheels", "left_out", "unpack_wheels"]

UNUSED: Mapping[str, frozenset[str]] = {
    "onnxruntime": frozenset({"coloredlogs", "flatbuffers", "packaging", "protobuf", "sympy"}),
    "openvino": frozenset({"openvino-telemetry", "packaging"}),
    "tokenizers": frozenset({"huggingface-hub"}),
}
"""What a package asks for and its part that answers does not import: converters, downloads, telemetry."""

_ARCHITECTURES = ("aarch64", "x86_64")
# manylinux_2_28 is as far as Debian 10, Ubuntu 18.10 and everything later goes.
_OLDEST_GLIBC, _NEWEST_GLIBC = 17, 28
_ROUNDS = 5


def fetch_wheels(requirements: Sequence[str], architecture: str, python: str, folder: Path) -> list[Path]:
    """Fetches wheels with the user's pip, for another machine with Linux and glibc.

    What a wheel asks for is fetched too unless the runner does not use it (`UNUSED`; `left_out` names it),
    and where two ask for versions of a third, it gets one that suits both.

    Args:
        requirements: As pip takes them, e.g. ``numpy``, ``onnxruntime>=1.20``.
        architecture: ``aarch64`` or ``x86_64``.
        python: Version of the Python there, e.g. ``3.11``.
        folder: Where to put them; made if missing. Nothing is put there before all are had.

    Returns:
        The wheels, by name.

    Raises:
        AssetError: One cannot be had, or no versions suit each other.
        UnsupportedError: There are no wheels for such a machine.
        ValueError: A requirement is none.
    """
    from packaging.requirements import Requirement

    environment = _environment(architecture, python)
    wanted: dict[str, Requirement] = {}
    for text in requirements:
        _want(wanted, Requirement(text), environment)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".wheels-", dir=folder) as partial:
        wheels = _consistent(wanted, architecture, python, Path(partial))
        return sorted(wheel.replace(folder / wheel.name) for wheel in wheels)


def left_out(wheels: Iterable[Path], architecture: str, python: str) -> list[str]:
    """What the wheels ask for and do not get, as ``huggingface-hub (tokenizers asks for it)``."""
    environment = _environment(architecture, python)
    return sorted(
        f"{_canonical(requirement.name)} ({_name(wheel)} asks for it)"
        for wheel in wheels
        for requirement in _asked(wheel, environment)
        if _is_unused(_name(wheel), requirement)
    )


def unpack_wheels(wheels: Iterable[Path], architecture: str, python: str, folder: Path) -> None:
    """Installs wheels for another machine into a folder that is to be on its Python's path.

    Raises:
        AssetError: One does not fit that machine, or cannot be unpacked.
        UnsupportedError: There are no wheels for such a machine.
    """
    found = list(wheels)
    words = ["--isolated", "--no-deps", "--no-index", "--no-compile", "--only-binary=:all:"]
    words += [*_options(architecture, python), "--target", str(folder)]
    # By name and not by path, which pip would note in what it installs.
    words += [f"--find-links={parent}" for parent in sorted({str(wheel.parent) for wheel in found})]
    code, output = run_pip("install", [*words, *(_exactly(wheel) for wheel in found)])
    if code != 0:
        lines = [line for line in output.splitlines() if "ERROR" in line] or [output.strip()]
        raise AssetError(f"pip cannot unpack wheels for {architecture}, Python {python}: {lines[-1]}")


def _consistent(wanted: dict[str, Requirement], architecture: str, python: str, folder: Path) -> list[Path]:
    """Wheels that ask for nothing that is not among them; `wanted` grows until that holds."""
    environment = _environment(architecture, python)
    had: dict[str, tuple[str, Path]] = {}
    for _ in range(_ROUNDS):
        for name, requirement in wanted.items():
            pin = _pin(requirement)
            if had.get(name, ("",))[0] != pin:
                if name in had:
                    had[name][1].unlink()
                had[name] = (pin, _download(pin, architecture, python, folder))
        asked = [
            (_name(wheel), requirement)
            for _, wheel in had.values()
            for requirement in _asked(wheel, environment)
        ]
        news = [
            requirement
            for owner, requirement in asked
            if not _is_unused(owner, requirement) and not _is_met(requirement, had)
        ]
        if not news:
            return [wheel for _, wheel in had.values()]
        for requirement in news:
            _want(wanted, requirement, environment)
    raise AssetError(
        f"no versions for {architecture}, Python {python} suit each other: "
        + ", ".join(_pin(requirement) for requirement in wanted.values()),
        hint="name versions that do in requirements",
    )


def _want(wanted: dict[str, Requirement], requirement: Requirement, environment: dict[str, str]) -> None:
    if requirement.marker is not None and not requirement.marker.evaluate(environment):
        return
    name = _canonical(requirement.name)
    if name in wanted:
        requirement.specifier &= wanted[name].specifier
        requirement.extras |= wanted[name].extras
    wanted[name] = requirement


def _pin(requirement: Requirement) -> str:
    """Name and versions; extras are more packages, which `_asked` leaves out like any other extra."""
    return f"{requirement.name}{requirement.specifier}"


def _download(pin: str, architecture: str, python: str, folder: Path) -> Path:
    machine = f"{architecture}, Python {python}"
    try:
        return download(pin, folder, options=_options(architecture, python), machine=machine)
    except SourceFailure as failure:
        raise AssetError(f"{pin} for {machine}: {failure.reason}", hint=failure.hint) from failure


def _asked(wheel: Path, environment: dict[str, str]) -> Iterator[Requirement]:
    """What a wheel depends on over there, without its extras."""
    from packaging.requirements import Requirement

    with zipfile.ZipFile(wheel) as archive:
        names = (name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
        headers = BytesHeaderParser().parsebytes(archive.read(next(names)))
    for text in headers.get_all("Requires-Dist", []):
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            yield requirement


def _is_met(requirement: Requirement, had: Mapping[str, tuple[str, Path]]) -> bool:
    from packaging.utils import parse_wheel_filename

    entry = had.get(_canonical(requirement.name))
    return entry is not None and requirement.specifier.contains(
        parse_wheel_filename(entry[1].name)[1], prereleases=True
    )


def _is_unused(owner: str, requirement: Requirement) -> bool:
    return _canonical(requirement.name) in UNUSED.get(owner, ())


def _name(wheel: Path) -> str:
    from packaging.utils import parse_wheel_filename

    return str(parse_wheel_filename(wheel.name)[0])


def _exactly(wheel: Path) -> str:
    from packaging.utils import parse_wheel_filename

    name, version, _, _ = parse_wheel_filename(wheel.name)
    return f"{name}=={version}"


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _options(architecture: str, python: str) -> list[str]:
    """What tells pip which machine the wheels are for; it prefers the platform that it is told first."""
    _require_known(architecture, python)
    minors = range(_NEWEST_GLIBC, _OLDEST_GLIBC - 1, -1)
    platforms = [f"manylinux_2_{minor}_{architecture}" for minor in minors] + [
        f"manylinux2014_{architecture}"
    ]
    return [
        f"--python-version={python}",
        "--implementation=cp",
        *(f"--platform={name}" for name in platforms),
    ]


def _environment(architecture: str, python: str) -> dict[str, str]:
    """What markers of requirements are evaluated against."""
    _require_known(architecture, python)
    major_minor = ".".join(python.split(".")[:2])
    return {
        "extra": "",
        "implementation_name": "cpython",
        "implementation_version": python,
        "os_name": "posix",
        "platform_machine": architecture,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": python if python.count(".") > 1 else f"{python}.0",
        "python_version": major_minor,
        "sys_platform": "linux",
    }


def _require_known(architecture: str, python: str) -> None:
    if architecture not in _ARCHITECTURES:
        known = " and ".join(_ARCHITECTURES)
        raise UnsupportedError(f"wheels are fetched for {known}, not for {architecture!r}")
    if not re.fullmatch(r"3\.[0-9]+(\.[0-9]+)?", python):
        raise UnsupportedError(f"wheels are fetched for Python 3.x, not for {python!r}")
