"""A Debian system for another processor in a folder: C library, C++ library and Python, through apt.

apt is given lists, a cache and a package database of its own in a scratch folder, so it needs no rights and
the machine's own state stays as it is; sources, keys, proxies and passwords are those that are configured.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from edgeprune.errors import DeviceError, UnsupportedError

__all__ = ["PACKAGES", "Package", "Sysroot", "python_of", "unpack"]

PACKAGES = ("python3-minimal", "libpython3-stdlib", "libstdc++6")
"""What the wheels need of a system; apt adds what these depend on."""

_ARCHITECTURE = "arm64"
_SETTINGS = """\
APT::Architecture "{architecture}";
#clear APT::Architectures;
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
Dir::State "{scratch}/state";
Dir::State::status "{scratch}/state/status";
Dir::Cache "{scratch}/cache";
Dir::Log "{scratch}/log";
"""


@dataclass(frozen=True)
class Package:
    """One package that was unpacked.

    Attributes:
        version: As Debian writes it.
        sha256: Of its file, which apt has checked against the signed list of its source.
    """

    version: str
    sha256: str


@dataclass(frozen=True)
class Sysroot:
    """What a folder holds.

    Attributes:
        packages: By name.
        python: Path of its Python 3 in the folder, e.g. ``usr/bin/python3.11``.
    """

    packages: dict[str, Package]
    python: str


def unpack(folder: Path, say: Callable[[str], None]) -> Sysroot:
    """Fetches `PACKAGES` with all that they need for arm64, and unpacks them; none of their scripts is run.

    Args:
        folder: Existing empty folder.
        say: Is told what takes long.

    Raises:
        DeviceError: apt's sources cannot be reached.
        UnsupportedError: This is no Debian or Ubuntu, or its sources have no packages for arm64.
    """
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise UnsupportedError(
                f"this machine has no {program}, and the emulator is made of Debian packages",
                hint="use a machine with Debian or Ubuntu, or a real device: `edgeprune device add`",
            )
    with tempfile.TemporaryDirectory(prefix="edgeprune-apt-") as name:
        packages = {}
        for file in _download(Path(name), say):
            _run(["dpkg-deb", "--extract", str(file), str(folder)])
            title, version, _ = file.stem.split("_")
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            packages[title] = Package(unquote(version), digest)
    _mend(folder)
    return Sysroot(dict(sorted(packages.items())), python_of(folder))


def python_of(folder: Path) -> str:
    """Path of a sysroot's Python 3 in it, without links.

    Raises:
        UnsupportedError: It has none.
    """
    found = sorted(folder.glob("usr/bin/python3.[0-9]*"))
    files = [path for path in found if re.fullmatch(r"python3\.[0-9]+", path.name)]
    if len(files) != 1:
        raise UnsupportedError(f"the packages for {_ARCHITECTURE} bring {len(files)} Python 3 instead of one")
    return files[0].relative_to(folder).as_posix()


def _download(scratch: Path, say: Callable[[str], None]) -> list[Path]:
    # apt fetches as a user of its own where it is run by root; there is nothing secret in here.
    scratch.chmod(0o755)
    for part in ("state/lists/partial", "cache/archives/partial", "log"):
        (scratch / part).mkdir(parents=True)
    (scratch / "state/status").touch()
    settings = scratch / "apt.conf"
    settings.write_text(_SETTINGS.format(architecture=_ARCHITECTURE, scratch=scratch), encoding="utf-8")
    say(f"apt: lists of packages for {_ARCHITECTURE}")
    updated = _run(["apt-get", "-c", str(settings), "update"])
    say(f"apt: {', '.join(PACKAGES)} and what they need")
    command = ["apt-get", "-c", str(settings), "install", "--download-only", "--yes", *PACKAGES]
    fetched = _run(command)
    files = sorted((scratch / "cache/archives").glob("*.deb"))
    if fetched.returncode != 0 or not files:
        raise _failure(updated.stdout, fetched.stdout)
    return files


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Runs a program of Debian's; what it says on standard error is put in with the rest."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
        check=False,
    )
    if command[0] == "dpkg-deb" and done.returncode != 0:
        raise DeviceError(f"{Path(command[2]).name} cannot be unpacked: {done.stdout.strip()}")
    return done


def _failure(updated: str, fetched: str) -> DeviceError | UnsupportedError:
    """What apt's words mean; the address of a source may hold a password, so it is masked."""
    lines = re.sub(r"://[^/@\s]+@", "://***@", f"{updated}\n{fetched}").splitlines()
    unreached = [line for line in lines if re.match(r"(W|E): (Failed to fetch|Unable to connect)", line)]
    if unreached:
        return DeviceError(
            f"apt cannot reach its sources: {unreached[0][3:]}",
            hint="check the network and apt's sources and proxy (`apt-get update` must work)",
        )
    errors = [line[3:] for line in lines if line.startswith("E: ")] or ["apt fetched nothing"]
    return UnsupportedError(
        f"apt's sources give no system for {_ARCHITECTURE}: {errors[0]}",
        hint="Debian's own sources have one; on Ubuntu add its ports (deb [arch=arm64] …/ubuntu-ports …)",
    )


def _mend(folder: Path) -> None:
    """Makes links stay in the folder, gives newer Debians the /lib that base-files makes, drops documents."""
    shutil.rmtree(folder / "usr/share", ignore_errors=True)
    if not (folder / "lib").exists():
        (folder / "lib").symlink_to("usr/lib")
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() and (target := os.readlink(path)).startswith("/"):  # noqa: PTH115
            path.unlink()
            path.symlink_to(os.path.relpath(f"{folder}{target}", path.parent))
