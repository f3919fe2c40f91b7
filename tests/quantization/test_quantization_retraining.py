"""Training with roundings in place: what PyTorch computes with them is what the written graph computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import quantization_kit as kit
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.errors import EdgepruneError, UnsupportedError
from edgeprune.quantization.dialects import violations
from edgeprune.quantization.engines import CalibrationSettings, calibrate, quantize
from edgeprune.quantization.engines import Source as EngineSource
from edgeprune.quantization.graphs import activations, initializers, operators, prepared
from edgeprune.quantization.qdq import Settings
from edgeprune.quantization.ranges import Range, grid
from edgeprune.quantization.retraining import Start, carried_over
from edgeprune.quantization.sites import Matrix, Site, find_sites
from edgeprune.quantization.weights import round_matrix
from edgeprune.structure.architectures import linear_sites
from edgeprune.structure.description import KeptLayer
from edgeprune.structure.slicing import slice_layers
from edgeprune.training.fake_quantization import FakeQuantization, Plan, executed_matrices

TYPES = ("bert", "distilbert", "electra", "mpnet", "roberta", "xlm-roberta")


def answers(model: Any, given: list[kit.Arrays] | None = None) -> npt.NDArray[np.float32]:
    """A PyTorch classifier's logits on the kit's batches, below each other."""
    with torch.no_grad():
        parts = [
            model.eval()(**{name: torch.from_numpy(values) for name, values in batch.items()}).logits.numpy()
            for batch in given or kit.batches(seed=9)
        ]
    return np.concatenate(parts)


def sites_of(model: Any, graph: onnx.ModelProto) -> tuple[Site, ...]:
    return find_sites(graph, executed_matrices(model, kit.batches()[0]))


def begun(model: Any, smoothing: float | None = 0.5) -> Start:
    graph = kit.exported(model)
    how = CalibrationSettings("percentile", smoothing=smoothing)
    return Start(prepared(graph), calibrate("onnxruntime", EngineSource(graph), kit.batches(), how))


def shift(model: Any, fake: FakeQuantization, seed: int) -> None:
    """As a training would: every weight and every step by a little."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for item in model.parameters():
            item.add_(torch.randn(item.shape, generator=generator) * 0.02)
        for item in fake.parameters():
            item.copy_(torch.randn((), generator=generator) * 0.2)


# The law


@st.composite
def structures(draw: st.DrawFn) -> tuple[KeptLayer, ...]:
    """Any heads and any rows of two layers, none of them among the choices."""
    heads, rows = st.sets(st.integers(0, 3)), st.sets(st.integers(0, 63), max_size=20)
    return tuple(KeptLayer(layer, tuple(sorted(draw(heads))), tuple(sorted(draw(rows)))) for layer in (0, 1))


def check_law(
    kind: str, layers: tuple[KeptLayer, ...], smoothing: float | None, embeddings: Any, bits: Any, seed: int
) -> None:
    """Round a model, move all that a training moves, and write it."""
    model = kit.classifier(kind)
    slice_layers(model, layers)
    first = begun(model, smoothing)
    sites = sites_of(model, first.plain)
    rounded = [site for site in sites if site.kind == "linear" or embeddings != "none"]
    rows = "rows" if embeddings == "none" else embeddings
    fake = FakeQuantization(Plan(rounded, first.calibrated.ranges, first.calibrated.scales, rows, bits))
    fake.attach(model)
    shift(model, fake, seed)
    expected = {}
    for dialect in fake.dialects:
        fake.use(dialect)
        expected[dialect] = answers(model)
    fake.remove()
    trained = prepared(kit.exported(model))
    result = carried_over(first, sites, trained, sites_of(model, trained), fake.ranges())
    spread = answers(model).std()
    for dialect, ours in expected.items():
        wanted = Settings(dialect, embeddings=embeddings, weight_bits=bits)
        graph, done = quantize(result, wanted)
        assert violations(graph, dialect) == []
        assert len(done.operators["linear"]) == sum(site.kind == "linear" for site in sites)
        # A value on the edge of two levels may fall to either side, so a few may be off by a level's worth.
        off = np.abs(kit.all_logits(graph) - ours)
        assert np.median(off) < 1e-5 * max(spread, 0.1)
        assert off.mean() < 0.02 * max(spread, 0.1)


@pytest.mark.thorough
@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(TYPES),
    layers=structures(),
    smoothing=st.sampled_from([None, 0.5]),
    embeddings=st.sampled_from(["rows", "table", "none"]),
    bits=st.sampled_from([7, 8]),
    seed=st.integers(0, 99),
)
def test_what_is_trained_is_what_is_written(
    kind: str, layers: tuple[KeptLayer, ...], smoothing: float | None, embeddings: Any, bits: Any, seed: int
) -> None:
    check_law(kind, layers, smoothing, embeddings, bits, seed)


