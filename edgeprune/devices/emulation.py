"""The emulated machine: a Python for 64-bit ARM with the runner's libraries, run by QEMU, made once and kept.

    <cache>/emulator/<name>/record.json     what it is made of
    <cache>/emulator/<name>/sysroot/        Debian packages, unpacked; QEMU looks here first for any path
    <cache>/emulator/<name>/python/         a virtual environment on that Python: bin/python3 starts QEMU
    <cache>/emulator/<name>/bytecode/       what Python compiles as it goes
    <cache>/emulator/home/                  its user's home, where bundles are installed

`<name>` is the hash of what it is made from. It is there whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from edgeprune.devices.arm_processor import MODEL, cpuinfo
from edgeprune.devices.qemu import TEXTS, Qemu, find_qemu, interpreter, run, write_interpreter
from edgeprune.devices.sysroot import PACKAGES, Package, unpack
from edgeprune.devices.wheels import fetch_wheels, left_out, unpack_wheels
from edgeprune.durable import flush
from edgeprune.errors import DeviceError, UnsupportedError

__all__ = ["ARCHITECTURE", "Machine", "find", "home", "prepare"]

ARCHITECTURE = "aarch64"

_FORMAT = "edgeprune.emulator/1"
_RECORD = "record.json"
_LIBRARIES = ("numpy", "onnxruntime", "tokenizers")
_HARDWARE = "import ctypes; f = ctypes.CDLL(None).getauxval; f.restype = ctypes.c_ulong; print(f(16))"
_LOOK = f"""\
import json, platform
from importlib import import_module
print(json.dumps({{
    "machine": platform.machine(), "python": platform.python_version(), "libc": " ".join(platform.libc_ver()),
    "libraries": {{name: import_module(name).__version__ for name in {_LIBRARIES!r}}},
}}))
"""


@dataclass(frozen=True)
class Machine:
    """An emulated machine that is there.

    Attributes:
        folder: Where it is.
        qemu: Version of QEMU.
        cpu: Processor that QEMU imitates.
        python: Version of its Python.
        libc: Version of its C library.
        libraries: Installed Python package to version.
        packages: Debian package to version and hash.
        wheels: Name of each wheel to its SHA-256.
        left_out: What the wheels ask for and the runner does not use.
        digest: SHA-256 over its files.
    """

    folder: Path
    qemu: str
    cpu: str
    python: str
    libc: str
    libraries: dict[str, str]
    packages: dict[str, Package]
    wheels: dict[str, str]
    left_out: list[str] = field(default_factory=list)
    digest: str = ""

    @property
    def interpreter(self) -> Path:
        """Its Python, to be started as ``sh PATH``."""
        return interpreter(self.folder)


def home(cache: Path) -> Path:
    """The emulated user's home; outlives the machine that it is used with."""
    return cache.absolute() / "emulator" / "home"


def find(cache: Path) -> Machine | None:
    """The machine, if it was made here.

    Args:
        cache: Folder of all that edgeprune keeps.

    Raises:
        UnsupportedError: QEMU is not installed.
    """
    return _read(_Place.below(cache).folder)


def prepare(cache: Path, say: Callable[[str], None] = lambda text: None) -> Machine:
    """The machine; made, if it is not there or its files were changed. Takes a minute or two then.

    Args:
        cache: Folder of all that edgeprune keeps.
        say: Is told what takes long, and that a changed machine is made again.

    Raises:
        DeviceError: apt's sources cannot be reached.
        AssetError: A wheel cannot be had.
        UnsupportedError: QEMU, apt or packages for ARM are not there, or the machine does not run.
    """
    place = _Place.below(cache)
    with place.locked(say):
        made = _read(place.folder)
        if made is not None:
            if made.digest == _digest(place.folder):
                return made
            say(f"{place.folder} was changed since it was made; it is made again")
        with place.staging() as folder:
            _make(folder, place.qemu, say)
            place.publish(folder)
    found = _read(place.folder)
    if found is None:
        raise DeviceError(f"{place.folder} vanished as soon as it was made", hint="say the same again")
    return found


