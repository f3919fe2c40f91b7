"""From a finished run to a bundle: what goes in, what is said of it, and what is refused."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import bundling_kit
import numpy as np
import pipeline_kit
import pytest
from bundling_kit import LABELS, LONG, save_model, validation

from edgeprune import stages
from edgeprune.assets.contents import file_sha256
from edgeprune.bundle.reading import opened, read
from edgeprune.cli.failing import exit_code_of
from edgeprune.errors import EdgepruneError, UnsupportedError, UsageError
from edgeprune.pipeline.bundling import bundle
from edgeprune.pipeline.expecting import COUNT, expect
from edgeprune.pipeline.finished import open_run
from edgeprune.runner.session import open_session
from edgeprune.runner.variant import read_variant


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of a run for a PC, a board and a GPU."""
    from edgeprune import backends
    from edgeprune.backends import nvidia_gpu, tensorrt
    from edgeprune.pipeline import reporting
    from edgeprune.report import html
    from edgeprune.runner import cpu

    features = (*pipeline_kit.MACHINE.features, "avx512_bf16")
    machine = replace(pipeline_kit.MACHINE, features=features)
    folder = tmp_path_factory.mktemp("bundling")
    recipe = pipeline_kit.write_project(folder / "project")
    with pytest.MonkeyPatch.context() as patch:
        for module in (cpu, backends, reporting):
            patch.setattr(module, "describe", lambda: machine)
        for module in (backends, tensorrt):
            patch.setattr(module, "find_spec", lambda name: object())
        patch.setattr(nvidia_gpu, "compute_capability", lambda: None)
        patch.setattr(html, "render", pipeline_kit.no_html)
        patch.setattr(stages, "TABLE", dict(pipeline_kit.TABLE))
        yield bundling_kit.run(recipe, folder, "targets=[pc.yaml,board.yaml,gpu.yaml]")
        stages.get.cache_clear()


def test_a_board_gets_the_likeliest_variant(finished: Path, tmp_path: Path) -> None:
    made = bundle(finished, tmp_path / "board.zip", target="board")
    assert made.notes == ("board was not measured: no device is configured for it: compiled, not measured",)
    assert made.reason.startswith("not timed on this target; expected to be the fastest of 1 variants")
    with opened(tmp_path / "board.zip") as found:
        manifest = found.manifest
        assert manifest == made.manifest
        assert (manifest.name, manifest.variant) == ("tiny-board", "onnxruntime/fp32")
        assert (manifest.architecture, manifest.cpu_features) == ("aarch64", [])
        assert (manifest.columns, manifest.labels) == (["sentence"], LABELS)
        assert manifest.requirements == ["onnxruntime>=1.19,<2", "numpy>=1.26,<3", "tokenizers>=0.21,<1"]
        assert {name for name in manifest.files if name.startswith("model/")} == {
            "model/model.onnx", "model/tokenizer.json", "model/variant.json",
        }  # fmt: skip
        said = manifest.provenance
        assert (said["recipe"], said["run"], said["notes"]) == ("tiny", finished.name, list(made.notes))
        assert said["artifacts"].keys() == {"compile board/onnxruntime/fp32", "export", "finetune", "prepare"}
        assert said["verdict"]["variant"] == "not measured"
        assert said["sample"]["texts"] == COUNT == len(found.samples)
        assert said["sample"]["answered_by"].startswith("the model itself on onnxruntime")


def test_the_same_run_gives_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    for name in ("one.zip", "two.zip"):
        bundle(finished, tmp_path / name, target="board")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    project = str(Path(open_run(finished).report.recipe_path).parent).encode()
    assert project not in (tmp_path / "one.zip").read_bytes()  # nothing of this machine


