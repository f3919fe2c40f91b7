"""Small numbers and byte strings, one after another: what the headers of coded masks are made of."""

from __future__ import annotations

from edgeprune.errors import EdgepruneError

__all__ = ["BLOCK", "ByteReader", "damaged", "require", "varint"]

BLOCK = 1 << 20
"""Symbols that are decoded at a time: bounds what a damaged stream can have allocated for nothing."""

_LONGEST_VARINT = 9


def damaged(reason: str) -> EdgepruneError:
    """The error for bytes that are no coded masks."""
    return EdgepruneError(
        f"the coded masks are damaged: {reason}", hint="copy the file again, or make it again"
    )


def require(holds: bool, otherwise: str) -> None:
    """Raise the error unless a condition holds."""
    if not holds:
        raise damaged(otherwise)


def varint(number: int) -> bytes:
    """A whole number, 0 or more, seven bits a byte, the low ones first (LEB128)."""
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


class ByteReader:
    """Reads from the front; refuses to read past the end.

    Args:
        data: What to read.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def take(self, count: int) -> bytes:
        """The next bytes.

        Raises:
            EdgepruneError: There are fewer.
        """
        end = self._position + count
        require(end <= len(self._data), f"they end at byte {len(self._data)}, not at {end} or later")
        part = self._data[self._position : end]
        self._position = end
        return part

    def byte(self) -> int:
        """The next byte, as a number."""
        return self.take(1)[0]

    def varint(self) -> int:
        """The next number that `varint` wrote.

        Raises:
            EdgepruneError: It does not end within 63 bits.
        """
        number = 0
        for index in range(_LONGEST_VARINT):
            byte = self.byte()
            number |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                return number
        raise damaged("a number has more than 63 bits")

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._data) - self._position)
