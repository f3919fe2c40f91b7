"""From what the user wrote to the device that is meant."""

from __future__ import annotations

from importlib import import_module

from edgeprune.devices.contract import Device
from edgeprune.devices.registry import find

__all__ = ["KINDS", "open_device"]

# Kind of address: its class, which is made from the device's name, its address and its Python (or None).
KINDS = {
    "local": "edgeprune.devices.local:LocalDevice",
    "ssh": "edgeprune.devices.ssh:SshDevice",
    "emulator": "edgeprune.devices.emulator:Emulator",
}


def open_device(text: str) -> Device:
    """The device that a name or an address means. Nothing is asked of it yet.

    Args:
        text: A name that `edgeprune device add` gave, or an address; see `addresses.parse_address`.

    Raises:
        UsageError: It means none.
        RecipeError: The file with the names is not YAML.
    """
    entry = find(text)
    module, _, kind = KINDS[entry.address.kind].partition(":")
    device: Device = getattr(import_module(module), kind)(entry.name, entry.address, entry.interpreter)
    return device
