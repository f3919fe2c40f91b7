"""A model under masks: its densities over the run, its penalty, and what is left at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from edgeprune.masking.attaching import Site, attach, detach
from edgeprune.masking.budgeting import Budget
from edgeprune.masking.plan import METHODS, MaskPlan
from edgeprune.masking.regularizing import expected_l0
from edgeprune.masking.scheduling import density_at, regularizer_weight
from edgeprune.masking.sensitivity import WINDOW, SensitivityUnits
from edgeprune.masking.units import SCORES, HardConcreteUnits, LowRankUnits, ScoredUnits, Units

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["MaskedMatrix", "Masking"]

# Soft movement and L0 reach a density only through their penalty: it grows while too much is kept.
_GAIN_RATE = 0.2
_GAIN_LIMIT = 3.0


@dataclass(frozen=True)
class MaskedMatrix:
    """The final mask of one weight.

    Attributes:
        name: Module path of its linear layer.
        layer: Number of the encoder layer.
        kind: Matrix type.
        mask: Bool, [outputs, inputs].
        bias: Bool, [outputs], where rows went with their bias; else None.
        scores: What it was ranked by: per weight, block, row or head.
    """

    name: str
    layer: int
    kind: str
    mask: Tensor
    bias: Tensor | None
    scores: Tensor


class Masking:
    """Masks on a model's encoder, from `attach` to `fold`.

    Args:
        model: A classifier; frozen and parametrized in place, for `smp` and `pst` all but the head.
        sites: Its encoder's linear layers.
        head: Names of the parameters of the task head; trained with every method.
        plan: What to do.
        heads: Attention heads of a layer.
        embeddings: Names of embedding parameters, which no method trains.
    """

    def __init__(
        self,
        model: nn.Module,
        sites: Sequence[Site],
        head: Sequence[str],
        plan: MaskPlan,
        *,
        heads: int,
        embeddings: Sequence[str] = (),
    ) -> None:
        self.model = model
        self.plan = plan
        self.method = METHODS[plan.method]
        self._sites = list(sites)
        frozen = set(embeddings)
        for name, parameter in model.named_parameters():
            trained = name in head or (not self.method.base_frozen and name not in frozen)
            parameter.requires_grad_(trained)
        self._head = [parameter for name, parameter in model.named_parameters() if name in head]
        with torch.random.fork_rng():
            torch.manual_seed(plan.seed)
            self._sets = attach(model, sites, plan, heads)
        self._budget = Budget(self.sets, plan)
        self._holder = getattr(model, SCORES)
        self._holder.register_buffer("log_gain", torch.zeros(()))
        self._penalty_weight = 0.0
        self.density = 1.0

    @property
    def sets(self) -> list[Units]:
        """The sets of units, in the order of layers."""
        return [units for units, _ in self._sets]

    @property
    def factors(self) -> int:
        """Parameters of low-rank changes of weights (PST's U and V), which folding melts into the weights."""
        return sum(
            units.u.numel() + units.v.numel() for units in self.sets if isinstance(units, LowRankUnits)
        )

    @property
    def scored(self) -> bool:
        """Whether scores of their own are learned, which say more than the mask."""
        return any(isinstance(units, ScoredUnits) for units in self.sets)

    def trained(self) -> dict[str, list[nn.Parameter]]:
        """What is trained, by role: `scores` (all that is learned about masks), `head`, `weights`."""
        own = set(map(id, self._head))
        scores = [item for item in getattr(self.model, SCORES).parameters() if item.requires_grad]
        learned = set(map(id, scores))
        weights = [
            item
            for item in self.model.parameters()
            if item.requires_grad and id(item) not in own and id(item) not in learned
        ]
        head = [item for item in self._head if item.requires_grad]
        return {"scores": scores, "head": head, "weights": weights}

    def begin_step(self, step: int, total: int) -> None:
        """Set density, thresholds and penalty for the step after `step` finished ones."""
        plan = self.plan
        progress = step / total
        self.density = density_at(
            progress, final=plan.density, warmup=plan.warmup, hold=plan.hold, shape=plan.shape
        )
        self._penalty_weight = regularizer_weight(progress, final=plan.regularizer)
        if self._budget.by_penalty:
            log_gain = self._holder.log_gain.add_(_GAIN_RATE * (self.kept() - self.density))
            self._penalty_weight *= float(log_gain.clamp_(-_GAIN_LIMIT, _GAIN_LIMIT).exp())
        if plan.method != "pins":
            self._budget.select(self.density, progress)
        for units in self.sets:
            units.begin()

    def gradients_ready(self, step: int, rate: float) -> None:
        """Before the optimizer's step number `step` (from 0), at the weights' learning rate: PINS looks."""
        for units in self.sets:
            if isinstance(units, SensitivityUnits):
                units.look(step, rate)

    def weights_updated(self, step: int, total: int) -> None:
        """After the optimizer's step number `step` (from 0): PINS zeroes what it prunes."""
        held = step / total >= 1 - self.plan.hold
        if self.plan.method != "pins" or not (held or step % WINDOW == 0) or self.density >= 1:
            return
        # Its thresholds are from the importance that `gradients_ready` has just brought up to date.
        self._budget.select(self.density, step / total)
        for units in self.sets:
            if isinstance(units, SensitivityUnits):
                units.prune()

    def penalty(self) -> Tensor | None:
        """λ_t · R, to be added to the task's loss; None for methods without a regularizer."""
        if not self.plan.regularizer:
            return None
        scored = [units for units in self.sets if isinstance(units, ScoredUnits)]
        if not scored:
            return None
        if self.plan.method == "l0":
            logs = [units.log_alpha for units in scored if isinstance(units, HardConcreteUnits)]
            return self._penalty_weight * expected_l0(logs)
        return self._penalty_weight * torch.stack([units.mean_sigma() for units in scored]).mean()

    def kept(self) -> float:
        """Share of the units (of weights, where units are weights) that the masks keep now."""
        counts = [(int(mask.sum()), mask.numel()) for mask in (units.mask() for units in self.sets)]
        return float(sum(kept for kept, _ in counts) / sum(units for _, units in counts))

    def settle(self) -> None:
        """Choose the final masks: the target density exactly, ties decided."""
        self._budget.settle()

    def fold(self) -> list[MaskedMatrix]:
        """Settle, and turn the model back into a plain one with zeros where it was pruned.

        Returns:
            The final masks, one a weight, in the order of layers.
        """
        self.settle()
        matrices = self._matrices()
        self.model.eval()
        detach(self.model, [part for _, parts in self._sets for part in parts])
        return matrices

    def _matrices(self) -> list[MaskedMatrix]:
        masks: dict[str, Tensor] = {}
        biases: dict[str, Tensor] = {}
        scores: dict[str, Tensor] = {}
        shapes = {site.name: self.model.get_submodule(site.name).weight.shape for site in self._sites}
        for units, parts in self._sets:
            for part in parts:
                mask = units.spread(units.mask(), part.axis, part.repeat)
                name = part.site.name
                if part.tensor == "bias":
                    biases[name] = mask.clone()
                else:
                    masks[name] = mask.expand(shapes[name]).contiguous()
                    scores[name] = units.ranking().detach().clone()
        return [
            MaskedMatrix(
                site.name, site.layer, site.kind, masks[site.name], biases.get(site.name), scores[site.name]
            )
            for site in self._sites
            if site.name in masks
        ]
