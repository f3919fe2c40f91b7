"""A tiny project on disk, made from nothing: a random 2-layer BERT, learnable rows, a recipe, a target.

Nothing here imports a heavy library: the model is written as arrays under the names that Hugging Face's
`BertModel` reads.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HIDDEN, HEADS, FFN, LAYERS, POSITIONS = 32, 2, 64, 2, 64
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
FILLERS = ("the", "film", "is", "a", "story", "of", "two", "men", "and", "one", "dog", "##s", ".")
CLASS_WORDS = {
    "bad": ("bad", "dull", "poor"),
    "good": ("good", "fine", "great"),
    "mixed": ("so", "odd", "even"),
}
VOCABULARY = [*SPECIAL, *FILLERS, *(word for words in CLASS_WORDS.values() for word in words)]
NOISE = 0.1  # without it every model answers everything right, and any two seem equal
PATIENCE = 240  # seconds after which a run hangs

RECIPE = """\
name: tiny
description: a random 2-layer BERT on made-up sentences
seed: 3
task:
  type: text-classification
  train: file://data/train.tsv
  validation: file://data/validation.tsv
  columns: {text: sentence, label: label}
  labels: {0: bad, 1: good}
  metric: accuracy
model:
  source: file://model
  max_length: 24
stages:
  - finetune: {epochs: 6, learning_rate: 5e-3, batch_size: 16, averaging: 0.9, checkpoint_steps: 20}
  - export: {opset: 18, check_examples: 16}
targets: [pc.yaml]
acceptance: {max_drop: 20}
measurement: {batch: 1, lengths: [real, 16], calls: 20, warmup: 2, throughput_seconds: 0.05}
"""

PC = """\
name: pc
description: this machine, whatever it is
architecture: %s
device: {kind: local, threads: 1}
backends:
  - {backend: onnxruntime, variants: [fp32, int8-dynamic]}
  - {backend: openvino, variants: [fp32, bf16]}
speeds_up: [head, row, layer]
"""

BOARD = """\
name: board
description: compiled here, measured nowhere
architecture: aarch64
device: {kind: none}
backends:
  - {backend: onnxruntime, variants: [fp32]}
