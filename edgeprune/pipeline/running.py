"""Running a plan: fetch, make or find every node's artifact, judge, report.

The order of events is the same in a first run, a cached one and one that goes on after a crash; only
what has to be made differs.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprune import assets, backends, stages
from edgeprune.assets import Asset
from edgeprune.errors import EdgepruneError, RecipeError
from edgeprune.pipeline.events import EventLog, Listener
from edgeprune.pipeline.keys import library_versions
from edgeprune.pipeline.planning import Node, Plan, asset_sources, make_plan
from edgeprune.pipeline.rundir import RunFolder
from edgeprune.pipeline.store import Artifact, ArtifactStore
from edgeprune.recipe.loading import Recipe, load_recipe, load_target
from edgeprune.recipe.schema import Target
from edgeprune.report.model import Note, Report
from edgeprune.stages.contract import Outcome, Work

__all__ = ["Made", "RunResult", "load", "plan", "run", "target", "versions"]


@dataclass(frozen=True)
class Made:
    """A node's artifact in this run, and whether it was already there."""

    artifact: Artifact
    cached: bool


@dataclass(frozen=True)
class RunResult:
    """What `run` leaves: the report, the folder it is in, and what the process should exit with."""

    report: Report
    folder: Path
    exit_code: int


def load(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """A checked recipe, with the schemas of all stages (see `recipe.loading.load_recipe`)."""
    return load_recipe(path, stages.recipe_stages(), overrides, check_source=assets.check)


def plan(recipe: Recipe, cache: Path) -> Plan:
    """The plan of a recipe with what is local now; fetches and runs nothing."""
    found = {
        role: assets.lookup(sources, kind=kind, cache=cache, base=recipe.folder)  # type: ignore[arg-type]
        for role, (sources, kind) in asset_sources(recipe).items()
    }
    return _plan(recipe, found)


def _plan(recipe: Recipe, found: Mapping[str, Asset | None]) -> Plan:
    targets = [target(name, recipe.folder) for name in recipe.shell.targets]
    return make_plan(recipe, targets, found)


def target(name: str, folder: Path | None = None) -> Target:
    """A checked target, with the variants of all backends (see `recipe.loading.load_target`)."""
    known = {name: row.variants for name, row in backends.BACKENDS.items()}
    return load_target(name, folder, known)


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
    plan(recipe, cache)  # an impossible chain is refused before anything is fetched
    folder = RunFolder.create(runs, recipe.shell.name)
    log = EventLog(folder.path / "events.jsonl", listeners)
    folder.write_recipe(recipe)
    found = _fetch(recipe, cache, log, refresh)
    full = _plan(recipe, found)
    folder.write_plan(full)
    ids = [node.id for node in full.nodes]
    log("run_started", recipe=recipe.shell.name, run_id=folder.id, nodes=ids)
    remarks: list[Note] = []
    made = _make_all(full, ArtifactStore(cache), log, remarks)
    report = assemble(
        full, made, folder.id, started=started, command=command, versions=versions(), notes=remarks
    )
    folder.finish(report, {name: item.artifact.path for name, item in made.items()})
    log("run_finished", verdict=report.verdict, exit_code=report.exit_code, seconds=report.seconds)
    return RunResult(report=report, folder=folder.path, exit_code=report.exit_code)


def _fetch(recipe: Recipe, cache: Path, log: EventLog, refresh: bool) -> dict[str, Asset | None]:
    found: dict[str, Asset | None] = {}
    for role, (sources, kind) in asset_sources(recipe).items():

        def tell(text: str, role: str = role) -> None:
            log("asset", role=role, text=text)

        found[role] = assets.resolve(
            sources,
            kind=kind,  # type: ignore[arg-type]
            cache=cache,
            base=recipe.folder,
            refresh=refresh,
            progress=tell,
        )
    return found


def _make_all(full: Plan, store: ArtifactStore, log: EventLog, remarks: list[Note]) -> dict[str, Made]:
    made: dict[str, Made] = {}
    for index, node in enumerate(full.nodes):
        try:
            made[node.id] = _make(node, index, full, made, store, log, remarks)
        except BaseException as error:
            log("run_failed", id=node.id, message=str(error) or type(error).__name__)
            if isinstance(
                error, RecipeError
            ):  # what a stage found wrong in the data, at its line in the recipe
                raise full.recipe.error(error.problems) from error
            if isinstance(error, Exception):
                raise _named(error, node, list(made)) from error
            raise
    return made


def _named(error: Exception, node: Node, completed: list[str]) -> EdgepruneError:
    """The error with the node that it happened in, what completed, and what to run next."""
    done = f"completed: {', '.join(completed)}" if completed else "nothing was completed before it"
    if isinstance(error, EdgepruneError):
        error.where = f"{node.id}: {error.where}" if error.where else node.id
        error.hint = f"{error.hint}\n        {done}" if error.hint else done
        return error
    place = traceback.extract_tb(error.__traceback__)[-1]
    return EdgepruneError(
        f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})",
        where=node.id,
        hint=f"{done}; the same command goes on from there; --debug shows the traceback",
    )


