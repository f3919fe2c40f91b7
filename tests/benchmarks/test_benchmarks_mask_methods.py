"""The grid of mask methods: its cells, its table, and a tiny one from end to end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from grid_cells import DENSE, cells_of, read_grid
from grid_results import Row
from mask_methods_grid import MaskGrid
from mask_methods_table import table

from edgeprune.errors import RecipeError, UsageError
from edgeprune.pipeline import running

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
GRID = MaskGrid.model_validate(
    {
        "recipe": "r.yaml",
        "set": {"stages.learn_masks.epochs": 3},
        "methods": {"A": {"method": "smp", "schedule.hold": 0.2}, "B": {"distillation": None}},
        "densities": [0.5, 0.1],
        "seeds": [1, 2],
    }
)


def row(method: str, density: float, seed: int, accuracy: float, **more: Any) -> Row:
    quality = {"n": 872, "accuracy": accuracy, "f1": accuracy / 2, "matthews": 0.0}
    found = {
        "method": method, "density": density, "seed": seed, "key": "k", "quality": quality, "kept": density,
        "trained_parameters": 22_713_986, "new_parameters": 332_642, "seconds": 90.4, "threads": 1, "cpu": "Model 7",
    }  # fmt: skip
    return found | more


def test_cells_of_a_grid() -> None:
    cells = cells_of(GRID)
    assert [str(cell) for cell in cells] == [
        "dense seed 1", "dense seed 2",
        "A 50 % seed 1", "B 50 % seed 1", "A 10 % seed 1", "B 10 % seed 1",
        "A 50 % seed 2", "B 50 % seed 2", "A 10 % seed 2", "B 10 % seed 2",
    ]  # fmt: skip
    assert cells[0].step == "finetune"
    assert cells[0].overrides == ("stages.learn_masks.epochs=3", "seed=1")
    assert cells[4].step == "learn_masks"
    assert cells[4].overrides == (
        "stages.learn_masks.epochs=3",
        'stages.learn_masks.method="smp"',
        "stages.learn_masks.schedule.hold=0.2",
        "stages.learn_masks.density=0.1",
        "seed=1",
    )
    assert "stages.learn_masks.distillation=null" in cells[5].overrides


def test_a_part_of_a_grid() -> None:
    cells = cells_of(GRID, only=["B"], levels=[0.03], seeds=[7], overrides=["task.sample.train=9"])
    assert [str(cell) for cell in cells] == ["dense seed 7", "B 3 % seed 7"]
    assert cells[0].overrides == ("stages.learn_masks.epochs=3", "task.sample.train=9", "seed=7")
    with pytest.raises(UsageError, match="no method 'C'") as caught:
        cells_of(GRID, only=["C"])
    assert caught.value.hint == "its methods are: A, B"


def test_a_grid_with_problems_shows_them_all(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text("recipe: r.yaml\nmethods: {}\ndensity: [0.1]\nseeds: [one]\n")
    with pytest.raises(RecipeError) as caught:
        read_grid(path, MaskGrid)
    said = [str(problem) for problem in caught.value.problems]
    assert len(said) == 4
    assert all(str(path) in text for text in said)
    assert any("unknown key 'density'" in text and "did you mean 'densities'?" in text for text in said)


def test_every_method_of_the_grid_is_one_of_the_stage() -> None:
    path = BENCHMARKS / "mask_methods.yaml"
    grid = read_grid(path, MaskGrid)
    bodies = {}
    for cell in cells_of(grid, seeds=[1], levels=[0.1]):
        recipe = running.load(path.parent / grid.recipe, cell.overrides)
        (body,) = (entry.config for entry in recipe.stages if entry.name == "learn_masks")
        assert recipe.shell.seed == 1
        assert recipe.shell.task.sample is not None
        bodies[cell.method] = body.model_dump_json()
    del bodies[DENSE]
    assert len(set(bodies.values())) == len(bodies) == len(grid.methods), "two names for one thing"


def test_the_table() -> None:
    dense = {"trained_parameters": 22_713_986, "new_parameters": 22_713_986}
    rows = [
        row("B", 0.1, 1, 0.86, threads=None, seconds=100.2),
        row("A", 0.1, 2, 0.88, kept=0.1004),
        row("A", 0.1, 1, 0.87),
        row("A", 0.5, 3, 0.89),
        row(DENSE, 1.0, 1, 0.89, seconds=30.0, **dense),
        row(DENSE, 1.0, 2, 0.90, seconds=32.0, **dense),
    ]
    assert table(rows, ["A", "B"], "accuracy") == (
        """
