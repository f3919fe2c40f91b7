"""A whole bundle around the small model: tokenizer, runner, samples with the right answers, manifest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import tiny_model
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

import edgeprune.runner
from edgeprune.runner.answering import Answerer, open_answerer
from edgeprune.runner.cpu import describe
from edgeprune.runner.manifest import (
    File,
    Manifest,
    file_version,
    read_manifest,
    sha256_of,
    write_manifest,
)

RUNNER = Path(edgeprune.runner.__file__).parent
LABELS = ["negative", "positive", "neutral"]
WORDS = ["the", "film", "is", "good", "bad", "##ly", ".", "!"]
TEXTS = ["the film is good!", "the film is bad.", "badly", "a $(touch gone) 'quoted' \"film\"\nof two lines"]
PAIRS = [(text, other) for text, other in zip(TEXTS, reversed(TEXTS), strict=True)]
MAX_LENGTH = 24


def tokenizer() -> Tokenizer:
    """WordPiece of letters and a few words, as many tokens as the small model knows."""
    tokens = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        *ascii_lowercase,
        *(f"##{x}" for x in ascii_lowercase),
        *WORDS,
    ]
    numbers = {token: number for number, token in enumerate(tokens)}
    assert len(numbers) == tiny_model.VOCABULARY
    made = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    return made


def save_bundle(folder: Path, columns: Sequence[str] = ("sentence",), **changes: Any) -> Path:
    """A bundle for this machine; `changes` are of its manifest."""
    model = folder / "model"
    tiny_model.save_artifact(
        model, "onnxruntime", max_length=MAX_LENGTH, labels=LABELS, architecture=describe().architecture
    )
    tokenizer().save(str(model / "tokenizer.json"))
    shutil.copytree(RUNNER, folder / "runner", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "requirements.txt").write_text("numpy\n", encoding="utf-8")
    values: dict[str, Any] = {
        "name": "films-test",
        "target": "test",
        "variant": "onnxruntime/fp32",
        "architecture": describe().architecture,
        "python": "3.9",
        "requirements": ["numpy>=1.21", "tokenizers>=0.13", "onnxruntime>=1.16,<99"],
        "columns": list(columns),
        "labels": LABELS,
        **changes,
    }
    seal(folder, Manifest(version="", files={}, **values))
    answerer = open_answerer(folder, 1)
    examples = [(text,) for text in TEXTS] if len(columns) == 1 else PAIRS
    lines = (
        json.dumps({"texts": list(example), "scores": answerer.answer([example])[0].scores})
        for example in examples
    )
    (folder / "sample.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    seal(folder, read_manifest(folder))
    return folder


def seal(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest for the files as they are now."""
    files = {
        path.relative_to(folder).as_posix(): File(sha256_of(path), path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json" and "__pycache__" not in path.parts
    }
    write_manifest(folder, replace(manifest, version=file_version(files), files=files))


def answerer(folder: Path) -> Answerer:
    """The bundle, loaded."""
    return open_answerer(folder, 1)


def save_lines(path: Path, values: Sequence[Any]) -> Path:
    """A file of JSON lines."""
    path.write_text("".join(f"{json.dumps(value)}\n" for value in values), encoding="utf-8")
    return path
