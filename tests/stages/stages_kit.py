"""A random encoder, its fine-tuned original and examples on disk, for stages that train."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.stages.contract import Outcome, Stage, Work
from edgeprune.tasks.examples import Examples

HEADS, HIDDEN, ROWS, LAYERS = 2, 16, 32, 2
SEED = 5
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CLASSES = ("bad", "good")
TOLD = {"bad": ("dull", "poor", "grim"), "good": ("fine", "great", "warm")}
FILLERS = ["the", "film", "is", "a", "story", "of", "two", "men", "one", "dog"]
WORDS = [*SPECIAL, *FILLERS, *TOLD["bad"], *TOLD["good"]]


@dataclass(frozen=True)
class Made:
    """What one application of a stage gave."""

    folder: Path
    outcome: Outcome

    @property
    def record(self) -> dict[str, Any]:
        return self.outcome.record


def each_once(stage: Stage, job: Callable[..., Work], kind: type[Made] = Made) -> Any:
    """Applies a stage to the job that the arguments give; the same arguments give the same result again."""
    found: dict[str, Made] = {}

    def make(*given: Any, **changes: Any) -> Made:
        key = json.dumps([given, changes], sort_keys=True)
        if key not in found:
            work = job(*given, **changes)
            found[key] = kind(work.output, stage.apply(work))
        return found[key]

    return make


def write_world(folder: Path) -> dict[str, Path]:
    """`data`, `original`, `model` and `masked_lm` (an encoder with its MLM head), each a folder."""
    import torch
    import transformers

    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(WORDS), encoding="utf-8")
    tokenizer = transformers.BertTokenizerFast(str(vocabulary))
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=ROWS,
        max_position_embeddings=24,
        initializer_range=0.3,
        id2label=dict(enumerate(CLASSES)),
        label2id={name: index for index, name in enumerate(CLASSES)},
    )
    torch.manual_seed(4)
    made = {
        "original": transformers.BertForSequenceClassification(config),
        "model": transformers.BertModel(config),
        "masked_lm": transformers.BertForMaskedLM(config),
    }
    for name, model in made.items():
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    for name, count, seed in (("train", 96, 0), ("validation", 40, 1)):
        examples(count, seed).save(folder / "data" / name)
    return {name: folder / name for name in ("data", *made)}


def examples(count: int, seed: int) -> Examples:
    """Sentences of fillers around one word that tells the class."""
    random = np.random.default_rng(seed)
    labels = random.integers(2, size=count).tolist()
    texts = []
    for label in labels:
        words = [str(word) for word in random.choice(FILLERS, size=random.integers(3, 9))]
        words.insert(int(random.integers(len(words))), str(random.choice(TOLD[CLASSES[label]])))
        texts.append(" ".join(words))
    return Examples(CLASSES, tuple(texts), tuple(labels))


def work(
    stage: Stage,
    world: dict[str, Path],
    folder: Path,
    body: dict[str, Any],
    *,
    model: str = "model",
    **rest: Any,
) -> Work:
    """What the pipeline would give that stage for that body."""
    config = stage.resolve(stage.config.model_validate(body))
    for name in ("output", "scratch"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {
        "config": config,
        "inputs": {"data": world["data"], "original": world["original"]},
        "assets": {"model": world[model]},
        "sections": {"model.max_length": 16, "model.pooling": "first"},
        "seed": SEED,
        "output": folder / "output",
        "scratch": folder / "scratch",
        "progress": lambda **numbers: None,
    }
    return Work(**(settings | rest))
