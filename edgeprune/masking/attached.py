"""A model under masks: its densities over the run, its penalty, and what is left at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from edgeprune.masking.allocating import global_threshold, score_allocation, uniform_allocation, unit_counts
from edgeprune.masking.attaching import Site, attach, detach
from edgeprune.masking.binarizing import top_mask
from edgeprune.masking.plan import METHODS, MaskPlan
from edgeprune.masking.regularizing import expected_l0, mean_sigmoid
from edgeprune.masking.scheduling import density_at, regularizer_weight, tau_at
from edgeprune.masking.sensitivity import WINDOW, SensitivityUnits
from edgeprune.masking.units import OPEN, SCORES, HardConcreteUnits, LowRankUnits, ScoredUnits, Units

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["MaskedMatrix", "Masking"]

# Soft movement and L0 reach a density only through their penalty: it grows while too much is kept.
_GAIN_RATE = 2.0
_GAIN_LIMIT = 3.0
# Soft movement never empties a matrix (as its published code).
_LEAST = 0.005


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
        holder = getattr(model, SCORES)
        holder.register_buffer("log_gain", torch.zeros(()))
        self._log_gain: Tensor = holder.log_gain
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
        """Set density, thresholds and penalty for the step after `step` finished ones.

        Thresholds are recomputed every `refresh` steps; they are in the model's state, so a run that
        is resumed goes on with the ones it had.
        """
        plan = self.plan
        progress = step / total
        self.density = density_at(
            progress, final=plan.density, warmup=plan.warmup, hold=plan.hold, shape=plan.shape
        )
        gain = float(self._log_gain.exp()) if self._controlled else 1.0
        self._penalty_weight = gain * regularizer_weight(progress, final=plan.regularizer)
        if step % plan.refresh == 0 and plan.method != "pins":
            self._refresh(progress)
        for units in self.sets:
            if isinstance(units, HardConcreteUnits):
                units.draw()

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
        self._refresh(step / total)
        for units in self.sets:
            if isinstance(units, SensitivityUnits):
                units.prune()

    @property
    def _controlled(self) -> bool:
        """The density follows from the penalty, so the penalty is steered."""
        return self.plan.method in ("movement-soft", "l0")

    def _refresh(self, progress: float) -> None:
        if not self._controlled:
            for units, density in zip(self.sets, self._densities(self.density), strict=True):
                units.select(density)
            return
        excess = self.kept() - self.density
        self._log_gain.add_(_GAIN_RATE * excess * self.plan.refresh / 10).clamp_(-_GAIN_LIMIT, _GAIN_LIMIT)
        plan = self.plan
        if progress >= 1 - plan.hold:
            # No penalty hits a density exactly: from here on the threshold itself is moved to where it does.
            threshold = global_threshold([units.ranking() for units in self.sets], self.density)
        elif plan.method == "l0":
            threshold = torch.tensor(OPEN)
        else:
            tau = tau_at(progress, final=plan.tau, warmup=plan.warmup, hold=plan.hold)
            threshold = torch.logit(torch.tensor(tau))
        for units in self.sets:
            units.select_above(threshold, _LEAST if plan.method == "movement-soft" else 0.0)

    def _densities(self, density: float) -> list[float]:
        """Density of every set; sets of one kind share a budget, `global` ignores kinds of matrices."""
        found = [0.0] * len(self.sets)
        for members in self._groups():
            sets = [self.sets[index] for index in members]
            sizes = [units.ranking().numel() for units in sets]
            if self.plan.allocation == "global":
                threshold = global_threshold([units.ranking() for units in sets], density)
                parts = [float((units.ranking() >= threshold).float().mean()) for units in sets]
            elif self.plan.allocation == "score":
                shares = [
                    float(torch.sigmoid(units.ranking().detach() / self.plan.share_temperature).mean())
                    for units in sets
                ]
                parts = score_allocation(shares, sizes, density)
            else:
                parts = uniform_allocation(sizes, density)
            for index, count, size in zip(members, unit_counts(parts, sizes), sizes, strict=True):
                found[index] = count / size
        return found

    def _groups(self) -> list[list[int]]:
        """Sets that share one budget: one matrix type; with `global`, all whose units are alike."""
        together = not self.plan.granularity.structured and self.plan.allocation == "global"
        kinds = ["all" if together else units.kind for units in self.sets]
        return [[index for index, own in enumerate(kinds) if own == kind] for kind in dict.fromkeys(kinds)]

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
        return self._penalty_weight * mean_sigmoid([units.scores for units in scored])

    def kept(self) -> float:
        """Share of the units (of weights, where units are weights) that the masks keep now."""
        counts = [(int(mask.sum()), mask.numel()) for mask in (units.mask() for units in self.sets)]
        return float(sum(kept for kept, _ in counts) / sum(units for _, units in counts))

    def settle(self) -> None:
        """Choose the final masks: the target density exactly, ties decided."""
        if self._controlled or self.plan.allocation == "global":
            for members in self._groups():
                self._settle_together([self.sets[index] for index in members])
            return
        for units, density in zip(self.sets, self._densities(self.plan.density), strict=True):
            units.settle(density)

    def _settle_together(self, sets: Sequence[Units]) -> None:
        """One ranking over several sets of units; N:M keeps its N of M in each."""
        if self.plan.granularity.group:
            for units in sets:
                units.settle(self.plan.density)
            return
        rankings = [units.ranking().detach() for units in sets]
        mask = top_mask(torch.cat([item.reshape(-1) for item in rankings]), self.plan.density)
        threshold = global_threshold(rankings, self.plan.density)
        parts = mask.split([item.numel() for item in rankings])
        for units, ranking, part in zip(sets, rankings, parts, strict=True):
            units.threshold.copy_(threshold)
            units.final = part.reshape(ranking.shape)

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
