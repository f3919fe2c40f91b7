from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_model

from edgeprune.runner.variant import FILE, RunnerError, read_variant, write_variant


def _edit(folder: Path, **changes: Any) -> None:
    document = json.loads((folder / FILE).read_text(encoding="utf-8"))
    document.update(changes)
    kept = {key: value for key, value in document.items() if value != "REMOVE"}
    (folder / FILE).write_text(json.dumps(kept), encoding="utf-8")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    folder = tiny_model.save_artifact(tmp_path, "onnxruntime", notes=["naïve ×"], bucket=8)
    before = read_variant(folder)
    text = (folder / FILE).read_bytes()
    write_variant(folder, before)
    assert read_variant(folder) == before
    assert (folder / FILE).read_bytes() == text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "edgeprune.variant/9"}, "is not in the format edgeprune.variant/1"),
        ({"labels": "REMOVE"}, "lacks or does not know the keys: labels"),
        ({"treads": 2}, "lacks or does not know the keys: treads"),
        ({"files": {"model": "gone.onnx"}}, "'gone.onnx' \\(model\\), which is not in its folder"),
        ({"files": {"model": "../model.onnx"}}, "which is not in its folder"),
        ({"files": {}}, "names no model file"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    folder = tiny_model.save_artifact(tmp_path / "artifact", "onnxruntime")
    tiny_model.save_onnx(tmp_path)  # so that ../model.onnx exists
    _edit(folder, **changes)
    with pytest.raises(RunnerError, match=message):
        read_variant(folder)


@pytest.mark.parametrize("text", ["", "[1]", "{"])
def test_no_json_is_an_error_of_ours(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text, encoding="utf-8")
    with pytest.raises(RunnerError, match=r"variant\.json"):
        read_variant(tmp_path)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(RunnerError, match="cannot be read"):
        read_variant(tmp_path / "nowhere")