@dataclass(frozen=True)
class _Place:
    """Where the machine of these ingredients is, or is to be."""

    root: Path
    qemu: Qemu
    name: str

    @classmethod
    def below(cls, cache: Path) -> _Place:
        qemu = find_qemu()
        texts = (*TEXTS, cpuinfo(0, os.cpu_count() or 1))
        ingredients = [_FORMAT, qemu.program, qemu.version, MODEL, *texts, PACKAGES, _requirements()]
        digest = hashlib.sha256(json.dumps(ingredients).encode()).hexdigest()
        return cls(cache.absolute() / "emulator", qemu, f"{ARCHITECTURE}-{digest[:16]}")

    @property
    def folder(self) -> Path:
        return self.root / self.name

    @contextmanager
    def locked(self, say: Callable[[str], None]) -> Iterator[None]:
        import filelock

        self.root.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.root / f".{self.name}.lock")
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            say("another process is at work on the emulator; waiting for it")
            lock.acquire()
        try:
            for leftover in self.root.glob(f".{self.name}.partial.*"):
                shutil.rmtree(leftover, ignore_errors=True)
            yield
        finally:
            lock.release()

    @contextmanager
    def staging(self) -> Iterator[Path]:
        folder = Path(tempfile.mkdtemp(prefix=f".{self.name}.partial.", dir=self.root))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, staged: Path) -> None:
        """Everything is on the disk before it can be seen under its name."""
        for path in _files(staged):
            if not path.is_symlink():
                flush(path)
        if self.folder.exists():
            self.folder.rename(self.root / f".{self.name}.partial.replaced")
        staged.rename(self.folder)
        flush(self.root)


def _make(folder: Path, qemu: Qemu, say: Callable[[str], None]) -> None:
    """Makes the machine in an empty folder, and has it prove that it works."""
    sysroot_folder = folder / "sysroot"
    sysroot_folder.mkdir()
    sysroot = unpack(sysroot_folder, say)
    write_interpreter(folder, qemu, sysroot.python)
    features = int(run(folder, "-c", _HARDWARE))
    # Without it the libraries would read this machine's, and take its processor for an ARM one.
    (sysroot_folder / "proc").mkdir()
    text = cpuinfo(features, os.cpu_count() or 1)
    (sysroot_folder / "proc/cpuinfo").write_text(text, encoding="ascii")

    python = sysroot.python.rpartition("python")[2]
    site = folder / "python/lib" / f"python{python}" / "site-packages"
    say(f"pip: {', '.join(_requirements())} for {ARCHITECTURE}, Python {python}")
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        wheels = fetch_wheels(_requirements(), ARCHITECTURE, python, Path(scratch))
        unpack_wheels(wheels, ARCHITECTURE, python, site)
        hashes = {wheel.name: hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in wheels}
        dropped = left_out(wheels, ARCHITECTURE, python)
    say("first start of its libraries")
    seen: dict[str, Any] = json.loads(run(folder, "-c", _LOOK))
    if seen.pop("machine") != ARCHITECTURE:
        raise UnsupportedError(f"{qemu.version} runs another machine than {ARCHITECTURE}")
    shutil.rmtree(folder / "bytecode", ignore_errors=True)
    record = {
        "format": _FORMAT,
        "qemu": qemu.version,
        "cpu": MODEL,
        **seen,
        "packages": {name: asdict(package) for name, package in sysroot.packages.items()},
        "wheels": hashes,
        "left_out": dropped,
        "digest": _digest(folder),
    }
    (folder / _RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _requirements() -> list[str]:
    """The libraries of the runner, in the versions that models are compiled and checked with here."""
    return ["numpy", *(_as_here(name) for name in ("onnxruntime", "tokenizers"))]


def _as_here(name: str) -> str:
    try:
        return f"{name}=={metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return name


def _read(folder: Path) -> Machine | None:
    """None also for what an older edgeprune made or somebody cut short: it is made again."""
    try:
        record: dict[str, Any] = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        if record.pop("format") != _FORMAT:
            return None
        record["packages"] = {name: Package(**entry) for name, entry in record["packages"].items()}
        return Machine(folder, **record)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _files(folder: Path) -> Iterator[Path]:
    """All files and links below a folder, in one order."""
    for parent, folders, files in os.walk(folder):
        folders.sort()
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        yield from (Path(parent) / name for name in sorted([*files, *links]))


def _digest(folder: Path) -> str:
    """SHA-256 over names and contents of what was installed; not of what Python compiled from it."""
    digest = hashlib.sha256()
    for part in ("python", "sysroot"):
        for path in _files(folder / part):
            if path.is_symlink():
                content = os.fsencode(path.readlink())
            else:
                with path.open("rb") as stream:
                    content = hashlib.file_digest(stream, "sha256").digest()
            digest.update(os.fsencode(path.relative_to(folder)) + b"\0" + content + b"\n")
    return digest.hexdigest()
