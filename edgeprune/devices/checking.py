"""What a device is, and what it lacks for a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeprune.devices.asking import ask
from edgeprune.devices.contract import Device
from edgeprune.errors import UnsupportedError
from edgeprune.runner.cpu import Cpu
from edgeprune.runner.manifest import Manifest, manifest_text

__all__ = ["RUNTIMES", "Facts", "Versions", "check", "facts", "refuse"]

RUNTIMES = ("numpy", "tokenizers", "onnxruntime", "openvino")


@dataclass(frozen=True)
class Versions:
    """What is installed of one bundle.

    Attributes:
        current: Version that answers; None: none does.
        previous: Version that a rollback goes to; None: there is none.
        releases: All that are there whole.
        path: Folder of the bundle on the device, absolute.
    """

    current: str | None
    previous: str | None
    releases: tuple[str, ...]
    path: str

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Versions:
        """What a device said, as plain data."""
        return cls(document["current"], document["previous"], tuple(document["releases"]), document["path"])


@dataclass(frozen=True)
class Facts:
    """What a device says about itself.

    Attributes:
        cpu: Processor, cores, memory, features.
        os: Name and version of the system.
        python: Version of its Python.
        executable: Path of its Python.
        governors: What sets the clock, and of how many cores; empty where it does not say.
        megahertz: Clock of each core; empty likewise.
        celsius: Temperature of each sensor; empty likewise.
        free_bytes: What may still be written where bundles lie.
        root: Folder that bundles lie in, absolute.
        installed: Version of each of the distributions asked for; None: not installed.
        bundles: Name to what is installed of it.
    """

    cpu: Cpu
    os: str
    python: str
    executable: str
    governors: dict[str, int]
    megahertz: list[int]
    celsius: dict[str, float]
    free_bytes: int
    root: str
    installed: dict[str, str | None]
    bundles: dict[str, Versions]

    @property
    def clock(self) -> str:
        """Governor and highest temperature in words; empty where neither is known."""
        parts = [f"governor {name}" for name in self.governors]
        if self.celsius:
            parts.append(f"{max(self.celsius.values()):.0f} °C")
        return ", ".join(parts)


def facts(device: Device, distributions: Sequence[str] = RUNTIMES) -> Facts:
    """Asks a device what it is; changes nothing there.

    Args:
        device: Who is asked.
        distributions: Names of Python distributions whose versions are wanted.

    Raises:
        DeviceError: It cannot be reached.
        UnsupportedError: It has no Python 3.9 or newer.
    """
    document = ask(device, "facts", {"distributions": list(distributions)}).document
    found = document["facts"]
    cpu = found.pop("cpu")
    bundles = {name: Versions.of(entry) for name, entry in document["bundles"].items()}
    return Facts(cpu=Cpu(**{**cpu, "features": tuple(cpu["features"])}), bundles=bundles, **found)


def check(device: Device, manifest: Manifest) -> list[str]:
    """What a device lacks for a bundle, one sentence each; empty: it fits. Changes nothing there.

    Its architecture, CPU features and Python are compared, and the versions of what must be installed unless
    the bundle brings it.

    Raises:
        DeviceError: It cannot be reached.
        UnsupportedError: It has no Python 3.9 or newer.
    """
    problems: list[str] = ask(device, "check", {"manifest": manifest_text(manifest)}).document["problems"]
    return problems


def refuse(device: Device, manifest: Manifest, problems: Sequence[str]) -> None:
    """Refuses a device that lacks something for a bundle.

    Args:
        device: Where it should run.
        manifest: Of the bundle.
        problems: See `check`; if there is none, nothing happens.

    Raises:
        UnsupportedError: There are some; all of them are named.
    """
    if problems:
        raise UnsupportedError(
            f"this bundle for {manifest.architecture} cannot run there: {'; '.join(problems)}",
            where=device.name,
            hint=f"`edgeprune device check {device.name}` shows what it is; another Python is named with "
            "`edgeprune device add NAME ADDRESS --python PATH`",
        )
