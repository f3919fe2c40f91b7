"""How far an encoder can be cut: share of heads and FFN rows × importance measure × seed from one YAML.

Each cell is `edgeprune run RECIPE --until distill` in a process of its own, with the cell's settings. The
fine-tuned originals come first, one per seed. What is done is appended to a JSON file and not done again: an
interrupted grid goes on with the same command, and a changed setting, or changed code, is a new row.

    python benchmarks/structure_frontier.py [GRID.yaml] [--jobs 2] [--only taylor] [--shares 0.5] [--seeds 1]
    python benchmarks/structure_frontier.py [GRID.yaml] --latency

The second, for when nothing else runs, trains nothing: it times each structure beside its original, once for
all grids, again only if others used the processor meanwhile. Prints a table and draws a plot beside the JSON.
GRID.yaml is structure_frontier.yaml, or structure_importance.yaml, which compares importance measures at
equal training. Exits with 1 when a cell failed, or could not be timed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from grid_cells import DENSE, Cell, cells_of, read_grid
from grid_results import Results, Row
from grid_running import GridRunner, exit_code, grid_parser, parsed, say
from structure_frontier_grid import DISTILL, StructureGrid
from structure_frontier_latency import QUIET, Conditions, compare, opened, others_percent
from structure_frontier_plot import plot
from structure_frontier_results import IDENTITY, LATENCY_IDENTITY, row_of
from structure_frontier_table import table

from edgeprune.durable import write_text

if TYPE_CHECKING:
    from edgeprune.runner.session import Session

ORIGINAL = "finetune"


def main() -> int:
    """Run or time what is missing, print the table after every cell; returns the exit code."""
    parser = grid_parser(__doc__.split("\n", 1)[0], "structure_frontier.yaml", "shares")
    parser.add_argument("--latency", action="store_true", help="train nothing; time what is there")
    parser.add_argument("--calls", type=int, default=300, help="timed calls of each model")
    parser.add_argument("--threads", type=int, default=2, help="of the runtime, while timing")
    options = parsed(parser)
    return exit_code(lambda: Frontier(options).go())


class Frontier:
    """The grid that the user asked for.

    Args:
        options: What the user typed.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._grid = read_grid(options.grid, StructureGrid)
        cells = cells_of(
            self._grid, only=options.only, levels=options.levels, seeds=options.seeds, overrides=options.set
        )
        self._runner = GridRunner(cells, row_of, Results(options.results, IDENTITY), options)
        self._conditions = Conditions(threads=options.threads, calls=options.calls)
        # Its own file: how long a structure takes does not depend on the grid that it is in.
        place: Path = options.results.with_name("structure_latency.json")
        self._latencies = Results(place, LATENCY_IDENTITY)

    def go(self) -> int:
        """Do what was asked for; returns the exit code."""
        code = 0
        if self._options.latency:
            code = self._time()
        elif not self._options.table:
            self._runner.run(self.show)
        self.show()
        return self._runner.tell_failures() or code

    def show(self) -> None:
        """Print the table of all cells that there are results of, and draw them."""
        rows = list(self._runner.rows().values())
        timed = {row["key"]: found for row in rows if (found := self._timed(row))}
        print(table(rows, timed, self._grid.names, self._runner.metric), flush=True)
        drawn = plot(rows, self._grid.names, self._runner.metric) if rows else None
        if drawn:
            write_text(self._options.results.with_suffix(".svg"), drawn)

    def _timed(self, row: Row) -> Row | None:
        if row["method"] == DENSE:
            return None
        told = row | self._conditions.identity()  # a row's own threads are those of its training
        return self._latencies.find(*(told[name] for name in LATENCY_IDENTITY))

    def _time(self) -> int:
        """Time every structure that is not known from a quiet machine; returns the exit code."""
        rows = {cell: row for cell, row in self._runner.rows().items() if cell.method != DENSE}
        first = {row["structure"]: cell for cell, row in reversed(rows.items())}
        missing = [
            cell
            for cell in first.values()
            if not (known := self._timed(rows[cell])) or known["others_percent"] > QUIET
        ]
        busy = others_percent() if missing else 0.0
        if busy > QUIET:
            say(f"others use {busy:.0f} % of the processor: what is timed now is marked, to be timed again")
        lost = []
        originals: dict[str, Session] = {}
        for number, cell in enumerate(missing, 1):
            say(f"[{cell}] time structure {number} of {len(missing)}: {rows[cell]['structure']}")
            if not self._time_one(cell, rows[cell], originals):
                lost.append(cell)
        for cell in lost:
            say(f"not timed: {cell}: its artifacts are no longer in the cache")
        return 1 if lost else 0

    def _time_one(self, cell: Cell, row: Row, originals: dict[str, Session]) -> bool:
        """Time a cell's structure; `originals`, by their shape, are loaded once. False: nothing to load."""
        found = self._runner.artifacts(cell, (ORIGINAL, DISTILL))
        if found is None:
            return False
        target = self._runner.plan(cell).targets[0].target
        if row["original"] not in originals:
            originals[row["original"]] = opened(found[ORIGINAL].path, target, self._conditions)
        cut = opened(found[DISTILL].path, target, self._conditions)
        latency = compare(originals[row["original"]], cut, vocabulary(found[DISTILL].path), self._conditions)
        names = ("original", "structure")
        self._latencies.add({**{name: row[name] for name in names}, **self._conditions.identity(), **latency})
        return True


def vocabulary(model: Path) -> int:
    """Tokens that a saved classifier knows."""
    return int(json.loads((model / "config.json").read_text(encoding="utf-8"))["vocab_size"])


if __name__ == "__main__":
    sys.exit(main())
