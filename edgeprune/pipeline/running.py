"""The library's entry: load a recipe, plan it, run it.

The order of events is the same in a first run, a cached one and one that goes on after a crash; only
what has to be made differs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeprune import assets, backends, stages
from edgeprune.assets import Asset
from edgeprune.errors import AcceptanceError, EdgepruneError, ExitCode, UsageError
from edgeprune.pipeline.events import EventLog, Listener
from edgeprune.pipeline.keys import library_versions
from edgeprune.pipeline.making import Made, Maker
from edgeprune.pipeline.planning import Plan, asset_sources, make_plan
from edgeprune.pipeline.rundir import RunFolder
from edgeprune.pipeline.store import ArtifactStore
from edgeprune.recipe.loading import Recipe, load_recipe, load_target
from edgeprune.recipe.schema import Target
from edgeprune.report.model import Note, Report
from edgeprune.training.kernels import keep_kernels

__all__ = [
    "PartialResult",
    "RunResult",
    "load",
    "local_assets",
    "plan",
    "require_acceptance",
    "run",
    "run_until",
    "target",
    "versions",
]


@dataclass(frozen=True)
class RunResult:
    """What `run` leaves: the report, the folder it is in, and what the process should exit with."""

    report: Report
    folder: Path
    exit_code: int


@dataclass(frozen=True)
class PartialResult:
    """What `run_until` leaves: artifacts, and no report.

    Attributes:
        folder: The run's folder: recipe, plan, events and links to the artifacts.
        made: Artifact of each node, by id, in the plan's order.
        notes: What happened on the way that the user should know, beside the notes of the artifacts.
    """

    folder: Path
    made: Mapping[str, Made]
    notes: tuple[Note, ...]


def load(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """A checked recipe, with the schemas of all stages (see `recipe.loading.load_recipe`)."""
    return load_recipe(path, stages.recipe_stages(), overrides, check_source=assets.check)


def target(name: str, folder: Path | None = None) -> Target:
    """A checked target, with the variants of all backends (see `recipe.loading.load_target`)."""
    known = {name: row.variants for name, row in backends.BACKENDS.items()}
    return load_target(name, folder, known)


def plan(recipe: Recipe, cache: Path) -> Plan:
    """The plan of a recipe with what is local now; fetches and runs nothing."""
    return _plan(recipe, local_assets(recipe, cache))


def local_assets(recipe: Recipe, cache: Path) -> dict[str, Asset | None]:
    """Role to the asset that is on this machine, or None where it would have to be fetched."""
    return {
        role: assets.lookup(sources, kind=kind, cache=cache, base=recipe.folder)
        for role, (sources, kind) in asset_sources(recipe).items()
    }


def _plan(recipe: Recipe, found: Mapping[str, Asset | None]) -> Plan:
    targets = [target(name, recipe.folder) for name in recipe.shell.targets]
    return make_plan(recipe, targets, found)


def run(
    recipe: Recipe,
    *,
    cache: Path,
    runs: Path,
    listeners: Sequence[Listener] = (),
    refresh: bool = False,
    command: str = "",
) -> RunResult:
    """Do everything that a recipe says, and write the report.

    Args:
        recipe: A checked recipe.
        cache: Folder of assets and artifacts, shared by all runs.
        runs: Folder of run folders; this run's is ``<runs>/<recipe>/<id>``.
        listeners: Called with every event (see `pipeline.events`).
        refresh: Try the sources of assets anew, first to last, even if a copy is here.
        command: What the user typed, for the report.

    Raises:
        EdgepruneError: Whatever went wrong, naming the node, what completed and what to do next.
    """
    from edgeprune.pipeline.reporting import assemble

    started = time.time()
    _plan(recipe, dict.fromkeys(asset_sources(recipe)))  # an impossible chain fetches nothing
    folder = RunFolder.create(runs, recipe.shell.name)
    log = EventLog(folder.path / "events.jsonl", listeners)
    full, maker = _make(recipe, None, folder, log, cache, refresh=refresh)
    report = assemble(
        replace(full, targets=tuple(item.less(maker.refused) for item in full.targets)),
        maker.made,
        folder.id,
        started=started,
        command=command,
        versions=versions(),
        notes=maker.notes,
    )
    folder.link_artifacts({name: item.artifact.path for name, item in maker.made.items()})
    folder.finish(report)
    log("run_finished", verdict=report.verdict, exit_code=report.exit_code, seconds=report.seconds)
    return RunResult(report=report, folder=folder.path, exit_code=report.exit_code)


def run_until(
    recipe: Recipe,
    step: str,
    *,
    cache: Path,
    runs: Path,
    listeners: Sequence[Listener] = (),
    refresh: bool = False,
) -> PartialResult:
    """Do what a recipe says up to and with one step, and judge nothing.

    Args:
        recipe: A checked recipe.
        step: Id of a node of its plan, e.g. ``finetune`` or ``compile x86/openvino/fp32``.
        cache: Folder of assets and artifacts, shared by all runs.
        runs: Folder of run folders. This run's gets no report, and does not become `latest`.
        listeners: Called with every event.
        refresh: Try the sources of assets anew.

    Raises:
        UsageError: The plan has no such step; nothing was fetched.
        EdgepruneError: Whatever else went wrong, as in `run`.
    """
    started = time.time()
    _cut(_plan(recipe, dict.fromkeys(asset_sources(recipe))), step)
    folder = RunFolder.create(runs, recipe.shell.name)
    log = EventLog(folder.path / "events.jsonl", listeners)
    _, maker = _make(recipe, step, folder, log, cache, refresh=refresh)
    folder.link_artifacts({name: item.artifact.path for name, item in maker.made.items()})
    log("run_stopped", until=step, seconds=round(time.time() - started, 1))
    return PartialResult(folder.path, maker.made, tuple(maker.notes))


def _make(
    recipe: Recipe, until: str | None, folder: RunFolder, log: EventLog, cache: Path, *, refresh: bool
) -> tuple[Plan, Maker]:
    """Fetch, plan, and make the plan's artifacts: all of them, or those up to one node."""
    folder.write_recipe(recipe)
    plan = _plan(recipe, _fetch(recipe, cache, log, refresh=refresh))
    if until is not None:
        plan = _cut(plan, until)
    folder.write_plan(plan)
    log("run_started", recipe=recipe.shell.name, run_id=folder.id, nodes=[node.id for node in plan.nodes])
    keep_kernels()
    maker = Maker(plan, ArtifactStore(cache), log)
    maker.make_all()
    return plan, maker


