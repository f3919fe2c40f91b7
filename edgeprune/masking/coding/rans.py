"""An interleaved range coder (rANS) in numpy: symbols to bytes at the cost that their probabilities say.

After J. Duda, "Asymmetric numeral systems" (2013), and F. Giesen, "Interleaved entropy coders" (2014). A
stream has `lanes` coders that share one string of 16-bit words: symbol i belongs to lane i mod lanes, and
one numpy call advances all lanes, so that Python's own cost is paid once per `lanes` symbols. rANS is a
stack: what is pushed last is decoded first. Everything is integer arithmetic on uint64, so a stream decodes
to the same symbols on every machine.

A symbol is an interval [start, start + frequency) of 0..65535; frequency / 65536 is its probability.

    state      24 to 40 bits a lane, 2^24 before the first symbol is pushed and after the last is decoded
    stream     the lanes' final states, 5 bytes each, then the words; all little endian
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from edgeprune.masking.coding.bytes_in_order import damaged

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["BITS", "STATE_BYTES", "TOTAL", "Decoder", "Encoder"]

BITS = 16
"""Precision of probabilities."""

TOTAL = 1 << BITS
"""The frequencies of an alphabet sum up to this."""

STATE_BYTES = 5
"""Size of a lane's final state. About 4 of these bytes a lane are the coder's overhead."""

_STATE_BITS = 40
_BITS, _SLOT = np.uint64(BITS), np.uint64(TOTAL - 1)
_WORD_BITS = np.uint64(16)
_LOWEST = np.uint64(1 << 24)


class Encoder:
    """Pushes symbols, the last one first.

    Args:
        lanes: Number of lanes, the same as at decoding.
        symbols: How many symbols will be pushed in all.
    """

    def __init__(self, lanes: int, symbols: int) -> None:
        self._states = np.full(lanes, _LOWEST, np.uint64)
        self._words: list[npt.NDArray[np.uint16]] = []
        self._left = symbols

    def push(self, starts: npt.NDArray[np.uint16], frequencies: npt.NDArray[np.uint16]) -> None:
        """Push symbols, [n] each, which are decoded in this order before all that was pushed earlier."""
        end = self._left
        self._left = begin = end - len(starts)
        start, frequency = starts.astype(np.uint64), frequencies.astype(np.uint64)
        ceiling = frequency << np.uint64(_STATE_BITS - BITS)
        for low, high in reversed(list(_steps(begin, end, len(self._states)))):
            states = self._states[low % len(self._states) :][: high - low]
            here = slice(low - begin, high - begin)
            full = (states >= ceiling[here]).nonzero()[0]
            if full.size:
                self._words.append(states[full].astype(np.uint16))
                states[full] >>= _WORD_BITS
            whole, rest = np.divmod(states, frequency[here])
            states[:] = (whole << _BITS) + rest + start[here]

    def finish(self) -> bytes:
        """The stream.

        Raises:
            ValueError: Fewer or more symbols were pushed than announced.
        """
        if self._left:
            raise ValueError(f"{self._left} symbols are still to be pushed")
        states = self._states.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :STATE_BYTES]
        words = [block.astype("<u2").tobytes() for block in reversed(self._words)]
        return states.tobytes() + b"".join(words)


class Decoder:
    """Gives symbols back in the order opposite to that of pushing.

    Args:
        stream: What `Encoder.finish` gave.
        lanes: Number of lanes, the same as at encoding.

    Raises:
        EdgepruneError: The stream is shorter than its lanes' states, or no stream of whole words.
    """

    def __init__(self, stream: bytes | memoryview, lanes: int) -> None:
        head = lanes * STATE_BYTES
        if len(stream) < head or (len(stream) - head) % 2:
            raise damaged(f"{len(stream)} bytes do not hold {lanes} states and whole words")
        padded = np.zeros((lanes, 8), np.uint8)
        padded[:, :STATE_BYTES] = np.frombuffer(stream, np.uint8, head).reshape(lanes, STATE_BYTES)
        self._states = padded.view("<u8").reshape(-1).astype(np.uint64)
        self._words = np.frombuffer(stream, "<u2", offset=head)
        self._used = 0
        self._done = 0

    def bits(self, frequencies: npt.NDArray[np.uint16]) -> npt.NDArray[np.bool_]:
        """The next n bits; a one is the interval from 0 of the given frequency (1..65535), [n]."""
        bits = np.empty(len(frequencies), np.bool_)
        ones = frequencies.astype(np.uint64)
        offset = self._done
        for low, high in self._advance(len(frequencies)):
            states = self._states[low % len(self._states) :][: high - low]
            here = slice(low - offset, high - offset)
            one, slots = ones[here], states & _SLOT
            bit = np.less(slots, one, out=bits[here])
            share = one * (states >> _BITS)
            # A one leaves whole·f + slot; a zero whole·(65536 - f) + slot - f, written with what is there.
            states[:] = np.where(bit, share + slots, states - share - one)
            self._refill(states)
        return bits

    def symbols(self, cumulated: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.uint8]:
        """The next symbols of an alphabet.

        Args:
            cumulated: Where each symbol's interval starts, and 65536 at the end; [symbols + 1].
            count: How many.

        Returns:
            Their indices, [count].
        """
        found = np.empty(count, np.uint8)
        starts = cumulated.astype(np.uint64)
        offset = self._done
        for low, high in self._advance(count):
            states = self._states[low % len(self._states) :][: high - low]
            slots = states & _SLOT
            symbol = np.searchsorted(starts, slots, side="right") - 1
            frequency = starts[symbol + 1] - starts[symbol]
            states[:] = frequency * (states >> _BITS) + slots - starts[symbol]
            self._refill(states)
            found[low - offset : high - offset] = symbol
        return found

    def finish(self) -> None:
        """Check that all has been decoded.

        Raises:
            EdgepruneError: Words are left over, or a lane is not where its encoder began.
        """
        if self._used != len(self._words):
            raise damaged(f"{len(self._words) - self._used} words are left over")
        if (self._states != _LOWEST).any():
            raise damaged("the lanes do not end where they began")

    def _advance(self, count: int) -> Iterator[tuple[int, int]]:
        begin, self._done = self._done, self._done + count
        return _steps(begin, self._done, len(self._states))

    def _refill(self, states: npt.NDArray[np.uint64]) -> None:
        empty = (states < _LOWEST).nonzero()[0]
        if empty.size:
            words = self._words[self._used : self._used + empty.size]
            if len(words) < empty.size:
                raise damaged("it ends too early")
            states[empty] = (states[empty] << _WORD_BITS) | words
            self._used += empty.size


def _steps(begin: int, end: int, lanes: int) -> Iterator[tuple[int, int]]:
    """Ranges of symbols that one call can advance: each within one round over the lanes."""
    while begin < end:
        until = min(end, begin - begin % lanes + lanes)
        yield begin, until
        begin = until
