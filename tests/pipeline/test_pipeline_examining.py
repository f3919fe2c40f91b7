"""`doctor`: what this machine has, as data and as text."""

from __future__ import annotations

import io
import json
from importlib.metadata import version
from pathlib import Path

import pytest

from edgeprune import backends
from edgeprune.pipeline import examining
from edgeprune.recipe.loading import shipped_folder


def _shown(*, as_json: bool) -> str:
    stream = io.StringIO()
    examining.show(stream, as_json=as_json)
    return stream.getvalue()


@pytest.mark.usefixtures("machine")
def test_the_findings_as_data() -> None:
    found = json.loads(_shown(as_json=True))
    assert set(found) == {"versions", "cpu", "targets", "measured"}
    assert {"edgeprune", "python", "torch", "onnxruntime", "transformers"} <= set(found["versions"])
    assert found["versions"]["torch"] == version("torch")
    cpu = found["cpu"]
    assert (cpu["model"], cpu["architecture"], cpu["physical_cores"], cpu["logical_cores"]) == (
        "Model 7",
        "x86_64",
        2,
        4,
    )
    assert cpu["features"] == {
        "AVX2": True,
        "AVX512-VNNI": True,
        "AVX-VNNI": False,
        "AVX512-BF16": False,
        "AMX-INT8": False,
        "AMX-BF16": False,
    }
    rows = {(row["target"], row["backend"], row["variant"]): row for row in found["targets"]}
    assert {target for target, _, _ in rows} == {
        path.stem for path in shipped_folder("targets").glob("*.yaml")
    }
    assert rows["x86", "onnxruntime", "int8-dynamic"]["works"]
    assert rows["x86", "onnxruntime", "int8-dynamic"]["needs"] == ""
    refused = rows["x86", "openvino", "bf16"]
    assert not refused["works"]
    assert "avx512_bf16" in refused["needs"]
    assert found["measured"]["x86"] == "measured on this machine"
    assert "no device" in found["measured"]["arm64"]


@pytest.mark.usefixtures("machine")
def test_the_same_for_people() -> None:
    text = _shown(as_json=False)
    assert "Model 7 (x86_64), 2 cores, 4 threads, 8.0 GB memory" in text
    assert "  has    AVX2, AVX512-VNNI\n" in text
    assert "  lacks  AVX-VNNI, AVX512-BF16, AMX-INT8, AMX-BF16\n" in text
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "onnxruntime/int8-dynamic works" in lines
    assert any(line.startswith("openvino/bf16 no: ") for line in lines)


@pytest.mark.usefixtures("machine")
def test_a_backend_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda name: None if name == "openvino" else object())
    rows = json.loads(_shown(as_json=True))["targets"]
    needs = {row["needs"] for row in rows if row["backend"] == "openvino"}
    assert len(needs) == 1
    assert 'pip install "edgeprune[openvino]"' in needs.pop()
    assert all(row["works"] for row in rows if row["backend"] == "onnxruntime")


@pytest.mark.usefixtures("machine")
def test_a_broken_target_is_a_finding_and_not_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "mine.yaml").write_text("name: mine\n")
    rows = json.loads(_shown(as_json=True))["targets"]
    (broken,) = [row for row in rows if row["target"] == "mine"]
    assert not broken["works"]
    assert "mine.yaml" in broken["needs"]
    assert any(row["target"] == "x86" and row["works"] for row in rows)
    assert "mine.yaml" in _shown(as_json=False)


def test_this_very_machine() -> None:
    """Without imitation: whatever it is, the fields are there and the text is not empty."""
    found = json.loads(_shown(as_json=True))
    assert found["cpu"]["physical_cores"] >= 1
    assert all(row["works"] == (row["needs"] == "") for row in found["targets"])
    assert found["cpu"]["model"] in _shown(as_json=False)
