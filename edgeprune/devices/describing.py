"""What a device says about itself, as lines for a terminal."""

from __future__ import annotations

from edgeprune.devices.checking import Facts
from edgeprune.devices.contract import Device

__all__ = ["describe"]


def describe(device: Device, facts: Facts) -> list[str]:
    """A line for each thing that is known.

    Args:
        device: Who was asked.
        facts: What it said.
    """
    cpu = facts.cpu
    memory = f", {cpu.memory_bytes / 1e9:.1f} GB of memory" if cpu.memory_bytes else ""
    cores = f"{cpu.physical_cores} core{'s' if cpu.physical_cores != 1 else ''}"
    rows = [
        ("address", device.address + (" (emulated: its times mean nothing)" if device.emulated else "")),
        ("system", facts.os),
        ("processor", f"{cpu.model}, {cpu.architecture}, {cores}{memory}"),
        ("features", ", ".join(cpu.features) or "none that is known"),
        ("clock", facts.clock),
        ("Python", f"{facts.python}, {facts.executable}"),
        ("installed", ", ".join(f"{name} {version or '–'}" for name, version in facts.installed.items())),
        ("bundles in", f"{facts.root}, {facts.free_bytes / 1e9:.1f} GB free"),
    ]
    lines = [f"{device.name}", *(f"  {title:<11} {text}" for title, text in rows if text)]
    for name, found in facts.bundles.items():
        before = f", before it {found.previous}" if found.previous and found.previous != found.current else ""
        lines.append(f"    {name}: {found.current or 'nothing'} answers{before}")
    return lines
