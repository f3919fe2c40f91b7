"""A whole pipeline without a model: stages that write small files, on a recipe of a few lines.

As a program (`python pipeline_kit.py RECIPE CACHE RUNS GATE`) it runs that pipeline in a process of its own, so
that tests can kill it or start two. Its `finetune` stops at a gate: it writes `GATE/reached` and goes on once
there is a file `GATE/go`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune import stages
from edgeprune.recipe.schema import Section
from edgeprune.runner.cpu import Cpu
from edgeprune.stages.answer import AnswerConfig
from edgeprune.stages.compile import CompileConfig
from edgeprune.stages.contract import Outcome, Stage, Work
from edgeprune.stages.measure import MeasureConfig, timing_name

MACHINE = Cpu("Model 7", "x86_64", 2, 4, 8_000_000_000, ("avx2", "avx512_vnni"))
# With it, what is exported is something else than the original.
CUT = "stages=[{finetune: {epochs: 1, learning_rate: 1e-4}}, prune_structure, export]"
EXAMPLES, BLOCKS, CALLS = 1000, 25, 4
PATIENCE = 60

RECIPE = """\
name: tiny
description: for a test
seed: 1
task:
  type: text-classification
  train: file://train.tsv
  validation: file://validation.tsv
  columns: {text: sentence, label: label}
  labels: {0: bad, 1: good}
model:
  source: file://model
  max_length: 32
stages:
  - finetune: {epochs: 1, learning_rate: 1e-4}
  - export
targets: [pc.yaml, board.yaml]
acceptance: {max_drop: 1}
measurement: {lengths: [real, 16], calls: 100}
"""

PC = """\
name: pc
description: a PC
architecture: x86_64
device: {kind: local}
backends:
  - {backend: onnxruntime, variants: [fp32, int8-dynamic]}
  - {backend: openvino, variants: [fp32, bf16]}
speeds_up: [head, row, layer]
"""

GPU = """\
name: gpu
description: a GPU
architecture: x86_64
device: {kind: none}
backends:
  - {backend: tensorrt, variants: [fp32, fp16]}
speeds_up: [head]
"""

BOARD = """\
name: board
description: a board
architecture: aarch64
device: {kind: none}
backends:
  - {backend: onnxruntime, variants: [fp32]}
