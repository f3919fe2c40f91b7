"""Puts a run's bundle on a device, has it answer the validation examples there, and judges what ships.

Whatever answered on the device before answers on until the verdict, and after it if the bundle is not
accepted, unless the caller wants it there all the same.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.errors import AcceptanceError, ExitCode, UsageError
from edgeprune.pipeline.device_answers import answer_on_device, time_on_device
from edgeprune.pipeline.device_judging import DeviceVerdict, judge_on_device
from edgeprune.pipeline.device_report import Attempt, deployment_of
from edgeprune.pipeline.finished import FinishedRun, open_run
from edgeprune.pipeline.reference_answers import answers_of_the_original, answers_where_built

if TYPE_CHECKING:
    from edgeprune.devices.checking import Facts
    from edgeprune.devices.contract import Device
    from edgeprune.devices.installing import Installed
    from edgeprune.pipeline.bundling import Bundled
    from edgeprune.pipeline.device_answers import Timings
    from edgeprune.report.deployment import Deployment
    from edgeprune.tasks.examples import Examples

__all__ = [
    "EMULATED",
    "SEED",
    "Deployed",
    "default_device",
    "deploy",
    "require_acceptance",
]

EMULATED = ("aarch64",)
"""Architectures that there is an emulated device for."""

SEED = 0
"""Draws the sample: the same examples each time, so that deployments can be compared."""


@dataclass(frozen=True)
class Deployed:
    """What `deploy` leaves.

    Attributes:
        deployment: What was found.
        folder: Where that is written, in the run's folder.
        active: Whether the bundle is what answers on the device from now on.
    """

    deployment: Deployment
    folder: Path
    active: bool


def deploy(
    run: Path,
    *,
    device: str | None = None,
    target: str | None = None,
    variant: str | None = None,
    examples: int | None = None,
    with_wheels: bool = False,
    force: bool = False,
    tell: Callable[[str], None] = lambda text: None,
    command: str = "",
) -> Deployed:
    """Bundle, install, answer, judge, and let it answer if it is accepted.

    An emulated device is made if it is not there yet.

    Args:
        run: Folder of a finished run.
        device: Name or address of the device; left out: see `default_device`.
        target: Name of the target; may be left out if the run has one.
        variant: ``backend/precision``; left out: see `picking.pick`.
        examples: Validation examples that the device answers, drawn with `SEED`; left out: all of them.
        with_wheels: Put what the runner needs into the bundle, for a device without a network.
        force: Let it answer on the device whatever the verdict is.
        tell: Called with what happens, in words.
        command: What the user typed, for the report.

    Raises:
        UsageError: There is no such run, target, variant or device, or `examples` is below 1.
        AcceptanceError: The run accepted no variant, and none was named.
        AssetError: A wheel cannot be had.
        DeviceError: The device cannot be reached, its disk is full, or the connection broke off.
        UnsupportedError: The device cannot run the bundle.
        EdgepruneError: An artifact of the run is gone or damaged.
    """
    from edgeprune.assets.place import default_cache
    from edgeprune.devices import checking, emulation, installing
    from edgeprune.devices.opening import open_device
    from edgeprune.tasks.examples import Examples

    started = time.time()
    finished = open_run(run)
    wanted = finished.target(target)
    there = open_device(device or default_device(wanted.architecture))
    if there.emulated:
        tell(f"{there.name}: an EMULATED device; its answers count, its times do not")
        emulation.prepare(default_cache(), lambda text: tell(f"{there.name}: {text}"))
    validation = Examples.load(finished.artifact("prepare").path / "validation")
    rows = _rows(len(validation), examples)
    tell(f"{there.name}: looking at it")
    facts = checking.facts(there)
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as scratch:
        folder = Path(scratch) / "bundle"
        bundled = _bundle(finished, folder, wanted.name, variant, facts if with_wheels else None)
        tell(f"{there.name}: installing {bundled.manifest.name} {bundled.manifest.version}")
        installed = installing.install(there, folder, activate=False)
    verdict, timings, notes = _try_out(finished, there, bundled, installed, validation, rows, tell)
    active = force or verdict.exit_code == ExitCode.ACCEPTED
    replaced = installing.activate(there, installed.name, installed.version) if active else None
    installing.clean(there, installed.name)
    attempt = Attempt(
        device=there,
        facts=facts,
        bundled=bundled,
        installed=installed,
        replaced=replaced,
        active=active,
        rows=rows,
        available=len(validation),
        seed=None if len(rows) == len(validation) else SEED,
        verdict=verdict,
        timings=timings,
        notes=tuple(notes),
    )
    found = deployment_of(finished, attempt, started=started, command=command)
    return Deployed(found, _write(finished, found), active)


def default_device(architecture: str) -> str:
    """This machine, where its processor is of that architecture; else an emulated device, if there is one.

    Raises:
        UsageError: Nothing here runs such programs.
    """
    from edgeprune.runner.cpu import describe

    if architecture == describe().architecture:
        return "local"
    if architecture in EMULATED:
        return "emulator"
    raise UsageError(f"nothing here runs programs for {architecture}", hint="--device ssh://user@host")


def require_acceptance(deployed: Deployed) -> None:
    """Nothing, if what was deployed is accepted.

    Raises:
        AcceptanceError: With the reason, the numbers, and what answers on the device now.
    """
    found = deployed.deployment
    if found.exit_code == ExitCode.ACCEPTED:
        return
    state = "not accepted" if found.verdict == "fail" else "undecided"
    now = "; it answers there all the same, as was asked" if deployed.active else "; it does not answer there"
    raise AcceptanceError(
        f"{found.variant.name} is {state} on {found.device.name}: {found.reason}{now}",
        where=found.recipe,
        hint="answer more examples (--examples), deploy another --variant, or change `acceptance`",
    )


def _rows(available: int, wanted: int | None) -> list[int]:
    """Positions of the examples that are answered."""
    from edgeprune.tasks.splitting import draw_rows

    if wanted is not None and wanted < 1:
        raise UsageError(f"--examples {wanted}: at least one example is needed")
    return draw_rows(available, min(wanted or available, available), SEED)


def _bundle(run: FinishedRun, folder: Path, target: str, variant: str | None, facts: Facts | None) -> Bundled:
    """The bundle, with wheels for the device's Python where its facts are given."""
    from edgeprune.pipeline import bundling

    wheels_for = ".".join(facts.python.split(".")[:2]) if facts else None
    return bundling.bundle(run, folder, target=target, variant=variant, wheels_for=wheels_for)


