"""A small content: a made-up model, a tokenizer's file, samples."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from edgeprune.bundle.content import Content, Sample
from edgeprune.runner.variant import Variant, write_variant

HOSTILE = [
    'it\'s "so" `good`',
    "$(touch gone); rm -rf ~",
    "a\nnew\tline\u2028",
    "<b>*bold*</b> [x](y) | # -- ```",
]


def content(folder: Path, **changes: Any) -> Content:
    """A content with its files in a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = changes.get("labels", ("bad", "good"))
    backend, _, precision = changes.get("variant", "onnxruntime/int8-dynamic").partition("/")
    (folder / "model.onnx").write_bytes(b"weights" * 1000)
    (folder / "tokenizer.json").write_text("{}")
    write_variant(
        folder,
        Variant(backend, precision, {"model": "model.onnx"}, ["input_ids"], list(labels), 32, "aarch64"),
    )
    names = ("model.onnx", "tokenizer.json", "variant.json")
    values: dict[str, Any] = {
        "name": "tiny-board",
        "target": "board",
        "variant": "onnxruntime/int8-dynamic",
        "architecture": "aarch64",
        "requirements": ("onnxruntime>=1.19,<2", "numpy>=1.26,<3"),
        "columns": ("sentence",),
        "labels": labels,
        "model": {name: folder / name for name in names},
        "samples": (Sample(("a text",), dict.fromkeys(labels, 0.5)),),
        "tolerance": 0.1,
        "provenance": {"recipe": "tiny", "run": "20261123-000000-abcd", "notes": ["said"]},
    }
    return Content(**(values | changes))


def tree(folder: Path) -> dict[str, str]:
    """Path to hash and mode of everything in a folder."""
    return {
        path.relative_to(
            folder
        ).as_posix(): f"{path.stat().st_mode:o} {_sha256(path) if path.is_file() else ''}"
        for path in sorted(folder.rglob("*"))
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