speeds_up: [head]
"""


def write_project(folder: Path) -> Path:
    """The recipe with its data, a model's folder and two targets; returns the recipe's path."""
    (folder / "model").mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / "model" / name).write_text("{}")
    for name in ("train.tsv", "validation.tsv"):
        (folder / name).write_text(f"label\tsentence\n0\tbad {name}\n1\tgood {name}\n")
    (folder / "pc.yaml").write_text(PC)
    (folder / "board.yaml").write_text(BOARD)
    (folder / "gpu.yaml").write_text(GPU)
    path = folder / "tiny.yaml"
    path.write_text(RECIPE)
    return path


class Finetune(Section):
    """Body of the imitated `finetune`."""

    epochs: int
    learning_rate: float = 1e-3
    fail: str = ""


def prepare(work: Work) -> Outcome:
    """As many rows as the file has bytes."""
    size = work.assets["train"].stat().st_size
    (work.output / "data.json").write_text(str(size))
    counts = {"bad": 1, "good": 1}
    summary = {"train": 2, "validation": 2, "labels": ["bad", "good"], "split": "its own file"}
    summary |= {"train_per_label": counts, "validation_per_label": counts}
    return Outcome(record={"summary": summary}, notes=["a row was empty"])


def finetune(work: Work) -> Outcome:
    """Counts steps in its scratch folder, which a killed process leaves behind."""
    if work.config.fail:
        raise ValueError(work.config.fail)
    done = work.scratch / "steps"
    first = len(done.read_text()) if done.exists() else 0
    for step in range(first, 4):
        with done.open("a") as file:
            file.write("x")
        work.progress(step=step + 1, total=4, loss=1 / (step + 1))
        (work.output / "half").write_text("in the making")
        _stop_at_gate(step)
    (work.output / "half").unlink()
    (work.output / "model.safetensors").write_text(f"{done.read_text()} seed {work.seed}")
    return Outcome(record={"parameters": 4, "encoder": "none", "steps_of_this_process": 4 - first})


def _stop_at_gate(step: int) -> None:
    gate = os.environ.get("PIPELINE_KIT_GATE")
    if gate and step == 1:
        (Path(gate) / "reached").touch()
        wait_until((Path(gate) / "go").exists)


def prune(work: Work) -> Outcome:
    """Another model than the original, by its text."""
    text = (work.inputs["original"] / "model.safetensors").read_text()
    (work.output / "model.safetensors").write_text(f"half of {text}")
    return Outcome()


def export(work: Work) -> Outcome:
    """Copies the model."""
    (work.output / "model.onnx").write_bytes((work.inputs["model"] / "model.safetensors").read_bytes())
    return Outcome()


def compile_(work: Work) -> Outcome:
    """Names itself."""
    (work.output / "variant.json").write_text(work.config.variant)
    fusions = {"fused": {"Gelu": 2}, "attention": {"layers": 3, "fused": 1}}
    notes = [f"made as {work.config.variant}"]
    return Outcome(record={"file_bytes": 1000, "executed": "", "fusions": fusions, "notes": notes})


def measure(work: Work) -> Outcome:
    """What `MEASURED` says of each variant."""
    names = [kind.removeprefix("compiled/") for kind in work.inputs if kind.startswith("compiled/")]
    write_measured(work.output, ["original", *names], work.sections["measurement"].lengths)
    return Outcome()


def answer(work: Work) -> Outcome:
    """The same, without times."""
    names = [kind.removeprefix("compiled/") for kind in work.inputs if kind.startswith("compiled/")]
    write_measured(work.output, ["original", *names], [])
    return Outcome()


# Examples that each model gets wrong, and microseconds of each of its calls.
MEASURED: dict[str, tuple[range, int]] = {
    "original": (range(100), 12_000),
    "onnxruntime/fp32": (range(100), 6_000),
    "onnxruntime/int8-dynamic": (range(5, 105), 3_000),  # five other mistakes: nothing is lost
    "openvino/fp32": (range(100), 4_000),
    "openvino/bf16": (range(200), 1_000),  # fastest, and ten points worse
    "tensorrt/fp32": (range(100), 0),
    "tensorrt/fp16": (range(200), 0),
    "dense/onnxruntime/fp32": (range(100), 12_000),
    "dense/onnxruntime/int8-dynamic": (range(100), 2_000),  # faster than all candidates
    "dense/openvino/fp32": (range(100), 4_000),
    "dense/tensorrt/fp32": (range(100), 0),
    "dense/tensorrt/fp16": (range(100), 0),
}


# Texts and seconds of each round; what is not here is as measured before there was throughput.
THROUGHPUT = {
    "original": {"texts": [100, 110], "seconds": [1.0, 1.0], "streams": 1},
    "onnxruntime/int8-dynamic": {"texts": [300, 100, 500], "seconds": [1.0, 1.0, 1.25], "streams": 2},
}


def write_measured(folder: Path, names: list[str], lengths: list[Any]) -> None:
    """A `measure` artifact with the numbers of `MEASURED`; without lengths, an `answer` artifact."""
    labels = np.arange(EXAMPLES) % 2
    logits, nanoseconds, record = {}, {}, {}
    for name in names:
        wrong, micros = MEASURED[name]
        answers = labels.copy()
        answers[list(wrong)] = 1 - answers[list(wrong)]
        logits[name] = np.eye(2, dtype=np.float32)[answers]
        for length in lengths:
            calls = np.full((BLOCKS, CALLS), micros * 1000)
            nanoseconds[timing_name(name, length)] = calls
        share = 1 - len(wrong) / EXAMPLES
        quality = {
            "n": EXAMPLES,
            "accuracy": share,
            "f1": share,
            "matthews": 2 * share - 1,
            "f1_average": "binary",
        }
        told = {"executed": "f32", "load_seconds": 0.5, "peak_memory_bytes": 10**8} if lengths else {}
        record[name] = {**told, "quality": quality}
        if lengths and name in THROUGHPUT:
            record[name]["throughput"] = THROUGHPUT[name]
    np.savez(folder / "logits.npz", labels=labels, **logits)
    if lengths:
        np.savez(folder / "nanoseconds.npz", **nanoseconds)
    (folder / "measured.json").write_text(json.dumps(record))


def _stage(name: str, config: type[Section], apply: Callable[[Work], Outcome], **rest: Any) -> Stage:
    return Stage(name=name, summary=f"{name} in imitation", config=config, apply=apply, **rest)


PREPARE = _stage(
    "prepare", Section, prepare,
    requires=(), provides=("data",), assets=("train", "validation"), reads=("task",),
    ignores=("task.train", "task.validation", "task.metric"), ensures=("data.json",), in_recipe=False,
)  # fmt: skip
FINETUNE = _stage(
    "finetune", Finetune, finetune,
    requires=("data",), provides=("model", "original"), assets=("model",), seeded=True,
    ensures=("model.safetensors",),
)  # fmt: skip
PRUNE = _stage(
    "prune_structure", Section, prune,
    requires=("data", "original"), provides=("model",), ensures=("model.safetensors",),
)  # fmt: skip
EXPORT = _stage("export", Section, export, requires=("model",), provides=("onnx",), ensures=("model.onnx",))
COMPILE = _stage(
    "compile", CompileConfig, compile_,
    requires=("onnx",), provides=("compiled",), ensures=("variant.json",), in_recipe=False,
)  # fmt: skip
MEASURE = _stage(
    "measure", MeasureConfig, measure,
    requires=("original", "data"), provides=("measured",), reads=("measurement",), in_recipe=False,
)  # fmt: skip
ANSWER = _stage(
    "answer", AnswerConfig, answer,
    requires=("original", "data"), provides=("answered",), reads=("measurement.batch",), in_recipe=False,
)  # fmt: skip

TABLE = {
    stage.name: f"pipeline_kit:{name}"
    for name, stage in (
        ("PREPARE", PREPARE), ("FINETUNE", FINETUNE), ("PRUNE", PRUNE), ("EXPORT", EXPORT),
        ("COMPILE", COMPILE), ("MEASURE", MEASURE), ("ANSWER", ANSWER),
    )
}  # fmt: skip


def wait_until(there: Callable[[], bool]) -> None:
    """Wait for a state of the disk that another process brings about."""
    end = time.monotonic() + PATIENCE
    while not there():
        assert time.monotonic() < end, f"did not happen within {PATIENCE} s"
        time.sleep(0.01)


class Process:
    """The pipeline in a process of its own, as a context; killed at the end if it still runs."""

    def __init__(self, recipe: Path, cache: Path, runs: Path, gate: Path) -> None:
        self.runs = runs
        gate.mkdir(exist_ok=True)
        words = [sys.executable, __file__, str(recipe), str(cache), str(runs)]
        environment = os.environ | {"PIPELINE_KIT_GATE": str(gate)}
        self._process = subprocess.Popen(
            words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def finish(self) -> int:
        """Wait for its end; returns the exit code."""
        out, _ = self._process.communicate(timeout=PATIENCE)
        assert self._process.returncode == 0, out.decode()
        return self._process.returncode

    def has(self, kind: str, node: str) -> bool:
        """Whether it has told of an event of a node."""
        return node in ids(events(self.runs), kind)


def events(runs: Path) -> list[dict[str, Any]]:
    """Events of all runs below a folder."""
    lines = [
        line for path in sorted(runs.glob("*/2*/events.jsonl")) for line in path.read_text().splitlines()
    ]
    return [json.loads(line) for line in lines]


def ids(found: list[dict[str, Any]], kind: str) -> list[str]:
    """Ids of the nodes that events of some kind name."""
    return [event["id"] for event in found if event["kind"] == kind]


def no_html(report: object) -> str:
    """In the place of the page, which takes longer than all else and is tested in tests/report."""
    return "<!DOCTYPE html>"


def imitate(describe: Cpu = MACHINE) -> None:
    """Put the imitated stages and machine in the place of the real ones, for the rest of the process."""
    from edgeprune import backends
    from edgeprune.report import html
    from edgeprune.runner import cpu

    html.render = no_html
    stages.TABLE.clear()
    stages.TABLE.update(TABLE)
    cpu.describe = backends.describe = lambda: describe  # type: ignore[attr-defined]


if __name__ == "__main__":
    sys.modules["pipeline_kit"] = sys.modules["__main__"]
    imitate()
    from edgeprune.pipeline import running

    recipe, cache, runs = map(Path, sys.argv[1:])
    sys.exit(running.run(running.load(recipe), cache=cache, runs=runs).exit_code)
