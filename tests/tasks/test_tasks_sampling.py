"""Training on a sample: which rows, that it is said, and what is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tasks_builders import task_config, write

from edgeprune.errors import Problem, RecipeError
from edgeprune.recipe.schema import Sample
from edgeprune.tasks.examples import Examples
from edgeprune.tasks.preparing import PreparedData, prepare
from edgeprune.tasks.sampling import draw_sample
from edgeprune.tasks.splitting import draw_rows

SEEDS = st.integers(0, 2**32)
HEADER = "text\tlabel\n"
VALIDATION = HEADER + "row 3\t1\nnew\t0\n"


def rows(count: int) -> str:
    return "".join(f"row {index}\t{index % 2}\n" for index in range(count))


def prepared(folder: Path, text: str, **sample: Any) -> PreparedData:
    train = write(folder / "train.tsv", HEADER + text)
    return prepare(task_config(sample=sample), train, write(folder / "validation.tsv", VALIDATION))


def refused(folder: Path, text: str, **sample: Any) -> Problem:
    with pytest.raises(RecipeError) as caught:
        prepared(folder, text, **sample)
    (problem,) = caught.value.problems
    return problem


@given(st.integers(1, 300), st.data(), SEEDS)
def test_a_draw_has_its_size_is_in_order_and_lies_in_every_larger_one(
    count: int, data: st.DataObject, seed: int
) -> None:
    few = data.draw(st.integers(1, count))
    drawn = draw_rows(count, few, seed)
    assert drawn == sorted(set(drawn))
    assert len(drawn) == few
    assert set(drawn) <= set(range(count))
    assert set(drawn) <= set(draw_rows(count, data.draw(st.integers(few, count)), seed))


def test_every_row_is_drawn_about_as_often_as_any_other() -> None:
    often = Counter(index for seed in range(2000) for index in draw_rows(10, 3, seed))
    # 600 expected of each; the standard deviation of a count is 20.5.
    assert sorted(often) == list(range(10))
    assert max(abs(number - 600) for number in often.values()) < 5 * 20.5


def test_a_draw_stays_the_same_between_versions() -> None:
    assert draw_rows(20, 5, 0) == [3, 5, 7, 12, 15]


def test_class_shares_are_those_of_the_draw() -> None:
    """Drawn row by row, not class by class: a class may come out a little off its share."""
    labels = tuple(index % 4 == 0 for index in range(4000))
    whole = Examples(("many", "few"), tuple(map(str, range(4000))), tuple(map(int, labels)))
    counts = [
        draw_sample(whole, Sample(train=1000, seed=seed), "f")[0].per_class()["few"] for seed in range(40)
    ]
    assert len(set(counts)) > 10
    assert abs(sum(counts) / len(counts) - 250) < 10


def test_only_training_is_sampled_and_it_is_said(tmp_path: Path) -> None:
    found = prepared(tmp_path, rows(60) + "\t1\n", train=20, seed=5)
    assert (found.summary.train, found.summary.validation, found.unsampled) == (20, 2, 40)
    assert sum(found.summary.train_per_label.values()) == 20
    assert found.notes[0] == "20 of 60 training rows are used, drawn with seed 5 (`task.sample`)"
    assert list(found.train.texts) == [f"row {index}" for index in draw_rows(60, 20, 5)]


def test_duplicates_are_counted_among_the_rows_that_are_used(tmp_path: Path) -> None:
    without = next(seed for seed in range(100) if 3 not in draw_rows(60, 10, seed))
    assert prepared(tmp_path, rows(60), train=10, seed=without).duplicates == 0
    assert prepared(tmp_path, rows(60), train=60).duplicates == 1


def test_a_sample_of_all_is_all(tmp_path: Path) -> None:
    found = prepared(tmp_path, rows(12), train=12)
    assert (len(found.train), found.unsampled) == (12, 0)
    assert found.notes[0].startswith("12 of 12 training rows are used")


def test_validation_is_the_same_with_a_sample_and_without(tmp_path: Path) -> None:
    train = write(tmp_path / "train.tsv", HEADER + rows(100))
    split = {"validation": 0.2, "seed": 1}
    whole = prepare(task_config(split=split), train, None)
    part = prepare(task_config(split=split, sample={"train": 30}), train, None)
    assert part.validation == whole.validation
    assert part.summary.split == whole.summary.split
    assert set(part.train.texts) < set(whole.train.texts)
    assert part.notes[0].startswith("30 of 80 training rows are used")


def test_more_rows_than_there_are(tmp_path: Path) -> None:
    assert refused(tmp_path, rows(10), train=1200) == Problem(
        ("task", "sample", "train"),
        "1,200 rows are to be drawn, but train.tsv gives 10 training rows",
        "ask for 10 at most, or leave `sample` out to train on all of them",
    )


def test_a_class_that_no_drawn_row_has(tmp_path: Path) -> None:
    text = "".join(f"row {index}\t{int(index == 0)}\n" for index in range(50))
    without = next(seed for seed in range(100) if 0 not in draw_rows(50, 4, seed))
    problem = refused(tmp_path, text, train=4, seed=without)
    assert problem.key == ("task", "sample", "train")
    assert problem.message == (
        f"4 of 50 training rows are used, drawn with seed {without}, "
        "and none of them is of class 'positive' (1 in all)"
    )
    assert "sample.seed" in problem.hint
