"""This machine as a device: the Python that runs edgeprune, or another one."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from edgeprune.devices.addresses import Address
from edgeprune.devices.calling import call
from edgeprune.devices.contract import PATIENCE, Answer, Device
from edgeprune.errors import UnsupportedError

__all__ = ["LocalDevice"]


class LocalDevice(Device):
    """This machine.

    Args:
        name: What the user calls it.
        address: Names the folder that bundles are installed below.
        interpreter: Path of the Python to use; left out: the one that runs now.
    """

    kind = "local"

    def __init__(self, name: str, address: Address, interpreter: str | None = None) -> None:
        super().__init__(name, str(address), address.root)
        self._interpreter = interpreter or sys.executable

    def python(
        self, words: Sequence[str], given: bytes | Iterable[bytes] = b"", patience: float = PATIENCE
    ) -> Answer:
        """See `Device.python`."""
        try:
            return call([self._interpreter, *words], given, patience, self.name)
        except (FileNotFoundError, PermissionError) as error:
            raise UnsupportedError(
                f"{self.name} has no Python {self._interpreter}: {error.strerror}",
                hint="`edgeprune device add NAME ADDRESS --python PATH` names another",
            ) from error
