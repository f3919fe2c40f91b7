"""What heads, FFN rows and layers cost in time on this machine: a `CostTable` made from measurements.

Models of the given architecture, with random weights and layers that are all alike, are compiled and timed
as any variant is, interleaved. Their layers have (heads, rows) along a path from nothing to everything,

    (0, 0) → (0, 16) → (1, 16) → (1, 1/8) → (1/4, 1/8) → (1/4, 1/4) → … → (all, 1/2) → (all, all)

so that each step adds heads or rows alone: what it adds to the time, by the number of layers, is the cost of
what it adds. An empty model of one layer tells what is fixed from what a layer costs by being there. The
first head and the first rows are steps of their own: they bring whole operators with them.

Why a path, and not heads without rows and rows without heads, which would be the same sum: time is no sum
where weights compete for caches, so what is timed should look like what is chosen. Measured on MiniLM-L6
(onnxruntime in FP32 and INT8, one busy x86 machine, CPU time of one thread, one run each), on five ragged
structures that no table was made from: root mean square error of the predicted ratio to dense 1 to 3 % at
64 and 128 tokens and 9 to 13 % at 16; made from heads and rows alone, 3 to 9 % and 10 to 21 %. Structures
chosen by such a table for 0.6, 0.4 and 0.25 of the dense time at 64 tokens took 0.60 to 0.61, 0.40 to 0.41
and 0.24 to 0.25 of it. Every table comes with its own error, at one structure far from the path.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edgeprune.measurement.batches import Batch
from edgeprune.measurement.latency import Length, measure_interleaved
from edgeprune.measurement.synthetic import VOCABULARY, caller, first_token, open_compiled, random_inputs
from edgeprune.structure.costs import CostTable, shape_of
from edgeprune.structure.description import KeptLayer

__all__ = ["Build", "MeasuredCosts", "Plan", "Probe", "measure_costs", "plan_probes", "solve"]

Build = Callable[[Any, Path], Path]
"""Exports and compiles a live classifier in an empty folder, and gives the artifact's folder.

