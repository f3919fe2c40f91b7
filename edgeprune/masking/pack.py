"""A mask pack: one task for a device that has the base model already.

It holds which base it fits, the coded masks of the encoder's matrices, the head, and what a Hugging Face
model for the task needs beside weights (config, class names). `separating` makes one from a trained model
and applies it to a base; `shelf` runs many on one base. Here is the pack as data, to file and back; numpy
suffices for all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from edgeprune.errors import EdgepruneError
from edgeprune.masking import pack_file
from edgeprune.masking.coding import MOST_WEIGHTS, decode_masks
from edgeprune.masking.pack_summary import PackSummary, summarize
from edgeprune.masking.stored_tensor import Encoding, StoredTensor

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["FORMAT", "Borrowed", "Pack", "as_matrix"]

FORMAT = "edgeprune.pack/1"


@dataclass(frozen=True)
class Borrowed:
    """A head's tensor that the base holds too, under whatever name.

    Attributes:
        tensor: Its name in the base (`base_model.in_task_names`).
        sha256: `base_model.tensor_digest` of it.
    """

    tensor: str
    sha256: str


@dataclass(frozen=True)
class Pack:
    """A mask pack.

    Attributes:
        base_id: Of the base that it fits (`base_model.base_id`).
        prefix: What the model calls its encoder, e.g. `bert`.
        config: The task's Hugging Face config, as JSON.
        classes: Names of the classes, in the order of their ids.
        shapes: Masked tensors in the order in which they are coded: module path of a weight, or the full
            name of another tensor (a bias), to its shape.
        coded_masks: `mask_codec.encode_masks` of them.
        head: Name in the task's model to tensor: all that is not the masked base.
        borrowed: Head tensors that the base has, so that they are not stored.
        structure: What `structure.json` says of the model; empty where it needs none.
        provenance: How it came about, for people: method, density, run; any JSON.
    """

    base_id: str
    prefix: str
    config: Mapping[str, Any]
    classes: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    coded_masks: bytes
    head: Mapping[str, StoredTensor]
    borrowed: Mapping[str, Borrowed] = field(default_factory=dict)
    structure: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model_type(self) -> str:
        """The Hugging Face name of the architecture."""
        return str(self.config.get("model_type", "unknown"))

    def masks(self, *, most_weights: int = MOST_WEIGHTS) -> dict[str, npt.NDArray[np.bool_]]:
        """The masks, each of its tensor's shape, in order; true is kept.

        Raises:
            UnsupportedError: They are of another version, or more weights than `most_weights`.
            EdgepruneError: They are damaged, or not those of the tensors that the pack names.
        """
        masks = decode_masks(self.coded_masks, most_weights=most_weights)
        found = [mask.shape for mask in masks]
        named = [as_matrix(shape) for shape in self.shapes.values()]
        if found != named:
            raise EdgepruneError(
                f"the mask pack is damaged: the shapes of its {len(named)} masked tensors are not those of "
                f"its {len(found)} masks"
            )
        return {
            name: mask.reshape(shape) for (name, shape), mask in zip(self.shapes.items(), masks, strict=True)
        }

    def summary(self) -> PackSummary:
        """Sizes and densities; decodes the masks. Raises as `masks` does."""
        return summarize(
            self.masks(),
            mask_bytes=len(self.coded_masks),
            head_bytes=sum(len(item.data) for item in self.head.values()),
            total_bytes=len(self.to_bytes()),
        )

    def to_bytes(self) -> bytes:
        """The file; the same pack is the same bytes."""
        header = {
            "format": FORMAT,
            "base": {"id": self.base_id, "prefix": self.prefix},
            "classes": list(self.classes),
            "config": dict(self.config),
            "structure": dict(self.structure),
            "provenance": dict(self.provenance),
            "masks": {
                "bytes": len(self.coded_masks),
                "tensors": [{"name": name, "shape": list(shape)} for name, shape in self.shapes.items()],
            },
            "head": [
                {
                    "name": name,
                    "dtype": item.dtype,
                    "shape": list(item.shape),
                    "encoding": item.encoding,
                    "bytes": len(item.data),
                }
                for name, item in self.head.items()
            ],
            "borrowed": [
                {"name": name, "tensor": item.tensor, "sha256": item.sha256}
                for name, item in self.borrowed.items()
            ],
        }
        return pack_file.join(header, self.coded_masks + b"".join(item.data for item in self.head.values()))

    @classmethod
    def from_bytes(cls, data: bytes, where: str = "") -> Pack:
        """The pack again; its masks are checked when they are decoded.

        Args:
            data: What `to_bytes` gave.
            where: What to call it in errors.

        Raises:
            UsageError: It is no mask pack.
            UnsupportedError: It is of another version.
            EdgepruneError: It is damaged.
        """
        header, body = pack_file.split(data, where)
        try:
            return _from_header(header, body)
        except (KeyError, TypeError, ValueError) as error:
            raise EdgepruneError(
                f"the mask pack is damaged: its header is not that of a mask pack: {error}",
                where=where,
                hint="make the file again",
            ) from error

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            EdgepruneError: It cannot be written.
        """
        pack_file.write(path, self.to_bytes())

    @classmethod
    def load(cls, path: Path) -> Pack:
        """Read a file. Raises as `from_bytes` does, and UsageError where there is none."""
        return cls.from_bytes(pack_file.read(path), str(path))