def _make(
    node: Node,
    index: int,
    full: Plan,
    made: Mapping[str, Made],
    store: ArtifactStore,
    log: EventLog,
    remarks: list[Note],
) -> Made:
    """Find a node's artifact, or make and publish it while holding its lock."""
    name, key = node.stage.name, node.key
    assert key is not None, f"{node.id} has no key although every asset is here"
    with store.lock(name, key, waiting=lambda: log("node_waiting", id=node.id)):
        found = store.find(name, key)
        if found is not None:
            log("node_cached", id=node.id, seconds=found.seconds)
            return Made(found, cached=True)
        if store.path(name, key).exists():
            text = "its artifact in the cache was damaged, so it was made again"
            log("note", where=node.id, text=text)
            remarks.append(Note(where=node.id, text=text))
        log("node_started", id=node.id, stage=name, index=index, total=len(full.nodes))
        artifact = _apply(node, full, made, store, log)
        log("node_finished", id=node.id, seconds=artifact.seconds)
        return Made(artifact, cached=False)


def _apply(node: Node, full: Plan, made: Mapping[str, Made], store: ArtifactStore, log: EventLog) -> Artifact:
    name, key = node.stage.name, node.key or ""
    output = store.new_output(name, key)
    work = Work(
        config=node.config,
        inputs={kind: made[source].artifact.path for kind, source in node.inputs.items()},
        assets={
            role: asset.path for role, asset in full.assets.items() if asset and role in node.stage.assets
        },
        sections=node.sections,
        seed=full.recipe.shell.seed,
        output=output,
        scratch=store.scratch(name, key),
        progress=_progress(node, log),
    )
    begun = time.monotonic()
    outcome = node.stage.apply(work)
    seconds = time.monotonic() - begun
    _ensure(node, output, outcome)
    return store.publish(
        output,
        stage=name,
        key=key,
        ingredients=node.ingredients,
        record=outcome.record,
        notes=outcome.notes,
        seconds=round(seconds, 3),
    )


def _progress(node: Node, log: EventLog) -> Callable[..., None]:
    def progress(**numbers: Any) -> None:
        log("node_progress", id=node.id, **numbers)

    return progress


def _ensure(node: Node, output: Path, outcome: Outcome) -> None:
    """The stage's own promise, checked: the files that it `ensures` are there."""
    missing = [
        name
        for name in node.stage.ensures
        if not (output / name).is_file() or not (output / name).stat().st_size
    ]
    if missing:
        raise EdgepruneError(
            f"stage {node.stage.name!r} did not write {', '.join(missing)}",
            hint="this is a bug in the stage: it must fill `work.output`",
        )


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
