"""From what the nodes left to the report: rows, the verdict, and everything the reader should know."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from edgeprune.errors import ExitCode
from edgeprune.pipeline.judging import device_row, target_row
from edgeprune.pipeline.planning import Plan
from edgeprune.report.model import AssetRow, DataSummary, Note, Report, StageRow, TargetRow
from edgeprune.runner.cpu import describe, usable_cores

if TYPE_CHECKING:
    from edgeprune.pipeline.making import Made

__all__ = ["assemble"]


def assemble(
    plan: Plan,
    made: Mapping[str, Made],
    run_id: str,
    *,
    started: float,
    command: str,
    versions: dict[str, str],
    notes: Sequence[Note] = (),
) -> Report:
    """The report of a finished run.

    Args:
        plan: What was run.
        made: Artifact of every node, by id.
        run_id: Name of the run's folder.
        started: Unix time at which the run began.
        command: What the user typed.
        versions: Library versions to name.
        notes: What happened on the way that the reader should know.
    """
    shell = plan.recipe.shell
    machine = describe()
    artifacts = {name: item.artifact for name, item in made.items()}
    targets = [target_row(item, artifacts, shell, machine) for item in plan.targets]
    verdict, exit_code = _overall(targets)
    original = next(item for item in artifacts.values() if "parameters" in item.record)
    return Report(
        recipe=shell.name,
        description=shell.description,
        recipe_path=str(plan.recipe.path),
        run_id=run_id,
        seed=shell.seed,
        started=datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        seconds=round(time.time() - started, 1),
        verdict=verdict,
        exit_code=exit_code,
        metric=shell.task.metric,
        max_drop=shell.acceptance.max_drop,
        confidence=shell.acceptance.confidence,
        min_agreement=shell.acceptance.min_agreement,
        min_speedup=shell.acceptance.min_speedup,
        batch=shell.measurement.batch,
        encoder=original.record["encoder"],
        parameters=original.record["parameters"],
        targets=targets,
        data=DataSummary.model_validate(artifacts["prepare"].record["summary"]),
        stages=[_stage_row(name, item) for name, item in made.items()],
        assets=_asset_rows(plan),
        versions=versions,
        machine=device_row(machine, usable_cores(machine)),
        know=[*notes, *_worth_knowing(plan, made, targets)],
        command=command,
    )


def _overall(targets: list[TargetRow]) -> tuple[Literal["pass", "fail", "inconclusive"], int]:
    """The worst verdict of the measured targets; an unmeasured one neither passes nor fails a run."""
    verdicts = {target.verdict for target in targets if target.measured}
    if "fail" in verdicts:
        return "fail", ExitCode.REJECTED
    if "inconclusive" in verdicts:
        return "inconclusive", ExitCode.REJECTED
    # Nothing measured: everything that could be done was done, and the report says that nothing is proven.
    return ("pass" if verdicts else "inconclusive"), ExitCode.ACCEPTED


def _stage_row(name: str, item: Made) -> StageRow:
    artifact = item.artifact
    return StageRow(
        id=name,
        stage=artifact.stage,
        key=artifact.key,
        cached=item.cached,
        seconds=artifact.seconds,
        record=artifact.record,
        notes=list(artifact.notes),
    )


def _asset_rows(plan: Plan) -> list[AssetRow]:
    return [
        AssetRow(
            role=role,
            uri=asset.uri,
            sha256=asset.sha256,
            size_bytes=asset.size_bytes,
            tried=[str(attempt) for attempt in asset.tried],
        )
        for role, asset in plan.assets.items()
        if asset is not None
    ]


def _worth_knowing(plan: Plan, made: Mapping[str, Made], targets: list[TargetRow]) -> list[Note]:
    """Refusals, unmeasured targets, mirrors, rows left out, and what the stages noted."""
    notes = [
        Note(where=f"target {target.name}", text=target.reason)
        for target in targets
        if not target.measured or target.verdict == "inconclusive"
    ]
    for item in plan.targets:
        for row in item.refusals:
            where = f"target {item.target.name}"
            notes.append(Note(where=where, text=f"{row.backend}/{row.variant} is left out: {row.reason}"))
    notes += [Note(where="plan", text=text) for text in plan.warnings]
    for role, asset in plan.assets.items():
        if asset is not None and asset.tried:
            tried = "; ".join(str(attempt) for attempt in asset.tried)
            text = f"served by {asset.uri}, after: {tried}"
            notes.append(Note(where=f"asset {role}", text=text, level="info"))
    for name, made_item in made.items():
        notes += [Note(where=name, text=text) for text in made_item.artifact.notes]
    return notes
