"""Masks on a tiny classifier: every method and granularity from `attach` to a plain model."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Iterator
from typing import Any

import masking_kit as kit
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeprune.masking.attached import MaskedMatrix, Masking
from edgeprune.masking.plan import METHODS, MaskPlan
from edgeprune.masking.units import SCORES
from edgeprune.structure.architectures import linear_sites

pytestmark = pytest.mark.thorough

GRANULARITIES: dict[str, Any] = {
    "weight": "weight", "block": {"block": [4, 4]}, "n:m": "2:4", "row": "row", "head": "head", "head+row": "head+row"
}  # fmt: skip
FROZEN = [name for name, method in METHODS.items() if method.base_frozen]
LEARNED = ("smp", "movement", "movement-soft", "l0")


def _cases() -> Iterator[tuple[str, str, str]]:
    """Every granularity with the method's own allocation; every allocation where units are single weights."""
    for name, method in METHODS.items():
        for kind in method.granularities:
            chosen = method.allocations if kind in ("weight", "n:m") else method.allocations[:1]
            yield from ((name, kind, allocation) for allocation in chosen)


CASES = list(_cases())
every_case = pytest.mark.parametrize(
    ("method", "kind", "allocation"), CASES, ids=["-".join(case) for case in CASES]
)
every_method = pytest.mark.parametrize("method", METHODS)


def steps_of(method: str) -> int:
    return 24 if method == "pins" else 8  # PINS knows nothing before its first window of ten steps


def run(plan: MaskPlan) -> Masking:
    """A short run to its last step."""
    masking = kit.attach(kit.tiny_model(), plan)
    kit.train(masking, kit.optimizer_of(masking), total=steps_of(plan.method))
    return masking


def units_of(matrix: MaskedMatrix, kind: str) -> Tensor:
    """One value per unit out of a matrix's mask; empty where another matrix of the unit is counted."""
    if kind == "block":
        return matrix.mask[::4, ::4]
    if kind in ("weight", "n:m"):
        return matrix.mask
    if matrix.kind == "query" and "head" in kind:
        return matrix.mask[:: kit.HEAD_SIZE, 0]
    return matrix.mask[:, 0] if matrix.kind == "up" and "row" in kind else matrix.mask.new_empty(0)


def tensors(model: Any) -> dict[str, Tensor]:
    """Copies of all parameters by their name in the plain model; scores are left out."""
    return {
        name.replace("parametrizations.", "").removesuffix(".original"): item.detach().clone()
        for name, item in model.named_parameters()
        if not name.startswith(SCORES)
    }


# The whole way


@every_case
def test_a_run_ends_at_its_target_and_leaves_a_plain_model(method: str, kind: str, allocation: str) -> None:
    plan = kit.plan(method, GRANULARITIES[kind], allocation=allocation)
    original = kit.tiny_model()
    masking = run(plan)
    masking.settle()
    attached = kit.logits(masking.model)
    matrices = masking.fold()
    model = masking.model

    # The target, counted in units (heads and rows each by themselves).
    for group in (("query",), ("up",)) if plan.granularity.structured else (tuple(original_kinds()),):
        counted = [units_of(matrix, kind) for matrix in matrices if matrix.kind in group]
        total = sum(item.numel() for item in counted)
        # A budget is shared within one matrix type unless it is global: one rounding each.
        roundings = 1 if plan.granularity.structured or allocation == "global" else 6
        assert abs(sum(int(item.sum()) for item in counted) - plan.density * total) <= 0.5 * roundings + 1e-6
    if kind == "weight":
        kept = sum(int(matrix.mask.sum()) for matrix in matrices)
        assert kept / sum(matrix.mask.numel() for matrix in matrices) == pytest.approx(plan.density, abs=1e-3)
    if kind == "n:m":
        for matrix in matrices:
            assert set(matrix.mask.reshape(-1, 4).sum(1).tolist()) == {2}

    # Zeros where pruned, nowhere else.
    parameters = dict(model.named_parameters())
    for matrix in matrices:
        weight = parameters[f"{matrix.name}.weight"]
        assert weight.shape == matrix.mask.shape
        assert not bool(weight[~matrix.mask].any())
        # Of single weights, L0's gates may be closed by rounding right above the threshold; a block, head or
        # row that counts as kept must be there.
        lost = int((weight[matrix.mask] == 0).sum())
        assert lost <= (1 if (method, kind) == ("l0", "weight") else 0)
        if matrix.bias is not None:
            assert not bool(parameters[f"{matrix.name}.bias"][~matrix.bias].any())

    # Folded is attached, and plain.
    assert torch.equal(kit.logits(model), attached)
    assert not model.training
    assert set(model.state_dict()) == set(original.state_dict())
    assert all(type(model.get_submodule(matrix.name)) is nn.Linear for matrix in matrices)
    assert not hasattr(model, SCORES)
    original.load_state_dict(model.state_dict())
    assert torch.equal(kit.logits(original), attached)


