"""Masks to bytes and back: exact, near the bound or below it, and safe from damaged and hostile bytes."""

from __future__ import annotations

import subprocess
import sys
from hashlib import sha256
from math import exp

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from edgeprune.errors import EdgepruneError, UnsupportedError
from edgeprune.masking.coding import decode_masks, encode_masks, entropy
from edgeprune.masking.coding.bytes_in_order import ByteReader, varint
from edgeprune.masking.coding.probabilities import LEVEL_FREQUENCIES, byte_weights, cumulate
from edgeprune.masking.coding.rans import TOTAL, Decoder, Encoder

pytestmark = pytest.mark.thorough

SLACK = 64
"""Bytes that a stream may take beside a share of the bound: header and one lane."""


def _random(density: float, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape) < density


def _uneven(density: float, rows: float, columns: float, *shape: int, seed: int = 0) -> np.ndarray:
    """Log-odds of rows and columns spread by so much, the largest scores kept."""
    random = np.random.default_rng(seed)
    scores = random.logistic(size=shape)
    scores += random.normal(0, rows, shape[0])[:, None] + random.normal(0, columns, shape[1])
    kept = int(density * scores.size)
    return scores > np.partition(scores.reshape(-1), scores.size - kept - 1)[scores.size - kept - 1]


def _same(found: list[np.ndarray], expected: list[np.ndarray]) -> bool:
    return len(found) == len(expected) and all(
        one.dtype == np.bool_ and one.shape == other.shape and bool((one == other).all())
        for one, other in zip(found, expected, strict=True)
    )


def _bound(masks: list[np.ndarray]) -> float:
    """Bytes at the entropy of each mask's own density."""
    return sum(mask.size * entropy(float(mask.mean())) for mask in masks) / 8


@given(st.lists(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=24)), max_size=4))
def test_any_masks_come_back(masks: list[np.ndarray]) -> None:
    assert _same(decode_masks(encode_masks(masks)), masks)


