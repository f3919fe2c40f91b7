"""A tensor as bytes in a mask pack: exact, or smaller at a loss that is said.

| encoding | bytes | loss |
|---|---|---|
| `exact` | the tensor's own, little endian | none |
| `float16` | 2 a value | rounded to half precision |
| `int8-rows` | 1 a value and 4 a row | rounded to 1/127 of the largest value of its row, in absolute terms |

Reading needs numpy alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from edgeprune.errors import EdgepruneError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    from torch import Tensor

__all__ = ["DTYPES", "Encoding", "StoredTensor", "byte_view", "dtype_name", "store"]

Encoding = Literal["exact", "float16", "int8-rows"]

DTYPES: Mapping[str, str] = MappingProxyType(
    {
        "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2",
        "I8": "i1", "U8": "u1", "BOOL": "?",
    }
)  # fmt: skip
"""Names of dtypes, as safetensors has them, and how numpy reads their bytes (of bfloat16: the bits)."""

_TORCH_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64",
        "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
    }
)  # fmt: skip


@dataclass(frozen=True)
class StoredTensor:
    """A tensor's bytes and how to read them.

    Attributes:
        dtype: Of the tensor that is given back, a key of `DTYPES`; F32 where the encoding is lossy.
        shape: Of the tensor.
        encoding: A row of the table above.
        data: The bytes.
    """

    dtype: str
    shape: tuple[int, ...]
    encoding: Encoding
    data: bytes

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES or self.encoding not in get_args(Encoding):
            raise UnsupportedError(f"a stored tensor is of dtype {self.dtype!r}, encoding {self.encoding!r}")
        if self.encoding == "int8-rows" and len(self.shape) < 2:
            raise EdgepruneError(f"a stored tensor of shape {list(self.shape)} has no rows")
        expected = _size(self.dtype, self.shape, self.encoding)
        if len(self.data) != expected:
            raise EdgepruneError(
                f"a stored tensor of shape {list(self.shape)} has {len(self.data)} bytes, not {expected}"
            )

    def numpy(self) -> npt.NDArray[Any]:
        """The tensor as a numpy array; bfloat16, which numpy lacks, as the float32 of the same values."""
        if self.encoding == "float16":
            return np.frombuffer(self.data, "<f2").astype(np.float32).reshape(self.shape)
        if self.encoding == "int8-rows":
            rows = self.shape[0]
            scales = np.frombuffer(self.data, "<f4", rows)
            values = np.frombuffer(self.data, np.int8, offset=4 * rows).reshape(rows, prod(self.shape[1:]))
            return (values.astype(np.float32) * scales[:, None].astype(np.float32)).reshape(self.shape)
        array = np.frombuffer(self.data, DTYPES[self.dtype]).reshape(self.shape)
        if self.dtype == "BF16":
            wide = np.left_shift(array.reshape(-1), 16, dtype=np.uint32)  # a bfloat16 is half a float32
            return np.asarray(wide.view(np.float32).reshape(self.shape), np.float32)
        return array.astype(array.dtype.newbyteorder("="))

    def torch(self) -> Tensor:
        """The tensor, of its own dtype."""
        import torch

        tensor = torch.from_numpy(self.numpy().copy())
        return tensor.to(getattr(torch, _TORCH_NAMES[self.dtype]))


def store(tensor: Tensor, encoding: Encoding = "exact") -> StoredTensor:
    """A tensor as bytes.

    Args:
        tensor: Of any shape; a lossy encoding takes floating-point tensors, and `int8-rows` matrices.
        encoding: A row of the table above.

    Raises:
        EdgepruneError: A value is too large for the encoding, or not finite.
        ValueError: The encoding is not for tensors of that kind.
    """
    shape = tuple(tensor.shape)
    if encoding == "exact":
        return StoredTensor(dtype_name(tensor), shape, encoding, byte_view(tensor).tobytes())
    if not tensor.is_floating_point() or (encoding == "int8-rows" and tensor.ndim < 2):
        raise ValueError(f"{encoding} does not take a {tensor.dtype} of shape {list(shape)}")
    values = tensor.detach().cpu().float().numpy()
    largest = float(np.abs(values).max(initial=0.0))
    if not largest <= (65504 if encoding == "float16" else np.finfo(np.float32).max):
        raise EdgepruneError(
            f"a value of {largest:g} cannot be stored as {encoding}", hint="store this tensor exactly"
        )
    if encoding == "float16":
        return StoredTensor("F32", shape, encoding, values.astype("<f2").tobytes())
    rows = values.reshape(shape[0], prod(shape[1:]))
    scales = np.abs(rows).max(1, initial=0.0).astype("<f4") / np.float32(127)
    steps = np.divide(rows, scales[:, None], out=np.zeros_like(rows), where=scales[:, None] > 0)
    integers = np.clip(np.rint(steps), -127, 127).astype(np.int8)
    return StoredTensor("F32", shape, encoding, scales.astype("<f4").tobytes() + integers.tobytes())


def dtype_name(tensor: Tensor) -> str:
    """The key of `DTYPES` for a tensor.

    Raises:
        UnsupportedError: There is none, e.g. for complex numbers.
    """
    found = str(tensor.dtype).removeprefix("torch.")
    for name, known in _TORCH_NAMES.items():
        if known == found:
            return name
    raise UnsupportedError(f"a tensor of dtype {found} cannot be stored in a mask pack")


def byte_view(tensor: Tensor) -> npt.NDArray[np.uint8]:
    """A tensor's values as bytes, row by row; shares its memory where it can."""
    import torch

    flat = tensor.detach().cpu().contiguous().reshape(-1)
    if not flat.numel():
        return np.empty(0, np.uint8)
    return np.asarray(flat.view(torch.uint8).numpy(), np.uint8)


def _size(dtype: str, shape: tuple[int, ...], encoding: Encoding) -> int:
    count = prod(shape)
    if encoding == "float16":
        return 2 * count
    if encoding == "int8-rows":
        return count + 4 * shape[0]
    return count * np.dtype(DTYPES[dtype]).itemsize
