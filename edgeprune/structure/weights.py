"""The weights in a model's folder (`model.safetensors`, or the shards that its index names), put into one.

Headers are read without the tensors. Pickled weights are not looked for. A weight that is missing, or has
no place, is an error: nothing is left to chance.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.errors import EdgepruneError, UnsupportedError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["fill", "read_tensors", "require_finite", "require_whole", "tensor_names"]

_WHOLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"


def tensor_names(folder: Path) -> frozenset[str]:
    """Names of all weights, from the headers alone.

    Raises:
        EdgepruneError: There are no weights, or they cannot be read.
    """
    names: set[str] = set()
    for path in _files(folder):
        with _opened(path) as file:
            names.update(file.keys())
    return frozenset(names)


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All weights by name, on the CPU.

    Raises:
        EdgepruneError: There are no weights, or they cannot be read.
    """
    tensors: dict[str, Tensor] = {}
    for path in _files(folder):
        with _opened(path) as file:
            tensors |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    return tensors


def require_finite(model: Any, folder: Path) -> None:
    """Nothing, if all weights of a model are numbers: training one that has others only spreads them.

    Raises:
        UnsupportedError: A weight is NaN or infinite.
    """
    for name, values in model.state_dict().items():
        bad = int((~values.isfinite()).sum())
        if bad:
            raise UnsupportedError(
                f"{bad:,} of {values.numel():,} values of the weight {name} are NaN or infinite",
                where=str(folder),
                hint="these weights are of no use: take them from another source",
            )


def _opened(path: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        raise EdgepruneError(
            f"the weights cannot be read: {error}", where=str(path), hint="the file is damaged; make it again"
        ) from error


def _files(folder: Path) -> list[Path]:
    whole, index = folder / _WHOLE, folder / _INDEX
    if whole.is_file():
        return [whole]
    if not index.is_file():
        raise EdgepruneError(
            f"there is no {_WHOLE}",
            where=str(folder),
            hint="pickled weights are never read",
        )
    try:
        shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EdgepruneError("it is no index of weights", where=str(index)) from error
    if any(not isinstance(name, str) or Path(name).name != name for name in shards):
        raise EdgepruneError(
            f"it names files outside its folder: {', '.join(map(str, shards))}", where=str(index)
        )
    return [folder / name for name in shards]


def fill(model: Any, tensors: Mapping[str, Tensor], where: Path) -> None:
    """Copy every weight into a model: each must have its place, and each place its weight.

    Args:
        model: Changed in place; its dtypes are kept.
        tensors: By the names of the model's `state_dict`.
        where: Where they are from, for the error.

    Raises:
        EdgepruneError: They are not those of the model.
    """
    import torch

    places: dict[str, Tensor] = model.state_dict()
    common = places.keys() & tensors.keys()
    misfits = [name for name in common if places[name].shape != tensors[name].shape]
    require_whole(where, places.keys() - common, tensors.keys() - common, misfits)
    with torch.no_grad():
        for name, place in places.items():
            place.copy_(tensors[name])


def require_whole(
    where: Path, missing: Collection[str], unexpected: Collection[str], misfits: Collection[str]
) -> None:
    """Refuse weights that are not exactly those of a model.

    Args:
        where: Where they are from.
        missing: Names that the model has and the weights lack.
        unexpected: Names that the weights have and the model lacks.
        misfits: Names that both have, with other shapes.

    Raises:
        EdgepruneError: Any of the three is not empty.
    """
    kinds = {"missing": missing, "without a place in the model": unexpected, "of another shape": misfits}
    faults = [f"{words}: {_listed(names)}" for words, names in kinds.items() if names]
    if faults:
        raise EdgepruneError(
            f"the weights are not those of the model that the folder describes: {'; '.join(faults)}",
            where=str(where),
            hint="another model's file may lie there; make the model again",
        )


def _listed(names: Collection[str], most: int = 4) -> str:
    shown = sorted(names)[:most]
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "")
