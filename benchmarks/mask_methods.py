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
import sys

from grid_cells import cells_of, read_grid
from grid_results import Results
from grid_running import GridRunner, exit_code, grid_parser, parsed
from mask_methods_grid import MaskGrid
from mask_methods_results import IDENTITY, row_of
from mask_methods_table import table


def main() -> int:
    """Run what is missing, print the table after every cell; returns the exit code."""
    options = parsed(grid_parser(__doc__.split("\n", 1)[0], "mask_methods.yaml", "densities"))
    return exit_code(lambda: _compare(options))


def _compare(options: argparse.Namespace) -> int:
    grid = read_grid(options.grid, MaskGrid)
    cells = cells_of(
        grid, only=options.only, levels=options.levels, seeds=options.seeds, overrides=options.set
    )
    runner = GridRunner(cells, row_of, Results(options.results, IDENTITY), options)

    def show() -> None:
        print(table(list(runner.rows().values()), grid.names, runner.metric), flush=True)

    if not options.table:
        runner.run(show)
    show()
    return runner.tell_failures()


if __name__ == "__main__":
    sys.exit(main())
