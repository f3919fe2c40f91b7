"""The imitated pipeline, with compiled models that answer: what a bundle is made from, in seconds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pipeline_kit
from pipeline_kit import stages

from edgeprune.stages.contract import Outcome, Work
from edgeprune.tasks.examples import Examples

sys.path.append(str(Path(__file__).parents[1] / "runner"))

LABELS = ["bad", "good", "odd"]  # the tiny model's three
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "film", "is", "bad", "good", "odd", "and")
LONG = "the film " * 40


def validation(*, pairs: bool = False) -> Examples:
    """Forty short texts with awkward words in some, and a long one."""
    texts = [f"the film is {LABELS[n % 2]} and {WORDS[4 + n % 7]} {WORDS[4 + n // 7]}" for n in range(40)]
    texts += ['it\'s "odd" `and` $(touch gone)\nis good', LONG]
    return Examples(
        classes=("bad", "good"),
        texts=tuple(texts),
        labels=tuple(n % 2 for n in range(len(texts))),
        text_pairs=tuple(reversed(texts)) if pairs else None,
    )


def save_model(folder: Path, backend: str, precision: str, architecture: str, **changes: Any) -> None:
    """A compiled model that answers, with a tokenizer."""
    import tiny_model
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    facts = {"precision": precision, "labels": LABELS, "architecture": architecture, **changes}
    tiny_model.save_artifact(folder, backend, **facts)
    (folder / "config.json").unlink()
    ids = {word: index for index, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))


def _prepare(work: Work) -> Outcome:
    validation().save(work.output / "validation")
    return pipeline_kit.prepare(work)


def _compile(work: Work) -> Outcome:
    config = work.config
    save_model(work.output, config.backend, config.variant, config.target.architecture)
    return Outcome(record={"file_bytes": 1000, "executed": "", "notes": []})


def _with(stage: Any, apply: Any) -> Any:
    from dataclasses import replace

    return replace(stage, apply=apply)


PREPARE = _with(pipeline_kit.PREPARE, _prepare)
COMPILE = _with(pipeline_kit.COMPILE, _compile)


def run(recipe: Path, folder: Path, *overrides: str) -> Path:
    """Runs the imitated pipeline with these two stages; the run's folder. The caller puts the table back."""
    from edgeprune.pipeline import running

    stages.TABLE.update(prepare="bundling_kit:PREPARE", compile="bundling_kit:COMPILE")
    stages.get.cache_clear()
    loaded = running.load(recipe, overrides)
    return running.run(loaded, cache=folder / "cache", runs=folder / "runs").folder
