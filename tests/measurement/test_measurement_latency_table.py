"""The arithmetic of the table on made-up times, and one table of a tiny model that is really measured."""

from __future__ import annotations

import itertools
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.errors import UnsupportedError
from edgeprune.measurement.latency_table import Plan, Probe, _rising, measure_costs, plan_probes, solve
from edgeprune.recipe.schema import BackendVariants, Device, Target
from edgeprune.structure.costs import CostTable, aligned_widths

MINILM = plan_probes(heads=12, rows=1536, layers=6, alignment=16)


def _times(plan: Plan, table: CostTable) -> dict[Probe, float]:
    """What the probes would take if the table were true."""
    return {p: table.total([(p.heads, p.rows)] * p.layers) for p in (*plan.path, plan.check)}


def test_the_path_of_minilm() -> None:
    assert [(probe.layers, probe.heads, probe.rows) for probe in MINILM.path] == [
        (1, 0, 0),
        (6, 0, 0),
        (6, 0, 16),
        (6, 1, 16),
        (6, 1, 192),
        (6, 3, 192),
        (6, 3, 384),
        (6, 6, 384),
        (6, 6, 768),
        (6, 12, 768),
        (6, 12, 1536),
    ]
    assert MINILM.check == Probe(6, 3, 1536)


@given(st.integers(1, 40), st.integers(1, 5000), st.integers(2, 8), st.integers(1, 64))
def test_each_step_adds_heads_or_rows_alone_from_empty_to_dense(
    heads: int, rows: int, layers: int, alignment: int
) -> None:
    plan = plan_probes(heads, rows, layers, alignment)
    assert plan.path[:2] == (Probe(1, 0, 0), Probe(layers, 0, 0))
    assert plan.path[-1] == Probe(layers, heads, rows)
    assert plan.check not in plan.path
    for before, now in zip(plan.path[1:], plan.path[2:], strict=False):
        assert sorted([now.heads > before.heads, now.rows > before.rows]) == [False, True]
        assert (now.heads >= before.heads) & (now.rows >= before.rows)
        assert now.rows in aligned_widths(rows, alignment)


def test_a_true_sum_is_found_again() -> None:
    attention = {1: 0.5, 3: 0.8, 6: 1.2, 12: 2.0}
    ffn = {16: 0.2, 192: 0.7, 384: 1.1, 768: 2.0, 1536: 4.0}
    truth = CostTable.from_latency(attention, ffn, layer=0.05, fixed=0.3, alignment=16)
    found = solve(_times(MINILM, truth), MINILM, 16)
    assert found.notes == ()
    assert found.table.attention == pytest.approx(truth.attention)
    assert found.table.ffn == pytest.approx(truth.ffn)
    assert (found.table.layer, found.table.fixed) == pytest.approx((0.05, 0.3))
    assert found.table.unit == "ms"
    assert found.check_error == pytest.approx(0.0)


def test_costs_are_those_of_one_layer_however_many_were_timed() -> None:
    truth = CostTable((0.0, 1.0, 1.5), (0, 16, 32), (0.0, 2.0, 3.0), 0.5, 1.0, "ms")
    for layers in (2, 5):
        plan = plan_probes(2, 32, layers, 16)
        assert solve(_times(plan, truth), plan, 16).table.total([(1, 16), (2, 32)]) == pytest.approx(9.5)


def test_heads_and_widths_between_are_interpolated() -> None:
    plan = plan_probes(12, 1536, 2, 16)
    truth = CostTable.from_latency(
        {1: 1.0, 3: 2.0, 6: 2.0, 12: 2.0}, {16: 1.0, 1536: 1.0}, layer=0.1, fixed=0.1, alignment=16
    )
    table = solve(_times(plan, truth), plan, 16).table
    assert table.attention[2] == pytest.approx(1.5)
    assert len(table.attention) == 13
    assert table.widths == aligned_widths(1536, 16)


def test_the_error_is_that_of_the_model_off_the_path() -> None:
    truth = CostTable((0.0, 1.0, 1.5), (0, 16, 32), (0.0, 2.0, 3.0), 0.5, 1.0, "ms")
    plan = plan_probes(2, 32, 2, 16)
    times = _times(plan, truth)
    times[plan.check] *= 1.25
    assert solve(times, plan, 16).check_error == pytest.approx(1 / 1.25 - 1)


def test_times_that_fall_are_averaged_and_named() -> None:
    truth = CostTable((0.0, 1.0, 1.5), (0, 16, 32), (0.0, 2.0, 3.0), 0.5, 1.0, "ms")
    plan = plan_probes(2, 32, 2, 16)
    times = _times(plan, truth)
    before, now = plan.path[-2:]
    times[before], times[now] = 12.0, 10.0
    found = solve(times, plan, 16)
    assert found.table.dense(2) == pytest.approx(11.0)
    assert found.milliseconds[now] == 10.0
    assert [note.split(" took ")[0] for note in found.notes] == [str(before), str(now)]
    assert "took 10.000 ms" in found.notes[1]
    assert "to 11.000" in found.notes[1]


