"""Runs the cells of a grid: each `edgeprune run RECIPE --until STEP` in a process of its own.

What is done is appended to a JSON file and not done again: an interrupted grid goes on with the same command,
and a changed setting, or changed code, is a new row.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import IO

from grid_cells import DENSE, Cell
from grid_results import Artifacts, Results, Row

import edgeprune
from edgeprune.cli.options import default_cache
from edgeprune.errors import EdgepruneError
from edgeprune.pipeline import running
from edgeprune.pipeline.planning import Node, Plan
from edgeprune.pipeline.store import Artifact, ArtifactStore
from edgeprune.runner.cpu import describe, usable_cores

__all__ = ["GridRunner", "exit_code", "grid_parser", "parsed", "say"]

HERE = Path(__file__).resolve().parent
PACKAGE = Path(edgeprune.__file__).resolve().parent

RowOf = Callable[[Cell, Artifacts, int | None], Row]


def grid_parser(description: str, default: str, levels: str) -> argparse.ArgumentParser:
    """The options that every grid has.

    Args:
        description: Of the program.
        default: Name of the grid beside this file.
        levels: What the grid calls them, e.g. ``densities``.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("grid", type=Path, nargs="?", default=HERE / default, metavar="GRID.yaml")
    parser.add_argument(
        "--jobs", type=int, default=1, help="cells side by side, one thread each when above 1"
    )
    parser.add_argument("--only", action="append", default=[], metavar="METHOD", help="may be given again")
    parser.add_argument(
        f"--{levels}", type=float, nargs="+", dest="levels", help="instead of those of the YAML"
    )
    parser.add_argument("--seeds", type=int, nargs="+", help="instead of those of the YAML")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for every cell")
    parser.add_argument("--results", type=Path, help="JSON file [default: results/<name of the YAML>.json]")
    parser.add_argument("--table", action="store_true", help="print the table of what is there; run nothing")
    parser.add_argument("--cache", type=Path, default=default_cache())
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of run folders")
    return parser


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """What the user typed, with the place of the results filled in."""
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error("--jobs is at least 1")
    options.results = options.results or HERE / "results" / f"{options.grid.stem}.json"
    return options


