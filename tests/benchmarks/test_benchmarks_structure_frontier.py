"""The grids of structures: their cells, rows, table and plot, and a tiny one from end to end."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from grid_cells import DENSE, Cell, cells_of, read_grid
from grid_results import Row
from structure_frontier_grid import StructureGrid
from structure_frontier_latency import Conditions, compare
from structure_frontier_plot import plot
from structure_frontier_results import row_of, shape_words
from structure_frontier_table import table

from edgeprune.errors import RecipeError
from edgeprune.pipeline import running
from edgeprune.pipeline.store import Artifact
from edgeprune.recipe.loading import Recipe

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
GRIDS = [BENCHMARKS / "structure_frontier.yaml", BENCHMARKS / "structure_importance.yaml"]
EXAMPLES = 16_000


def bodies(recipe: Recipe) -> dict[str, Any]:
    return {entry.name: entry.config for entry in recipe.stages}


def recipes(path: Path) -> dict[Cell, Recipe]:
    cells = cells_of(read_grid(path, StructureGrid), seeds=[1])
    return {cell: running.load(path.parent / cell.recipe, cell.overrides) for cell in cells}


def row(method: str, share: float, seed: int, accuracy: float, **more: Any) -> Row:
    quality = {"n": 872, "accuracy": accuracy}
    found: Row = {
        "method": method, "share": share, "seed": seed, "key": f"{method} {share} {seed}", "quality": quality,
        "steps": 1000, "seconds": 90.4, "threads": 1, "cpu": "Model 7",
    }  # fmt: skip
    if method != DENSE:
        found |= {
            "cut_quality": {"n": 872, "accuracy": accuracy - 0.1},
            "encoder_parameters": {"before": 10_600_000, "after": 10_600_000 * share},
            "flops": {"length": 64, "before": 1.4e9, "after": 1.4e9 * share},
        }
    return found | more


def latency(ratio: float, others: float = 1.0) -> Row:
    return {
        "ratio": ratio, "original_ms": 5.5, "others_percent": others, "runtime": "onnxruntime 1.2", "batch": 1,
        "length": 64, "threads": 2, "cpu": "Model 7",
    }  # fmt: skip


ROWS = [
    row("taylor", 0.25, 1, 0.89),
    row("taylor", 0.25, 2, 0.90),
    row("scores", 0.25, 1, 0.86),
    row("taylor", 0.5, 1, 0.89),
    row(DENSE, 1.0, 1, 0.89, steps=750),
    row(DENSE, 1.0, 2, 0.90, steps=750),
]


def test_cells_of_the_frontier() -> None:
    grid = read_grid(GRIDS[0], StructureGrid)
    cells = cells_of(grid)
    assert grid.shares == [0.75, 0.5, 0.35, 0.25, 0.125, 0.0625, 0.03]
    assert [str(cell) for cell in cells[:5]] == [
        "dense seed 1", "dense seed 2", "dense seed 3", "taylor 75 % seed 1", "taylor 50 % seed 1",
    ]  # fmt: skip
    assert len(cells) == 3 + 3 * 7
    assert cells[0].step == "finetune"
    assert cells[4].steps == ("prune_structure", "distill")
    assert cells[4].overrides == (
        f"task.sample.train={EXAMPLES}",
        "stages.distill.epochs=2",
        'stages.prune_structure.importance="taylor"',
        'stages.prune_structure.budget={"heads": 0.5, "ffn": 0.5}',
        "seed=1",
    )


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_every_cell_is_another_recipe_on_the_same_data_and_original(path: Path) -> None:
    found = recipes(path)
    (dense,) = (recipe for cell, recipe in found.items() if cell.method == DENSE)
    told = set()
    for cell, recipe in found.items():
        assert recipe.shell.seed == 1
        assert recipe.shell.task == dense.shell.task
        assert bodies(recipe)["finetune"] == bodies(dense)["finetune"]
        assert set(cell.steps) <= set(bodies(recipe))
        if cell.method != DENSE:
            cut = bodies(recipe)["prune_structure"]
            assert (cut.budget.heads, cut.budget.ffn) == (cell.level, cell.level)
            told.add((cut.model_dump_json(), "learn_masks" in bodies(recipe)))
    assert len(told) == len(found) - 1, "two names for one thing"
    assert dense.shell.task.sample is not None
    assert dense.shell.task.sample.train == EXAMPLES


def test_importance_measures_train_for_the_same_number_of_steps() -> None:
    steps = {}
    for cell, recipe in recipes(GRIDS[1]).items():
        if cell.method != DENSE:
            trained = [body for name, body in bodies(recipe).items() if name in ("learn_masks", "distill")]
            steps[cell] = sum(body.epochs * -(-EXAMPLES // body.batch_size) for body in trained)
            assert ("learn_masks" in cell.steps) == (len(trained) == 2)
    assert set(steps.values()) == {1000}


def test_a_method_with_problems_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text("recipe: r.yaml\nmethods:\n  A: {sett: {}}\nshares: [0.5]\nseeds: [1]\n")
    with pytest.raises(RecipeError, match="unknown key 'sett'") as caught:
        read_grid(path, StructureGrid)
    assert f"{path}:3" in str(caught.value)


def artifact(record: dict[str, Any], seconds: float = 10.0) -> Artifact:
    return Artifact(Path(), "", "the key", {"config": {"a": 1}}, {}, record, [], seconds, 5.0)


def test_a_row_tells_of_the_cut_and_of_what_was_trained() -> None:
    layers = [
        {"layer": 0, "there": True, "heads": [0, 3], "all_heads": 4, "rows": 16, "all_rows": 64},
        {"layer": 1, "there": False, "heads": [], "all_heads": 4, "rows": 0, "all_rows": 64},
    ]
    told = ("heads", "rows", "encoder_parameters", "flops", "parameters", "importance_kept")
    cut = {"quality": {"accuracy": 0.7}, "layers": layers, "hidden": {"before": 32, "after": 32}}
    artifacts = {
        "learn_masks": artifact({"steps": 4, "quality": {}}),
        "prune_structure": artifact(cut | dict.fromkeys(told, 0)),
        "distill": artifact({"steps": 6, "quality": {"accuracy": 0.9}}),
    }
    found = row_of(Cell("scores", 0.5, 1, (), steps=tuple(artifacts)), artifacts, 2)
    assert (found["quality"]["accuracy"], found["cut_quality"]["accuracy"]) == (0.9, 0.7)
    assert (found["steps"], found["seconds"], found["key"]) == (10, 30.0, "the key")
    assert found["original"] == shape_words(32, [(4, 64), (4, 64)]) == "32 wide: 4/64 4/64"
    assert found["structure"] == "32 wide: 2/16"
    assert list(found["settings"]) == list(artifacts)
    dense = row_of(Cell(DENSE, 1.0, 1, ()), {"finetune": artifact({"steps": 4, "quality": {}})}, None)
    assert "structure" not in dense


def test_the_table() -> None:
    timed = {
        "taylor 0.25 1": latency(3.5),
        "taylor 0.25 2": latency(3.6, others=44),
        "scores 0.25 1": latency(3),
    }
    assert table(ROWS, timed, ["taylor", "scores"], "accuracy") == (
        """