@settings(max_examples=40)
@given(st.integers(1, 120), st.integers(1, 120), st.floats(0, 1), st.floats(0, 3), st.integers(0, 2**32 - 1))
def test_uneven_masks_come_back(rows: int, columns: int, density: float, spread: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    odds = random.normal(0, spread, (rows, 1)) + random.normal(0, spread, columns)
    shares = 1 / (1 + (1 - density + 1e-9) / (density + 1e-9) * np.exp(odds))
    masks = [random.random((rows, columns)) < shares, random.random((columns, rows)) < density]
    assert _same(decode_masks(encode_masks(masks)), masks)


PATHOLOGICAL = {
    "none at all": [],
    "all zeros": [np.zeros((384, 384), bool)],
    "all ones": [np.ones((384, 1536), bool)],
    "one weight": [np.ones((1, 1), bool), np.zeros((1, 1), bool)],
    "empty": [np.zeros((0, 5), bool), np.zeros((5, 0), bool), np.zeros((0, 0), bool)],
    "odd": [_random(0.3, 37, 101), _random(0.3, 1, 997), _random(0.3, 997, 1)],
    "one kept": [np.eye(1, 5000, 4321, dtype=bool).reshape(50, 100)],
    "one dropped": [~np.eye(1, 5000, 17, dtype=bool).reshape(50, 100)],
    "diagonal": [np.eye(300, dtype=bool)],
    "half rows": [np.repeat(np.arange(384) < 192, 384).reshape(384, 384)],
    "empty between full": [_random(0.5, 8, 8), np.zeros((0, 3), bool), _random(0.1, 9, 9)],
}


@pytest.mark.parametrize("masks", PATHOLOGICAL.values(), ids=PATHOLOGICAL.keys())
def test_odd_masks_come_back(masks: list[np.ndarray]) -> None:
    assert _same(decode_masks(encode_masks(masks)), masks)


def test_masks_that_are_views_come_back() -> None:
    whole = _random(0.2, 90, 120)
    masks = [whole.T, whole[::3, ::-2], np.asfortranarray(whole), np.broadcast_to(whole[:1], (50, 120))]
    assert _same(decode_masks(encode_masks(masks)), [np.ascontiguousarray(mask) for mask in masks])


@pytest.mark.parametrize("mask", [np.zeros((2, 2), np.uint8), np.zeros(4, bool), np.zeros((1, 2, 2), bool)])
def test_what_is_no_mask_is_refused(mask: np.ndarray) -> None:
    with pytest.raises(ValueError, match="a mask is a bool matrix"):
        encode_masks([mask])


@pytest.mark.parametrize("density", [0.5, 0.25, 0.1, 0.02, 0.01])
def test_without_structure_the_bound_is_met_within_a_per_cent(density: float) -> None:
    masks = [_random(density, 384, 768, seed=seed) for seed in range(2)]
    coded = encode_masks(masks)
    assert len(coded) <= 1.01 * _bound(masks) + SLACK
    assert _same(decode_masks(coded), masks)


@pytest.mark.parametrize("size", [1, 2, 7, 30, 100])
def test_small_masks_cost_little_beside_the_bound(size: int) -> None:
    mask = _random(0.3, size, size)
    assert len(encode_masks([mask])) <= 1.01 * _bound([mask]) + SLACK


def test_densities_of_their_own_go_below_the_bound_of_all() -> None:
    masks = [_random(density, 384, 384) for density in (0.25, 0.16, 0.1, 0.05, 0.02, 0.02)]
    weights = sum(mask.size for mask in masks)
    of_all = weights * entropy(sum(mask.sum() for mask in masks) / weights) / 8
    assert len(encode_masks(masks)) < 0.9 * of_all


@pytest.mark.parametrize(
    ("rows", "columns", "share"), [(0.5, 0.3, 0.995), (1.0, 0.5, 0.92), (1.5, 1.0, 0.8), (0.0, 1.5, 0.85)]
)
@pytest.mark.parametrize("density", [0.25, 0.05])
def test_uneven_rows_and_columns_go_below_the_bound(
    rows: float, columns: float, share: float, density: float
) -> None:
    masks = [_uneven(density, rows, columns, 384, 384, seed=seed) for seed in range(2)]
    coded = encode_masks(masks)
    assert len(coded) < share * _bound(masks)
    assert _same(decode_masks(coded), masks)


def test_rows_blocks_and_patterns_cost_what_they_tell() -> None:
    random = np.random.default_rng(0)
    rows = np.repeat(random.random((768, 1)) < 0.4, 384, axis=1)
    assert len(encode_masks([rows])) <= 768 * entropy(float(rows.mean())) / 8 + SLACK
    units = random.random((97, 64)) < 0.1
    blocks = np.kron(units, np.ones((4, 4), bool))[:-2]  # the last row of blocks is cut
    assert len(encode_masks([blocks])) <= 1.01 * _bound([units]) + SLACK
    two_of_four = (random.random((384 * 96, 4)).argsort(1) < 2).reshape(384, 384)
    assert len(encode_masks([two_of_four])) <= 1.01 * 384 * 96 * np.log2(6) / 8 + SLACK
    for mask in (rows, blocks, two_of_four):
        assert _same(decode_masks(encode_masks([mask])), [mask])


def test_an_encoder_as_smp_leaves_it() -> None:
    """Two of MiniLM's shapes in six layers: every layer less dense, some rows and columns dead."""
    masks = []
    for layer, density in enumerate((0.25, 0.16, 0.1, 0.05, 0.02, 0.02)):
        for kind, shape in enumerate([(384, 384), (384, 1536)]):
            mask = _uneven(density, 1.0, 0.5, *shape, seed=10 * layer + kind)
            mask[::9] = False
            mask[:, :7] = False
            masks.append(mask)
    coded = encode_masks(masks)
    assert len(coded) < 0.9 * _bound(masks)
    assert _same(decode_masks(coded), masks)


def test_the_same_masks_are_the_same_bytes() -> None:
    masks = [_uneven(0.1, 1, 1, 96, 64), _random(0.5, 30, 30)]
    assert encode_masks(masks) == encode_masks([mask.copy(order="F") for mask in masks])


CHECKERED = (np.add.outer(np.arange(12) ** 2, np.arange(20) * 7) % 5 < 2) & (np.arange(20) % 6 != 1)
STREAMS = {
    "one probability": "0100010c140101015555ff4af4ef144a887a67b7fee1d7917eb7ace1e9dbc4ea5d68a8218276a8b177",
    "rows and columns": (
        "01000118280101020505ff0000008055000000ff024b5763597b87939f57e48cff0b26555a214949e54f36b152"
        "536294d9ec54701072a1698f3bbbedd5c0e8ed4ca0"
    ),
    "patterns": (
        "010001501401010304000000000000bc000000ff0000000000ec9ae7ca0285bd6b6214d6fc3caa0fe18e045bcb"
        "4bb788ee9c570a6a7dba2ab78394318219f481b72d29435883bd45dabba0e6d443"
    ),
}


def _kept_streams() -> dict[str, np.ndarray]:
    places = np.arange(24 * 40).reshape(24, 40)
    uneven = (places * 7919 % 1000) < 30 + 900 * ((places // 40) % 3 == 0) * ((places % 40) > 9)
    patterns = np.tile([[True, False, True, False], [False, True, True, False]], (40, 5))
    patterns[3::7] = patterns[0]
    return {"one probability": CHECKERED, "rows and columns": uneven, "patterns": patterns}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_was_kept_still_decodes(name: str) -> None:
    """Bytes of version 1, as they were first written: what changes them needs a new version."""
    assert _same(decode_masks(bytes.fromhex(STREAMS[name])), [_kept_streams()[name]])


def test_levels_are_the_logistic_function_in_integers() -> None:
    frequencies = LEVEL_FREQUENCIES.astype(int)
    assert frequencies.min() >= 1
    assert frequencies.max() <= TOTAL - 1
    assert (np.diff(frequencies) >= 0).all()
    expected = [TOTAL / (1 + exp(-(level - 128) / 12)) for level in range(256)]
    assert np.abs(frequencies - expected).max() <= 0.51
    digest = sha256(LEVEL_FREQUENCIES.astype("<u2").tobytes()).hexdigest()
    assert digest == "7a4c61c43b3264c9e38d2d2b654bc24130c9eaab51de541bfb1960bf537911c7", (
        "streams that were written before decode wrongly"
    )


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=256).filter(any))
def test_an_alphabet_gives_every_symbol_that_occurs_an_interval(counts: list[int]) -> None:
    starts = cumulate(byte_weights(np.array(counts)))
    widths = np.diff(starts)
    assert (starts[0], starts[-1]) == (0, TOTAL)
    assert ((widths > 0) == (np.array(counts) > 0)).all()


@given(st.integers(1, 16), st.lists(st.integers(0, 70), max_size=5), st.integers(0, 2**32 - 1))
def test_the_coder_is_indifferent_to_how_symbols_are_grouped(
    lanes: int, pieces: list[int], seed: int
) -> None:
    random = np.random.default_rng(seed)
    count = sum(pieces)
    ones = random.integers(1, TOTAL, count).astype(np.uint16)
    bits = random.random(count) < ones / TOTAL
    starts = np.where(bits, 0, ones).astype(np.uint16)
    widths = np.where(bits, ones, TOTAL - ones.astype(int)).astype(np.uint16)
    streams = []
    for sizes in (pieces, [count]):
        encoder = Encoder(lanes, count)
        ends = np.cumsum(sizes)
        for begin, end in reversed(list(zip(ends - sizes, ends, strict=True))):
            encoder.push(starts[begin:end], widths[begin:end])
        streams.append(encoder.finish())
    assert streams[0] == streams[1]
    decoder = Decoder(streams[0], lanes)
    found = [decoder.bits(part) for part in np.split(ones, np.cumsum(pieces)[:-1])] if pieces else []
    decoder.finish()
    assert (np.concatenate([*found, np.zeros(0, bool)]) == bits).all()


def test_a_symbol_too_few_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="2 symbols are still to be pushed"):
        Encoder(1, 2).finish()


