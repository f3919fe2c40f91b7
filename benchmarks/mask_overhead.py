"""What learning SMP masks costs beside dense fine-tuning: time of a training step and peak memory, as ratios.

Both sides are the real stages, `learn_masks` (without a teacher) and `finetune`, with the same model,
batches, precision and schedule. For time they take turns in one process, in alternating order, so that they
share whatever the machine is doing meanwhile; what counts is the time from the end of the first step to the
end of the last, so that neither loading nor saving dilutes the ratio. For memory each side has fresh
processes of its own, and goes through its texts twice: batches of the longest texts come first, when there
is no optimizer state yet, and a long training meets such batches again when there is. Prints a line per
batch size and precision; the goals are at most 1.15 and at most 1.

    python benchmarks/mask_overhead.py [--batch 32 64] [--precision bf16 fp32] [--steps 11] [--rounds 8]

Data and model are those of --recipe, by default recipes/bert_sst2_mobile.yaml.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from edgeprune import assets, stages
from edgeprune.cli.options import default_cache
from edgeprune.errors import EdgepruneError
from edgeprune.measurement.statistics import ratio_of_medians
from edgeprune.pipeline import running
from edgeprune.pipeline.planning import asset_sources
from edgeprune.runner.cpu import describe
from edgeprune.runner.probe import peak_memory_bytes
from edgeprune.stages.contract import Work
from edgeprune.tasks.preparing import prepare

RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "bert_sst2_mobile.yaml"
RESULTS = Path(__file__).resolve().parent / "results" / "mask_overhead.json"
DENSE, MASKS = "finetune", "learn_masks"
EPOCHS = 2
VALIDATION = 16  # both stages score at their end, which is not timed
MEGABYTE = 1e6


@dataclass(frozen=True)
class Case:
    """What both sides do.

    Attributes:
        batch: Examples a step.
        precision: `bf16` or `fp32`.
        steps: Steps of each of a turn's two epochs; the first of all is not timed.
    """

    batch: int
    precision: str
    steps: int

    @property
    def timed(self) -> int:
        """Steps whose time counts."""
        return self.steps * EPOCHS - 1


@dataclass(frozen=True)
class Turn:
    """What one training gave.

    Attributes:
        seconds: From the end of the first step to the end of the last.
        training_bytes: Highest resident set of the process until the last step had ended.
        whole_bytes: The same until the stage had ended.
    """

    seconds: float
    training_bytes: int
    whole_bytes: int


def main() -> None:
    """Measure and print the table; with --turn, be the fresh process of one side."""
    options = _options()
    if options.turn:
        case = Case(options.batch[0], options.precision[0], options.steps)
        print(json.dumps(asdict(take_turn(options.turn, case, options.data, options.density))))
        return
    cases = [Case(batch, word, options.steps) for batch in options.batch for word in options.precision]
    with tempfile.TemporaryDirectory(prefix="edgeprune-bench-") as name:
        folder = Path(name)
        _write_data(options.recipe, options.steps * max(options.batch), folder)
        rows = []
        for case in cases:
            seconds = _times(case, folder, options)
            memory = {
                side: [_fresh(side, case, folder, options) for _ in range(options.memory_runs)]
                for side in (DENSE, MASKS)
            }
            rows.append(_row(case, seconds, memory))
            if len(rows) == 1:
                _print_head(options)
            _print_row(rows[-1])
    RESULTS.parent.mkdir(exist_ok=True)
    hidden = ("turn", "data")
    shown = {name: str(value) for name, value in vars(options).items() if name not in hidden}
    RESULTS.write_text(json.dumps({"cpu": describe().model, "options": shown, "rows": rows}, indent=1))
    print(f"\n{RESULTS}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--precision", nargs="+", choices=("bf16", "fp32"), default=["bf16", "fp32"])
    parser.add_argument("--steps", type=int, default=11, help="of an epoch; a turn has two")
    parser.add_argument("--rounds", type=int, default=8, help="turns of each side that count")
    parser.add_argument(
        "--memory-runs", type=int, default=3, help="fresh processes a side; their median counts"
    )
    parser.add_argument("--density", type=float, default=0.1)
    parser.add_argument("--turn", choices=(DENSE, MASKS), help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _write_data(path: Path, rows: int, folder: Path) -> None:
    """`train`, `validation`, and where the model is and how long texts may be."""
    recipe = running.load(path, [f"task.sample.train={rows}"])
    shell = recipe.shell
    paths = {
        role: assets.resolve(sources, kind=kind, cache=default_cache(), base=recipe.folder).path
        for role, (sources, kind) in asset_sources(recipe).items()
    }
    found = prepare(shell.task, paths["train"], paths.get("validation"))
    found.train.save(folder / "train")
    found.validation.select(range(VALIDATION)).save(folder / "validation")
    about = {
        "model": str(paths["model"]),
        "model.max_length": shell.model.max_length,
        "model.pooling": shell.model.pooling,
    }
    (folder / "about.json").write_text(json.dumps(about))


def take_turn(side: str, case: Case, data: Path, density: float) -> Turn:
    """One training by a stage as the pipeline would call it, in a folder that is then thrown away.

    Args:
        side: Name of the stage.
        case: What both sides do.
        data: Folder with examples and `about.json`; the first `steps` batches of examples are used.
        density: Final density of the masks.
    """
    from edgeprune.tasks.examples import Examples

    about = json.loads((data / "about.json").read_text())
    settings: dict[str, Any] = {
        "epochs": EPOCHS,
        "batch_size": case.batch,
        "precision": case.precision,
        "checkpoint_steps": case.steps * EPOCHS,
        "warmup": 0.0,
    }
    if side == DENSE:
        settings["learning_rate"] = 1e-4
    else:
        settings |= {"method": "smp", "density": density, "distillation": None}
    stage = stages.get(side)
    ends: list[tuple[float, int]] = []

    def progress(**numbers: Any) -> None:
        if "loss" in numbers:
            ends.append((time.perf_counter(), peak_memory_bytes()))

    with tempfile.TemporaryDirectory(prefix="edgeprune-bench-") as name:
        folders = {part: Path(name) / part for part in ("data", "output", "scratch")}
        for folder in folders.values():
            folder.mkdir()
        rows = range(case.steps * case.batch)
        Examples.load(data / "train").select(rows).save(folders["data"] / "train")
        Examples.load(data / "validation").save(folders["data"] / "validation")
        stage.apply(
            Work(
                config=stage.resolve(stage.config.model_validate(settings)),
                inputs={"data": folders["data"]},
                assets={"model": Path(about["model"])},
                sections={name: about[name] for name in stage.reads},
                seed=0,
                output=folders["output"],
                scratch=folders["scratch"],
                progress=progress,
            )
        )
    assert len(ends) == case.timed + 1, f"{len(ends)} steps instead of {case.timed + 1}"
    return Turn(ends[-1][0] - ends[0][0], ends[-1][1], peak_memory_bytes())


def _times(case: Case, data: Path, options: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of every turn that counts, by side; turns of one round stand beside each other."""
    seconds: dict[str, list[float]] = {DENSE: [], MASKS: []}
    for number in range(options.rounds + 1):  # the first round warms up and is thrown away
        for side in (DENSE, MASKS) if number % 2 else (MASKS, DENSE):
            turn = take_turn(side, case, data, options.density)
            if number:
                seconds[side].append(turn.seconds)
        _say(f"batch {case.batch}, {case.precision}: round {number} of {options.rounds}")
    return seconds


