"""Runs what came with a bundle: its packages are unpacked, its runner answers."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import sys
import traceback
from pathlib import Path
from typing import Callable

from ..manifest import RUNNER, WHEELS
from .refusal import UNSUPPORTED, Refusal, disk_full
from .wheel_site import Wheel, fitting, pip_words, unpack, wheels_in

__all__ = ["SITE", "make_site", "run_runner", "self_test"]

SITE = "site"  # folder of packages in a bundle that brought wheels


def make_site(folder: Path) -> None:
    """Makes the folder of packages from the wheels that came with the bundle in `folder`, if any did.

    Raises:
        Refusal: A wheel does not fit this Python, or the disk is full.
        OSError: The system refuses.
    """
    wheels = wheels_in(folder / WHEELS)
    site, partial = folder / SITE, folder / ".site"
    if not wheels or site.is_dir():
        return
    if partial.exists():
        shutil.rmtree(partial)
    try:
        _install(wheels, folder / WHEELS, partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    partial.rename(site)


def self_test(folder: Path) -> None:
    """Has the bundle in `folder` test itself.

    Raises:
        Refusal: It finds something wrong.
    """
    words = ["selftest", "--bundle", str(folder), "--json"]
    code, said = _in_child(lambda: run_runner(folder, words))
    if code:
        raise Refusal(UNSUPPORTED, f"the bundle fails its self-test on the device: {_findings(said)}")


def run_runner(folder: Path, words: list[str]) -> int:
    """Runs the runner of the bundle in `folder` in this process, with the packages that came with it.

    In this process, because an emulated Python cannot start another.
    """
    program, site = str(folder / RUNNER), str(folder / SITE)
    if Path(site).is_dir():
        sys.path.insert(0, site)
        inherited = os.environ.get("PYTHONPATH")  # for the fresh processes that the runner starts
        os.environ["PYTHONPATH"] = os.pathsep.join([site, inherited] if inherited else [site])
    sys.argv = [program, *words]
    return _code_of(lambda: runpy.run_path(program, run_name="__main__"))


def _install(wheels: list[Wheel], folder: Path, site: Path) -> None:
    words = pip_words(wheels, folder, site)
    if words is not None:
        code, said = _in_child(lambda: _run_pip(words))
        if code and "No space left" in said:
            raise disk_full(folder)
        if code:
            message = f"pip cannot install the wheels of the bundle: {_last_line(said)}"
            raise Refusal(UNSUPPORTED, message, "make the bundle with wheels for this device's Python")
        return
    chosen, lacking = fitting(wheels)
    if lacking:
        message = f"the bundle has no wheel of {', '.join(lacking)} for Python {sys.version.split()[0]} here"
        raise Refusal(UNSUPPORTED, message, "make the bundle with wheels for this device's Python")
    unpack(chosen, site)


def _run_pip(words: list[str]) -> int:
    sys.argv = ["pip", *words]
    return _code_of(lambda: runpy.run_module("pip", run_name="__main__", alter_sys=True))


def _findings(said: str) -> str:
    """What a self-test found: the failures in its JSON, or else what it said last."""
    for line in reversed(said.splitlines()):
        try:
            document = json.loads(line)
        except ValueError:
            continue
        failures = document.get("failures") if isinstance(document, dict) else None
        if isinstance(failures, list) and failures:
            return "; ".join(str(failure) for failure in failures)
    return _last_line(said)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def _code_of(work: Callable[[], object]) -> int:
    """Exit code of something that ends as programs do."""
    try:
        work()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
        return 1
    return 0


def _in_child(work: Callable[[], int]) -> tuple[int, str]:
    """Exit code and output of work that is done in a copy of this process.

    A copy, not a new Python: under emulation the system cannot start our own program again.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            os.close(reading)
            empty = os.open(os.devnull, os.O_RDONLY)
            for old, new in ((empty, 0), (writing, 1), (writing, 2)):
                os.dup2(old, new)
            code = work()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        said = stream.read().decode("utf-8", "replace")
    status = os.waitpid(child, 0)[1]
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status), said
