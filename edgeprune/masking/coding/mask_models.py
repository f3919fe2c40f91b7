"""Models of a binary matrix: where its ones are likely, told in a few bytes.

| model | what it tells | pays for |
|---|---|---|
| `Constant` | the one value that all have | matrices that are kept or dropped whole |
| `Uniform` | one probability of a one | unstructured masks |
| `RowsAndColumns` | classes of rows and of columns, a probability for each sum | uneven rows and columns |
| `Patterns` | how often each pattern of 4 or 8 neighbours in a row occurs | N:M masks |

A model writes and reads itself, and codes a matrix; `bits` is what all of that costs. Which of them serves
is `mask_codec`'s choice; how rows and columns get their classes stands in `row_column_fit`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from edgeprune.masking.coding.alphabet import Alphabet
from edgeprune.masking.coding.bytes_in_order import BLOCK, require
from edgeprune.masking.coding.probabilities import LEVEL_FREQUENCIES, nearest_frequency, symbol_bits
from edgeprune.masking.coding.rans import TOTAL, Decoder, Encoder

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeprune.masking.coding.bytes_in_order import ByteReader

    Mask = npt.NDArray[np.bool_]
    Shape = tuple[int, int]

__all__ = [
    "MODELS",
    "MOST_CLASSES",
    "PATTERN_WIDTHS",
    "Constant",
    "Model",
    "Patterns",
    "RowsAndColumns",
    "Uniform",
]

MOST_CLASSES = 64
PATTERN_WIDTHS = (4, 8)


class Model(Protocol):
    """What a row of the table above is able to do."""

    code: ClassVar[int]

    def header(self) -> bytes:
        """The model itself; the stream names its `code` before."""

    @classmethod
    def read(cls, reader: ByteReader) -> Model:
        """The model again.

        Raises:
            EdgepruneError: The bytes are no such model.
        """

    def symbols(self, shape: Shape) -> int:
        """How many symbols a matrix of that shape is coded as."""

    def bits(self, mask: Mask) -> float:
        """Bits that a matrix costs, header included; a float only because the choice needs no more."""

    def push(self, mask: Mask, encoder: Encoder) -> None:
        """Code a matrix."""

    def decode(self, shape: Shape, decoder: Decoder) -> Mask:
        """The matrix again."""


@dataclass(frozen=True)
class Constant:
    """All weights are kept, or none; also right for a matrix without weights."""

    code: ClassVar[int] = 0
    kept: bool

    def header(self) -> bytes:
        """One byte."""
        return bytes([self.kept])

    @classmethod
    def read(cls, reader: ByteReader) -> Constant:
        """See `Model.read`."""
        return cls(bool(reader.byte()))

    def symbols(self, shape: Shape) -> int:
        """None."""
        return 0

    def bits(self, mask: Mask) -> float:
        """The header's."""
        return 8.0

    def push(self, mask: Mask, encoder: Encoder) -> None:
        """Nothing is left to say."""

    def decode(self, shape: Shape, decoder: Decoder) -> Mask:
        """See `Model.decode`."""
        return np.ones(shape, np.bool_) if self.kept else np.zeros(shape, np.bool_)


@dataclass(frozen=True)
class Uniform:
    """One probability for all.

    Attributes:
        frequency: Of a one, 1..65535.
    """

    code: ClassVar[int] = 1
    frequency: int

    @classmethod
    def fit(cls, mask: Mask) -> Uniform:
        """The best one for a matrix that has weights."""
        return cls(nearest_frequency(int(np.count_nonzero(mask)), mask.size))

    def header(self) -> bytes:
        """Two bytes."""
        return self.frequency.to_bytes(2, "little")

    @classmethod
    def read(cls, reader: ByteReader) -> Uniform:
        """See `Model.read`."""
        frequency = int.from_bytes(reader.take(2), "little")
        require(frequency > 0, "a probability is 0")
        return cls(frequency)

    def symbols(self, shape: Shape) -> int:
        """One a weight."""
        return shape[0] * shape[1]

    def bits(self, mask: Mask) -> float:
        """See `Model.bits`."""
        one, zero = symbol_bits(np.array([self.frequency, TOTAL - self.frequency]))
        ones = int(np.count_nonzero(mask))
        return float(16 + ones * one + (mask.size - ones) * zero)

    def push(self, mask: Mask, encoder: Encoder) -> None:
        """See `Model.push`."""
        _push_bits(mask.reshape(-1), np.full(mask.size, self.frequency, np.uint16), encoder)

    def decode(self, shape: Shape, decoder: Decoder) -> Mask:
        """See `Model.decode`."""
        flat = np.zeros(shape[0] * shape[1], np.bool_)
        for begin in range(0, flat.size, BLOCK):
            block = flat[begin : begin + BLOCK]
            block[:] = decoder.bits(np.full(block.size, self.frequency, np.uint16))
        return flat.reshape(shape)


