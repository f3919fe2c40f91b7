"""From what a deployment found to its report."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from edgeprune.report.deployment import BundleRow, Deployment, DeploymentDevice, Sample
from edgeprune.report.model import DeviceRow, Note

if TYPE_CHECKING:
    from edgeprune.devices.checking import Facts
    from edgeprune.devices.contract import Device
    from edgeprune.devices.installing import Installed
    from edgeprune.pipeline.bundling import Bundled
    from edgeprune.pipeline.device_answers import Timings
    from edgeprune.pipeline.device_judging import DeviceVerdict
    from edgeprune.pipeline.finished import FinishedRun

__all__ = ["Attempt", "deployment_of"]


@dataclass(frozen=True)
class Attempt:
    """Everything that happened on the device.

    Attributes:
        device: Where.
        facts: What it said about itself.
        bundled: What was made for it.
        installed: What was put on it.
        replaced: Version that answered before; None: none did, it was this one, or it answers on.
        active: Whether the bundle answers there from now on.
        rows: Positions of the examples that were answered.
        available: Validation examples there are.
        seed: Drew the rows; None: they are all.
        verdict: What the answers say.
        timings: Of the model on the device; None: not measured.
        notes: What the reader should know.
    """

    device: Device
    facts: Facts
    bundled: Bundled
    installed: Installed
    replaced: str | None
    active: bool
    rows: list[int]
    available: int
    seed: int | None
    verdict: DeviceVerdict
    timings: Timings | None
    notes: tuple[str, ...]


def deployment_of(run: FinishedRun, attempt: Attempt, *, started: float, command: str) -> Deployment:
    """The report of one deployment.

    Args:
        run: What was deployed.
        attempt: What happened on the device.
        started: Unix time at which it began.
        command: What the user typed.
    """
    report, verdict, installed = run.report, attempt.verdict, attempt.installed
    return Deployment(
        recipe=report.recipe,
        run_id=report.run_id,
        target=attempt.bundled.manifest.target,
        bundle=BundleRow(
            name=installed.name,
            version=installed.version,
            total_bytes=attempt.bundled.manifest.total_bytes,
            sent_bytes=installed.sent_bytes,
            path=installed.path,
            replaced=attempt.replaced,
        ),
        device=_device(attempt),
        verdict=verdict.verdict,
        reason=verdict.reason,
        exit_code=verdict.exit_code,
        metric=report.metric,
        max_drop=report.max_drop,
        min_agreement=report.min_agreement,
        min_speedup=report.min_speedup,
        confidence=report.confidence,
        sampled=Sample(answered=len(attempt.rows), available=attempt.available, seed=attempt.seed),
        variant=verdict.variant,
        original=verdict.original,
        build_agreement=verdict.build_agreement,
        disagreed=verdict.disagreed,
        disagreements=verdict.disagreements,
        started=datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        seconds=round(time.time() - started, 1),
        versions=dict(report.versions),
        know=list(_worth_knowing(attempt)),
        command=command,
    )


def _device(attempt: Attempt) -> DeploymentDevice:
    facts, timings = attempt.facts, attempt.timings
    manifest = attempt.bundled.manifest
    runtime = manifest.backend
    # A bundle with wheels brings its own.
    version = None if "wheels" in manifest.provenance else facts.installed[runtime]
    return DeploymentDevice(
        name=attempt.device.name,
        address=attempt.device.address,
        row=DeviceRow(
            kind=attempt.device.kind,
            cpu=facts.cpu.model,
            architecture=facts.cpu.architecture,
            cores=facts.cpu.physical_cores,
            threads=timings.threads if timings else facts.cpu.physical_cores,
            features=list(facts.cpu.features),
            emulated=attempt.device.emulated,
        ),
        system=facts.os,
        python=facts.python,
        runtime=f"{runtime} {version}" if version else f"{runtime}, from the bundle's wheels",
        memory_bytes=facts.cpu.memory_bytes,
        conditions=[facts.clock] if facts.clock else [],
    )


def _who_answers(attempt: Attempt) -> str:
    """What answers on the device under the bundle's name, where the bundle itself is not let to."""
    there = attempt.facts.bundles.get(attempt.installed.name)
    current = there.current if there else None
    if current is None:
        return "nothing does"
    return f"version {current} still does" + (
        ", which is the same" if current == attempt.installed.version else ""
    )


def _worth_knowing(attempt: Attempt) -> Iterator[Note]:
    """An emulated device, a sample, what answers there now, and what was noted on the way."""
    where = f"device {attempt.device.name}"
    if attempt.device.emulated:
        yield Note(
            where=where,
            text="emulated: it answers by the device's own instructions, but times and memory would be the "
            "emulator's and are not shown",
        )
    if attempt.seed is not None:
        yield Note(
            where=where,
            text=f"answered {len(attempt.rows):,} of {attempt.available:,} validation examples, drawn with "
            f"seed {attempt.seed}",
        )
    if not attempt.active:
        yield Note(where=where, text=f"the bundle does not answer there: {_who_answers(attempt)}")
    elif attempt.verdict.verdict != "pass":
        yield Note(where=where, text="the bundle answers there although it is not accepted, as was asked")
    yield from (Note(where=where, text=text) for text in attempt.notes)
    yield from (Note(where=where, text=text) for text in (attempt.timings.notes if attempt.timings else []))
    yield from (Note(where="bundle", text=text, level="info") for text in attempt.bundled.notes)