def original_kinds() -> list[str]:
    return ["query", "key", "value", "output", "up", "down"]


@every_case
def test_scores_that_never_learned_still_meet_the_target(method: str, kind: str, allocation: str) -> None:
    """All scores alike: ties are decided, nothing is kept for being equal."""
    plan = kit.plan(method, GRANULARITIES[kind], allocation=allocation)
    masking = kit.attach(kit.tiny_model(), plan)
    masking.settle()
    assert masking.kept() == pytest.approx(plan.density, abs=0.07 if plan.granularity.structured else 2e-2)


@pytest.mark.parametrize("method", ["movement-soft", "l0"])
@pytest.mark.parametrize("favoured", ["head", "row"])
def test_heads_and_rows_do_not_eat_each_others_budget(method: str, favoured: str) -> None:
    masking = kit.attach(kit.tiny_model(), kit.plan(method, "head+row", density=0.5))
    with torch.no_grad():
        for units in masking.sets:
            scores = torch.linspace(0, 0.5, units.ranking().numel()) + (
                1.0 if units.kind == favoured else 0.0
            )
            units.scores.copy_(scores)
    matrices = masking.fold()
    kept = sum(int(matrix.mask.sum()) for matrix in matrices)
    # A head is 7 % of these weights; half of one is the most that may be off.
    assert kept / sum(matrix.mask.numel() for matrix in matrices) == pytest.approx(0.5, abs=0.036)


@pytest.mark.parametrize("method", ["movement-soft", "l0"])
def test_the_last_unit_is_not_lost_to_rounding(method: str) -> None:
    """7 of 24 rows a layer: 7/24 in single precision is a little less than 7/24."""
    masking = kit.attach(kit.tiny_model(), kit.plan(method, "row", density=14 / 48))
    with torch.no_grad():
        for units in masking.sets:
            units.scores.copy_(torch.linspace(0, 1, kit.ROWS))
    assert [int(matrix.mask[:, 0].sum()) for matrix in masking.fold() if matrix.kind == "up"] == [7, 7]


# During the run


@pytest.mark.parametrize(
    ("method", "kind"),
    [(name, kind) for name in ("smp", "movement", "magnitude") for kind in ("weight", "block")]
    + [("pst", "weight")],
)
def test_the_forward_pass_keeps_what_the_schedule_says(method: str, kind: str) -> None:
    masking = kit.attach(kit.tiny_model(), kit.plan(method, GRANULARITIES[kind]))
    densities: list[tuple[int, float, float]] = []
    kit.train(
        masking,
        kit.optimizer_of(masking),
        total=24,
        each=lambda step: densities.append((step, masking.density, masking.kept())),
    )
    assert densities[0][1:] == (1.0, 1.0)
    wanted = {step: density for step, density, _ in densities}
    for step, _, kept in densities[4:]:  # at first, scores that learned nothing are alike
        # Half a block in each of six matrix types.
        assert kept == pytest.approx(wanted[step], abs=0.015 if kind == "block" else 2e-3)
    assert densities[-1][1] == pytest.approx(0.3)


