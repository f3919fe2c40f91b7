"""Chosen variants measured again: the verdict, the table, and a tiny run measured again from end to end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from chosen_again import Job, compared, table, verdict
from interleaved import Times

from edgeprune.measurement.statistics import Interval

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
MILLISECOND = 1_000_000


def interval(low: float, high: float) -> Interval:
    return Interval((low + high) / 2, low, high, 0.95, "")


def job(*names: str) -> Job:
    return Job(
        run="tiny/1",
        target="pc",
        chosen=names[0],
        accepted=dict.fromkeys(names, "folder"),
        examples="examples",
        lengths=["real", 16],
        batch=1,
        threads=2,
        calls=100,
        warmup=5,
    )


def times(milliseconds: float) -> Times:
    rows = np.full((3, 20, 5), int(milliseconds * MILLISECOND))
    return {"real": rows, 16: 4 * rows}


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [(0.9, 1.0, "met"), (1.0, 1.05, "met"), (1.0, 1.06, "undecided"), (1.06, 1.2, "missed")],
)
def test_the_whole_interval_decides(low: float, high: float, word: str) -> None:
    assert verdict(interval(low, high), 1.05) == word


def test_the_chosen_one_is_set_against_the_fastest_other() -> None:
    found = {"a": times(1.0), "b": times(2.0), "c": times(0.8)}
    row = compared(job("a", "b", "c"), found, 1.05)
    assert row["fastest_other"] == "c"
    assert row["verdict"] == "missed"
    assert row["ratios"]["c"]["estimate"] == pytest.approx(1.25)
    assert row["ratios"]["b"]["estimate"] == pytest.approx(0.5)
    assert row["typical_ms"]["a"] == pytest.approx(2.0), "geometric mean of 1 and 4"
    assert compared(job("a", "b", "c"), found, 1.3)["verdict"] == "met"
    json.dumps(row)


def test_the_table() -> None:
    row = compared(job("a", "b"), {"a": times(1.0), "b": times(2.0)}, 1.05)
    row |= {"processes": 3, "others_percent": 2.0, "cpu": "Model 7"}
    assert table(row) == (
        "tiny/1, pc: median ms, batch 1, 2 threads, 3 processes of 100 calls, Model 7\n"
        "candidate  real lengths  16 tokens  typical ms  chosen / this (95 %)\n"
        "a                 1.000      4.000       2.000                chosen\n"
        "b                 2.000      8.000       4.000   0.500 (0.500–0.500)\n"
        "met: a takes 0.500 times as long as b (95 % interval 0.500 to 0.500, at most 1.05)\n"
    )
    assert "others used up to 44 % of the processor" in table(row | {"others_percent": 44.4})


def _bench(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            str(BENCHMARKS / "chosen_again.py"),
            *words,
            "--results",
            str(folder / "again.json"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


@pytest.mark.recipe
def test_a_tiny_run_is_measured_again(tmp_path: Path) -> None:
    from recipes_kit import Project, write_project

    recipe = write_project(tmp_path / "project")
    project = Project(recipe, tmp_path / "cache", tmp_path / "runs")
    done = project.run()
    assert done.code == 0, done.err
    (target,) = project.report()["targets"]
    accepted = {row["name"] for row in target["variants"] if row["status"] == "accepted"}
    assert len(accepted) > 1
    run = tmp_path / "runs" / "tiny" / "latest"

    again = _bench(
        tmp_path, str(run), "--processes", "2", "--calls", "20", "--warmup", "1", "--limit", "1000"
    )
    assert again.returncode == 0, again.stderr
    (row,) = json.loads((tmp_path / "again.json").read_text())["rows"]
    assert row["chosen"] == target["chosen"]
    assert set(row["typical_ms"]) == accepted
    assert set(row["ratios"]) == accepted - {target["chosen"]}
    assert set(row["median_ms"][target["chosen"]]) == {"real", "16"}
    assert row["run"] == f"tiny/{run.resolve().name}"
    assert f"met: {target['chosen']} takes" in again.stdout

    missed = _bench(
        tmp_path, str(run), "--processes", "1", "--calls", "20", "--warmup", "1", "--limit", "0.001"
    )
    assert missed.returncode == 1
    assert "missed: " in missed.stdout

    text = (
        recipe.read_text().replace("name: tiny\n", "name: unmeasured\n").replace("[pc.yaml]", "[board.yaml]")
    )
    path = recipe.with_name("unmeasured.yaml")
    path.write_text(text)
    assert Project(path, project.cache, project.runs).run().code == 0
    for words, said in (
        (
            [str(tmp_path / "runs" / "unmeasured" / "latest")],
            "nothing was chosen (board: no device is configured",
        ),
        ([str(tmp_path)], "there is no report"),
        ([], "give the folder of a finished run"),
        ([str(run), "--processes", "0"], "at least 1"),
    ):
        refused = _bench(tmp_path, *words)
        assert refused.returncode == 2, (words, refused.stderr)
        assert said in refused.stderr
        assert "Traceback" not in refused.stderr

    for folder in (project.cache / "artifacts").glob("compile-*"):
        folder.rename(folder.with_name(f"gone-{folder.name}"))
    gone = _bench(tmp_path, str(run))
    assert gone.returncode == 2
    assert "is no longer in the cache" in gone.stderr
