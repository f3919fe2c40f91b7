"""Symbols with probabilities: the classes of rows and columns, and the patterns of neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeprune.masking.coding.bytes_in_order import BLOCK, require
from edgeprune.masking.coding.probabilities import byte_weights, cumulate, symbol_bits

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeprune.masking.coding.bytes_in_order import ByteReader
    from edgeprune.masking.coding.rans import Decoder, Encoder

__all__ = ["Alphabet"]


@dataclass(frozen=True)
class Alphabet:
    """Symbols 0..n-1 with probabilities in proportion to their weights (uint8, [n]; `probabilities`)."""

    weights: npt.NDArray[np.uint8]

    @classmethod
    def fit(cls, symbols: npt.NDArray[np.integer], size: int) -> Alphabet:
        """The alphabet of that size whose weights follow how often each symbol occurs."""
        return cls(byte_weights(np.bincount(symbols, minlength=size)))

    @classmethod
    def read(cls, reader: ByteReader, size: int) -> Alphabet:
        """An alphabet of that size, one byte a symbol."""
        weights = np.frombuffer(reader.take(size), np.uint8)
        require(bool(weights.any()), "an alphabet has no symbols")
        return cls(weights)

    @property
    def is_certain(self) -> bool:
        """Only one symbol occurs, so that none needs to be coded."""
        return int(np.count_nonzero(self.weights)) == 1

    def bits(self) -> npt.NDArray[np.float64]:
        """What each symbol costs, [n]."""
        return symbol_bits(np.diff(cumulate(self.weights)))

    def count(self, symbols: int) -> int:
        """How many of so many symbols are coded."""
        return 0 if self.is_certain else symbols

    def push(self, symbols: npt.NDArray[np.integer], encoder: Encoder) -> None:
        """Code symbols, [count]."""
        if not self.is_certain:
            starts = cumulate(self.weights)
            encoder.push(starts[symbols].astype(np.uint16), np.diff(starts)[symbols].astype(np.uint16))

    def decode(self, count: int, decoder: Decoder) -> npt.NDArray[np.uint8]:
        """The symbols again, [count]."""
        if self.is_certain:
            return np.full(count, self.weights.argmax(), np.uint8)
        starts = cumulate(self.weights)
        found = np.zeros(count, np.uint8)
        for begin in range(0, count, BLOCK):
            block = found[begin : begin + BLOCK]
            block[:] = decoder.symbols(starts, block.size)
        return found