@pytest.mark.parametrize("kind", METHODS["smp"].granularities)
def test_scores_get_the_gradient_of_the_masked_weight_times_the_weight(kind: str) -> None:
    """∂L/∂S of a unit = Σ (∂L/∂W') ⊙ W over all that it masks, also where it is pruned."""
    dense = kit.tiny_model()
    weights = {name: item.detach().clone() for name, item in dense.named_parameters()}
    masking = kit.attach(kit.tiny_model(), kit.plan("smp", GRANULARITIES[kind], warmup=0.0, hold=0.5))
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for units in masking.sets:
            units.scores.copy_(torch.randn(units.scores.shape, generator=generator))
    masking.begin_step(6, 10)
    assert masking.kept() < 0.6
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    nn.functional.cross_entropy(masking.model(**kit.inputs(1)).logits, labels).backward()

    # The same masked weights in a plain model.
    with torch.no_grad():
        for site in linear_sites(dense):
            masked, plain = masking.model.get_submodule(site.name), dense.get_submodule(site.name)
            plain.weight.copy_(masked.weight)
            plain.bias.copy_(masked.bias)
    assert torch.equal(kit.logits(dense), kit.logits(masking.model))
    nn.functional.cross_entropy(dense(**kit.inputs(1)).logits, labels).backward()
    product = {name: (item.grad * weights[name]).numpy() for name, item in dense.named_parameters()}
    path = "bert.encoder.layer.{}."
    for units in masking.sets:
        assert units.scores.grad is not None
        layer = path.format(units.layer)
        attention = f"{layer}attention.self."
        if units.kind == "head":
            expected = np.stack(
                [product[f"{attention}{name}.weight"].sum(1) for name in ("query", "key", "value")]
                + [product[f"{attention}{name}.bias"] for name in ("query", "key", "value")]
                + [product[f"{layer}attention.output.dense.weight"].sum(0)]
            )
            expected = expected.sum(0).reshape(kit.HEADS, kit.HEAD_SIZE).sum(1)
        elif units.kind == "row":
            expected = (
                product[f"{layer}intermediate.dense.weight"].sum(1)
                + product[f"{layer}intermediate.dense.bias"]
                + product[f"{layer}output.dense.weight"].sum(0)
            )
        else:
            expected = product[f"{units.name}.weight"]
            if kind == "block":
                rows, columns = expected.shape
                expected = expected.reshape(rows // 4, 4, columns // 4, 4).sum((1, 3))
        assert units.scores.grad.numpy() == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_the_penalty_is_the_published_one() -> None:
    generator = torch.Generator().manual_seed(3)
    for method, weight, shift in (("smp", 400.0, 0.0), ("l0", 125.0, 2 / 3 * math.log(0.1 / 1.1))):
        masking = kit.attach(kit.tiny_model(), kit.plan(method))
        with torch.no_grad():
            for units in masking.sets:
                units.scores.copy_(torch.randn(units.scores.shape, generator=generator))
        masking.begin_step(1, 4)
        means = [
            (1 / (1 + np.exp(-(units.scores.detach().numpy() - shift)))).mean() for units in masking.sets
        ]
        penalty = masking.penalty()
        assert penalty is not None
        # L0's penalty is steered to the density by a gain; SMP's is the published one as it is.
        gain = math.exp(getattr(masking.model, SCORES).log_gain.item())
        assert (gain == 1.0) is (method == "smp")
        assert penalty.item() == pytest.approx(gain * weight * (1 - 0.75**3) * np.mean(means), rel=1e-5)
    for method in ("movement", "magnitude", "pst", "pins"):
        assert kit.attach(kit.tiny_model(), kit.plan(method)).penalty() is None


def test_layers_share_the_budget_of_their_matrix_type_by_mean_sigmoid() -> None:
    """SMP-S: v_l = v·L·r_l/Σr with r_l = mean σ(S/p)."""
    masking = kit.attach(kit.tiny_model(), kit.plan("smp", density=0.25, share_temperature=2.0))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for units in masking.sets:
            units.scores.copy_(torch.randn(units.scores.shape, generator=generator) + 2.0 * units.layer)
    matrices = masking.fold()
    for kind in original_kinds():
        own = [matrix for matrix in matrices if matrix.kind == kind]
        shares = [float((1 / (1 + np.exp(-matrix.scores.numpy() / 2.0))).mean()) for matrix in own]
        for matrix, share in zip(own, shares, strict=True):
            wanted = 0.25 * len(own) * share / sum(shares) * matrix.mask.numel()
            assert abs(int(matrix.mask.sum()) - wanted) <= 1.0


# What is trained and what is not


@every_method
def test_only_what_the_method_trains_changes(method: str) -> None:
    model = kit.tiny_model()
    before = tensors(model)
    masking = kit.attach(model, kit.plan(method))
    learned = {name: item.detach().clone() for name, item in getattr(model, SCORES).named_parameters()}
    kit.train(masking, kit.optimizer_of(masking), total=steps_of(method))
    after = tensors(model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    head = {name for name in before if name.startswith(("bert.pooler", "classifier"))}
    embeddings = {name for name in before if ".embeddings." in name}
    # The second step's gradients already reach every matrix; key biases have none, by softmax's nature.
    keys = {name for name in before if name.endswith("key.bias")}
    if method in FROZEN:
        assert changed == head
    else:
        assert changed - keys == set(before) - embeddings - keys
        assert not changed & embeddings
    for name, item in getattr(model, SCORES).named_parameters():
        assert not torch.equal(item, learned[name]), name
    assert bool(learned) is (method in (*LEARNED, "pst"))


@every_method
def test_what_is_trained_is_named_once(method: str) -> None:
    masking = kit.attach(kit.tiny_model(), kit.plan(method))
    roles = masking.trained()
    assert list(roles) == ["scores", "head", "weights"]
    listed = [id(item) for items in roles.values() for item in items]
    assert len(listed) == len(set(listed))
    assert set(listed) == {id(item) for item in masking.model.parameters() if item.requires_grad}
    assert (roles["weights"] == []) is (method in FROZEN)
    assert len(roles["head"]) == 4


def test_a_frozen_base_times_the_masks_is_the_folded_model() -> None:
    """What a mask pack relies on: nothing else of the base has changed."""
    base = tensors(kit.tiny_model())
    masking = run(kit.plan("smp"))
    matrices = {f"{matrix.name}.weight": matrix for matrix in masking.fold()}
    for name, value in tensors(masking.model).items():
        if name.startswith(("bert.pooler", "classifier")):
            continue
        expected = base[name] * matrices[name].mask if name in matrices else base[name]
        assert torch.equal(value, expected), name


def test_a_model_with_a_frozen_head_stays_frozen() -> None:
    model = kit.tiny_model()
    masking = Masking(model, linear_sites(model), [], kit.plan("smp"), heads=kit.HEADS)
    assert masking.trained()["head"] == []
    assert {name.split(".")[0] for name, item in model.named_parameters() if item.requires_grad} == {SCORES}


def test_the_random_start_is_the_plans_own() -> None:
    """PST's N(0, 1) does not move the random numbers of anything else."""
    starts = []
    for seed in (1, 1, 2):
        model = kit.tiny_model()
        torch.manual_seed(99)
        kit.attach(model, kit.plan("pst", seed=seed))
        drawn = torch.rand(1).item()
        starts.append((getattr(model, SCORES).state_dict(), drawn))
    assert starts[0][1] == starts[2][1]
    for name, item in starts[0][0].items():
        assert torch.equal(item, starts[1][0][name])
    assert any(not torch.equal(item, starts[2][0][name]) for name, item in starts[0][0].items())


# Checkpoints


@pytest.mark.parametrize(
    ("method", "kind"),
    [(method, "weight") for method in METHODS] + [("smp", "n:m"), ("smp", "head+row"), ("l0", "head")],
)
def test_a_resumed_run_ends_with_the_same_masks(method: str, kind: str) -> None:
    plan = kit.plan(method, GRANULARITIES[kind])
    total, cut = (24, 13) if method == "pins" else (8, 5)

    def begin(seed: int) -> tuple[Masking, torch.optim.Optimizer]:
        masking = kit.attach(kit.tiny_model(seed), plan)
        return masking, kit.optimizer_of(masking)

    whole, optimizer = begin(0)
    kit.train(whole, optimizer, total=total)

    killed, optimizer = begin(0)
    kit.train(killed, optimizer, total=total, last=cut)
    saved = io.BytesIO()
    torch.save({"model": killed.model.state_dict(), "optimizer": optimizer.state_dict()}, saved)
    masks = [units.mask().clone() for units in killed.sets]
    saved.seek(0)
    state = torch.load(saved, weights_only=True)

    resumed, optimizer = begin(1)  # other weights, all of which the checkpoint replaces
    resumed.model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    for units, mask in zip(resumed.sets, masks, strict=True):
        assert torch.equal(units.mask(), mask)
    kit.train(resumed, optimizer, total=total, first=cut)

    for one, other in zip(whole.fold(), resumed.fold(), strict=True):
        assert one.name == other.name
        assert torch.equal(one.mask, other.mask)
        assert torch.equal(one.scores, other.scores)
    for name, item in tensors(whole.model).items():
        assert torch.equal(item, tensors(resumed.model)[name]), name


def test_what_steers_the_penalty_is_in_the_state_of_a_model_that_was_moved() -> None:
    """Moving to another device replaces buffers, as a change of precision does."""
    masking = kit.attach(kit.tiny_model(), kit.plan("l0"))
    masking.model.double().float()
    kit.train(masking, kit.optimizer_of(masking), total=8, last=4)  # all is kept, too much for step 3
    gain = masking.model.state_dict()[f"{SCORES}.log_gain"]
    assert gain.item() > 0


# Structures


def delete(model: Any, matrices: list[MaskedMatrix]) -> Any:
    """A copy without the pruned heads and rows: smaller matrices, no zeros."""
    model = copy.deepcopy(model)
    by_kind = {(matrix.layer, matrix.kind): matrix for matrix in matrices}
    for number, layer in enumerate(model.bert.encoder.layer):
        attention = layer.attention.self
        if query := by_kind.get((number, "query")):
            kept = query.mask.any(1)
            for linear in (attention.query, attention.key, attention.value):
                cut(linear, rows=kept)
            cut(layer.attention.output.dense, columns=kept)
            attention.num_attention_heads = int(kept.sum()) // kit.HEAD_SIZE
            attention.all_head_size = int(kept.sum())
        if up := by_kind.get((number, "up")):
            kept = up.mask.any(1)
            cut(layer.intermediate.dense, rows=kept)
            cut(layer.output.dense, columns=kept)
    return model


def cut(linear: nn.Linear, rows: Tensor | None = None, columns: Tensor | None = None) -> None:
    with torch.no_grad():
        if rows is not None:
            linear.weight = nn.Parameter(linear.weight[rows])
            linear.bias = nn.Parameter(linear.bias[rows])
        if columns is not None:
            linear.weight = nn.Parameter(linear.weight[:, columns])


@pytest.mark.parametrize("kind", ["head", "row", "head+row"])
@pytest.mark.parametrize("method", ["smp", "movement", "magnitude", "l0"])
def test_deleting_what_is_masked_changes_nothing(method: str, kind: str) -> None:
    masking = run(kit.plan(method, kind, density=0.6))
    matrices = masking.fold()
    smaller = delete(masking.model, matrices)
    size, full = (sum(item.numel() for item in model.parameters()) for model in (smaller, masking.model))
    assert size < full
    assert torch.allclose(kit.logits(smaller), kit.logits(masking.model), atol=1e-5)


@pytest.mark.parametrize("kind", ["head", "row", "head+row"])
def test_biases_go_with_their_rows(kind: str) -> None:
    masking = run(kit.plan("smp", kind, density=0.5))
    matrices = masking.fold()
    rows = ({"query", "key", "value"} if "head" in kind else set()) | ({"up"} if "row" in kind else set())
    columns = ({"output"} if "head" in kind else set()) | ({"down"} if "row" in kind else set())
    assert {matrix.kind for matrix in matrices} == rows | columns
    for matrix in matrices:
        whole = matrix.mask.float().mean(1 if matrix.kind in rows else 0)
        assert set(whole.tolist()) <= {0.0, 1.0}  # rows and columns are there or not
        if matrix.kind in columns:
            assert matrix.bias is None  # the bias of what is summed belongs to no unit
            continue
        assert matrix.bias is not None
        assert torch.equal(matrix.bias, matrix.mask[:, 0])
        bias = dict(masking.model.named_parameters())[f"{matrix.name}.bias"]
        assert torch.equal(bias != 0, matrix.bias)
    for layer in range(kit.LAYERS):
        own = {matrix.kind: matrix.mask for matrix in matrices if matrix.layer == layer}
        if "head" in kind:
            assert torch.equal(own["query"], own["key"])
            assert torch.equal(own["query"], own["value"])
            assert torch.equal(own["query"][:, 0], own["output"][0])
        if "row" in kind:
            assert torch.equal(own["up"][:, 0], own["down"][0])


# N of M


@pytest.mark.parametrize(
    ("method", "allocation"),
    [
        (name, way)
        for name, spec in METHODS.items()
        if "n:m" in spec.granularities
        for way in spec.allocations
    ],
)
@pytest.mark.parametrize("pattern", ["2:4", "4:8"])
def test_every_group_keeps_its_n_however_the_budget_is_shared(
    method: str, allocation: str, pattern: str
) -> None:
    model = kit.tiny_model()
    with torch.no_grad():
        for site in linear_sites(model):
            model.get_submodule(site.name).weight.mul_(1 + 3 * site.layer)
    masking = kit.attach(model, kit.plan(method, pattern, allocation=allocation))
    generator = torch.Generator().manual_seed(8)
    with torch.no_grad():
        for units in masking.sets:
            for item in units.parameters():
                item.copy_(torch.randn(item.shape, generator=generator) + 2.0 * units.layer)
    kept, group = map(int, pattern.split(":"))
    for matrix in masking.fold():
        assert set(matrix.mask.reshape(-1, group).sum(1).tolist()) == {kept}
