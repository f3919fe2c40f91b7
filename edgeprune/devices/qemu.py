"""QEMU's program for one process of another processor, and a Python that is started through it."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edgeprune.devices.arm_processor import MODEL
from edgeprune.errors import UnsupportedError

__all__ = ["TEXTS", "Qemu", "find_qemu", "interpreter", "run", "write_interpreter"]

_PROGRAMS = ("qemu-aarch64-static", "qemu-aarch64")
_TIMEOUT_SECONDS = 600

# Python finds itself by its name (-0), so that `sys.executable` starts QEMU again. Its bytecode has a place
# of its own: a path that the sysroot lacks is one of this machine, and nothing of that may be written to.
_START = """\
#!/bin/sh
ulimit -c 0
here="${{0%/*/*/*}}"
exec {qemu} -cpu {cpu} -L "$here/sysroot" -0 "$0" "$here/sysroot/{python}" \\
  -X pycache_prefix="$here/bytecode" "$@"
"""
_VIRTUAL = "home = /usr/bin\ninclude-system-site-packages = false\n"
TEXTS = (_START, _VIRTUAL)
"""What `write_interpreter` writes, before it is filled in."""


@dataclass(frozen=True)
class Qemu:
    """The program and what it says its version is."""

    program: str
    version: str


def interpreter(folder: Path) -> Path:
    """The Python of a machine's folder, to be started as ``sh PATH``."""
    return folder / "python/bin/python3"


def write_interpreter(folder: Path, qemu: Qemu, python: str) -> None:
    """Writes what starts QEMU, as the interpreter of a virtual environment on a sysroot's Python.

    Args:
        folder: The machine's; its sysroot is there.
        qemu: What to start.
        python: Path of Python in the sysroot.
    """
    path = interpreter(folder)
    path.parent.mkdir(parents=True)
    path.write_text(_START.format(qemu=qemu.program, cpu=MODEL, python=python), encoding="ascii")
    path.chmod(0o755)
    (folder / "python/pyvenv.cfg").write_text(_VIRTUAL, encoding="ascii")


def run(folder: Path, *words: str) -> str:
    """What a machine's Python prints.

    Args:
        folder: The machine's.
        words: What stands after ``python3``.

    Raises:
        UnsupportedError: It fails or hangs.
    """
    command = ["sh", str(interpreter(folder)), *words]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"},
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UnsupportedError(f"the emulator did not answer within {_TIMEOUT_SECONDS} seconds") from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        raise UnsupportedError(
            f"the emulator does not run here (exit code {done.returncode}): {lines[-1]}",
            hint="QEMU 7.2 is known to work; a real device does without: `edgeprune device add`",
        )
    return done.stdout


def find_qemu() -> Qemu:
    """The program, under the name that this system gives it.

    Raises:
        UnsupportedError: There is none.
    """
    for program in _PROGRAMS:
        path = shutil.which(program)
        if path is not None:
            done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
            if done.returncode == 0 and done.stdout:
                return Qemu(program, done.stdout.splitlines()[0].strip())
    raise UnsupportedError(
        f"this machine has no {_PROGRAMS[0]}, which the emulator runs on",
        hint="sudo apt-get install qemu-user-static",
    )