def test_the_samples_are_short_and_the_model_answers_so(finished: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    bundle(finished, tmp_path / "made", target="board")
    found = read(tmp_path / "made")
    session = open_session(tmp_path / "made" / "model", threads=1)
    tokenizer = Tokenizer.from_file(str(tmp_path / "made" / "model" / "tokenizer.json"))
    texts = [sample.texts for sample in found.samples]
    assert len(set(texts)) == COUNT
    assert (LONG,) not in texts
    for sample in found.samples:
        (text,) = sample.texts
        ids = np.array([tokenizer.encode(text).ids])
        logits = session.run(ids, np.ones_like(ids), np.zeros_like(ids))[0].astype(float)
        scores = np.exp(logits) / np.exp(logits).sum()
        assert list(sample.scores.values()) == pytest.approx(list(scores), abs=1e-4)


def test_a_measured_target_gets_the_chosen_variant(finished: Path, tmp_path: Path) -> None:
    made = bundle(finished, tmp_path / "made", target="pc")
    assert made.manifest.variant == "onnxruntime/int8-dynamic"
    assert made.reason.startswith("chosen by the run: onnxruntime/int8-dynamic is the fastest")
    assert made.manifest.cpu_features == ["avx512_vnni|avx_vnni"]
    assert made.manifest.tolerance == 0.1
    assert made.manifest.provenance["verdict"]["variant"] == "accepted"


def test_a_rejected_variant_says_so(finished: Path, tmp_path: Path) -> None:
    made = bundle(finished, tmp_path / "made", target="pc", variant="openvino/bf16")
    assert made.notes[0].startswith("openvino/bf16 is rejected on pc: ")
    assert made.manifest.cpu_features == ["avx512_bf16|amx_bf16"]
    assert made.manifest.requirements[0] == "openvino>=2025.0,<2028"
    assert made.manifest.provenance["notes"] == list(made.notes)


def test_seven_bits_need_no_vnni(finished: Path, tmp_path: Path) -> None:
    older = _copy(finished, tmp_path)
    plan = json.loads((older / "plan.json").read_text())
    (node,) = [node for node in plan["nodes"] if node["id"] == "compile pc/onnxruntime/int8-dynamic"]
    assert "avx512_vnni" in node["ingredients"]["config"]["features"]
    node["ingredients"]["config"]["features"] = ["avx2"]
    (older / "plan.json").write_text(json.dumps(plan))
    assert bundle(older, tmp_path / "made", target="pc").manifest.cpu_features == []


def _copy(finished: Path, folder: Path) -> Path:
    return Path(shutil.copytree(finished, folder / "run", symlinks=True))


def test_an_engine_s_bundle_says_that_the_runner_does_not_answer(finished: Path, tmp_path: Path) -> None:
    made = bundle(finished, tmp_path / "made", target="gpu")
    assert made.manifest.variant == "tensorrt/fp32"  # fp16 lost ten points with the stand-in
    assert "left aside: tensorrt/fp16, which lost 10.00 points on gpu" in made.reason
    assert made.manifest.requirements == ["numpy>=1.26,<3", "tokenizers>=0.21,<1"]
    assert any("does not answer with this bundle" in note for note in made.notes)
    assert any("the same ONNX on onnxruntime's CPU provider" in note for note in made.notes)
    assert "**The runner does not answer with this model.**" in (tmp_path / "made" / "README.md").read_text()


def test_wheels_go_in(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(requirements: list[str], architecture: str, python: str, folder: Path) -> list[Path]:
        asked.append((list(requirements), architecture, python))
        wheel = folder / "numpy-2.2.6-cp310-cp310-manylinux_2_17_aarch64.whl"
        wheel.write_bytes(b"wheel")
        return [wheel]

    def left_out(wheels: tuple[Path, ...], architecture: str, python: str) -> list[str]:
        return [f"sympy (onnxruntime asks for it, {len(wheels)}, {architecture}, {python})"]

    monkeypatch.setitem(
        sys.modules, "edgeprune.devices.wheels", SimpleNamespace(fetch_wheels=fetch, left_out=left_out)
    )
    made = bundle(finished, tmp_path / "made", target="board", wheels_for="3.10")
    assert asked == [(made.manifest.requirements, "aarch64", "3.10")]
    assert made.notes[1:] == (
        "wheels are for Python 3.10 on aarch64, Linux with glibc",
        "no wheel of what the runner does not use: sympy (onnxruntime asks for it, 1, aarch64, 3.10)",
    )
    assert [path.name for path in read(tmp_path / "made").content.wheels] == made.manifest.provenance[
        "wheels"
    ]["files"]
    assert made.manifest.provenance["wheels"]["python"] == "3.10"
    assert "--no-index" in (tmp_path / "made" / "README.md").read_text()


def test_what_is_missing_in_the_cache_is_named(finished: Path, tmp_path: Path) -> None:
    run = _copy(finished, tmp_path)
    (run / "artifacts" / "compile-board-onnxruntime-fp32").unlink()
    with pytest.raises(
        EdgepruneError, match="'compile board/onnxruntime/fp32' is gone from the cache"
    ) as caught:
        bundle(run, tmp_path / "made", target="board")
    assert "run the recipe again" in caught.value.hint
    assert not (tmp_path / "made").exists()


def test_a_changed_artifact_is_not_bundled(finished: Path, tmp_path: Path) -> None:
    run = _copy(finished, tmp_path)
    link = run / "artifacts" / "compile-board-onnxruntime-fp32"
    changed = shutil.copytree(link, tmp_path / "changed")
    (changed / "tokenizer.json").write_text("{}")
    link.unlink()
    link.symlink_to(changed)
    with pytest.raises(EdgepruneError, match=r"tokenizer\.json of 'compile board.* was changed"):
        bundle(run, tmp_path / "made", target="board")


def test_an_open_run_is_bundled_as_its_folder_is_and_each_file_is_hashed_once(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeprune.pipeline import finished as module

    hashed: list[Path] = []
    monkeypatch.setattr(module, "file_sha256", lambda path: hashed.append(path) or file_sha256(path))
    run = open_run(finished)
    first, second = (bundle(run, tmp_path / name, target="board") for name in ("first", "second"))
    assert hashed
    assert len(hashed) == len(set(hashed))
    assert first.manifest == second.manifest == bundle(finished, tmp_path / "third", target="board").manifest


def test_the_command(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bundle", str(finished), "--target", "board", "-o", str(tmp_path / "board.zip")]
    assert exit_code_of(words) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("tiny-board ")
    assert said[1].startswith("onnxruntime/fp32: not timed on this target")
    assert said[2].startswith("note: board was not measured")
    assert said[-1] == f"written to {tmp_path / 'board.zip'}"
    assert exit_code_of(words) == 2
    assert "there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the run has several targets"),
        (["--target", "moon"], "the run has no target 'moon'"),
        (["--target", "board", "--variant", "int4"], "variant 'int4' of target board is not there"),
    ],
)
def test_a_wrong_command_line(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert exit_code_of(["bundle", str(finished), "-o", str(tmp_path / "made"), *words]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "hint: " in said


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no report"):
        bundle(tmp_path, tmp_path / "made")


class TestExpect:
    def test_pairs(self, tmp_path: Path) -> None:
        save_model(tmp_path, "onnxruntime", "fp32", "aarch64")
        found = expect(tmp_path, read_variant(tmp_path), validation(pairs=True))
        assert all(len(sample.texts) == 2 for sample in found.samples)
        assert all(sum(map(len, sample.texts)) <= 200 for sample in found.samples)
        assert len(found.rows) == COUNT

    def test_few_texts_are_all_taken_the_shortest_first(self, tmp_path: Path) -> None:
        save_model(tmp_path, "onnxruntime", "fp32", "aarch64")
        few = validation().select([41, 3, 4])
        found = expect(tmp_path, read_variant(tmp_path), few)
        assert found.rows == (0, 1, 2)
        assert found.samples[0].texts == (LONG,)

    def test_the_onnx_answers_where_the_app_s_file_cannot(self, tmp_path: Path) -> None:
        (tmp_path / "model.ort").write_bytes(b"for another processor")
        save_model(tmp_path, "onnxruntime", "fp32-ort", "aarch64", files={"model": "model.ort"})
        variant = read_variant(tmp_path)
        found = expect(tmp_path, variant, validation())
        assert found.answered.startswith(
            "model.onnx, which model.ort was made from, as onnxruntime cannot load"
        )

    def test_nothing_that_answers(self, tmp_path: Path) -> None:
        save_model(tmp_path, "tensorrt", "fp16", "aarch64", files={"model": "tokenizer.json"})
        with pytest.raises(UnsupportedError, match="nothing here answers with this model") as caught:
            expect(tmp_path, read_variant(tmp_path), validation())
        assert caught.value.exit_code == 5
