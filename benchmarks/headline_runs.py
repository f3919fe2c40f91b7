"""Runs of the shipped recipes, made or found, and what each of them would ship."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from grid_running import HERE, say
from headline_findings import Facts
from headline_promises import MODELS

from edgeprune.errors import UsageError
from edgeprune.pipeline import running
from edgeprune.pipeline.bundling import bundle
from edgeprune.pipeline.finished import FinishedRun, open_run
from edgeprune.recipe.loading import Recipe
from edgeprune.report.model import TargetRow, VariantRow

__all__ = [
    "MODELS",
    "SEEDS",
    "Product",
    "minutes_of",
    "named",
    "products",
    "quickstart",
    "seeds_of",
    "shipped",
]

QUICKSTART = "quickstart"
SEEDS = (1, 2, 3)
STEP = "finetune"
MASKS = "learn_masks"
PACK = "task.edgepack"
RECIPES = HERE.parent / "recipes"

Runs = Mapping[str, Mapping[int, Path]]
"""Recipe's short name to seed to the run's folder."""

_ORDER = ("accepted", "inconclusive", "rejected")


@dataclass(frozen=True)
class Product:
    """What one run of a recipe gave.

    Attributes:
        folder: Of the run.
        original: Of the classifier that everything is measured against.
        answers: Of what ships: a compiled model, or of a mask pack its classifier.
        variant: ``backend/precision`` of a compiled model; empty: a mask pack.
        facts: Numbers.
        cores: That its steps could use.
        notes: What the reader should know.
    """

    folder: Path
    original: Path
    answers: Path
    variant: str
    facts: Facts
    cores: int
    notes: tuple[str, ...] = ()


def named(texts: Sequence[str], option: str, known: Sequence[str]) -> list[tuple[str, Path]]:
    """`NAME=PATH` as the user typed it.

    Raises:
        UsageError: It is not of that form, or the name is not known.
    """
    found = []
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or name not in known:
            raise UsageError(f"{option} {text} is not NAME=PATH", hint=f"names: {', '.join(known)}")
        found.append((name, Path(path)))
    return found


def products(options: argparse.Namespace, target: str) -> dict[str, dict[int, Product]]:
    """What the runs of all recipes and seeds gave; runs that were not named are made.

    Args:
        options: `only`, `run`, `recipe`, `seeds`, `target`, `set`, `cache`, `runs`.
        target: Its target's own name.

    Raises:
        UsageError: A run that was named has another seed than was asked for, or two have the same.
        EdgepruneError: A run cannot be made, or something of it is gone.
    """
    given = _given(options)
    seeds = seeds_of(options.seeds, given)
    recipes = {name: RECIPES / f"bert_sst2_{name}.yaml" for name in MODELS}
    recipes |= dict(named(options.recipe, "--recipe", MODELS))
    wanted = [(seed, name) for seed in seeds for name in options.only]
    lacking = {
        (seed, name): _recipe(recipes[name], seed, options)
        for seed, name in wanted
        if seed not in given[name]
    }  # all of them before hours of work
    found: dict[str, dict[int, Product]] = {name: {} for name in options.only}
    for seed, name in wanted:
        folder = _made(lacking[seed, name], options) if (seed, name) in lacking else given[name][seed]
        found[name][seed] = _product(name, open_run(folder), target)
    return found


def quickstart(options: argparse.Namespace) -> dict[int, Facts]:
    """What is known of the quickstart's runs that the user named."""
    runs = [open_run(path.resolve()) for name, path in _named_runs(options) if name == QUICKSTART]
    return {run.shell.seed: Facts(run.shell.seed, minutes_of(run)) for run in runs}


def _named_runs(options: argparse.Namespace) -> list[tuple[str, Path]]:
    return named(options.run, "--run", (*MODELS, QUICKSTART))