It must do what is done to the real model, so that the runtime fuses the same operators.
"""

MOST_LAYERS = 6  # of a probe: more take memory and tell little


@dataclass(frozen=True, order=True)
class Probe:
    """A model to time: layers that are all alike, each with so many heads and FFN rows."""

    layers: int
    heads: int
    rows: int

    def __str__(self) -> str:
        return f"{self.layers} × ({self.heads} heads, {self.rows} rows)"


@dataclass(frozen=True)
class Plan:
    """What to time.

    Attributes:
        path: An empty model of one layer; then models of one number of layers, from empty to dense, each
            with more heads or more rows than the one before.
        check: A model far from the path.
    """

    path: tuple[Probe, ...]
    check: Probe


@dataclass(frozen=True)
class MeasuredCosts:
    """A table and where it comes from.

    Attributes:
        table: Costs in milliseconds per call.
        milliseconds: Median time of each probe.
        check: A probe that the table was not made from.
        check_error: Its time by the table, by the measured one, minus 1.
        notes: What was mended of the measurement, for the report.
    """

    table: CostTable
    milliseconds: Mapping[Probe, float]
    check: Probe
    check_error: float
    notes: tuple[str, ...] = ()


def measure_costs(
    config: Any,
    build: Build,
    *,
    threads: int,
    length: int,
    alignment: int,
    batch: int = 1,
    hidden: int | None = None,
    calls: int = 60,
    warmup: int = 5,
    clock: Callable[[], int] = time.perf_counter_ns,
    progress: Callable[..., None] | None = None,
) -> MeasuredCosts:
    """Times the probes on this machine.

    Args:
        config: Of the dense model; a Hugging Face config of a known architecture.
        build: Compiles for the target.
        threads: Threads that a model may use.
        length: Tokens of each input.
        alignment: FFN widths of the table are multiples of it.
        batch: Inputs per call.
        hidden: Hidden width that costs are asked at; left out: the dense model's.
        calls: Timed calls per probe.
        warmup: Untimed calls per probe before the first.
        clock: Nanoseconds. On a machine that others use, time passes while a call waits for its turn, and
            more so in long calls; with one thread, the process's CPU time shows what the call itself takes.
        progress: Called as ``progress(step=…, total=…, text=…)``.

    Raises:
        UnsupportedError: The architecture is not known, or the target's runtime does not take a probe.
        EdgepruneError: `hidden` is no width of the model.
    """
    import torch

    # Weights are drawn here and example inputs by exporters; the caller's random state is left alone.
    with torch.random.fork_rng(devices=[]), TemporaryDirectory(prefix="edgeprune-") as folder:
        shape = shape_of(_dense(config, layers=1))
        depth = max(2, min(config.num_hidden_layers, MOST_LAYERS))
        plan = plan_probes(shape.heads, shape.rows, depth, alignment)
        probes = [*plan.path, plan.check]
        sessions = {}
        for step, probe in enumerate(probes):
            if progress is not None:
                progress(step=step, total=len(probes), text=f"compile a model of {probe}")
            place = Path(folder) / str(step)
            place.mkdir()
            compiled = build(_model(config, probe, hidden), place)
            sessions[str(probe)] = open_compiled(compiled, threads, "latency table")
        if progress is not None:
            text = f"latency of {len(probes)} models at {length} tokens, interleaved"
            progress(step=len(probes), total=len(probes), text=text)
        callers = {name: caller(session) for name, session in sessions.items()}
        streams: dict[Length, list[Batch]] = {length: random_inputs(config, batch, length)}
        timings = measure_interleaved(callers, streams, calls, warmup, clock=clock)
    return solve({probe: timings.summary(str(probe), length).p50_ms for probe in probes}, plan, alignment)


def plan_probes(heads: int, rows: int, layers: int, alignment: int) -> Plan:
    """The path for a dense layer of so many heads and FFN rows.

    Args:
        heads: Heads of a dense layer.
        rows: FFN rows of a dense layer.
        layers: Of each model but the first; at least 2.
        alignment: Widths are multiples of it, but for the dense one.
    """

    def aligned(share: int) -> int:
        return min(rows, max(alignment, round(rows / share / alignment) * alignment))

    head_steps = sorted({1, max(1, heads // 4), max(1, heads // 2), heads})
    row_steps = sorted({min(alignment, rows), aligned(8), aligned(4), aligned(2), rows})
    steps = [(step / heads, "heads", step) for step in head_steps]
    steps += [(step / rows, "rows", step) for step in row_steps]
    now = {"heads": 0, "rows": 0}
    path = [Probe(1, 0, 0), Probe(layers, 0, 0)]
    for _, what, step in sorted(steps):
        now[what] = step
        path.append(Probe(layers, now["heads"], now["rows"]))
    # All rows come last on the path, so few heads with all rows are not on it.
    return Plan(tuple(path), Probe(layers, heads // 4, rows))


def solve(milliseconds: Mapping[Probe, float], plan: Plan, alignment: int) -> MeasuredCosts:
    """The table that explains the times of the path.

    Args:
        milliseconds: Time of each probe of the plan.
        plan: What was timed.
        alignment: FFN widths of the table are multiples of it.
    """
    raw = [milliseconds[probe] for probe in plan.path]
    times = _rising(raw)
    notes = [
        f"{probe} took {before:.3f} ms where larger models took less, or smaller ones more: "
        f"averaged with them to {after:.3f}"
        for probe, before, after in zip(plan.path, raw, times, strict=True)
        if after != before
    ]
    depth = plan.path[1].layers
    layer = (times[1] - times[0]) / (depth - 1)
    fixed = times[0] - layer
    if fixed < 0:
        notes.append(
            f"{depth} empty layers took {times[1]:.3f} ms, one {times[0]:.3f}: no time is taken to be fixed"
        )
        layer, fixed = times[1] / depth, 0.0
    attention, ffn = {0: 0.0}, {0: 0.0}
    for (before, start), (now, end) in pairwise(list(zip(plan.path, times, strict=True))[1:]):
        if now.heads > before.heads:
            attention[now.heads] = attention[before.heads] + (end - start) / depth
        else:
            ffn[now.rows] = ffn[before.rows] + (end - start) / depth
    table = CostTable.from_latency(attention, ffn, layer=layer, fixed=fixed, alignment=alignment)
    check = plan.check
    predicted = table.total([(check.heads, check.rows)] * check.layers)
    return MeasuredCosts(table, dict(milliseconds), check, predicted / milliseconds[check] - 1, tuple(notes))


def _rising(values: Sequence[float]) -> list[float]:
    """The nearest sequence that never falls, in squares: neighbours that fall are averaged."""
    groups: list[tuple[float, int]] = []
    for value in values:
        mean, count = value, 1
        while groups and groups[-1][0] > mean:
            other, size = groups.pop()
            mean, count = (mean * count + other * size) / (count + size), count + size
        groups.append((mean, count))
    return [mean for mean, count in groups for _ in range(count)]


def _model(config: Any, probe: Probe, hidden: int | None) -> Any:
    """What a probe says, cut out of a dense model."""
    from edgeprune.structure.narrowing import slice_hidden
    from edgeprune.structure.slicing import slice_layers

    model = _dense(config, probe.layers)
    heads, rows = tuple(range(probe.heads)), tuple(range(probe.rows))
    slice_layers(model, [KeptLayer(number, heads, rows) for number in range(probe.layers)])
    if hidden is not None:
        slice_hidden(model, range(hidden))
    return model


def _dense(config: Any, layers: int) -> Any:
    """A classifier with random weights, always the same."""
    import torch
    import transformers

    small = deepcopy(config)
    small.num_hidden_layers = layers
    # A small file; what is drawn for its inputs is all there.
    small.vocab_size = min(int(config.vocab_size), first_token(config) + VOCABULARY)
    torch.manual_seed(0)
    return transformers.AutoModelForSequenceClassification.from_config(small).float().eval()
