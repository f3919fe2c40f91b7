"""Wheels through the user's own pip with the user's own configuration, and what it means where it fails."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgeprune.assets.asset import SourceFailure

__all__ = ["download", "run_pip"]

_TIMEOUT_SECONDS = 20
_RETRIES = 2


def run_pip(command: str, words: Sequence[str], python: str = sys.executable) -> tuple[int, str]:
    """Run one of pip's commands without questions; its exit code and all that it said.

    Args:
        command: Such as ``download``.
        words: What follows it.
        python: Interpreter whose pip is used.
    """
    # -P: a pip.py in the current folder is not pip.
    line = [python, "-P", "-m", "pip", command, "--no-input", "--disable-pip-version-check"]
    done = subprocess.run(
        [*line, "--progress-bar=off", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def download(
    pin: str,
    folder: Path,
    *,
    python: str = sys.executable,
    options: Sequence[str] = (),
    machine: str = "this machine",
) -> Path:
    """Download one wheel, without what it depends on.

    Args:
        pin: A requirement as pip takes it, e.g. ``numpy==2.0``.
        folder: Existing folder to put it in.
        python: Interpreter whose pip is used.
        options: Of pip, e.g. for which platform.
        machine: What to call the machine that the wheel is for.

    Raises:
        SourceFailure: It cannot be had.
    """
    words = ["--no-deps", "--only-binary=:all:", f"--timeout={_TIMEOUT_SECONDS}", f"--retries={_RETRIES}"]
    with tempfile.TemporaryDirectory(dir=folder) as empty:
        code, output = run_pip("download", [*words, *options, "-d", empty, pin], python)
        if code != 0:
            raise _failure(pin, output, machine)
        wheels = list(Path(empty).glob("*.whl"))
        if len(wheels) != 1:
            raise SourceFailure(f"pip downloaded {len(wheels)} wheels for {pin} instead of one")
        return wheels[0].replace(folder / wheels[0].name)


def _failure(pin: str, output: str, machine: str) -> SourceFailure:
    """Turn pip's output into a reason; the address of an index may carry a password, so it is masked."""
    output = re.sub(r"://[^/@\s]+@", "://***@", output)
    if "No module named pip" in output:
        return SourceFailure(
            "this Python has no pip", "run `python -m ensurepip`, or add pip to this environment"
        )
    versions = re.search(r"\(from versions: ([^)]*)\)", output)
    known = versions[1] if versions is not None and versions[1] != "none" else ""
    retries = [line.partition("connection broken by ")[2] for line in _marked(output, "WARNING: Retrying (")]
    if retries and not known:
        return SourceFailure(
            f"the package index cannot be reached: {_short(retries[-1])}",
            "check the network and pip's configuration (`pip config list`)",
        )
    warnings = _marked(output, "WARNING: ")
    warning = f"; pip warns: {_short(warnings[-1])}" if warnings else ""
    if versions is not None:
        sees = _short(known) if known else "no version at all"
        return SourceFailure(f"pip finds no wheel of {pin} that fits {machine}; it sees {sees}{warning}")
    errors = _marked(output, "ERROR: ") or [output.strip()]
    return SourceFailure(f"pip download {pin} failed: {_short(errors[-1])}{warning}")


def _marked(output: str, marker: str) -> list[str]:
    """What follows a marker, for each line that has it."""
    return [line.partition(marker)[2] for line in output.splitlines() if marker in line]


def _short(text: str, limit: int = 300) -> str:
    return text if len(text) <= limit else f"{text[: limit // 2]} … {text[-limit // 2 :]}"
