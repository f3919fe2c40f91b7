"""Mask methods compared: method × density × seed from one YAML, and a table like the papers'.

Each cell is `edgeprune run RECIPE --until learn_masks` in a process of its own, with the cell's settings. The
fine-tuned originals come first, one per seed. What is done is appended to a JSON file and not done again: an
interrupted grid goes on with the same command, and a changed setting, or changed code, is a new row.

    python benchmarks/mask_methods.py [GRID.yaml] [--jobs 2] [--only SMP-S] [--densities 0.1] [--seeds 1 2]

With --jobs N, N cells run side by side with one thread each: two of them do nearly twice the work of one with
two threads. Seconds in the table are then those of a busy machine. Exits with 1 when a cell failed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import IO

from mask_methods_grid import DENSE, Cell, cells_of, read_grid
from mask_methods_results import Results, row_of
from mask_methods_table import table

import edgeprune
from edgeprune.cli.options import default_cache
from edgeprune.errors import EdgepruneError
from edgeprune.pipeline import running
from edgeprune.pipeline.planning import Node
from edgeprune.pipeline.store import Artifact, ArtifactStore
from edgeprune.runner.cpu import describe, usable_cores

HERE = Path(__file__).resolve().parent
PACKAGE = Path(edgeprune.__file__).resolve().parent


def main() -> int:
    """Run what is missing, print the table after every cell; returns the exit code."""
    options = _options()
    try:
        grid = read_grid(options.grid)
        cells = cells_of(
            grid,
            only=options.only,
            densities=options.densities,
            seeds=options.seeds,
            overrides=options.set,
        )
        runner = Runner(options.grid.parent / grid.recipe, cells, list(grid.methods), options)
        if not options.table:
            runner.run()
        runner.show()
        return runner.tell_failures()
    except EdgepruneError as error:
        print(f"error: {error}", file=sys.stderr)
        return int(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from there", file=sys.stderr)
        return 130


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("grid", type=Path, nargs="?", default=HERE / "mask_methods.yaml", metavar="GRID.yaml")
    parser.add_argument(
        "--jobs", type=int, default=1, help="cells side by side, one thread each when above 1"
    )
    parser.add_argument("--only", action="append", default=[], metavar="METHOD", help="may be given again")
    parser.add_argument("--densities", type=float, nargs="+", help="instead of those of the YAML")
    parser.add_argument("--seeds", type=int, nargs="+", help="instead of those of the YAML")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for every cell")
    parser.add_argument("--results", type=Path, help="JSON file [default: results/<name of the YAML>.json]")
    parser.add_argument("--table", action="store_true", help="print the table of what is there; run nothing")
    parser.add_argument("--cache", type=Path, default=default_cache())
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of run folders")
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error("--jobs is at least 1")
    options.results = options.results or HERE / "results" / f"{options.grid.stem}.json"
    return options


class Runner:
    """Runs the cells that have no row yet, and shows those that have.

    Args:
        recipe: The grid's recipe.
        cells: Of the grid.
        methods: Their names, in the order of the table.
        options: What the user typed.
    """

    def __init__(
        self, recipe: Path, cells: Sequence[Cell], methods: Sequence[str], options: argparse.Namespace
    ) -> None:
        self._recipe = recipe
        self._cells = cells
        self._methods = methods
        self._options = options
        self._store = ArtifactStore(options.cache)
        self._results = Results(options.results)
        self._nodes: dict[Cell, Node] = {}
        self._children: set[subprocess.Popen[str]] = set()
        self._failed: dict[Cell, str] = {}
        self._metric = running.load(recipe, cells[0].overrides).shell.task.metric

    def run(self) -> None:
        """Make the originals, so that no two cells wait for one; then the rest.

        Raises:
            EdgepruneError: The settings of a cell are no recipe; nothing was run.
        """
        for cell in self._cells:
            self._node(cell)
        self._run_missing([cell for cell in self._cells if cell.method == DENSE])
        lacking = {cell.seed for cell in self._failed}
        others = [cell for cell in self._cells if cell.method != DENSE]
        self._failed |= {cell: "its original failed" for cell in others if cell.seed in lacking}
        self._run_missing([cell for cell in others if cell.seed not in lacking])

    def show(self) -> None:
        """Print the table of all cells that there are results of."""
        rows = [self._results.find(cell, self._node(cell).key) for cell in self._cells]
        print(table([row for row in rows if row], self._methods, self._metric), flush=True)

    def tell_failures(self) -> int:
        """Say what failed and why; returns the exit code."""
        for cell, why in self._failed.items():
            print(f"failed: {cell}: {why}", file=sys.stderr)
        return 1 if self._failed else 0

    def _run_missing(self, cells: Iterable[Cell]) -> None:
        missing = [cell for cell in cells if not self._is_known(cell)]
        with ThreadPoolExecutor(self._options.jobs) as pool:
            waiting = {pool.submit(self._make, cell): cell for cell in missing}
            try:
                for number, future in enumerate(as_completed(waiting), 1):
                    self._finish(waiting[future], future.result())
                    _say(f"{number} of {len(missing)} done")
                    self.show()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for child in list(self._children):
                    child.terminate()
                raise

    def _is_known(self, cell: Cell) -> bool:
        """Whether there is a row of it, or an artifact that a row can be made from."""
        node = self._node(cell)
        if self._results.find(cell, node.key):
            return True
        found = self._artifact(node)
        if found:
            self._results.add(row_of(cell, found, threads=None))
        return found is not None

    def _node(self, cell: Cell) -> Node:
        """The cell's last step, with its key; the key is not known before the assets are here."""
        node = self._nodes.get(cell)
        if node is None or node.key is None:
            plan = running.plan(running.load(self._recipe, cell.overrides), self._options.cache)
            node = self._nodes[cell] = plan.node(cell.step)
        return node

    def _artifact(self, node: Node) -> Artifact | None:
        return self._store.find(node.stage.name, node.key, verify=False) if node.key else None

    def _make(self, cell: Cell) -> str:
        """Run a cell in a process of its own; returns what went wrong, nothing if all went well."""
        options = self._options
        words = [sys.executable, "-P", "-m", "edgeprune", "run", str(self._recipe), "--until", cell.step]
        words += ["--cache", str(options.cache), "--runs", str(options.runs)]
        words += [word for text in cell.overrides for word in ("--set", text)]
        threads = str(self._threads())
        environment = os.environ | {
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(PACKAGE.parent),  # with -P: the very code that the keys here are made from
            "TOKENIZERS_PARALLELISM": "false",
        }
        child = subprocess.Popen(
            words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
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
        node = self._node(cell)
        artifact = None if problem else self._artifact(node)
        if artifact:
            self._results.add(row_of(cell, artifact, self._threads()))
        else:
            self._failed[cell] = problem or "made under another key; was the code changed meanwhile?"

    def _threads(self) -> int:
        if self._options.jobs > 1:
            return 1
        return int(os.environ.get("OMP_NUM_THREADS") or usable_cores(describe()))


def _echo(cell: Cell, stream: IO[str]) -> Iterator[str]:
    """The lines of a cell's progress, each shown with its cell on the way."""
    for line in stream:
        _say(f"[{cell}] {line.rstrip()}")
        yield line.strip()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
