"""Stages side by side: time of a training step and peak memory, as ratios to the first of the sides.

For time the sides take turns in one process, in alternating order, so that they share whatever the machine
is doing meanwhile; what counts is the time from the end of the first step to the end of the last, so that
neither loading nor saving dilutes the ratio. For memory each side has fresh processes of its own, and goes
through its texts twice: batches of the longest texts come first, when there is no optimizer state yet, and a
long training meets such batches again when there is.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from edgeprune import assets, stages
from edgeprune.cli.options import default_cache
from edgeprune.measurement.statistics import ratio_of_medians
from edgeprune.pipeline import running
from edgeprune.pipeline.planning import asset_sources
from edgeprune.runner.cpu import describe
from edgeprune.runner.probe import peak_memory_bytes
from edgeprune.stages.contract import Work
from edgeprune.tasks.preparing import prepare

RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "bert_sst2_mobile.yaml"
EPOCHS = 2
VALIDATION = 16  # stages score at their end, which is not timed
MEGABYTE = 1e6


@dataclass(frozen=True)
class Case:
    """What all sides do.

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
class Side:
    """A stage and how it is called.

    Attributes:
        stage: Its name.
        settings: Of its body, beside what the case says.
        inputs: Artifact kind to a folder; a relative one lies beside the examples.
    """

    stage: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)


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


def parser(description: str, sides: Mapping[str, Any]) -> argparse.ArgumentParser:
    """The options that every such benchmark has."""
    found = argparse.ArgumentParser(description=description)
    found.add_argument("--recipe", type=Path, default=RECIPE)
    found.add_argument("--batch", type=int, nargs="+", default=[32, 64])
    found.add_argument("--precision", nargs="+", choices=("bf16", "fp32"), default=["bf16", "fp32"])
    found.add_argument("--steps", type=int, default=11, help="of an epoch; a turn has two")
    found.add_argument("--rounds", type=int, default=8, help="turns of each side that count")
    found.add_argument(
        "--memory-runs", type=int, default=3, help="fresh processes a side; their median counts"
    )
    found.add_argument("--turn", choices=list(sides), help=argparse.SUPPRESS)
    found.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    return found


def take_fresh_turn(options: argparse.Namespace, sides: Mapping[str, Side]) -> None:
    """Be the fresh process of the side that --turn names."""
    case = Case(options.batch[0], options.precision[0], options.steps)
    print(json.dumps(asdict(take_turn(sides[options.turn], case, options.data))))


def cases(options: argparse.Namespace) -> list[Case]:
    """Every batch size at every precision."""
    return [Case(batch, word, options.steps) for batch in options.batch for word in options.precision]


def write_data(path: Path, rows: int, folder: Path) -> dict[str, Any]:
    """`train`, `validation`, and `about.json`: where a recipe's model is and how its texts are read.

    Args:
        path: The recipe.
        rows: Training examples.
        folder: Where they go.

    Returns:
        What `about.json` holds.
    """
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
    return about


def take_turn(side: Side, case: Case, data: Path) -> Turn:
    """One training by a stage as the pipeline would call it, in a folder that is then thrown away.

    Args:
        side: Which.
        case: What all sides do.
        data: What `write_data` left; the first `steps` batches of examples are used.
    """
    from edgeprune.tasks.examples import Examples

    about = json.loads((data / "about.json").read_text())
    settings: dict[str, Any] = {
        "epochs": EPOCHS,
        "batch_size": case.batch,
        "precision": case.precision,
        "checkpoint_steps": case.steps * EPOCHS,
        "warmup": 0.0,
        **side.settings,
    }
    stage = stages.get(side.stage)
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
                inputs={"data": folders["data"], **{kind: data / path for kind, path in side.inputs.items()}},
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


def compare(sides: Mapping[str, Side], case: Case, data: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All sides at one case.

    Args:
        sides: By name; the others are set against the first.
        case: What they do.
        data: What `write_data` left.
        options: Of `parser`.

    Returns:
        Times, memory and ratios, as plain data.
    """
    seconds = _times(sides, case, data, options.rounds)
    memory = {name: [_fresh(name, case, data) for _ in range(options.memory_runs)] for name in sides}
    first, *others = sides
    base = np.array(seconds[first])[:, None]
    return {
        **asdict(case),
        "time_ratio": {
            name: asdict(ratio_of_medians(np.array(seconds[name])[:, None], base, 0.95)) for name in others
        },
        "ms_per_step": {name: 1000 * median(found) / case.timed for name, found in seconds.items()},
        "training_bytes": {name: median(t.training_bytes for t in found) for name, found in memory.items()},
        "whole_bytes": {name: median(t.whole_bytes for t in found) for name, found in memory.items()},
        "seconds": seconds,
        "memory": {name: [asdict(turn) for turn in found] for name, found in memory.items()},
    }


def _times(sides: Mapping[str, Side], case: Case, data: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds of every turn that counts, by side; turns of one round stand beside each other."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):  # the first round warms up and is thrown away
        for name in list(sides) if number % 2 else reversed(list(sides)):
            turn = take_turn(sides[name], case, data)
            if number:
                seconds[name].append(turn.seconds)
        _say(f"batch {case.batch}, {case.precision}: round {number} of {rounds}")
    return seconds


def _fresh(name: str, case: Case, data: Path) -> Turn:
    """A turn in a process of its own: this program again, with the same options and these."""
    words = [sys.executable, *sys.argv, "--turn", name, "--data", str(data)]
    words += ["--batch", str(case.batch), "--precision", case.precision]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    _say(f"batch {case.batch}, {case.precision}: memory of {name}")
    return Turn(**json.loads(done.stdout.splitlines()[-1]))


def print_head(options: argparse.Namespace, what: str, first: str) -> None:
    """What was measured, and the names of the columns.

    Args:
        options: Of `parser`.
        what: The sides in words.
        first: Name of the side that the others are set against.
    """
    import torch

    print(f"{describe().model}, {torch.get_num_threads()} threads; model and texts of {options.recipe.name}")
    print(f"time: {options.rounds} interleaved rounds of {options.steps * EPOCHS - 1} timed steps")
    print(f"memory: {options.memory_runs} fresh processes a side, peak in training and of the whole stage")
    print(f"{what}; ratios are to {first}\n")
    print(
        f"{'batch':>5}  {'precision':9}  {'side':18}  {'ms a step':>9}  {'ratio (95 % interval)':23}  "
        f"{'peak MB':>8}  {'ratio':>6}  {'whole, ratio':>12}"
    )


def print_row(row: Mapping[str, Any]) -> None:
    """A line for every side of what `compare` gave."""
    training, whole = row["training_bytes"], row["whole_bytes"]
    first = next(iter(training))
    for name in training:
        ratio = row["time_ratio"].get(name)
        interval = f"{ratio['estimate']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f})" if ratio else "1"
        print(
            f"{row['batch']:>5}  {row['precision']:9}  {name:18}  {row['ms_per_step'][name]:>9.1f}  "
            f"{interval:23}  {training[name] / MEGABYTE:>8.0f}  {training[name] / training[first]:>6.3f}  "
            f"{whole[name] / whole[first]:>12.3f}",
            flush=True,
        )


def write_results(path: Path, options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """Everything that was measured, as JSON."""
    path.parent.mkdir(exist_ok=True)
    shown = {name: str(value) for name, value in vars(options).items() if name not in ("turn", "data")}
    path.write_text(json.dumps({"cpu": describe().model, "options": shown, "rows": rows}, indent=1))
    print(f"\n{path}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