def _cut(plan: Plan, step: str) -> Plan:
    """The plan up to and with one node, without targets: what they measure is not made.

    A run that is to stop at an optional or refusable node is for that node, so it may not be left out then.
    """
    steps = [node.id for node in plan.nodes]
    if step not in steps:
        raise UsageError(
            f"the plan of {plan.recipe.path} has no step {step!r}", hint=f"its steps are: {', '.join(steps)}"
        )
    nodes = plan.nodes[: steps.index(step) + 1]
    if nodes[-1].optional:
        nodes = tuple(replace(node, optional=False) for node in nodes)
    nodes = (*nodes[:-1], replace(nodes[-1], refusable=False))
    return replace(plan, nodes=nodes, targets=())


def require_acceptance(report: Report) -> None:
    """Nothing, if every measured target of a run is accepted.

    Raises:
        AcceptanceError: With the reason and the numbers of each target that is not.
    """
    if report.exit_code == ExitCode.ACCEPTED:
        return
    reasons = [
        f"{target.name} is {'not accepted' if target.verdict == 'fail' else 'undecided'}: {target.reason}"
        for target in report.targets
        if target.measured and target.verdict != "pass"
    ]
    raise AcceptanceError(
        "; ".join(reasons),
        where=report.recipe,
        hint="the report shows every candidate; change `acceptance`, the stages, or measure more examples",
    )


def _fetch(recipe: Recipe, cache: Path, log: EventLog, *, refresh: bool) -> dict[str, Asset | None]:
    found: dict[str, Asset | None] = {}
    for role, (sources, kind) in asset_sources(recipe).items():

        def tell(text: str, role: str = role) -> None:
            log("asset", role=role, text=text)

        try:
            found[role] = assets.resolve(
                sources, kind=kind, cache=cache, base=recipe.folder, refresh=refresh, progress=tell
            )
        except EdgepruneError as error:
            error.where = f"asset {role}"
            log("run_failed", id=f"asset {role}", message=str(error))
            raise
    return found


def versions() -> dict[str, str]:
    """Versions of everything that a report should name."""
    import platform

    import edgeprune

    names = (
        "accelerate", "datasets", "neural-compressor", "numpy", "onnx", "onnxruntime", "openvino", "optimum",
        "optimum-onnx", "tokenizers", "torch", "transformers",
    )  # fmt: skip
    found = {name: number for name, number in library_versions(names).items() if number != "absent"}
    return {"edgeprune": edgeprune.__version__, "python": platform.python_version(), **found}
