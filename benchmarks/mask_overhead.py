"""What learning SMP masks costs beside dense fine-tuning: time of a training step and peak memory, as ratios.

Both sides are the real stages, `learn_masks` (without a teacher) and `finetune`, with the same model,
batches, precision and schedule; `stage_turns` says how they are measured. Prints a line per side, batch size
and precision; the goals are at most 1.15 and at most 1.

    python benchmarks/mask_overhead.py [--batch 32 64] [--precision bf16 fp32] [--steps 11] [--rounds 8]

Data and model are those of --recipe, by default recipes/bert_sst2_mobile.yaml.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from stage_turns import (
    Side,
    cases,
    compare,
    parser,
    print_head,
    print_row,
    take_fresh_turn,
    write_data,
    write_results,
)

from edgeprune.errors import EdgepruneError

RESULTS = Path(__file__).resolve().parent / "results" / "mask_overhead.json"
DENSE, MASKS = "finetune", "learn_masks"


def main() -> None:
    """Measure and print the table; with --turn, be the fresh process of one side."""
    options = _options()
    sides = {
        DENSE: Side("finetune", {"learning_rate": 1e-4}),
        MASKS: Side("learn_masks", {"method": "smp", "density": options.density, "distillation": None}),
    }
    if options.turn:
        take_fresh_turn(options, sides)
        return
    with tempfile.TemporaryDirectory(prefix="edgeprune-bench-") as name:
        folder = Path(name)
        write_data(options.recipe, options.steps * max(options.batch), folder)
        rows = []
        for case in cases(options):
            rows.append(compare(sides, case, folder, options))
            if len(rows) == 1:
                print_head(options, f"SMP at density {options.density:g}, no teacher", DENSE)
            print_row(rows[-1])
    write_results(RESULTS, options, rows)


def _options() -> argparse.Namespace:
    found = parser(__doc__.split("\n", 1)[0], dict.fromkeys((DENSE, MASKS)))
    found.add_argument("--density", type=float, default=0.1)
    return found.parse_args()


if __name__ == "__main__":
    try:
        main()
    except EdgepruneError as error:
        sys.exit(f"error: {error}")
