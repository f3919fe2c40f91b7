"""What a machine says about its state: governors, clock rates and temperatures, where they can be read."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["State", "read_state", "system_name"]

SYSTEM_FILES = Path("/sys")


@dataclass(frozen=True)
class State:
    """How a machine runs at one moment. What the system does not say is left empty.

    Attributes:
        governors: What decides on the clock rate, e.g. ``ondemand``, and how many cores it does so for.
        megahertz: Clock rate of each core.
        celsius: Name of each sensor to its temperature.
    """

    governors: dict[str, int]
    megahertz: list[int]
    celsius: dict[str, float]


def read_state(root: Path = SYSTEM_FILES) -> State:
    """The state of this machine now.

    Args:
        root: Where Linux shows its devices; other systems have no such folder.
    """
    governors: dict[str, int] = {}
    megahertz = []
    cores = sorted((root / "devices/system/cpu").glob("cpu[0-9]*"), key=_core_number)
    for core in cores:
        governor = _read(core / "cpufreq/scaling_governor")
        if governor:
            governors[governor] = governors.get(governor, 0) + 1
        kilohertz = _read(core / "cpufreq/scaling_cur_freq")
        if kilohertz.isdecimal():
            megahertz.append(int(kilohertz) // 1000)
    return State(governors, megahertz, _temperatures(root / "class/thermal"))


def system_name() -> str:
    """The operating system as its maker calls it, with the kernel's version."""
    kernel = f"{platform.system()} {platform.release()}"
    for line in _read(Path("/etc/os-release")).splitlines():
        if line.startswith("PRETTY_NAME="):
            return f"{line.partition('=')[2].strip(chr(34))}, {kernel}"
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]}, {kernel}"
    return kernel


def _temperatures(folder: Path) -> dict[str, float]:
    """Celsius by sensor; sensors of the same name are told apart by their zone."""
    found: dict[str, float] = {}
    for zone in sorted(folder.glob("thermal_zone*")):
        text = _read(zone / "temp")
        try:
            celsius = int(text) / 1000
        except ValueError:
            continue
        name = _read(zone / "type") or zone.name
        found[f"{name} ({zone.name})" if name in found else name] = celsius
    return found


def _core_number(core: Path) -> int:
    digits = core.name[len("cpu") :]
    return int(digits) if digits.isdecimal() else -1


def _read(path: Path) -> str:
    """Content without white space around it; empty where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