def _given(options: argparse.Namespace) -> dict[str, dict[int, Path]]:
    found: dict[str, dict[int, Path]] = {name: {} for name in MODELS}
    for name, path in _named_runs(options):
        if name == QUICKSTART:
            continue
        if name not in options.only:
            raise UsageError(f"there is a --run of {name}, which --only leaves out")
        seed = open_run(path).shell.seed
        if seed in found[name]:
            raise UsageError(f"two runs of {name} have seed {seed}", where=str(path))
        found[name][seed] = path.resolve()
    return found


def seeds_of(asked: Sequence[int] | None, given: Runs) -> list[int]:
    """The seeds that were asked for; else those of the runs that were named, or the usual ones.

    Raises:
        UsageError: A run that was named has none of those that were asked for.
    """
    there = {seed for runs in given.values() for seed in runs}
    if asked and not there <= set(asked):
        raise UsageError(f"runs of the seeds {sorted(there)} are given, and --seeds says {sorted(asked)}")
    return sorted(set(asked or there or SEEDS))


def _recipe(path: Path, seed: int, options: argparse.Namespace) -> Recipe:
    return running.load(path, [*options.set, f"seed={seed}", f"targets=[{options.target}]"])


def _made(recipe: Recipe, options: argparse.Namespace) -> Path:
    title = f"{recipe.shell.name} seed {recipe.shell.seed}"

    def tell(event: dict[str, Any]) -> None:
        if event["kind"] in ("node_started", "node_cached", "node_finished"):
            say(f"{title}: {event['id']} {event['kind'][5:]}")

    return running.run(recipe, cache=options.cache, runs=options.runs, listeners=[tell]).folder


def _product(name: str, run: FinishedRun, target: str) -> Product:
    original = run.artifact(STEP).path
    seed, minutes, cores = run.shell.seed, minutes_of(run), run.report.machine.cores
    title = f"{name}, seed {seed}"
    if name == "taskpack":
        masked = run.artifact(_node_of(run, MASKS)).path
        if not (masked / PACK).is_file():
            raise UsageError(f"{title}: {MASKS} left no {PACK}", where=str(run.path))
        facts = Facts(seed, minutes, _size(original), (masked / PACK).stat().st_size)
        return Product(run.path, original, masked, "", facts, cores)
    row, note = shipped(run.target(target))
    compiled = run.artifact(f"compile {target}/{row.name}").path
    with TemporaryDirectory(prefix="edgeprune-bench-") as folder:
        output = Path(folder) / "bundle"
        bundle(run.path, output, target=target, variant=row.name)
        facts = Facts(seed, minutes, _size(original), _size(output), row.backend)
    notes = (f"{title} ships {row.name}", *([f"{title}: {note}"] if note else []))
    return Product(run.path, original, compiled, row.name, facts, cores, notes)


def shipped(target: TargetRow) -> tuple[VariantRow, str]:
    """The variant that a run chose; where it accepted none, the one that stands for it, and a note on that.

    Raises:
        UsageError: Nothing was measured.
    """
    timed = [row for row in target.variants if row.status in _ORDER and row.latency]
    for row in timed:
        if row.name == target.chosen:
            return row, ""
    if not timed:
        raise UsageError(f"the run measured no variant of target {target.name}: {target.reason}")
    best = min(timed, key=lambda row: (_ORDER.index(row.status), row.typical_ms))
    return best, f"no variant was accepted ({target.reason}); the fastest {best.status} one stands for it"


def minutes_of(run: FinishedRun) -> float:
    """What all its steps cost when they were made, cached ones too."""
    return sum(row.seconds for row in run.report.stages) / 60


def _node_of(run: FinishedRun, stage: str) -> str:
    nodes = [name for name, node in run.nodes.items() if node["stage"] == stage]
    if not nodes:
        raise UsageError(f"the run has no step {stage}", where=str(run.path))
    return nodes[-1]


def _size(folder: Path) -> int:
    """Bytes of all files, without what the store says of them."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "artifact.json")
    return sum(path.stat().st_size for path in files)