@pytest.mark.parametrize("kind", ["bert", "mpnet"])
def test_what_is_trained_is_what_is_written_of_a_ragged_model(kind: str) -> None:
    layers = (KeptLayer(0, (1, 3), tuple(range(5))), KeptLayer(1, (), tuple(range(30))))
    check_law(kind, layers, 0.5, "rows", 8, 0)


def test_nothing_is_left_behind() -> None:
    model = kit.classifier()
    before = answers(model)
    objects = dict(model.named_parameters())
    first = begun(model)
    calibrated = first.calibrated
    fake = FakeQuantization(Plan(sites_of(model, first.plain), calibrated.ranges, calibrated.scales))
    fake.attach(model)
    assert np.abs(answers(model) - before).max() > 1e-4
    fake.remove()
    assert dict(model.named_parameters()).keys() == objects.keys()
    assert all(item is objects[name] for name, item in model.named_parameters())
    np.testing.assert_array_equal(answers(model), before)
    assert fake.ranges() == {
        dialect: {name: found for name, found in ranges.items() if name in fake.ranges()[dialect]}
        for dialect, ranges in first.calibrated.ranges.items()
    }


# Where gradients go


def _rounding(spans: dict[Any, Range], **changes: Any) -> tuple[Any, FakeQuantization]:
    """A linear layer with one activation, rounded."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 4))
    site = Site("0", "linear", "node", "x")
    fake = FakeQuantization(Plan([site], {name: {"x": span} for name, span in spans.items()}, {}, **changes))
    fake.attach(model)
    return model, fake


@pytest.mark.parametrize(("dialect", "top"), [("symmetric", 127), ("asymmetric", 255)])
def test_a_step_has_the_gradient_of_lsq(dialect: Any, top: int) -> None:
    """By the definition, number by number (Esser et al., equation 3 and section 2.2)."""
    model, fake = _rounding({dialect: Range(-1.0, 2.0)})
    values = torch.linspace(-3, 3, 12).reshape(2, 6)
    seen: list[torch.Tensor] = []
    model[0].register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    read = values.clone().requires_grad_()
    model[0](read)
    gradient = torch.arange(12.0).reshape(2, 6)
    seen[0].backward(gradient)
    levels = grid(Range(-1.0, 2.0), symmetric=dialect == "symmetric")
    low, high = (-128, 127) if dialect == "symmetric" else (-levels.zero_point, 255 - levels.zero_point)
    total = 0.0
    for value, slope, own in zip(values.flatten(), gradient.flatten(), read.grad.flatten(), strict=True):
        exact = float(value) / levels.scale
        inside = low < exact < high
        total += float(slope) * (round(exact) - exact if inside else (low if exact <= low else high))
        assert float(own) == (float(slope) if inside else 0.0)
    (growth,) = fake.parameters()
    # The chain rule from the step to its logarithm is a factor of the step itself.
    assert float(growth.grad) == pytest.approx(total * levels.scale / (6 * top) ** 0.5, rel=1e-4)


@pytest.mark.parametrize("bits", [7, 8])
def test_weights_are_rounded_as_they_are_written_and_learn_straight_through(bits: Any) -> None:
    model, _ = _rounding({"symmetric": Range(-1, 1)}, weight_bits=bits)
    original = model[0].parametrizations.weight.original
    with torch.no_grad():
        original[1] = 0.0
        original[2, :3] = 0.0
    rounded = round_matrix(original.detach().numpy().T, 1, name="w", bits=bits)
    np.testing.assert_array_equal(model[0].weight.detach().numpy().T, rounded.levels * rounded.scale)
    model[0].weight.sum().backward()
    assert bool((original.grad == 1).all())


def test_one_dialects_steps_learn_nothing_of_the_others() -> None:
    model, fake = _rounding({"symmetric": Range(-1, 1), "asymmetric": Range(-1, 2)})
    fake.use("asymmetric")
    model[0](torch.randn(3, 6)).sum().backward()
    symmetric, asymmetric = fake.parameters()
    assert symmetric.grad is None
    assert asymmetric.grad is not None


def test_what_is_frozen_or_always_zero_is_not_trained() -> None:
    model, fake = _rounding({"symmetric": Range(0, 0)})
    assert list(fake.parameters()) == []
    assert fake.ranges() == {"symmetric": {"x": Range(0, 0)}}
    model[0].parametrizations.weight.original.requires_grad_(False)
    model[0](torch.zeros(2, 6)).sum().backward()
    assert model[0].parametrizations.weight.original.grad is None
    fixed = _rounding({"symmetric": Range(-1, 1)}, learned=False)[1]
    assert list(fixed.parameters()) == []


# Which module an operator is


@pytest.mark.parametrize("kind", [*TYPES, "ragged"])
def test_every_matrix_is_found_by_its_numbers(kind: str) -> None:
    """And reads in the graph what it reads in PyTorch."""
    model = kit.ragged() if kind == "ragged" else kit.classifier(kind)
    graph = prepared(kit.exported(model))
    for number, node in enumerate(graph.graph.node):
        node.name = f"node {number}"
    sites = {site.module: site for site in sites_of(model, graph)}
    assert {site.name for site in linear_sites(model)} <= sites.keys()
    assert {site.operator for site in sites.values()} == {
        found.name for found in operators(graph) if found.weight is not None
    }
    seen: dict[str, npt.NDArray[Any]] = {}
    for name, site in sites.items():
        if site.activation is not None:
            model.get_submodule(name).register_forward_pre_hook(
                lambda module, given, name=name: seen.__setitem__(name, given[0].numpy())
            )
    batch = kit.batches()[:1]
    answers(model, batch)
    names = {site.activation for site in sites.values() if site.activation} & set(
        activations(operators(graph))
    )
    shown = onnx.ModelProto()
    shown.CopyFrom(graph)
    shown.graph.output.extend(onnx.helper.make_tensor_value_info(name, 1, None) for name in sorted(names))
    session = kit.open_model(shown)
    known = {value.name for value in graph.graph.input}
    found = session.run(sorted(names), {name: values for name, values in batch[0].items() if name in known})
    for name, values in seen.items():
        theirs = dict(zip(sorted(names), found, strict=True))[sites[name].activation or ""]
        np.testing.assert_allclose(values, theirs.reshape(values.shape), atol=1e-4)


def test_equal_matrices_are_told_apart_by_their_order() -> None:
    model = kit.classifier()
    names = [f"bert.encoder.layer.{layer}.attention.self.query" for layer in (0, 1)]
    with torch.no_grad():
        for name in names:
            model.get_submodule(name).weight.zero_()
    graph = prepared(kit.exported(model))
    sites = {site.module: site for site in sites_of(model, graph)}
    others = {name: sites[name.replace("query", "key")] for name in names}
    assert [sites[name].activation for name in names] == [others[name].activation for name in names]


def test_a_graph_of_another_model_is_refused_by_name() -> None:
    model = kit.classifier()
    graph = prepared(kit.exported(model))
    with torch.no_grad():
        model.bert.encoder.layer[1].output.dense.weight[0, 0] += 1
    with pytest.raises(
        UnsupportedError, match=r"0 operators .* bert\.encoder\.layer\.1\.output\.dense, not 1"
    ):
        sites_of(model, graph)


def test_an_operator_without_a_module_is_refused_by_name() -> None:
    model = kit.classifier()
    graph = prepared(kit.exported(model))
    matrices = [item for item in executed_matrices(model, kit.batches()[0]) if item.module != "classifier"]
    with pytest.raises(
        UnsupportedError, match=r"no module of the PyTorch model holds the matrix of .*classifier"
    ):
        find_sites(graph, matrices)


def test_an_embedding_that_the_export_computed_ahead_has_no_site() -> None:
    model = kit.classifier()
    graph = prepared(kit.exported(model))
    extra = Matrix("elsewhere", "embedding", np.ones((3, 4), np.float32))
    sites = find_sites(graph, [*executed_matrices(model, kit.batches()[0]), extra])
    assert "elsewhere" not in {site.module for site in sites}


def test_a_layer_that_changes_its_input_first_is_refused() -> None:
    class Odd(torch.nn.Linear):
        def forward(self, values: Any) -> Any:
            return super().forward(values * 2)

    model = kit.classifier()
    model.classifier = Odd(32, 3)
    with pytest.raises(UnsupportedError, match=r"classifier \(Odd\) changes its input"):
        executed_matrices(model, kit.batches()[0])


def test_graphs_of_two_models_are_not_mixed() -> None:
    model = kit.classifier()
    first = begun(model)
    sites = sites_of(model, first.plain)
    with pytest.raises(EdgepruneError, match="another activation after the training"):
        carried_over(first, sites, first.plain, sites[:-3], first.calibrated.ranges)
    assert initializers(first.plain)