@dataclass(frozen=True)
class RowsAndColumns:
    """The probability of weight (i, j) is that of level ``levels[rows[i] + columns[j]]``.

    With a matrix's rows and columns in classes by their log-odds, the sum of two classes stands for the
    sum of two log-odds, so that R + C - 1 levels do for R · C pairs.

    Attributes:
        row_classes: Probabilities of the R classes of rows.
        column_classes: Probabilities of the C classes of columns.
        levels: Levels (`probabilities.LEVEL_FREQUENCIES`), uint8, [R + C - 1].
        rows: Class of each row, [rows]; None in a model that was just read, for they are decoded.
        columns: Class of each column, [columns]; None likewise.
    """

    code: ClassVar[int] = 2
    row_classes: Alphabet
    column_classes: Alphabet
    levels: npt.NDArray[np.uint8]
    rows: npt.NDArray[np.uint8] | None = None
    columns: npt.NDArray[np.uint8] | None = None

    def header(self) -> bytes:
        """Two bytes and one for each class and level."""
        sizes = bytes([len(self.row_classes.weights), len(self.column_classes.weights)])
        parts = (self.row_classes.weights, self.column_classes.weights, self.levels)
        return sizes + b"".join(part.tobytes() for part in parts)

    @classmethod
    def read(cls, reader: ByteReader) -> RowsAndColumns:
        """See `Model.read`."""
        rows, columns = reader.byte(), reader.byte()
        require(0 < rows <= MOST_CLASSES and 0 < columns <= MOST_CLASSES, f"{rows} × {columns} classes")
        row_classes = Alphabet.read(reader, rows)
        column_classes = Alphabet.read(reader, columns)
        levels = np.frombuffer(reader.take(rows + columns - 1), np.uint8)
        return cls(row_classes, column_classes, levels)

    def symbols(self, shape: Shape) -> int:
        """One a weight, and one for each row and column."""
        rows, columns = shape
        return rows * columns + self.row_classes.count(rows) + self.column_classes.count(columns)

    def bits(self, mask: Mask) -> float:
        """See `Model.bits`."""
        rows, columns = self._classes()
        sums = rows[:, None] + columns[None, :]  # below 128: uint8 holds it
        total = np.bincount(sums.reshape(-1), minlength=len(self.levels))
        ones = np.bincount(sums[mask], minlength=len(self.levels))
        frequency = LEVEL_FREQUENCIES[self.levels].astype(np.int64)
        weights = ones @ symbol_bits(frequency) + (total - ones) @ symbol_bits(TOTAL - frequency)
        sides = self.row_classes.bits()[rows].sum() + self.column_classes.bits()[columns].sum()
        return float(8 * len(self.header()) + sides + weights)

    def push(self, mask: Mask, encoder: Encoder) -> None:
        """See `Model.push`."""
        rows, columns = self._classes()
        frequencies = LEVEL_FREQUENCIES[self.levels][rows[:, None] + columns[None, :]]
        _push_bits(mask.reshape(-1), frequencies.reshape(-1), encoder)
        self.column_classes.push(columns, encoder)
        self.row_classes.push(rows, encoder)

    def decode(self, shape: Shape, decoder: Decoder) -> Mask:
        """See `Model.decode`."""
        rows = self.row_classes.decode(shape[0], decoder)
        columns = self.column_classes.decode(shape[1], decoder)
        table = LEVEL_FREQUENCIES[self.levels]
        flat = np.zeros(shape[0] * shape[1], np.bool_)
        for begin in range(0, flat.size, BLOCK):
            places = np.arange(begin, min(begin + BLOCK, flat.size))
            sums = rows[places // shape[1]] + columns[places % shape[1]]
            flat[begin : begin + BLOCK] = decoder.bits(table[sums])
        return flat.reshape(shape)

    def _classes(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        if self.rows is None or self.columns is None:
            raise ValueError("a model that was read knows no classes of rows and columns")
        return self.rows, self.columns


@dataclass(frozen=True)
class Patterns:
    """Neighbours in a row, some at a time, are one symbol: its bits, the first of them highest.

    Attributes:
        width: How many, one of `PATTERN_WIDTHS`; divides the number of columns.
        alphabet: Probabilities of the 2^width patterns.
    """

    code: ClassVar[int] = 3
    width: int
    alphabet: Alphabet

    @classmethod
    def fit(cls, mask: Mask, width: int) -> Patterns:
        """The best one of that width for a matrix that has weights."""
        return cls(width, Alphabet.fit(_patterns(mask, width), 1 << width))

    def header(self) -> bytes:
        """One byte and one for each pattern."""
        return bytes([self.width]) + self.alphabet.weights.tobytes()

    @classmethod
    def read(cls, reader: ByteReader) -> Patterns:
        """See `Model.read`."""
        width = reader.byte()
        require(width in PATTERN_WIDTHS, f"patterns of {width}")
        return cls(width, Alphabet.read(reader, 1 << width))

    def symbols(self, shape: Shape) -> int:
        """One a pattern."""
        require(shape[1] % self.width == 0, f"patterns of {self.width} in rows of {shape[1]}")
        return self.alphabet.count(shape[0] * shape[1] // self.width)

    def bits(self, mask: Mask) -> float:
        """See `Model.bits`."""
        return float(8 * len(self.header()) + self.alphabet.bits()[_patterns(mask, self.width)].sum())

    def push(self, mask: Mask, encoder: Encoder) -> None:
        """See `Model.push`."""
        self.alphabet.push(_patterns(mask, self.width), encoder)

    def decode(self, shape: Shape, decoder: Decoder) -> Mask:
        """See `Model.decode`."""
        symbols = self.alphabet.decode(shape[0] * shape[1] // self.width, decoder)
        places = np.arange(self.width - 1, -1, -1, dtype=np.uint8)
        return ((symbols[:, None] >> places) & 1).astype(np.bool_).reshape(shape)


MODELS: dict[int, type[Model]] = {
    model.code: model for model in (Constant, Uniform, RowsAndColumns, Patterns)
}
"""Every model by the code that names it in a stream."""


def _patterns(mask: Mask, width: int) -> npt.NDArray[np.uint8]:
    places = np.left_shift(1, np.arange(width - 1, -1, -1)).astype(np.uint8)
    return np.asarray(mask.reshape(-1, width).astype(np.uint8) @ places, np.uint8)


def _push_bits(flat: Mask, ones: npt.NDArray[np.uint16], encoder: Encoder) -> None:
    zeros = (TOTAL - ones.astype(np.int64)).astype(np.uint16)
    encoder.push(np.where(flat, np.uint16(0), ones), np.where(flat, ones, zeros))