@given(st.integers(0, 2**63 - 1))
def test_numbers_of_headers_come_back(number: int) -> None:
    reader = ByteReader(varint(number) + b"x")
    assert reader.varint() == number
    assert reader.rest() == b"x"


def _sample() -> bytes:
    return encode_masks([_uneven(0.2, 1.5, 1, 48, 40), _random(0.3, 20, 20), np.ones((3, 3), bool)])


def test_every_truncated_stream_is_refused() -> None:
    coded = _sample()
    for length in range(len(coded)):
        with pytest.raises(EdgepruneError, match="damaged"):
            decode_masks(coded[:length])
    with pytest.raises(EdgepruneError, match="damaged"):
        decode_masks(coded + b"\0\0")


def test_a_changed_stream_is_refused() -> None:
    coded = _sample()
    masks = decode_masks(coded)
    for place in range(len(coded) // 2, len(coded), 3):  # the stream itself, behind the header
        changed = bytearray(coded)
        changed[place] ^= 0x10
        try:
            found = decode_masks(bytes(changed))
        except EdgepruneError:
            continue
        assert _same(found, masks), f"byte {place} decodes to other masks"


@settings(max_examples=60)
@given(st.data())
def test_no_damage_raises_anything_else(data: st.DataObject) -> None:
    coded = bytearray(_sample())
    for _ in range(data.draw(st.integers(1, 4))):
        coded[data.draw(st.integers(0, len(coded) - 1))] = data.draw(st.integers(0, 255))
    try:
        masks = decode_masks(bytes(coded))
    except EdgepruneError:
        return
    assert all(mask.dtype == np.bool_ and mask.ndim == 2 for mask in masks)


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    try:
        masks = decode_masks(b"\1\0" + data)
    except EdgepruneError:
        return
    assert all(mask.dtype == np.bool_ and mask.ndim == 2 for mask in masks)


def _header(*masks: bytes, lanes_log: int = 0) -> bytes:
    return bytes([1, lanes_log]) + varint(len(masks)) + b"".join(masks)


def _claim(rows: int, columns: int, model: bytes, tile: tuple[int, int] = (1, 1)) -> bytes:
    return b"".join(map(varint, (rows, columns, *tile))) + model


CONSTANT, UNIFORM, CERTAIN = b"\0\1", b"\1\0\x80", bytes([2, 1, 1, 1, 1, 128])
HOSTILE = {
    "more weights than any model": _header(_claim(1 << 31, 1 << 31, CONSTANT)),
    "many masks of some weights": _header(*[_claim(1 << 14, 1 << 14, CONSTANT)] * 40),
    "sides beyond the limit": _header(_claim(1 << 40, 0, CONSTANT)),
    "classes for rows without weights": _header(_claim(1 << 31, 0, CERTAIN)),
    "few lanes for many symbols": _header(_claim(1 << 14, 1 << 14, UNIFORM)) + bytes(5),
    "no words for many symbols": _header(_claim(1 << 14, 1 << 14, UNIFORM), lanes_log=12) + bytes(5 << 12),
    "lanes beyond the limit": _header(_claim(4, 4, UNIFORM), lanes_log=200),
    "more masks than bytes": bytes([1, 0]) + varint(1 << 60),
    "tiles larger than the mask": _header(_claim(4, 4, CONSTANT, tile=(5, 4))),
    "tiles of nothing": _header(_claim(4, 4, CONSTANT, tile=(0, 1))),
    "unknown model": _header(_claim(4, 4, b"\7")),
    "probability of nothing": _header(_claim(4, 4, b"\1\0\0")) + bytes(5),
    "no classes": _header(_claim(4, 4, bytes([2, 0, 1]))),
    "too many classes": _header(_claim(4, 4, bytes([2, 65, 1]) + bytes(200))),
    "an alphabet without symbols": _header(_claim(4, 4, bytes([2, 1, 1, 0, 1, 128]))),
    "patterns of an odd width": _header(_claim(4, 4, bytes([3, 5]) + bytes([1] * 32))),
    "patterns that do not fit": _header(_claim(4, 6, bytes([3, 4]) + bytes([1] * 16))),
    "a number without end": bytes([1, 0]) + b"\xff" * 40,
    "another version": b"\2" + _header()[1:],
}  # fmt: skip


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_headers_are_refused(data: bytes) -> None:
    with pytest.raises(EdgepruneError):
        decode_masks(data)


def test_the_caller_sets_how_many_weights_are_too_many() -> None:
    coded = encode_masks([np.ones((100, 100), bool)])
    assert decode_masks(coded, most_weights=10_000)[0].all()
    with pytest.raises(UnsupportedError, match=r"claim 10,000 weights; at most 9,999 are decoded"):
        decode_masks(coded, most_weights=9_999)


def test_a_device_needs_numpy_alone() -> None:
    program = (
        "import sys; import edgeprune.masking.pack, edgeprune.masking.coding;"
        "print(*sorted({'torch', 'transformers', 'safetensors', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
