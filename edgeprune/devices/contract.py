"""What a device is: a Python to call, and a folder that bundles are installed in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["PATIENCE", "Answer", "Device"]

PATIENCE = 600.0


@dataclass(frozen=True)
class Answer:
    """What a call on a device gave.

    Attributes:
        code: Its exit code.
        out: Its standard output.
        err: Its standard error, text.
    """

    code: int
    out: bytes
    err: str


class Device(ABC):
    """A machine that bundles are put on and run on.

    Attributes:
        name: What the user calls it, e.g. ``pi``; the address where it has no name.
        kind: ``local``, ``ssh`` or ``emulator``.
        address: How it was given, e.g. ``ssh://pi@raspberrypi:22/opt/models``.
        root: Folder on the device that everything is installed below; absolute, or below the user's home.
        emulated: Whether its processor is imitated by software: it answers right, and its times mean nothing.
    """

    kind: str
    emulated: bool = False

    def __init__(self, name: str, address: str, root: str) -> None:
        self.name = name
        self.address = address
        self.root = root

    @abstractmethod
    def python(
        self, words: Sequence[str], given: bytes | Iterable[bytes] = b"", patience: float = PATIENCE
    ) -> Answer:
        """Runs the device's Python 3 with these words as they are: no shell sees them unquoted.

        Args:
            words: What stands after ``python3``.
            given: Its standard input; pieces of a long one are sent as they come.
            patience: Seconds after which the call is given up.

        Raises:
            DeviceError: The device cannot be reached, refuses us, is not the one that it was, or is silent.
            UnsupportedError: It has no Python 3.9 or newer.
        """
