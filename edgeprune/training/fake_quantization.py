"""A PyTorch model that computes in FP32 what its INT8 graph will compute: every rounding at its place.

| what | rounded as | learns by |
|---|---|---|
| matrices | symmetric, a scale per output channel, from its largest weight | straight through |
| embeddings | the same, a scale per row or per table | straight through |
| activations | one step for all, at the calibrated zero point | straight through; the step by LSQ |

LSQ is Esser et al. 2020, arXiv 1902.08153. A step is s = s₀ · exp(g), with s₀ from calibration and a learned
g that begins at 0. So it stays above 0, and a learning rate means the same for a step of 0.01 and for one of
10. The gradient of s (equation 3 there) is scaled by 1 / sqrt(n · Q) as in section 2.2: n values of one
example, Q the highest level.

Weights are those of all dialects, steps each dialect's own. Nothing here depends on a runtime.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize

from edgeprune.errors import UnsupportedError
from edgeprune.quantization.dialects import RULES, Dialect
from edgeprune.quantization.ranges import Range, grid
from edgeprune.quantization.sites import Matrix, Site

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

__all__ = ["FakeQuantization", "Plan", "executed_matrices"]

# Where the steps sit in the student while it is trained, so that checkpoints hold them.
_ATTRIBUTE = "edgeprune_steps"
_SMALLEST_SCALE = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, eq=False)
class Plan:
    """What is rounded, and how.

    Attributes:
        sites: Modules that run in INT8, with the activations that they read.
        ranges: By dialect and activation: where steps begin, and zero points for good.
        scales: [channels] by activation: what it is divided by before it is rounded (see `smoothing`).
        embeddings: Scales of embeddings.
        weight_bits: 8 or 7.
        learned: Whether steps are learned; else they stay as calibrated.
    """

    sites: Sequence[Site]
    ranges: Mapping[Dialect, Mapping[str, Range]]
    scales: Mapping[str, npt.NDArray[np.float32]]
    embeddings: Literal["rows", "table"] = "rows"
    weight_bits: int = 8
    learned: bool = True


def executed_matrices(model: Any, batch: Mapping[str, npt.NDArray[Any]]) -> list[Matrix]:
    """Linear layers and embeddings in the order in which a forward pass meets them, each once.

    Args:
        model: A classifier; left in evaluation mode.
        batch: Inputs for it.

    Raises:
        UnsupportedError: A linear layer changes its input before it multiplies.
    """
    met: dict[str, Matrix] = {}

    def meet(path: str, module: Any) -> Any:
        kind: Literal["linear", "embedding"] = "linear" if isinstance(module, nn.Linear) else "embedding"

        def note(*_: Any) -> None:
            met.setdefault(path, Matrix(path, kind, module.weight.detach().float().cpu().numpy()))

        return module.register_forward_hook(note)

    handles = [
        meet(path, module)
        for path, module in model.named_modules()
        if isinstance(module, (nn.Linear, nn.Embedding))
    ]
    device = next(model.parameters()).device
    with torch.inference_mode():
        model.eval()(**{name: torch.from_numpy(values).to(device) for name, values in batch.items()})
    for handle in handles:
        handle.remove()
    for path in met:
        module = model.get_submodule(path)
        if isinstance(module, nn.Linear) and type(module).forward is not nn.Linear.forward:
            raise UnsupportedError(
                f"{path} ({type(module).__name__}) changes its input before it multiplies, which fake "
                "quantization cannot see",
                where=path,
                hint="use mode: ptq, or train with head: trained",
            )
    return list(met.values())


class FakeQuantization:
    """Rounds inside a model, between `attach` and `remove`; steps live on.

    Args:
        plan: What and how.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._dialects: tuple[Dialect, ...] = tuple(plan.ranges)
        names = dict.fromkeys(site.activation for site in plan.sites if site.activation is not None)
        self._steps = {
            name: _Activation(
                {dialect: found[name] for dialect, found in plan.ranges.items()},
                plan.scales.get(name),
                learned=plan.learned,
            )
            for name in names
        }
        self._model: Any = None
        self._handles: list[Any] = []
        self.use(self._dialects[0])

    @property
    def dialects(self) -> tuple[Dialect, ...]:
        """That it knows steps of."""
        return self._dialects

    def use(self, dialect: Dialect) -> None:
        """Round as this dialect does from now on."""
        for step in self._steps.values():
            step.use(dialect)

    def attach(self, model: Any) -> None:
        """Put the rounding into a model, with the steps as parameters; its own stay the same objects."""
        plan, self._model = self._plan, model
        for site in plan.sites:
            module = model.get_submodule(site.module)
            if site.activation is None:
                rows = _Rows(plan.embeddings, plan.weight_bits)
                self._handles.append(module.register_forward_hook(rows))
                continue
            step = self._steps[site.activation]
            self._handles.append(module.register_forward_pre_hook(step.hook))
            rounded = _Weight(plan.scales.get(site.activation), plan.weight_bits)
            parametrize.register_parametrization(module, "weight", rounded.to(module.weight.device))
        device = next(model.parameters()).device
        # Names of submodules hold no dots, so they are numbers.
        steps = nn.ModuleDict({str(index): step for index, step in enumerate(self._steps.values())})
        model.add_module(_ATTRIBUTE, steps.to(device))

    def remove(self) -> None:
        """Leave the model as it would be without: its weights are not rounded."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        for site in self._plan.sites:
            if site.activation is not None:
                module = self._model.get_submodule(site.module)
                parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)
        delattr(self._model, _ATTRIBUTE)

    def parameters(self) -> Iterable[nn.Parameter]:
        """What of the steps is learned."""
        for step in self._steps.values():
            yield from (item for item in step.parameters() if item.requires_grad)

    def ranges(self) -> dict[Dialect, dict[str, Range]]:
        """What the steps cover now."""
        return {
            dialect: {name: step.covered(dialect) for name, step in self._steps.items()}
            for dialect in self._dialects
        }


class _Activation(nn.Module):  # type: ignore[misc]
    """The step of one tensor in each dialect; rounds it for every module that reads it."""

    def __init__(
        self, ranges: Mapping[Dialect, Range], scale: npt.NDArray[np.float32] | None, *, learned: bool
    ) -> None:
        super().__init__()
        self._dialect: Dialect = next(iter(ranges))
        self._ranges = dict(ranges)
        self._rounded: tuple[Any, Any] | None = None
        self.register_buffer("scale", None if scale is None else torch.from_numpy(scale.copy()))
        for dialect, found in ranges.items():
            levels = grid(found, symmetric=RULES[dialect].symmetric)
            start = torch.tensor([levels.scale, levels.zero_point], dtype=torch.float32)
            self.register_buffer(f"start_{dialect}", start)
            growth = nn.Parameter(torch.zeros(()), requires_grad=learned and found.peak > 0)
            self.register_parameter(f"growth_{dialect}", growth)

    def use(self, dialect: Dialect) -> None:
        """Whose step counts from now on."""
        self._dialect, self._rounded = dialect, None

    def hook(self, module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """Before a linear layer: rounds what it reads; once for all that read the same tensor."""
        values, *rest = arguments
        if self._rounded is None or self._rounded[0] is not values:
            self._rounded = (values, self.forward(values))
        return (self._rounded[1], *rest)

    def forward(self, values: Tensor) -> Tensor:
        """Quantized and dequantized, in the smoothed graph's units."""
        lowest, highest = (-128, 127) if RULES[self._dialect].symmetric else (0, 255)
        zero = getattr(self, f"start_{self._dialect}")[1]
        smoothed = values if self.scale is None else values / self.scale
        found: Tensor = _Round.apply(
            smoothed, self._step(self._dialect), lowest - zero, highest - zero, highest
        )
        return found

    def covered(self, dialect: Dialect) -> Range:
        """The range; as calibrated where the step has not moved."""
        if not getattr(self, f"growth_{dialect}").item():
            return self._ranges[dialect]
        step, zero = self._step(dialect).item(), int(getattr(self, f"start_{dialect}")[1])
        if RULES[dialect].symmetric:
            return Range(-127 * step, 127 * step)
        return Range(-zero * step, (255 - zero) * step)

    def _step(self, dialect: Dialect) -> Tensor:
        step: Tensor = getattr(self, f"start_{dialect}")[0] * getattr(self, f"growth_{dialect}").exp()
        return step


