"""What distillation costs beside fine-tuning the dense original: time of a training step and peak memory.

All sides are the real stages, with the same texts, batches, precision and schedule; `stage_turns` says how
they are measured. The student is the original with the first half of the heads and FFN rows of every layer;
it learns the logits and the hidden states of all layers, once from a teacher that runs in every step and
once from what the teacher said before, stored on disk (asking it is not in the time of a step, but in the
peak of memory). Prints a line per side, batch size and precision; the goals are at most 1.6 times the time
and 2.2 times the memory.

    python benchmarks/distill_overhead.py [--batch 32 64] [--precision bf16 fp32] [--steps 11] [--rounds 8]

Data and model are those of --recipe, by default recipes/bert_sst2_mobile.yaml. The original is not trained:
that changes no time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

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

RESULTS = Path(__file__).resolve().parent / "results" / "distill_overhead.json"
DENSE, ONLINE, STORED = "finetune", "distill, online", "distill, stored"
LARGE = 1e6  # megabytes


def main() -> None:
    """Measure and print the table; with --turn, be the fresh process of one side."""
    options = _options()
    losses: dict[str, Any] = {"hidden": {"layers": options.layers}}
    models = {"model": "student", "original": "original"}
    sides = {
        DENSE: Side("finetune", {"learning_rate": 1e-4}),
        ONLINE: Side("distill", {"losses": losses, "cache_budget_mb": 0.0}, models),
        STORED: Side("distill", {"losses": losses, "cache_budget_mb": LARGE}, models),
    }
    if options.turn:
        take_fresh_turn(options, sides)
        return
    with tempfile.TemporaryDirectory(prefix="edgeprune-bench-") as name:
        folder = Path(name)
        about = write_data(options.recipe, options.steps * max(options.batch), folder)
        _write_models(about, folder)
        rows = []
        for case in cases(options):
            rows.append(compare(sides, case, folder, options))
            if len(rows) == 1:
                what = f"student of half the heads and rows, logits and hidden states ({options.layers})"
                print_head(options, what, DENSE)
            print_row(rows[-1])
    write_results(RESULTS, options, rows)


def _options() -> argparse.Namespace:
    found = parser(__doc__.split("\n", 1)[0], dict.fromkeys((DENSE, ONLINE, STORED)))
    found.add_argument("--layers", choices=("uniform", "last", "closest"), default="uniform")
    return found.parse_args()


def _write_models(about: dict[str, Any], folder: Path) -> None:
    """`original`, a classifier on the recipe's model, and `student`, half of it."""
    from edgeprune.stages.quiet import quiet_libraries
    from edgeprune.structure.description import KeptLayer
    from edgeprune.structure.loading import pretrained, save
    from edgeprune.structure.slicing import dense_layers, slice_layers
    from edgeprune.tasks.examples import Examples

    quiet_libraries()
    classes = Examples.load(folder / "train").classes
    tokenizer, model, _ = pretrained(Path(about["model"]), classes, pooling=about["model.pooling"])
    save(model, folder / "original", tokenizer)
    halves = [
        KeptLayer(item.source, item.heads[: len(item.heads) // 2], item.rows[: len(item.rows) // 2])
        for item in dense_layers(model)
    ]
    slice_layers(model, halves)
    save(model, folder / "student", tokenizer)


if __name__ == "__main__":
    try:
        main()
    except EdgepruneError as error:
        sys.exit(f"error: {error}")
