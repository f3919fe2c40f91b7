"""A device that is not there: 64-bit ARM imitated by QEMU. Its answers count, its times mean nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from edgeprune.assets.place import default_cache
from edgeprune.devices import emulation
from edgeprune.devices.addresses import Address
from edgeprune.devices.calling import call
from edgeprune.devices.contract import PATIENCE, Answer, Device
from edgeprune.devices.emulation import Machine
from edgeprune.errors import DeviceError

__all__ = ["Emulator"]


class Emulator(Device):
    """The emulated machine of the cache folder; see `emulation.prepare`, which makes it.

    Args:
        name: What the user calls it.
        address: ``emulator``.
        interpreter: Nothing: it brings its own.
    """

    kind = "emulator"
    emulated = True

    def __init__(self, name: str, address: Address, interpreter: str | None = None) -> None:
        super().__init__(name, str(address), address.root)
        self._machine: Machine | None = None

    @property
    def machine(self) -> Machine:
        """What it is made of.

        Raises:
            DeviceError: It was not made yet.
            UnsupportedError: QEMU is not installed.
        """
        if self._machine is None:
            self._machine = emulation.find(default_cache())
        if self._machine is None:
            raise DeviceError("the emulator is not set up yet", hint="edgeprune device setup emulator")
        return self._machine

    def python(
        self, words: Sequence[str], given: bytes | Iterable[bytes] = b"", patience: float = PATIENCE
    ) -> Answer:
        """See `Device.python`. Nothing of the caller's environment but PATH and TMPDIR is passed on."""
        home = emulation.home(default_cache())
        home.mkdir(parents=True, exist_ok=True)
        settings = {"PATH": os.defpath, "HOME": str(home), "LANG": "C.UTF-8"}
        settings |= {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
        start = ["env", "-i", *(f"{name}={value}" for name, value in settings.items())]
        return call([*start, "sh", str(self.machine.interpreter), *words], given, patience, self.name)