def test_nothing_is_fixed_where_layers_explain_all() -> None:
    plan = plan_probes(1, 16, 4, 16)
    times = dict(zip(plan.path, (1.0, 9.0, 10.0, 11.0), strict=True)) | {plan.check: 10.0}
    found = solve(times, plan, 16)
    assert found.table.fixed == 0.0
    assert found.table.layer == pytest.approx(9.0 / 4)
    assert "no time is taken to be fixed" in found.notes[0]


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=12))
def test_mended_times_rise_and_keep_their_sum(values: list[float]) -> None:
    mended = _rising(values)
    assert (np.diff(mended) >= 0).all()
    assert sum(mended) == pytest.approx(sum(values))
    if (np.diff(values) >= 0).all():
        assert mended == values


# Real models.

TARGET = Target(
    name="here",
    description="this machine",
    architecture="x86_64",
    device=Device(kind="local", threads=1),
    backends=[BackendVariants(backend="onnxruntime", variants=["fp32", "int8-dynamic"])],
    speeds_up=["head", "row", "layer"],
    alignment=16,
)


def _config(model_type: str) -> Any:
    import transformers

    sizes = (
        {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 40}
        if model_type == "distilbert"
        else {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 40,
        }
    )
    return transformers.AutoConfig.for_model(model_type, vocab_size=3000, max_position_embeddings=40, **sizes)


@pytest.mark.recipe
@pytest.mark.parametrize(
    ("model_type", "variant", "hidden"), [("bert", "int8-dynamic", 24), ("distilbert", "fp32", None)]
)
def test_a_tiny_model_is_measured(model_type: str, variant: str, hidden: int | None) -> None:
    import torch
    from optimum.exporters.onnx import onnx_export_from_model

    from edgeprune import backends

    texts: list[str] = []
    widths: set[int] = set()

    def build(model: Any, folder: Path) -> Path:
        widths.add(model.base_model.embeddings.word_embeddings.weight.shape[1])
        onnx = folder / "onnx"
        onnx_export_from_model(model, output=onnx, task="text-classification", opset=18, do_validation=False)
        (onnx / "tokenizer.json").write_text("{}", encoding="utf-8")
        output = folder / "compiled"
        return backends.compile_variant("onnxruntime", onnx, variant, TARGET, output, max_length=32).folder

    state = torch.get_rng_state()
    found = measure_costs(
        _config(model_type),
        build,
        threads=1,
        length=12,
        alignment=16,
        batch=2,
        hidden=hidden,
        calls=20,
        warmup=1,
        clock=time.process_time_ns,
        progress=lambda **values: texts.append(values["text"]),
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert widths == {hidden or 32}
    plan = plan_probes(4, 40, 2, 16)
    assert set(found.milliseconds) == {*plan.path, plan.check}
    assert all(0 < time < 1e4 for time in found.milliseconds.values())
    assert np.isfinite(found.check_error)
    assert len(found.table.attention) == 5
    assert found.table.widths == (0, 16, 32, 40)
    assert found.table.dense(2) > found.table.fixed
    assert all(np.isfinite(value).all() for value in list(asdict(found.table).values())[:-1])
    assert len(texts) == len(plan.path) + 2
    assert texts[0] == "compile a model of 1 × (0 heads, 0 rows)"


@pytest.mark.recipe
def test_a_model_that_cannot_be_loaded_is_an_error_of_the_target() -> None:
    with pytest.raises(UnsupportedError, match="a model to time cannot be loaded"):
        measure_costs(_config("bert"), lambda _, folder: folder, threads=1, length=8, alignment=16)


@pytest.mark.recipe
def test_a_model_beside_another_by_a_clock_that_is_known(tmp_path: Path) -> None:
    import transformers

    from edgeprune import backends
    from edgeprune.measurement.side_by_side import measure_ratio
    from edgeprune.stages.export import write_onnx

    config = _config("bert")
    model = transformers.AutoModelForSequenceClassification.from_config(config).eval()
    write_onnx(model, tmp_path / "onnx")
    (tmp_path / "onnx" / "tokenizer.json").write_text("{}", encoding="utf-8")
    compiled = backends.compile_variant(
        "onnxruntime", tmp_path / "onnx", "fp32", TARGET, tmp_path / "compiled", max_length=32
    ).folder
    ticks = itertools.count(step=1000)
    settings = {"threads": 1, "length": 12, "batch": 2, "calls": 20, "warmup": 1}
    same = measure_ratio(compiled, compiled, config, clock=lambda: next(ticks), **settings)
    assert (same.estimate, same.low, same.high) == (1.0, 1.0, 1.0)
    with pytest.raises(UnsupportedError, match="cannot be loaded"):
        measure_ratio(tmp_path / "onnx", compiled, config, **settings)