def exit_code(work: Callable[[], int]) -> int:
    """That of `work`; problems that the user can mend are said without a traceback."""
    try:
        return work()
    except EdgepruneError as error:
        print(f"error: {error}", file=sys.stderr)
        return int(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from there", file=sys.stderr)
        return 130


def say(text: str) -> None:
    """Tell the user what is going on."""
    print(text, file=sys.stderr, flush=True)


class GridRunner:
    """Runs the cells that have no row yet.

    Args:
        cells: Of the grid.
        row_of: Makes a row of a cell's artifacts.
        results: Where rows are kept, by method, level, seed and key.
        options: What the user typed.
    """

    def __init__(
        self, cells: Sequence[Cell], row_of: RowOf, results: Results, options: argparse.Namespace
    ) -> None:
        self.cells = cells
        self._row_of = row_of
        self._results = results
        self._options = options
        self._store = ArtifactStore(options.cache)
        self._plans: dict[Cell, Plan] = {}
        self._children: set[subprocess.Popen[str]] = set()
        self._failed: dict[Cell, str] = {}

    @property
    def metric(self) -> str:
        """The score that the recipes judge by."""
        return self.plan(self.cells[0]).recipe.shell.task.metric

    def run(self, show: Callable[[], None]) -> None:
        """Make the originals, so that no two cells wait for one; then the rest.

        Args:
            show: Called after every cell.

        Raises:
            EdgepruneError: The settings of a cell are no recipe; nothing was run.
        """
        for cell in self.cells:
            self.plan(cell)
        self._run_missing([cell for cell in self.cells if cell.method == DENSE], show)
        lacking = {cell.seed for cell in self._failed}
        others = [cell for cell in self.cells if cell.method != DENSE]
        self._failed |= {cell: "its original failed" for cell in others if cell.seed in lacking}
        self._run_missing([cell for cell in others if cell.seed not in lacking], show)

    def rows(self) -> dict[Cell, Row]:
        """Rows of the cells that there are results of."""
        found = {cell: self._row(cell) for cell in self.cells}
        return {cell: row for cell, row in found.items() if row}

    def tell_failures(self) -> int:
        """Say what failed and why; returns the exit code."""
        for cell, why in self._failed.items():
            print(f"failed: {cell}: {why}", file=sys.stderr)
        return 1 if self._failed else 0

    def plan(self, cell: Cell) -> Plan:
        """The plan of its recipe; keys are not known before the assets are here."""
        plan = self._plans.get(cell)
        if plan is None or plan.node(cell.step).key is None:
            recipe = running.load(self._recipe(cell), cell.overrides)
            plan = self._plans[cell] = running.plan(recipe, self._options.cache)
        return plan

    def artifacts(self, cell: Cell, steps: Iterable[str]) -> dict[str, Artifact] | None:
        """What these steps of a cell made; None unless all of it is in the cache."""
        plan = self.plan(cell)
        found = {step: self._artifact(plan.node(step)) for step in steps}
        present = {step: artifact for step, artifact in found.items() if artifact}
        return present if len(present) == len(found) else None

    def _artifact(self, node: Node) -> Artifact | None:
        return self._store.find(node.stage.name, node.key, verify=False) if node.key else None

    def _recipe(self, cell: Cell) -> Path:
        folder: Path = self._options.grid.parent
        return folder / cell.recipe

    def _row(self, cell: Cell) -> Row | None:
        return self._results.find(cell.method, cell.level, cell.seed, self.plan(cell).node(cell.step).key)

    def _run_missing(self, cells: Iterable[Cell], show: Callable[[], None]) -> None:
        missing = [cell for cell in cells if not self._is_known(cell)]
        with ThreadPoolExecutor(self._options.jobs) as pool:
            waiting = {pool.submit(self._make, cell): cell for cell in missing}
            try:
                for number, future in enumerate(as_completed(waiting), 1):
                    self._finish(waiting[future], future.result())
                    say(f"{number} of {len(missing)} done")
                    show()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for child in list(self._children):
                    child.terminate()
                raise

    def _is_known(self, cell: Cell) -> bool:
        """Whether there is a row of it, or artifacts that a row can be made from."""
        if self._row(cell):
            return True
        found = self.artifacts(cell, cell.steps)
        if found:
            self._results.add(self._row_of(cell, found, None))
        return found is not None

    def _make(self, cell: Cell) -> str:
        """Run a cell in a process of its own; returns what went wrong, nothing if all went well."""
        options = self._options
        words = [
            sys.executable,
            "-P",
            "-m",
            "edgeprune",
            "run",
            str(self._recipe(cell)),
            "--until",
            cell.step,
        ]
        words += ["--cache", str(options.cache), "--runs", str(options.runs)]
        words += [word for text in cell.overrides for word in ("--set", text)]
        child = subprocess.Popen(
            words,
            env=os.environ | _environment(str(self._threads())),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._children.add(child)
        assert child.stderr is not None
        with child.stderr:
            said = list(_echo(cell, child.stderr))
        self._children.discard(child)
        if child.wait() == 0:
            return ""
        return next((line for line in said if line.startswith("error: ")), f"exit code {child.returncode}")

    def _finish(self, cell: Cell, problem: str) -> None:
        artifacts = None if problem else self.artifacts(cell, cell.steps)
        if artifacts:
            self._results.add(self._row_of(cell, artifacts, self._threads()))
        else:
            self._failed[cell] = problem or "made under another key; was the code changed meanwhile?"

    def _threads(self) -> int:
        if self._options.jobs > 1:
            return 1
        return int(os.environ.get("OMP_NUM_THREADS") or usable_cores(describe()))


def _environment(threads: str) -> Mapping[str, str]:
    return {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": str(PACKAGE.parent),  # with -P: the very code that the keys here are made from
        "TOKENIZERS_PARALLELISM": "false",
    }


def _echo(cell: Cell, stream: IO[str]) -> Iterator[str]:
    """The lines of a cell's progress, each shown with its cell on the way."""
    for line in stream:
        say(f"[{cell}] {line.rstrip()}")
        yield line.strip()