def _try_out(
    run: FinishedRun,
    device: Device,
    bundled: Bundled,
    installed: Installed,
    validation: Examples,
    rows: list[int],
    tell: Callable[[str], None],
) -> tuple[DeviceVerdict, Timings | None, list[str]]:
    """The device's answers, judged; its times, where they mean something; and notes."""
    manifest, shell = bundled.manifest, run.shell
    examples = validation.select(rows)
    slow = "; slow where emulated, --examples N asks fewer" if device.emulated else ""
    tell(f"{device.name}: answering {len(rows):,} of {len(validation):,} validation examples{slow}")
    answers = answer_on_device(
        device, installed.name, installed.path, examples, manifest.columns, shell.measurement.batch
    )
    timings = None
    if not device.emulated:
        tell(f"{device.name}: timing")
        timings = time_on_device(
            device, installed.name, installed.path, examples, manifest.columns, shell.measurement
        )
    tell("comparing with the original")
    built, missing = answers_where_built(run, f"compile {manifest.target}/{manifest.variant}", examples)
    row = next(row for row in run.target(manifest.target).variants if row.name == manifest.variant)
    original = answers_of_the_original(run, validation, rows)
    verdict = judge_on_device(row, answers, original, built, examples, rows, timings, shell)
    return verdict, timings, [missing] if missing else []


def _write(run: FinishedRun, found: Deployment) -> Path:
    """In a folder per target, device and variant; the next deployment of these replaces it."""
    from edgeprune.report import deployment_storage

    words = (found.target, found.device.name, found.variant.name)
    name = "-".join(re.sub(r"[^A-Za-z0-9._]+", "-", word).strip("-.") for word in words)
    folder = run.path / deployment_storage.DEPLOYMENTS / name
    deployment_storage.write(found, folder)
    return folder
