"""Which module of a PyTorch model an operator of its exported graph is.

Names of nodes are an exporter's own affair, and most matrices lose theirs on the way. Their numbers do not
change. So an operator is the module whose matrix it holds. Where several modules hold the same numbers, as
matrices that are zero throughout do, they are told apart by their order in the forward pass.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from edgeprune.errors import UnsupportedError
from edgeprune.quantization.graphs import initializers, operators

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["Matrix", "Site", "find_sites"]

_HINT = "quantize right after `export`; or use mode: ptq, which needs the exported graph alone"


@dataclass(frozen=True, eq=False)
class Matrix:
    """A module with a matrix, as a forward pass meets it.

    Attributes:
        module: Its path from the model's root.
        kind: As in `graphs`.
        values: [out, in] of a linear layer, [rows, width] of an embedding; FP32.
    """

    module: str
    kind: Literal["linear", "embedding"]
    values: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Site:
    """A module and its operator.

    Attributes:
        module: Path from the model's root.
        kind: As in `graphs`.
        operator: Node of the prepared graph.
        activation: Tensor that it reads; None for an embedding, which reads ids.
    """

    module: str
    kind: Literal["linear", "embedding"]
    operator: str
    activation: str | None


def find_sites(model: ModelProto, matrices: Iterable[Matrix]) -> tuple[Site, ...]:
    """The operator of every module.

    Args:
        model: Prepared (see `graphs.prepared`), with the very weights of the modules.
        matrices: In the order of the forward pass. An embedding whose rows the export has computed ahead has
            no operator, and is left out.

    Returns:
        In the order of `matrices`.

    Raises:
        UnsupportedError: A linear layer has no operator, or an operator no module.
    """
    constants = initializers(model)
    waiting: dict[str, list[Any]] = defaultdict(list)
    for operator in operators(model):
        if operator.weight is not None:
            waiting[_print(operator.kind, _array(constants[operator.weight]))].append(operator)
    alike: dict[str, list[Matrix]] = defaultdict(list)
    order = []
    for matrix in matrices:
        # The graph has matrices of linear layers as [in, out].
        values = matrix.values.T if matrix.kind == "linear" else matrix.values
        alike[_print(matrix.kind, values)].append(matrix)
        order.append(matrix.module)
    found: dict[str, Site] = {}
    for key, same in alike.items():
        for matrix, operator in _paired(same, waiting.pop(key, [])):
            activation = operator.activations[0] if operator.activations else None
            found[matrix.module] = Site(matrix.module, matrix.kind, operator.name, activation)
    for left in waiting.values():
        raise UnsupportedError(
            f"no module of the PyTorch model holds the matrix of {left[0].name}",
            where=f"node {left[0].name}",
            hint=_HINT,
        )
    return tuple(found[module] for module in order if module in found)


def _paired(modules: Sequence[Matrix], found: Sequence[Any]) -> list[tuple[Matrix, Any]]:
    """Modules and operators with equal matrices."""
    if not found and modules[0].kind == "embedding":
        return []
    if len(modules) != len(found):
        names = ", ".join(matrix.module for matrix in modules)
        raise UnsupportedError(
            f"the exported graph has {len(found)} operators with the matrix of {names}, not {len(modules)}",
            where=modules[0].module,
            hint=_HINT,
        )
    return list(zip(modules, found, strict=True))


def _print(kind: str, values: npt.NDArray[Any]) -> str:
    """The same for the same kind, shape and numbers; 0 and -0 are one number."""
    exact = np.ascontiguousarray(values, np.float32) + np.float32(0)
    return f"{kind} {exact.shape} {hashlib.sha256(exact.tobytes()).hexdigest()}"


def _array(tensor: Any) -> npt.NDArray[Any]:
    from onnx.numpy_helper import to_array

    return to_array(tensor)
