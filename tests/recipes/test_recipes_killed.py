"""SIGKILL at several moments, two runs at once: the results are those of one quiet run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recipes_kit import Finished, Project, made, sha256

pytestmark = pytest.mark.recipe


def _checkpoint(step: int) -> Callable[[Project], bool]:
    """The moment at which the checkpoint of that step is whole on disk."""
    return lambda project: any(
        project.cache.glob(f"work/finetune-*/checkpoints/checkpoint-{step}/sealed.json")
    )


def _event(kind: str, node: str) -> Callable[[Project], bool]:
    return lambda project: node in made(project.events(), kind)


@pytest.fixture(scope="module")
def killed(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One project, killed again and again, each time later, and then left to finish."""
    folder = tmp_path_factory.mktemp("killed")
    project = Project(recipe, folder / "cache", folder / "runs")
    moments = [
        _checkpoint(40),
        _checkpoint(100),
        _event("node_finished", "finetune"),
        _event("node_started", "export"),
        _event("node_started", "measure pc"),
    ]
    for number, moment in enumerate(moments):
        assert project.run_and_kill(moment), f"the run ended before moment {number}"
        if number < 2:
            assert not list((project.cache / "artifacts").glob("finetune-*")), (
                "killed in the middle of finetune"
            )
    last = project.run()
    assert last.code == 0, last.err
    return project


def _record(project: Project, stage: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project.artifact(stage) / "artifact.json").read_text())["record"]
    return found


def test_a_killed_run_goes_on(killed: Project) -> None:
    assert made(killed.events(), "node_cached")[:3] == ["prepare", "finetune", "export"]
    second = killed.folders()[1]
    assert made(killed.events(second), "node_started") == ["finetune"], (
        "prepare was finished before the first kill"
    )


def test_the_model_of_a_killed_run_is_that_of_an_uninterrupted_one(
    killed: Project, finished: Finished
) -> None:
    for stage, name in (("finetune", "model.safetensors"), ("prepare", "train/examples.jsonl")):
        assert sha256(killed.artifact(stage) / name) == sha256(_first(finished, stage) / name)
    mine = _record(killed, "finetune")
    (theirs,) = [row["record"] for row in finished.report["stages"] if row["id"] == "finetune"]
    assert mine["quality"] == theirs["quality"]
    assert mine["curve"] == theirs["curve"]
    assert mine == theirs
    assert len(mine["curve"]) > 20


def test_the_metrics_of_a_killed_run_are_those_of_an_uninterrupted_one(
    killed: Project, finished: Finished
) -> None:
    mine = {row["name"]: row for row in killed.report()["targets"][0]["variants"]}
    theirs = {row["name"]: row for row in finished.report["targets"][0]["variants"]}
    assert list(mine) == list(theirs)
    for name, row in mine.items():
        for field in ("quality", "difference_points", "agreement", "file_bytes", "executed"):
            assert row[field] == theirs[name][field], (name, field)
    with (
        np.load(killed.artifact("measure") / "logits.npz") as ours,
        np.load(_first(finished, "measure") / "logits.npz") as others,
    ):
        assert set(ours) == set(others)
        assert all(np.array_equal(ours[name], others[name]) for name in ours)


def test_nothing_of_the_killed_runs_is_left(killed: Project) -> None:
    assert list((killed.cache / "work").iterdir()) == []
    assert list((killed.cache / "tmp").iterdir()) == []


def _first(finished: Finished, stage: str) -> Path:
    key = next(row["key"] for row in finished.report["stages"] if row["stage"] == stage)
    return finished.project.cache / "artifacts" / f"{stage}-{key}"


def test_two_runs_at_once_share_one_cache(recipe: Path, tmp_path: Path) -> None:
    project = Project(recipe, tmp_path / "cache", tmp_path / "runs")
    words = ("--set", "targets=[board.yaml]", "--set", "stages.finetune.epochs=1")
    both = [project.start(*words), project.start(*words)]
    said = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    one, other = (project.events(folder) for folder in project.folders())
    assert sorted(made(one, "node_started") + made(other, "node_started")) == [
        "compile board/onnxruntime/fp32",
        "export",
        "finetune",
        "prepare",
    ]
    maker, waiter = (one, other) if "finetune" in made(one, "node_started") else (other, one)
    assert "finetune" in made(waiter, "node_waiting")
    assert "finetune" in made(waiter, "node_cached")
    assert "finetune" in made(maker, "node_finished")
