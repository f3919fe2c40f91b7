"""What grids of trainings share: results on disk, spreads, sizes, columns."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from grid_results import Results
from grid_table import aligned, size, spread
from hypothesis import given
from hypothesis import strategies as st

IDENTITY = ("method", "density", "seed", "key")


def row(method: str, accuracy: float, key: str = "k") -> dict[str, Any]:
    return {"method": method, "density": 0.1, "seed": 1, "key": key, "accuracy": accuracy}


def test_results_are_kept_by_their_identity(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "results.json"
    first, second = Results(path, IDENTITY), Results(path, IDENTITY)
    first.add(row("A", 0.8))
    second.add(row("B", 0.7))
    first.add(row("A", 0.9, key="another"))
    first.add(row("A", 0.85))
    kept = Results(path, IDENTITY)
    found = [kept.find("A", 0.1, 1, key) for key in ("k", "another")]
    assert [item and item["accuracy"] for item in found] == [0.85, 0.9]
    assert kept.find("B", 0.1, 1, "k") is not None
    assert kept.find("A", 0.1, 1, "never made") is None
    assert kept.find("A", 0.1, 1, None) is None, "a key that is not known yet"
    assert len(json.loads(path.read_text())["rows"]) == 3
    assert [file.name for file in path.parent.iterdir()] == ["results.json"]


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=9))
def test_spread_is_the_sample_standard_deviation(values: list[float]) -> None:
    middle = sum(values) / len(values)
    deviation = math.sqrt(sum((value - middle) ** 2 for value in values) / (len(values) - 1))
    mean, shown = map(float, spread(values, ".2f").split(" ± "))
    assert abs(mean - middle) < 0.006
    assert abs(shown - deviation) < 0.006


def test_spread_of_one_and_of_equals() -> None:
    assert spread([1.234], "+.2f") == "+1.23"
    assert spread([10.0, 10.001], ".2f") == "10.00 ± 0.00"
    assert spread([10.0, 10.001], ".2f", alike=True) == "10.00"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0"),
        (999, "999"),
        (12_345, "12.3 k"),
        (332_642, "333 k"),
        (1_000_000, "1.00 M"),
        (22_713_986, "22.7 M"),
        (1_430_000_000, "1.43 G"),
    ],
)
def test_sizes(number: int, words: str) -> None:
    assert size(number) == words


def test_names_stand_left_and_numbers_right() -> None:
    assert aligned([["method", "n"], ["A", "10"]]) == "method   n\nA       10"
