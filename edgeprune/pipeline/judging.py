"""One target's rows of the report, from what `measure` kept.

Judging happens here and not in the stage, on raw results, so that another acceptance or confidence
needs no new measurement.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgeprune.measurement.stand_in import STAND_IN
from edgeprune.measurement.verdict import Candidate, Judgement, judge, judge_target
from edgeprune.pipeline.ablating import ablation
from edgeprune.pipeline.measured import Measured, candidate, latency_rows, open_measured, reported, throughput
from edgeprune.pipeline.targeting import TargetPlan
from edgeprune.recipe.schema import RecipeShell
from edgeprune.report.model import DeviceRow, Fusions, Quality, TargetRow, VariantRow
from edgeprune.runner.cpu import usable_cores
from edgeprune.stages.answering import DENSE, ORIGINAL, dense_name

if TYPE_CHECKING:
    from edgeprune.pipeline.store import Artifact
    from edgeprune.runner.cpu import Cpu

__all__ = ["device_row", "target_row"]

_DENSE = "the same variant of the original, not compressed: for comparison, no candidate"


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
    counterparts = {
        dense_name(name): artifacts[node]
        for name, node in plan.dense.items()
        if node in artifacts and node != plan.compiled[name]
    }
    found = plan.measure or plan.answer
    measured = open_measured(artifacts[found].path, shell.measurement.lengths) if found else None
    stand_in = STAND_IN if plan.answer else ""
    candidates = [candidate(name, measured, shell, stand_in) for name in compiled]
    candidates += [Candidate(f"{row.backend}/{row.variant}", refused=row.reason) for row in plan.refusals]
    judged = judge_target(candidates, shell.acceptance, shell.task.metric)
    rows = [
        _judged(_variant_row(item, compiled, measured, shell), judgement)
        for item, judgement in zip(candidates, judged.variants, strict=True)
    ]
    dense, accepted = _dense_rows(counterparts, measured, shell, stand_in)
    accepted |= {row.name for row in rows if row.status == "accepted"}
    made = [row for row in rows if row.name in compiled]
    threads = plan.target.device.threads or usable_cores(machine)
    return TargetRow(
        name=plan.target.name,
        description=plan.target.description,
        architecture=plan.target.architecture,
        verdict=judged.verdict,
        reason=judged.reason if plan.measure else plan.unmeasured,
        measured=plan.measure is not None,
        chosen=judged.chosen,
        device=device_row(machine, threads) if plan.measure else None,
        variants=[*([_original_row(artifacts, measured, shell)] if measured else []), *rows],
        dense=dense,
        ablation=ablation(plan, made, dense, accepted, measured, shell),
    )


def _dense_rows(
    counterparts: Mapping[str, Artifact], measured: Measured | None, shell: RecipeShell, stand_in: str
) -> tuple[list[VariantRow], set[str]]:
    """Rows of the dense counterparts, and the names of those that would be accepted."""
    rows, accepted = [], set()
    for name in counterparts:
        item = candidate(name, measured, shell, stand_in)
        if judge(item, shell.acceptance, shell.task.metric).status == "accepted":
            accepted.add(name)
        row = _variant_row(item, counterparts, measured, shell)
        rows.append(row.model_copy(update={"status": "reference", "reason": _DENSE}))
    return rows, accepted


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


def _original_row(artifacts: Mapping[str, Artifact], measured: Measured, shell: RecipeShell) -> VariantRow:
    facts = measured.models[ORIGINAL]
    trained = next(item for item in artifacts.values() if "model.safetensors" in item.files)
    return VariantRow(
        name="original",
        backend="pytorch",
        precision="fp32",
        executed=facts.get("executed", ""),
        status="reference",
        reason="the dense fine-tuned model that every variant is judged against",
        quality=Quality(**facts["quality"]),
        latency=latency_rows(measured, ORIGINAL, shell),
        throughput=throughput(facts),
        file_bytes=trained.files["model.safetensors"]["size"],
        load_seconds=facts.get("load_seconds"),
        peak_memory_bytes=facts.get("peak_memory_bytes"),
    )


def _variant_row(
    item: Candidate,
    compiled: Mapping[str, Artifact],
    measured: Measured | None,
    shell: RecipeShell,
) -> VariantRow:
    """What was found of one compiled model, not judged yet."""
    prefix, _, precision = item.name.rpartition("/")
    row: dict[str, Any] = {}
    if item.name in compiled:
        record = compiled[item.name].record
        row |= {
            "file_bytes": record["file_bytes"],
            "notes": record["notes"],
            "executed": record["executed"] or "",
            "fusions": _fusions(record),
        }
    if measured and item.name in measured.models:
        facts = measured.models[item.name]
        assert item.difference is not None
        assert item.agreement is not None
        row |= {
            "executed": facts.get("executed", row["executed"]),
            "stand_in": item.stand_in,
            "quality": Quality(**facts["quality"]),
            "difference_points": reported(item.difference),
            "agreement": item.agreement.estimate,
            "latency": latency_rows(measured, item.name, shell),
            "throughput": throughput(facts),
            "load_seconds": facts.get("load_seconds"),
            "peak_memory_bytes": facts.get("peak_memory_bytes"),
        }
    return VariantRow(
        name=item.name,
        backend=prefix.removeprefix(f"{DENSE}/"),
        precision=precision,
        status="not measured",
        reason="",
        **row,
    )


def _judged(row: VariantRow, judgement: Judgement) -> VariantRow:
    verdict = {"status": judgement.status, "reason": judgement.reason, "chosen": judgement.chosen}
    return row.model_copy(update=verdict)


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