accuracy on 872 validation examples, mean ± sample standard deviation over n seeds
points: difference to the original of the same seed, after distilling
encoder: parameters of its linear layers (FLOPs of 64 tokens); steps: of all training after the original's
steps of dense are its own; threads a cell: 1, Model 7
times faster: median time of the original by the cut model's, interleaved; onnxruntime 1.2 FP32, batch 1, 64 tokens, 2 threads, Model 7
the original took 5.50 to 5.50 ms
*: others used up to 44 % of the processor; --latency times it again

importance  heads, rows %  n  accuracy % cut  accuracy % distilled  points to dense  steps  encoder   FLOPs  times faster
dense                 100  2               –          89.50 ± 0.71                –    750   10.6 M  1.40 G             1
taylor                 50  1           79.00                 89.00            +0.00  1,000   5.30 M   700 M             –
taylor                 25  2    79.50 ± 0.71          89.50 ± 0.71     +0.00 ± 0.00  1,000   2.65 M   350 M  3.55 ± 0.07*
scores                 25  1           76.00                 86.00            -3.00  1,000   2.65 M   350 M          3.00
"""
    )
    assert table([], {}, ["taylor"], "accuracy") == "no results yet\n"
    assert "not measured (--latency)" in table(ROWS, {}, ["taylor", "scores"], "accuracy")


def test_a_ratio_says_over_how_many_seeds_it_is() -> None:
    assert "3.50 (n 1)" in table(ROWS, {"taylor 0.25 1": latency(3.5)}, ["taylor", "scores"], "accuracy")


def test_the_plot_shows_every_measure_and_has_the_same_bytes_again() -> None:
    drawn = plot(ROWS, ["taylor", "scores"], "accuracy")
    assert drawn is not None
    assert drawn == plot(ROWS, ["taylor", "scores"], "accuracy")
    texts = [item.text for item in ElementTree.fromstring(drawn).iter() if item.tag.endswith("}text")]
    assert {"original", "taylor", "scores", "after distilling", "right after the cut", "25", "50"} <= set(
        texts
    )
    assert plot(ROWS[-2:], ["taylor"], "accuracy") is None, "nothing was cut yet"


def test_both_models_answer_the_same_inputs_as_asked_for() -> None:
    class Answering:
        def __init__(self) -> None:
            self.seen: list[bytes] = []

        def run(self, ids: np.ndarray, mask: np.ndarray, types: np.ndarray) -> None:
            assert ids.shape == mask.shape == types.shape == (2, 6)
            assert 0 < ids.min() <= ids.max() < 9
            assert mask.all()
            assert not types.any()
            self.seen.append(ids.tobytes())

    original, cut = Answering(), Answering()
    found = compare(original, cut, 9, Conditions(batch=2, length=6, calls=30, warmup=3))  # type: ignore[arg-type]
    assert original.seen == cut.seen
    assert len(set(cut.seen)) == 8
    assert found["calls"] >= 30
    assert found["low"] <= found["ratio"] <= found["high"]
    assert 0 <= found["others_percent"] <= 100


def _bench(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    common = ["--cache", str(folder / "cache"), "--runs", str(folder / "runs")]
    common += ["--results", str(folder / "results" / "tiny.json")]
    return subprocess.run(
        [
            sys.executable,
            str(BENCHMARKS / "structure_frontier.py"),
            str(folder / "grid.yaml"),
            *common,
            *words,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )


@pytest.mark.recipe
def test_a_tiny_grid_from_end_to_end(tmp_path: Path) -> None:
    from recipes_kit import write_project

    recipe = write_project(tmp_path / "project")
    cut = "  - prune_structure: {budget: {ffn: 0.5}, calibration: {examples: 64}}\n"
    cut += "  - distill: {epochs: 1, batch_size: 16}\n"
    masks = "  - learn_masks: {density: 0.5, epochs: 1, batch_size: 16}\n"
    text = recipe.read_text()
    recipe.write_text(text.replace("  - export", cut + "  - export"))
    recipe.with_name("masks.yaml").write_text(text.replace("  - export", masks + cut + "  - export"))
    (tmp_path / "grid.yaml").write_text(
        "recipe: project/tiny.yaml\nset: {task.sample: {train: 200}}\n"
        "methods:\n  T: {set: {stages.distill.epochs: 2}}\n"
        "  S: {recipe: project/masks.yaml, set: {stages.prune_structure.importance: scores}}\n"
        "shares: [0.5]\nseeds: [1]\n"
    )
    results = tmp_path / "results"

    first = _bench(tmp_path, "--only", "T")
    assert first.returncode == 0, first.stderr
    assert "[T 50 % seed 1]   = finetune is cached" in first.stderr
    second = _bench(tmp_path)
    assert second.returncode == 0, second.stderr
    assert "[T 50 %" not in second.stderr
    rows = {found["method"]: found for found in json.loads((results / "tiny.json").read_text())["rows"]}
    assert list(rows) == [DENSE, "T", "S"]
    assert rows["T"]["steps"] == rows["S"]["steps"]
    assert list(rows["S"]["settings"]) == ["learn_masks", "prune_structure", "distill"]
    assert (results / "tiny.svg").is_file()

    threads = str(1 + max(item["threads"] for item in rows.values()))
    timed = _bench(tmp_path, "--latency", "--calls", "20", "--threads", threads)
    assert timed.returncode == 0, timed.stderr
    found = json.loads((results / "structure_latency.json").read_text())["rows"]
    structures = {rows[name]["structure"] for name in ("T", "S")}
    assert {item["structure"] for item in found} == structures
    assert len(found) == len(structures), "once per structure"
    assert "not measured" not in timed.stdout
    assert "not measured" in _bench(tmp_path, "--table", "--threads", "99").stdout, "other conditions"
    shown = _bench(tmp_path, "--table", "--threads", threads)
    assert shown.stderr == ""
    assert shown.stdout == timed.stdout