accuracy on 872 validation examples, mean ± sample standard deviation over n seeds
points: difference to the original of the same seed; kept: of the weights that a method can mask
new/task: parameters that a task adds to the pre-trained model
seconds: of the stage, mean; threads a cell: 1, Model 7

method        kept %  trained  new/task    accuracy %  n  points to dense  seconds
dense         100.00   22.7 M    22.7 M  89.50 ± 0.71  2                –       31
A              50.00   22.7 M     333 k         89.00  1                –       90
A       10.02 ± 0.03   22.7 M     333 k  87.50 ± 0.71  2     -2.00 ± 0.00       90
B              10.00   22.7 M     333 k         86.00  1            -3.00      100
"""
    )
    assert table([], ["A"], "accuracy") == "no results yet\n"


def test_differences_say_over_how_many_seeds_they_are() -> None:
    rows = [row("A", 0.1, 1, 0.8), row("A", 0.1, 2, 0.9), row(DENSE, 1.0, 1, 0.85)]
    assert "-5.00 (n 1)" in table(rows, ["A"], "accuracy")


def _bench(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    common = ["--cache", str(folder / "cache"), "--runs", str(folder / "runs")]
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / "mask_methods.py"), str(folder / "grid.yaml"), *common, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )


@pytest.mark.recipe
def test_a_tiny_grid_from_end_to_end(tmp_path: Path) -> None:
    from recipes_kit import write_project

    recipe = write_project(tmp_path / "project")
    text = recipe.read_text().replace(
        "  - export", "  - learn_masks: {density: 0.5, epochs: 2, batch_size: 16}\n  - export"
    )
    recipe.write_text(text)
    (tmp_path / "grid.yaml").write_text(
        "recipe: project/tiny.yaml\nset: {task.sample: {train: 200}}\n"
        "methods:\n  L: {allocation: uniform}\n  S: {allocation: score}\n  bad: {rank: 0.5}\n"
        "densities: [0.5]\nseeds: [1]\n"
    )
    results = tmp_path / "results.json"
    words = ["--results", str(results), "--jobs", "2"]

    wrong = _bench(tmp_path, *words)
    assert wrong.returncode == 2, "a cell that is no recipe is found before anything is run"
    assert "stages.1.learn_masks.rank" in wrong.stderr
    assert not results.exists()

    only = [*words, "--only", "L"]
    first = _bench(tmp_path, *only)
    assert first.returncode == 0, first.stderr
    assert "[dense seed 1] [2/2] finetune" in first.stderr
    assert "[L 50 % seed 1]   = finetune is cached" in first.stderr
    assert len(json.loads(results.read_text())["rows"]) == 2

    again = _bench(tmp_path, *only, "--only", "S")
    assert again.returncode == 0, again.stderr
    assert "[S 50 % seed 1] [3/3] learn_masks" in again.stderr
    assert "[L 50 %" not in again.stderr
    rows = {found["method"]: found for found in json.loads(results.read_text())["rows"]}
    assert list(rows) == [DENSE, "L", "S"]
    assert rows["S"]["settings"]["allocation"] == "score"
    assert rows["S"]["kept"] == pytest.approx(0.5, abs=0.01)
    assert rows["S"]["threads"] == 1

    shown = _bench(tmp_path, *only, "--only", "S", "--table")
    assert (
        shown.stdout.strip() == again.stdout.split("\n\naccuracy on")[-1].strip()
        or shown.stdout in again.stdout
    )
    assert shown.stderr == ""

    results.unlink()
    found = _bench(tmp_path, *only)
    assert found.returncode == 0
    assert found.stderr == "", "made from the artifacts in the cache"
    assert {item["threads"] for item in json.loads(results.read_text())["rows"]} == {None}