def as_matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """The rows and columns that a mask of a shape is coded as: of a vector, one row."""
    return (1, shape[0]) if len(shape) == 1 else (shape[0], shape[1])


def _from_header(header: dict[str, Any], body: bytes) -> Pack:
    """Raises KeyError, TypeError or ValueError where the header is not as `Pack.to_bytes` writes it."""
    if header["format"] != FORMAT:
        raise ValueError(f"its format is {header['format']!r}, not {FORMAT!r}")
    masks, rows = _typed(header["masks"], dict), _typed(header["head"], list)
    lengths = [_number(masks["bytes"]), *(_number(row["bytes"]) for row in rows)]
    if sum(lengths) != len(body):
        raise ValueError(f"it speaks of {sum(lengths):,} bytes, there are {len(body):,}")
    parts = iter(_cut(body, lengths))
    coded = next(parts)
    shapes = {
        _typed(row["name"], str): _shape(row["shape"], (1, 2)) for row in _typed(masks["tensors"], list)
    }
    head = {_typed(row["name"], str): _stored(row, data) for row, data in zip(rows, parts, strict=True)}
    if len(shapes) != len(masks["tensors"]) or len(head) != len(rows):
        raise ValueError("it names a tensor twice")
    base = _typed(header["base"], dict)
    return Pack(
        base_id=_typed(base["id"], str),
        prefix=_typed(base["prefix"], str),
        config=_typed(header["config"], dict),
        classes=tuple(_typed(name, str) for name in _typed(header["classes"], list)),
        shapes=shapes,
        coded_masks=coded,
        head=head,
        borrowed={
            _typed(row["name"], str): Borrowed(_typed(row["tensor"], str), _typed(row["sha256"], str))
            for row in _typed(header["borrowed"], list)
        },
        structure=_typed(header["structure"], dict),
        provenance=_typed(header["provenance"], dict),
    )


def _stored(row: dict[str, Any], data: bytes) -> StoredTensor:
    encoding = row["encoding"]
    if encoding not in get_args(Encoding):
        raise ValueError(f"there is no encoding {encoding!r}")
    return StoredTensor(_typed(row["dtype"], str), _shape(row["shape"], range(32)), encoding, data)


def _cut(body: bytes, lengths: list[int]) -> list[bytes]:
    ends = accumulate(lengths, initial=0)
    return [body[begin:end] for begin, end in pairwise(ends)]


def _shape(value: Any, dimensions: Any) -> tuple[int, ...]:
    shape = tuple(_number(side) for side in _typed(value, list))
    if len(shape) not in dimensions:
        raise ValueError(f"a tensor has the shape {list(shape)}")
    return shape


def _number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 48:
        raise ValueError(f"{value!r} is no size")
    return value


def _typed(value: Any, kind: type[Any]) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{str(value)[:80]!r} is no {kind.__name__}")
    return value