def _fresh(side: str, case: Case, data: Path, options: argparse.Namespace) -> Turn:
    """A turn in a process of its own."""
    words = [sys.executable, __file__, "--turn", side, "--data", str(data), "--density", str(options.density)]
    words += ["--batch", str(case.batch), "--precision", case.precision, "--steps", str(case.steps)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    _say(f"batch {case.batch}, {case.precision}: memory of {side}")
    return Turn(**json.loads(done.stdout.splitlines()[-1]))


def _row(case: Case, seconds: dict[str, list[float]], memory: dict[str, list[Turn]]) -> dict[str, Any]:
    ours, dense = (np.array(seconds[side])[:, None] for side in (MASKS, DENSE))
    return {
        **asdict(case),
        "time_ratio": asdict(ratio_of_medians(ours, dense, 0.95)),
        "ms_per_step": {side: 1000 * median(found) / case.timed for side, found in seconds.items()},
        "training_bytes": {side: median(t.training_bytes for t in found) for side, found in memory.items()},
        "whole_bytes": {side: median(t.whole_bytes for t in found) for side, found in memory.items()},
        "seconds": seconds,
        "memory": {side: [asdict(turn) for turn in found] for side, found in memory.items()},
    }


def _print_head(options: argparse.Namespace) -> None:
    import torch

    print(f"{describe().model}, {torch.get_num_threads()} threads; model and texts of {options.recipe.name}")
    print(f"time: {options.rounds} interleaved rounds of {options.steps * EPOCHS - 1} timed steps")
    print(f"memory: {options.memory_runs} fresh processes a side")
    print(f"SMP at density {options.density:g}, no teacher; ratios are masks / dense\n")
    print(f"{'':18} {'ms a step':^15}  {'':25}  {'peak MB, training':^17}  {'':6}  {'whole stage':^11}")
    print(
        f"batch  precision  {'dense':>7} {'masks':>7}  {'ratio (95 % interval)':25}  "
        f"{'dense':>8} {'masks':>8}  {'ratio':>6}  {'ratio':>11}"
    )


def _print_row(row: dict[str, Any]) -> None:
    time_ratio, milliseconds = row["time_ratio"], row["ms_per_step"]
    training, whole = row["training_bytes"], row["whole_bytes"]
    interval = f"{time_ratio['estimate']:.3f} ({time_ratio['low']:.3f} to {time_ratio['high']:.3f})"
    print(
        f"{row['batch']:>5}  {row['precision']:<9}  {milliseconds[DENSE]:>7.1f} {milliseconds[MASKS]:>7.1f}  "
        f"{interval:25}  {training[DENSE] / MEGABYTE:>8.0f} {training[MASKS] / MEGABYTE:>8.0f}  "
        f"{training[MASKS] / training[DENSE]:>6.3f}  {whole[MASKS] / whole[DENSE]:>11.3f}",
        flush=True,
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except EdgepruneError as error:
        sys.exit(f"error: {error}")
