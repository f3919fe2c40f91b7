"""A bundle that is whole and fits passes; each thing that is wrong is one line and exit code 5."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import runner_bundle_kit

from edgeprune.runner.__main__ import main
from edgeprune.runner.cpu import describe
from edgeprune.runner.manifest import read_manifest, write_manifest
from edgeprune.runner.selftest import check, unfit


@pytest.fixture
def own(bundle: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(bundle, tmp_path / "own"))


def _change(folder: Path, **changes: Any) -> None:
    write_manifest(folder, replace(read_manifest(folder), **changes))


def test_a_whole_bundle_passes(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selftest", "--bundle", str(bundle)]) == 0
    version = read_manifest(bundle).version
    assert capsys.readouterr().out.startswith(
        f"ok: films-test {version} (onnxruntime/fp32), 4 samples, largest"
    )
    assert main(["selftest", "--bundle", str(bundle), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.pop("largest_difference") < 1e-6
    assert found == {
        "ok": True,
        "name": "films-test",
        "version": version,
        "variant": "onnxruntime/fp32",
        "samples": 4,
        "failures": [],
    }


def test_pairs_pass(pair_bundle: Path) -> None:
    assert check(pair_bundle).failures == []


def test_all_that_is_wrong_with_the_machine_is_said_at_once(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _change(
        own,
        architecture="riscv64",
        cpu_features=["wings"],
        python="9.1",
        requirements=["numpy>=99", "nobody-has-this>=1"],
    )
    assert main(["selftest", "--bundle", str(own)]) == 5
    said = capsys.readouterr()
    assert said.out == ""
    assert [line.partition(" ")[2] for line in said.err.splitlines()] == check(own).failures
    architecture, feature, python, numpy, missing = check(own).failures
    assert architecture == f"this machine is {describe().architecture}, but the model is for riscv64"
    assert feature == "this CPU lacks wings, without which the model cannot run"
    assert python.endswith("runs here, but 9.1 or newer is needed")
    assert numpy.endswith("is installed, but numpy>=99 is needed")
    assert missing == "nobody-has-this is not installed: pip install 'nobody-has-this>=1'"


def test_a_32_bit_program_cannot_use_64_bit_runtimes(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeprune.runner.selftest.struct.calcsize", lambda form: 4)
    assert unfit(read_manifest(own), describe())[0].startswith("this Python is a 32-bit program")


def test_a_changed_and_a_missing_file(own: Path) -> None:
    model = own / "model" / "model.onnx"
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    (own / "requirements.txt").unlink()
    found = check(own)
    assert found.failures == [
        "model/model.onnx was changed: its SHA-256 is not the manifest's",
        "requirements.txt is missing",
    ]
    assert found.samples == 0


def test_other_answers_than_where_it_was_made(own: Path) -> None:
    lines = [json.loads(line) for line in (own / "sample.jsonl").read_text(encoding="utf-8").splitlines()]
    lines[1]["scores"] = dict(zip(runner_bundle_kit.LABELS, [0.9, 0.05, 0.05], strict=True))
    runner_bundle_kit.save_lines(own / "sample.jsonl", lines)
    runner_bundle_kit.seal(own, read_manifest(own))
    found = check(own)
    (failure,) = found.failures
    assert failure.startswith("sample 2 gets 0.")
    assert failure.endswith("(tolerance 0.02)")
    assert found.samples == 4
    assert found.largest_difference is not None
    assert found.largest_difference > 0.02
    _change(own, tolerance=0.99)
    assert check(own).failures == []


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "there is no sample in it"),
        ([{"texts": ["a"]}], "line 1 has no scores for exactly the classes negative, positive, neutral"),
        ([{"scores": {}}], "line 1 has no list of texts"),
        (
            [{"texts": ["a"], "scores": dict.fromkeys(runner_bundle_kit.LABELS, "x")}],
            "line 1 has a score that is no",
        ),
        (
            [{"texts": ["a", "b"], "scores": dict.fromkeys(runner_bundle_kit.LABELS, 1)}],
            "line 1 has 2 text(s)",
        ),
    ],
)
def test_samples_that_are_not_in_order(own: Path, lines: list[Any], message: str) -> None:
    runner_bundle_kit.save_lines(own / "sample.jsonl", lines)
    runner_bundle_kit.seal(own, read_manifest(own))
    (failure,) = check(own).failures
    assert failure.startswith(f"sample.jsonl is not in order: {message}")


def test_a_runtime_that_the_runner_does_not_run(own: Path) -> None:
    variant = own / "model" / "variant.json"
    document = json.loads(variant.read_text(encoding="utf-8"))
    variant.write_text(json.dumps({**document, "backend": "tensorrt"}), encoding="utf-8")
    _change(own, variant="tensorrt/fp32")
    runner_bundle_kit.seal(own, read_manifest(own))
    (failure,) = check(own).failures
    assert "is for 'tensorrt'; this runner knows onnxruntime, openvino" in failure


def test_a_manifest_that_is_of_another_model(own: Path) -> None:
    _change(own, labels=["a", "b", "c"])
    lines = [{"texts": ["a"], "scores": {"a": 1, "b": 0, "c": 0}}]
    runner_bundle_kit.save_lines(own / "sample.jsonl", lines)
    runner_bundle_kit.seal(own, read_manifest(own))
    (failure,) = check(own).failures
    assert "is not in order: its manifest tells of" in failure


def test_no_bundle_is_json_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selftest", "--bundle", str(tmp_path), "--json"]) == 5
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["name"], len(found["failures"])) == (False, None, 1)


def _without(*modules: str) -> str:
    """A program that runs a bundle where these modules are not installed."""
    return (
        "import runpy, sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {modules!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "from importlib import metadata\n"
        "version = metadata.version\n"
        "def absent(name):\n"
        f"    if name in {modules!r}:\n"
        "        raise metadata.PackageNotFoundError(name)\n"
        "    return version(name)\n"
        "metadata.version = absent\n"
        "sys.meta_path.insert(0, Absent())\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )


@pytest.mark.parametrize("words", [["selftest"], ["predict", "--text", "good"]])
def test_what_is_not_installed_is_named(bundle: Path, words: list[str]) -> None:
    missing = ("numpy", "tokenizers", "onnxruntime")
    command = [sys.executable, "-P", "-c", _without(*missing), str(bundle / "runner"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (5, "")
    lines = done.stderr.splitlines()
    named = [line.removeprefix("error: ").partition(" is not installed")[0] for line in lines]
    assert named == (list(missing) if words == ["selftest"] else ["numpy"])