class _Round(torch.autograd.Function):  # type: ignore[misc]
    """LSQ's quantizer. `lowest` and `highest` are counted from the zero point; `top` is the highest level."""

    @staticmethod
    def forward(
        context: Any, values: Tensor, step: Tensor, lowest: Tensor, highest: Tensor, top: int
    ) -> Tensor:
        context.save_for_backward(values, step, lowest, highest)
        context.top = top
        levels = (values.float() / step).round_().clamp_(lowest, highest)
        return levels.mul_(step).to(values.dtype)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        values, step, lowest, highest = context.saved_tensors
        exact = values.float() / step
        inside = (exact > lowest) & (exact < highest)
        passed = gradient * inside
        if not context.needs_input_grad[1]:
            return passed, None, None, None, None
        slope = torch.where(inside, exact.round() - exact, exact.clamp(lowest, highest))
        count = values.numel() / len(values)
        moved = (gradient.float() * slope).sum() / (count * context.top) ** 0.5
        return passed, moved, None, None, None


class _Weight(nn.Module):  # type: ignore[misc]
    """A linear layer's matrix [out, in], multiplied by smoothing's scales and rounded per output channel."""

    def __init__(self, scale: npt.NDArray[np.float32] | None, bits: int) -> None:
        super().__init__()
        self._top = 2 ** (bits - 1) - 1
        self.register_buffer("scale", None if scale is None else torch.from_numpy(scale.copy()))

    def forward(self, weight: Tensor) -> Tensor:
        """Of the same shape."""
        smoothed = weight if self.scale is None else weight * self.scale
        return _rounded(smoothed, smoothed.detach().abs().amax(dim=1, keepdim=True), self._top)


class _Rows:
    """After an embedding: the rows that it gave, rounded."""

    def __init__(self, scales: Literal["rows", "table"], bits: int) -> None:
        self._per_row, self._top = scales == "rows", 2 ** (bits - 1) - 1

    def __call__(self, module: nn.Embedding, arguments: tuple[Any, ...], rows: Tensor) -> Tensor:
        with torch.no_grad():
            peaks = rows.abs().amax(dim=-1, keepdim=True) if self._per_row else module.weight.abs().amax()
        return _rounded(rows, peaks, self._top)


def _rounded(values: Tensor, peaks: Tensor, top: int) -> Tensor:
    found: Tensor = _RoundWeight.apply(values, peaks, top)
    return found


class _RoundWeight(torch.autograd.Function):  # type: ignore[misc]
    """As `quantization.weights.round_matrix`, to the bit; the gradient goes straight through."""

    @staticmethod
    def forward(context: Any, values: Tensor, peaks: Tensor, top: int) -> Tensor:
        scale = torch.where(peaks > 0, (peaks / top).clamp_min(_SMALLEST_SCALE), torch.ones_like(peaks))
        return (values / scale).round_().clamp_(-top, top).mul_(scale)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient, None, None
