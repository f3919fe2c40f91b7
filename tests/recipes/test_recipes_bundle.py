"""The bundle of a real run: it answers by itself, and is the same when it is made again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from recipes_kit import Done, Finished, sha256

from edgeprune.bundle.reading import read

pytestmark = pytest.mark.recipe


@pytest.fixture(scope="module")
def bundled(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of the chosen variant, as a folder."""
    path = tmp_path_factory.mktemp("bundled") / "made"
    done = finished.project.edgeprune("bundle", str(_run(finished)), "-o", str(path))
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1] == f"written to {path}"
    return path


def _run(finished: Finished) -> Path:
    return finished.project.runs / "tiny" / str(finished.report["run_id"])


def _runner(folder: Path, *words: str) -> Done:
    """The bundle's own program, with nothing of edgeprune on its path."""
    done = subprocess.run(
        [sys.executable, "-I", "runner", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        env=dict(os.environ),
    )
    return Done(done.returncode, done.stdout, done.stderr)


def test_it_holds_the_chosen_variant(finished: Finished, bundled: Path) -> None:
    (target,) = finished.report["targets"]
    manifest = read(bundled).manifest
    assert manifest.variant == target["chosen"]
    assert manifest.provenance["run"] == finished.report["run_id"]
    assert manifest.labels == ["bad", "good"]
    keys = {row["id"]: row["key"] for row in finished.report["stages"]}
    assert manifest.provenance["artifacts"].items() <= keys.items()


def test_its_selftest_is_good_and_it_answers(bundled: Path) -> None:
    tested = _runner(bundled, "selftest")
    assert tested.code == 0, tested.err
    sample = read(bundled).samples[0]
    done = _runner(bundled, "predict", "--text", *sample.texts)
    assert done.code == 0, done.err
    answer = json.loads(done.out)
    assert answer["scores"] == pytest.approx(dict(sample.scores), abs=read(bundled).manifest.tolerance)


def test_a_tampered_one_is_refused_by_its_selftest(bundled: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundled, tmp_path / "made"))
    (folder / "model" / "tokenizer.json").write_text("{}")
    done = _runner(folder, "selftest")
    assert done.code == 5
    assert "model/tokenizer.json" in done.err


def test_it_is_made_again_to_the_byte(finished: Finished, tmp_path: Path) -> None:
    for name in ("one.zip", "two.zip"):
        done = finished.project.edgeprune("bundle", str(_run(finished)), "-o", str(tmp_path / name))
        assert done.code == 0, done.err
    assert sha256(tmp_path / "one.zip") == sha256(tmp_path / "two.zip")