speeds_up: [head, row, layer]
"""


@dataclass(frozen=True)
class Done:
    """A command that ended: its exit code and what it said."""

    code: int
    out: str
    err: str


def write_project(folder: Path) -> Path:
    """Fill a folder with model, data and targets, and return the path of its recipe."""
    from edgeprune.runner.cpu import describe

    write_model(folder / "model")
    write_rows(folder / "data" / "train.tsv", 400, seed=0)
    write_rows(folder / "data" / "validation.tsv", 120, seed=1)
    (folder / "pc.yaml").write_text(PC % describe().architecture)
    (folder / "board.yaml").write_text(BOARD)
    recipe = folder / "tiny.yaml"
    recipe.write_text(RECIPE)
    return recipe


def write_rows(path: Path, count: int, *, seed: int) -> None:
    """Sentences of filler words around one word that gives the class away, or lies about it."""
    random = np.random.default_rng(seed)
    lines = ["label\tsentence"]
    for _ in range(count):
        label = int(random.integers(2))
        told = label if random.random() > NOISE else 1 - label
        lines.append(f"{label}\t{_sentence(random, ('bad', 'good')[told])}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def write_pairs(path: Path, count: int, *, seed: int) -> None:
    """Pairs of three classes; the second sentence tells which."""
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        name = ("bad", "good", "mixed")[int(random.integers(3))]
        row = {"first": _sentence(random, None), "second": _sentence(random, name), "verdict": name[0]}
        rows.append(json.dumps(row))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n")


def _sentence(random: np.random.Generator, name: str | None) -> str:
    words = [str(word) for word in random.choice(FILLERS[:-2], size=random.integers(3, 10))]
    if name is not None:
        words.insert(int(random.integers(len(words) + 1)), str(random.choice(CLASS_WORDS[name])))
    return " ".join(words) + " ."


def write_model(folder: Path) -> None:
    """A random encoder as a Hugging Face folder: config, weights and a WordPiece tokenizer."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": len(VOCABULARY),
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": FFN,
        "max_position_embeddings": POSITIONS,
        "pad_token_id": 0,
    }
    (folder / "config.json").write_text(json.dumps(config))
    save_file(_weights(), folder / "model.safetensors", metadata={"format": "pt"})
    _tokenizer().save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": POSITIONS}
    names = ("pad", "unk", "cls", "sep", "mask")
    settings |= {f"{name}_token": token for name, token in zip(names, SPECIAL, strict=True)}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    ids = {word: index for index, word in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    return tokenizer


def _weights() -> dict[str, np.ndarray]:
    random = np.random.default_rng(5)
    weights: dict[str, np.ndarray] = {}

    def linear(name: str, rows: int, columns: int) -> None:
        weights[f"{name}.weight"] = (random.normal(size=(rows, columns)) / columns**0.5).astype(np.float32)
        weights[f"{name}.bias"] = np.zeros(rows, np.float32)

    def norm(name: str) -> None:
        weights[f"{name}.weight"] = np.ones(HIDDEN, np.float32)
        weights[f"{name}.bias"] = np.zeros(HIDDEN, np.float32)

    for name, rows in (("word", len(VOCABULARY)), ("position", POSITIONS), ("token_type", 2)):
        table = 0.3 * random.normal(size=(rows, HIDDEN))
        weights[f"embeddings.{name}_embeddings.weight"] = table.astype(np.float32)
    norm("embeddings.LayerNorm")
    for index in range(LAYERS):
        layer = f"encoder.layer.{index}"
        for name in ("query", "key", "value"):
            linear(f"{layer}.attention.self.{name}", HIDDEN, HIDDEN)
        linear(f"{layer}.attention.output.dense", HIDDEN, HIDDEN)
        norm(f"{layer}.attention.output.LayerNorm")
        linear(f"{layer}.intermediate.dense", FFN, HIDDEN)
        linear(f"{layer}.output.dense", HIDDEN, FFN)
        norm(f"{layer}.output.LayerNorm")
    linear("pooler.dense", HIDDEN, HIDDEN)
    return weights


class Project:
    """The command line on one recipe, one cache and one folder of runs; each call is a process.

    Args:
        recipe: The recipe.
        cache: Cache folder.
        runs: Folder of run folders.
    """

    def __init__(self, recipe: Path, cache: Path, runs: Path) -> None:
        self.recipe = recipe
        self.cache = cache
        self.runs = runs

    def edgeprune(self, *words: str) -> Done:
        """Any command, to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "edgeprune", *words],
            env=self._environment(),
            cwd=self.recipe.parent,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def run(self, *words: str) -> Done:
        """`edgeprune run` with this recipe."""
        return self.edgeprune(*self._run_words(words))

    def start(self, *words: str) -> subprocess.Popen[str]:
        """`edgeprune run`, in a process group of its own, its standard error as a stream."""
        return subprocess.Popen(
            [sys.executable, "-m", "edgeprune", *self._run_words(words)],
            env=self._environment(),
            cwd=self.recipe.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run_and_kill(self, moment: Callable[[Project], bool], *words: str) -> bool:
        """Start a run, kill its whole group with SIGKILL as soon as `moment` says so.

        Returns:
            Whether it was killed; False when it ended before the moment came.
        """
        process = self.start(*words)
        try:
            for _ in _ticks():
                if moment(self):
                    return _killed(process)
                if process.poll() is not None:
                    return False
        finally:
            _end(process)
        raise AssertionError(f"nothing to kill within {PATIENCE} s")

    def folders(self) -> list[Path]:
        """Run folders, oldest first."""
        found = [path for path in self.runs.glob("*/*") if path.is_dir() and not path.is_symlink()]
        return sorted(found, key=lambda path: path.stat().st_ctime_ns)

    def events(self, folder: Path | None = None) -> list[dict[str, Any]]:
        """Events of a run, the last one's when none is given; whole lines only."""
        folders = [folder] if folder else self.folders()
        path = folders[-1] / "events.jsonl" if folders else None
        if path is None or not path.is_file():
            return []
        return [
            json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")
        ]

    def report(self) -> dict[str, Any]:
        """The report of the last run that finished."""
        (path,) = self.runs.glob("*/latest/report.json")
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def artifact(self, stage: str) -> Path:
        """The only artifact of a stage."""
        (path,) = (self.cache / "artifacts").glob(f"{stage}-*")
        return path

    def _run_words(self, words: tuple[str, ...]) -> list[str]:
        return ["run", str(self.recipe), "--cache", str(self.cache), "--runs", str(self.runs), *words]

    def _environment(self) -> dict[str, str]:
        own = {"EDGEPRUNE_CACHE": str(self.cache), "HF_HUB_OFFLINE": "1", "TERM": "dumb", "COLUMNS": "200"}
        return os.environ | own


@dataclass(frozen=True)
class Finished:
    """A project after its first run.

    Attributes:
        project: Where to run it again.
        done: What the first run said.
        report: The first run's report.
        events: The first run's events.
    """

    project: Project
    done: Done
    report: dict[str, Any]
    events: list[dict[str, Any]]


def finish(recipe: Path, folder: Path) -> Finished:
    """A recipe run once from nothing, its cache and its runs in a folder."""
    project = Project(recipe, folder / "cache", folder / "runs")
    done = project.run()
    assert done.code == 0, done.err
    return Finished(project, done, project.report(), project.events())


def _ticks() -> Iterator[None]:
    """Moments to look, 50 a second, until patience ends."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        yield
        time.sleep(0.02)


def wait_until(there: Callable[[], bool]) -> None:
    """Wait for a state of the disk that another process brings about."""
    for _ in _ticks():
        if there():
            return
    raise AssertionError(f"did not happen within {PATIENCE} s")


def _killed(process: subprocess.Popen[str]) -> bool:
    os.killpg(process.pid, signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()


def sha256(path: Path) -> str:
    """Hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def made(events: list[dict[str, Any]], kind: str) -> list[str]:
    """Ids of the nodes that an event of some kind names, in order."""
    return [event["id"] for event in events if event["kind"] == kind]
