"""One target's rows of the report, from what `measure` kept.

Judging happens here and not in the stage, on raw results, so that another acceptance or confidence
needs no new measurement.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgeprune.measurement import statistics
from edgeprune.measurement.latency import Timings
from edgeprune.measurement.verdict import Candidate, Judgement, judge_target
from edgeprune.pipeline.planning import TargetPlan
from edgeprune.recipe.schema import Length, Measurement, RecipeShell
from edgeprune.report.model import DeviceRow, Fusions, Interval, LatencyRow, Quality, TargetRow, VariantRow
from edgeprune.runner.cpu import usable_cores
from edgeprune.stages.measure import ORIGINAL, timing_name

if TYPE_CHECKING:
    from edgeprune.pipeline.store import Artifact
    from edgeprune.runner.cpu import Cpu

__all__ = ["device_row", "target_row"]


@dataclass(frozen=True)
class _Measured:
    """What one `measure` artifact holds, opened."""

    models: dict[str, dict[str, Any]]
    labels: npt.NDArray[np.int64]
    answers: dict[str, npt.NDArray[np.int64]]
    timings: Timings


def target_row(
    plan: TargetPlan, artifacts: Mapping[str, Artifact], shell: RecipeShell, machine: Cpu
) -> TargetRow:
    """Judge every variant of a target and say which one is chosen.

    Args:
        plan: The target's part of the plan.
        artifacts: Artifact of each node of the run, by id.
        shell: The recipe's sections.
        machine: The processor that measured.
    """
    compiled = {name: artifacts[node] for name, node in plan.compiled.items()}
    measured = _open(artifacts[plan.measure].path, shell.measurement) if plan.measure else None
    candidates = [_candidate(name, measured, shell) for name in compiled]
    candidates += [Candidate(f"{row.backend}/{row.variant}", refused=row.reason) for row in plan.refusals]
    judged = judge_target(candidates, shell.acceptance, shell.task.metric)
    rows = [_original_row(artifacts, measured, shell)] if measured else []
    by_name = {candidate.name: candidate for candidate in candidates}
    rows += [
        _variant_row(by_name[judgement.name], judgement, compiled, measured, shell)
        for judgement in judged.variants
    ]
    threads = plan.target.device.threads or usable_cores(machine)
    return TargetRow(
        name=plan.target.name,
        description=plan.target.description,
        architecture=plan.target.architecture,
        verdict=judged.verdict,
        reason=judged.reason if measured else plan.unmeasured,
        measured=measured is not None,
        chosen=judged.chosen,
        device=device_row(machine, threads) if measured else None,
        variants=rows,
    )


def device_row(machine: Cpu, threads: int) -> DeviceRow:
    """This machine as the report shows it."""
    return DeviceRow(
        kind="local",
        cpu=machine.model,
        architecture=machine.architecture,
        cores=machine.physical_cores,
        threads=threads,
        features=list(machine.features),
    )


def _open(path: Path, protocol: Measurement) -> _Measured:
    models = json.loads((path / "measured.json").read_text(encoding="utf-8"))
    with np.load(path / "logits.npz") as logits:
        labels = logits["labels"]
        answers = {name: logits[name].argmax(axis=1) for name in models}
    with np.load(path / "nanoseconds.npz") as calls:
        nanoseconds = {
            name: {length: calls[timing_name(name, length)] for length in protocol.lengths} for name in models
        }
    return _Measured(models, labels, answers, Timings(nanoseconds))


def _candidate(name: str, measured: _Measured | None, shell: RecipeShell) -> Candidate:
    if measured is None:
        return Candidate(name)
    confidence = shell.acceptance.confidence
    original, answers = measured.answers[ORIGINAL], measured.answers[name]
    if shell.task.metric == "accuracy":
        difference = statistics.accuracy_difference(measured.labels, original, answers, confidence)
    else:
        classes = len(shell.task.label_names)
        metric = shell.task.metric
        difference = statistics.metric_difference(
            metric, measured.labels, original, answers, confidence, classes=classes
        )
    lengths = shell.measurement.lengths
    return Candidate(
        name,
        difference=difference,
        agreement=statistics.agreement(original, answers, confidence),
        median_ms={length: measured.timings.summary(name, length).p50_ms for length in lengths},
        speedup={length: _speedup(measured, ORIGINAL, name, length, confidence) for length in lengths},
    )


def _speedup(
    measured: _Measured, reference: str, name: str, length: Length, confidence: float
) -> statistics.Interval:
    calls = measured.timings.nanoseconds
    return statistics.ratio_of_medians(calls[reference][length], calls[name][length], confidence)


def _latency(measured: _Measured, name: str, shell: RecipeShell) -> list[LatencyRow]:
    """Latency at every length, with speed-ups against the original and the same backend in FP32."""
    backend = name.partition("/")[0]
    plain = f"{backend}/fp32"
    rows = []
    for length in shell.measurement.lengths:
        against: dict[str, Interval | None] = {}
        for reference in (ORIGINAL, plain):
            if name not in (reference, ORIGINAL) and reference in measured.models:
                ratio = _speedup(measured, reference, name, length, shell.acceptance.confidence)
                against[reference] = Interval(**asdict(ratio))
        rows.append(
            LatencyRow(
                length=length,
                batch=shell.measurement.batch,
                speedup_original=against.get(ORIGINAL),
                speedup_fp32=against.get(plain),
                **asdict(measured.timings.summary(name, length)),
            )
        )
    return rows


def _original_row(artifacts: Mapping[str, Artifact], measured: _Measured, shell: RecipeShell) -> VariantRow:
    facts = measured.models[ORIGINAL]
    trained = next(item for item in artifacts.values() if "model.safetensors" in item.files)
    return VariantRow(
        name="original",
        backend="pytorch",
        precision="fp32",
        executed=facts["executed"],
        status="reference",
        reason="the dense fine-tuned model that every variant is judged against",
        quality=Quality(**facts["quality"]),
        latency=_latency(measured, ORIGINAL, shell),
        file_bytes=trained.files["model.safetensors"]["size"],
        load_seconds=facts["load_seconds"],
        peak_memory_bytes=facts["peak_memory_bytes"],
    )


def _variant_row(
    candidate: Candidate,
    judgement: Judgement,
    compiled: Mapping[str, Artifact],
    measured: _Measured | None,
    shell: RecipeShell,
) -> VariantRow:
    backend, _, precision = candidate.name.partition("/")
    row: dict[str, Any] = {}
    if candidate.name in compiled:
        record = compiled[candidate.name].record
        row |= {
            "file_bytes": record["file_bytes"],
            "notes": record["notes"],
            "executed": record["executed"] or "",
            "fusions": _fusions(record),
        }
    if measured and candidate.name in measured.models:
        facts = measured.models[candidate.name]
        assert candidate.difference is not None
        assert candidate.agreement is not None
        row |= {
            "executed": facts["executed"],
            "quality": Quality(**facts["quality"]),
            "difference_points": Interval(**asdict(candidate.difference)),
            "agreement": candidate.agreement.estimate,
            "latency": _latency(measured, candidate.name, shell),
            "load_seconds": facts["load_seconds"],
            "peak_memory_bytes": facts["peak_memory_bytes"],
        }
    return VariantRow(
        name=candidate.name,
        backend=backend,
        precision=precision,
        status=judgement.status,
        reason=judgement.reason,
        chosen=judgement.chosen,
        **row,
    )


def _fusions(record: Mapping[str, Any]) -> Fusions | None:
    """What the compiled variant's runtime fused; None where it was not looked into."""
    found = record.get("fusions")
    if found is None:
        return None
    attention = found["attention"]
    return Fusions(
        operators=found["fused"],
        attention_layers=attention["layers"],
        attention_fused=attention["fused"],
    )
