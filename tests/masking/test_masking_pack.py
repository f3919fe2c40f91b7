"""Mask packs: exact on their base, refused on any other, and refused when damaged."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pack_kit import CLASSES, CONFIG, INNER, PROVENANCE, WIDTH, base_tensors, make, masks_of
from torch import Tensor

from edgeprune.errors import EdgepruneError, UnsupportedError, UsageError
from edgeprune.masking.base_model import base_id, encoder_tensors, in_task_names
from edgeprune.masking.coding import encode_masks, entropy
from edgeprune.masking.pack import Pack
from edgeprune.masking.pack_file import join, split
from edgeprune.masking.separating import apply, remainder, separate
from edgeprune.masking.stored_tensor import StoredTensor, store


def _same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(
        found[name].dtype == tensor.dtype and torch.equal(found[name], tensor)
        for name, tensor in expected.items()
    )


def _floats(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}


# --- separate, save, load, apply ---------------------------------------------------------------------------


def test_a_pack_on_its_base_is_the_folded_model(tmp_path: Path) -> None:
    made = make()
    path = tmp_path / "task.edgepack"
    made.pack.save(path)
    loaded = Pack.load(path)
    assert loaded == made.pack
    expected = made.model.state_dict()
    assert _same(_floats(apply(loaded, made.base)), _floats(expected))
    weight = apply(loaded, made.base)["enc.layer.0.up.weight"]
    assert not torch.signbit(weight[~made.masks["enc.layer.0.up"]]).any(), "what is dropped is +0"
    assert [entry.name for entry in tmp_path.iterdir()] == ["task.edgepack"]


def test_what_a_pack_says() -> None:
    pack = make().pack
    assert (pack.model_type, pack.prefix, pack.classes) == ("toy", "enc", CLASSES)
    assert pack.config == CONFIG
    assert pack.provenance == PROVENANCE
    assert pack.shapes["enc.layer.1.down"] == (WIDTH, INNER)
    for name, mask in pack.masks().items():
        assert (mask == masks_of(1)[name].numpy()).all()


def test_the_same_task_is_the_same_bytes() -> None:
    assert make().pack.to_bytes() == make().pack.to_bytes()
    assert make().pack.to_bytes() != make(seed=2).pack.to_bytes()


def test_what_the_base_has_is_borrowed_not_stored() -> None:
    made = make()
    assert set(made.pack.head) == {"classifier.weight", "classifier.bias"}
    assert {item.tensor for item in made.pack.borrowed.values()} >= {"enc.pooler.weight", "enc.pooler.bias"}
    head = {"classifier.weight": made.base["pooler.weight"].clone()}  # the same values under another name
    pack = separate(made.base, made.masks, head, config=CONFIG, classes=CLASSES)
    assert pack.head == {}
    assert pack.borrowed["classifier.weight"].tensor == "enc.pooler.weight"
    assert torch.equal(apply(pack, made.base)["classifier.weight"], made.base["pooler.weight"])


def test_a_base_without_what_is_borrowed_is_refused() -> None:
    made = make()
    without = {name: tensor for name, tensor in made.base.items() if name != "pooler.weight"}
    with pytest.raises(UsageError, match=r"enc\.pooler\.weight, and this base lacks it"):
        apply(made.pack, without)
    changed = made.base | {"pooler.weight": made.base["pooler.weight"] + 1}
    with pytest.raises(UsageError, match=r"enc\.pooler\.weight, and this base has another one"):
        apply(made.pack, changed)


def test_encoder_tensors_that_were_trained_are_part_of_the_head() -> None:
    made = make()
    state = made.model.state_dict()
    state["enc.layer.0.LayerNorm.bias"] = state["enc.layer.0.LayerNorm.bias"] + 0.5
    head = remainder(made.base, made.masks, state)
    assert "enc.layer.0.LayerNorm.bias" in head
    assert "enc.layer.1.LayerNorm.bias" not in head
    pack = separate(made.base, made.masks, head, config=CONFIG, classes=CLASSES)
    assert pack.base_id == made.pack.base_id
    assert _same(_floats(apply(pack, made.base)), _floats(state))


def test_a_model_whose_weights_were_trained_is_refused() -> None:
    made = make()
    state = made.model.state_dict()
    state["enc.layer.0.up.weight"] = state["enc.layer.0.up.weight"] * 1.001
    with pytest.raises(ValueError, match=r"enc\.layer\.0\.up\.weight is not the base's under its mask"):
        remainder(made.base, made.masks, state)


def test_masks_of_biases() -> None:
    base = base_tensors()
    masks = masks_of(3) | {"enc.layer.0.up.bias": torch.arange(INNER) % 3 == 0}
    pack = separate(base, masks, {}, config=CONFIG, classes=CLASSES)
    found = apply(Pack.from_bytes(pack.to_bytes()), base)
    assert pack.shapes["enc.layer.0.up.bias"] == (INNER,)
    assert torch.equal(found["enc.layer.0.up.bias"] != 0, masks["enc.layer.0.up.bias"])
    assert torch.equal(found["enc.layer.1.up.bias"], base["layer.1.up.bias"])


@pytest.mark.parametrize(
    ("masks", "said"),
    [
        ({"enc.layer.9.up": torch.ones(2, 2, dtype=torch.bool)}, "there is no such tensor in the base"),
        ({"enc.layer.0.up": torch.ones(2, 2, dtype=torch.bool)}, r"it has \[20, 12\]"),
        ({"enc.layer.0.up": torch.ones(INNER, WIDTH)}, "torch.float32"),
        ({"enc.pooler": torch.ones(WIDTH, WIDTH, dtype=torch.bool)}, "no such tensor"),
        ({}, "below none"),
        (masks_of(1) | {"dec.layer": torch.ones(1, 1, dtype=torch.bool)}, "below dec, enc"),
    ],
)
def test_masks_that_fit_no_base_are_a_mistake_of_the_caller(masks: dict[str, Tensor], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        separate(base_tensors(), masks, {}, config=CONFIG, classes=CLASSES)


# --- the base ----------------------------------------------------------------------------------------------


def test_another_base_is_refused_with_both_ids() -> None:
    made = make()
    other = base_tensors(seed=9)
    with pytest.raises(UsageError) as refusal:
        apply(made.pack, other)
    assert made.pack.base_id in refusal.value.message
    assert base_id(other, "enc") in refusal.value.message


def _kept_in_other_ways() -> dict[str, dict[str, Tensor]]:
    base = base_tensors()
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    renamed = {}
    for name, tensor in base.items():
        end = ".".join(name.split(".")[-2:])
        renamed[name.replace(end, old.get(end, end))] = tensor
    return {
        "below a task": {f"enc.{name}": tensor for name, tensor in base.items()},
        "with an MLM head": {f"enc.{name}": tensor for name, tensor in base.items()}
        | {"cls.decoder.weight": torch.ones(3)},
        "in another order": dict(reversed(base.items())),
        "under LayerNorm's old names": renamed,
        "without whole numbers": _floats(base),
        "without or with another pooler": {k: v for k, v in base.items() if "pooler" not in k}
        | {"pooler.weight": torch.zeros(1)},
        "not contiguous": {k: v.t().contiguous().t() if v.ndim == 2 else v for k, v in base.items()},
    }


@pytest.mark.parametrize("way", _kept_in_other_ways().keys())
def test_the_id_does_not_depend_on_how_a_base_is_kept(way: str) -> None:
    assert base_id(_kept_in_other_ways()[way], "enc") == base_id(base_tensors(), "enc")


def test_half_precision_is_the_float32_of_the_same_values() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        half = {name: tensor.to(dtype) for name, tensor in _floats(base_tensors()).items()}
        full = {name: tensor.float() for name, tensor in half.items()}
        assert base_id(half, "enc") == base_id(full, "enc") != base_id(base_tensors(), "enc")
        assert all(tensor.dtype == torch.float32 for tensor in encoder_tensors(half, "enc").values())


@pytest.mark.parametrize("name", sorted(_floats(base_tensors()).keys() - {"pooler.weight", "pooler.bias"}))
def test_the_id_covers_every_tensor_of_the_encoder(name: str) -> None:
    base = base_tensors()
    base[name].view(-1)[-1] += 2.0**-20
    assert base_id(base, "enc") != base_id(base_tensors(), "enc")


def test_the_id_covers_names_and_shapes() -> None:
    base, found = base_tensors(), base_id(base_tensors(), "enc")
    swapped = base | {"layer.0.up.bias": base["layer.1.up.bias"], "layer.1.up.bias": base["layer.0.up.bias"]}
    assert base_id(swapped, "enc") != found
    assert (
        base_id(base | {"layer.0.up.weight": base["layer.0.up.weight"].reshape(WIDTH, INNER)}, "enc") != found
    )
    assert base_id({k: v for k, v in base.items() if k != "embeddings.weight"}, "enc") != found


def test_the_id_stays_what_it_was() -> None:
    """Devices keep ids: the recipe of the hash must not change."""
    tensors = {"layer.0.up.weight": torch.arange(6, dtype=torch.float32).reshape(2, 3), "norm": torch.ones(2)}
    digest = hashlib.sha256(b"edgeprune.base/1\n")
    digest.update(b'["layer.0.up.weight", "F32", [2, 3]]\n')
    digest.update(np.arange(6, dtype="<f4").tobytes())
    digest.update(b'["norm", "F32", [2]]\n' + np.ones(2, "<f4").tobytes())
    assert base_id(tensors, "enc") == digest.hexdigest()


def test_tensors_that_need_no_conversion_are_shared() -> None:
    base = base_tensors()
    for name, tensor in in_task_names(base, "enc").items():
        assert tensor.data_ptr() == base[name.removeprefix("enc.")].data_ptr()
    made = make(base=base)
    applied = apply(made.pack, base)
    assert applied["enc.embeddings.weight"].data_ptr() == base["embeddings.weight"].data_ptr()


# --- summary -----------------------------------------------------------------------------------------------


def test_the_summary_counts() -> None:
    made = make()
    found = made.pack.summary()
    masks = list(made.masks.values())
    weights, kept = sum(mask.numel() for mask in masks), int(sum(mask.sum() for mask in masks))
    assert (found.weights, found.kept) == (weights, kept)
    assert found.density == kept / weights
    assert found.bytes == len(made.pack.to_bytes())
    assert found.mask_bytes == len(encode_masks([mask.numpy() for mask in masks]))
    assert found.head_bytes == 4 * (WIDTH * 3 + 3)
    assert found.bits_per_weight == 8 * found.mask_bytes / weights
    assert found.entropy_bound == entropy(kept / weights)
    per_matrix = sum(mask.numel() * entropy(float(mask.double().mean())) for mask in masks) / weights
    assert found.entropy_bound_per_matrix == pytest.approx(per_matrix)
    assert [(item.layer, item.shape) for item in found.matrices] == [
        (0, (INNER, WIDTH)),
        (0, (WIDTH, INNER)),
        (1, (INNER, WIDTH)),
        (1, (WIDTH, INNER)),
    ]
    assert found.matrices[2].density == float(made.masks["enc.layer.1.up"].double().mean())
    assert set(found.record()) == {"bytes", "mask_bytes", "head_bytes", "bits_per_weight", "entropy_bound"}


# --- stored tensors ----------------------------------------------------------------------------------------

DTYPES = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (5,), (3, 4), (2, 0, 3), (2, 3, 2)])
def test_exact_tensors_come_back(dtype: str, shape: tuple[int, ...]) -> None:
    tensor = (torch.randn(shape) * 50).to(getattr(torch, dtype))
    stored = store(tensor)
    found = stored.torch()
    assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape)
    assert torch.equal(found, tensor)
    assert np.array_equal(stored.numpy(), tensor.float().numpy() if dtype == "bfloat16" else tensor.numpy())


def test_values_that_are_no_numbers_come_back() -> None:
    tensor = torch.tensor([float("nan"), float("inf"), -0.0, 1e-45])
    assert store(tensor).data == tensor.numpy().tobytes()


@given(st.integers(1, 6), st.integers(1, 9), st.floats(1e-6, 1e4))
def test_rows_of_int8_are_near(rows: int, columns: int, scale: float) -> None:
    tensor = torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows)) * scale
    stored = store(tensor, "int8-rows")
    assert len(stored.data) == rows * (columns + 4)
    limit = tensor.abs().amax(1, keepdim=True) / 127 * 0.501
    assert ((stored.torch() - tensor).abs() <= limit).all()


def test_smaller_heads() -> None:
    exact, half, rows = (make(head_encoding=kind) for kind in ("exact", "float16", "int8-rows"))
    sizes = [item.pack.summary().head_bytes for item in (exact, half, rows)]
    assert sizes == [4 * 39, 2 * 39, (3 * WIDTH + 3 * 4) + 3 * 4]
    for made, tolerance in ((half, 1e-3), (rows, 5e-3)):
        found = apply(Pack.from_bytes(made.pack.to_bytes()), made.base)["classifier.weight"]
        assert found.dtype == torch.float32
        assert torch.allclose(found, made.model.classifier.weight, atol=tolerance)
    assert {item.encoding for item in rows.pack.head.values()} == {"exact", "int8-rows"}


def test_rows_of_zeros_as_int8() -> None:
    for shape in ((2, 3), (0, 3), (3, 0)):
        assert torch.equal(store(torch.zeros(shape), "int8-rows").torch(), torch.zeros(shape))


@pytest.mark.parametrize(
    ("tensor", "encoding", "error"),
    [
        (torch.tensor([1e6]), "float16", EdgepruneError),
        (torch.tensor([float("nan")]), "float16", EdgepruneError),
        (torch.tensor([[float("inf")]]), "int8-rows", EdgepruneError),
        (torch.zeros(3), "int8-rows", ValueError),
        (torch.zeros(3, dtype=torch.int64), "float16", ValueError),
        (torch.zeros(3, dtype=torch.complex64), "exact", UnsupportedError),
    ],
)
def test_what_an_encoding_cannot_hold_is_refused(tensor: Tensor, encoding: Any, error: type) -> None:
    with pytest.raises(error):
        store(tensor, encoding)


# --- damage ------------------------------------------------------------------------------------------------


def test_any_changed_byte_is_noticed() -> None:
    data = make().pack.to_bytes()
    for place in range(0, len(data), 7):
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises(EdgepruneError):
            Pack.from_bytes(bytes(changed))


@pytest.mark.parametrize("length", [0, 3, 8, 15, 16, 47, 48, 200, -1])
def test_a_truncated_file_is_noticed(length: int) -> None:
    with pytest.raises(EdgepruneError):
        Pack.from_bytes(make().pack.to_bytes()[:length])


def test_files_that_are_no_packs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file") as missing:
        Pack.load(tmp_path / "no.edgepack")
    assert missing.value.where == str(tmp_path / "no.edgepack")
    other = tmp_path / "model.safetensors"
    other.write_bytes(b"\x10" + bytes(100))
    with pytest.raises(UsageError, match="this is no mask pack"):
        Pack.load(other)


def test_a_newer_version_is_unsupported() -> None:
    data = bytearray(make().pack.to_bytes())
    data[8] = 2
    with pytest.raises(UnsupportedError, match="of version 2; this edgeprune reads version 1"):
        Pack.from_bytes(bytes(data))


def _set(header: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split("/")
    for key in parents:
        header = header[int(key)] if isinstance(header, list) else header[key]
    header[int(last) if isinstance(header, list) else last] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("format", "edgeprune.pack/9"),
        ("base", "abc"),
        ("base/id", 7),
        ("classes", "bad"),
        ("classes/0", None),
        ("config", []),
        ("provenance", 3),
        ("masks/bytes", -1),
        ("masks/bytes", 1 << 60),
        ("masks/bytes", True),
        ("masks/tensors", {}),
        ("masks/tensors/0", 5),
        ("masks/tensors/0/name", "enc.layer.0.down"),
        ("masks/tensors/0/shape", [1, 2, 3]),
        ("head/0/bytes", 1),
        ("head/0/shape", [1 << 40, 1 << 40]),
        ("head/0/shape", [-3, -12]),
        ("head/0/shape", ["3", 12]),
        ("head/0/dtype", "F8"),
        ("head/0/encoding", "pickle"),
        ("head/0/name", "classifier.bias"),
        ("borrowed/0", {}),
    ],
)
def test_a_hostile_header_is_refused(path: str, value: Any) -> None:
    header, body = split(make().pack.to_bytes())
    _set(header, path, value)
    with pytest.raises(EdgepruneError):
        Pack.from_bytes(join(header, body))


@pytest.mark.parametrize("missing", ["format", "base", "masks", "head", "config", "classes", "borrowed"])
def test_a_header_without_a_part_is_refused(missing: str) -> None:
    header, body = split(make().pack.to_bytes())
    del header[missing]
    with pytest.raises(EdgepruneError, match="not that of a mask pack"):
        Pack.from_bytes(join(header, body))


@pytest.mark.parametrize("text", [b"{", b"[1]", b"\xff", b"[" * 100_000, b"3"])
def test_a_header_that_is_no_object_is_refused(text: bytes) -> None:
    whole = b"EDGEPACK" + (1).to_bytes(4, "little") + len(text).to_bytes(4, "little") + text
    with pytest.raises(EdgepruneError, match="damaged"):
        Pack.from_bytes(whole + hashlib.sha256(whole).digest())


def test_masks_of_other_shapes_than_the_header_says_are_refused() -> None:
    made = make()
    header, body = split(made.pack.to_bytes())
    header["masks"]["tensors"][0]["shape"] = [INNER, WIDTH + 1]
    pack = Pack.from_bytes(join(header, body))
    with pytest.raises(EdgepruneError, match="are not those of its 4 masks"):
        pack.masks()
    header["masks"]["tensors"][0].update(shape=[INNER, WIDTH], name="enc.layer.0.side")
    with pytest.raises(EdgepruneError, match=r"its base has no enc\.layer\.0\.side"):
        apply(Pack.from_bytes(join(header, body)), made.base)


def test_a_config_that_json_cannot_hold_is_a_mistake_of_the_caller() -> None:
    made = make()
    with pytest.raises(TypeError):
        separate(made.base, made.masks, {}, config={"a": object()}, classes=CLASSES)


def test_a_pack_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(EdgepruneError, match="cannot be written") as refusal:
        make().pack.save(tmp_path / "no" / "task.edgepack")
    assert refusal.value.where == str(tmp_path / "no" / "task.edgepack")


def test_a_stored_tensor_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(EdgepruneError, match="has 3 bytes, not 8"):
        StoredTensor("F32", (2,), "exact", b"abc")
    with pytest.raises(EdgepruneError, match="has no rows"):
        StoredTensor("F32", (2,), "int8-rows", b"ab")
    with pytest.raises(UnsupportedError):
        StoredTensor("F8", (2,), "exact", b"ab")


def test_the_file_is_laid_out_as_it_says() -> None:
    pack = make().pack
    data = pack.to_bytes()
    assert data[:8] == b"EDGEPACK"
    assert int.from_bytes(data[8:12], "little") == 1
    length = int.from_bytes(data[12:16], "little")
    header = json.loads(data[16 : 16 + length])
    assert header["format"] == "edgeprune.pack/1"
    body = data[16 + length : -32]
    assert body[: header["masks"]["bytes"]] == pack.coded_masks
    assert body[header["masks"]["bytes"] :] == b"".join(item.data for item in pack.head.values())
    assert data[-32:] == hashlib.sha256(data[:-32]).digest()
