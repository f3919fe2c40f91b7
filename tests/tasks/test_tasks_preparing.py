"""From files to examples: every row is accounted for, and what cannot serve is said with numbers."""

from __future__ import annotations

import bz2
import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tasks_builders import task_config, write

from edgeprune.errors import EdgepruneError, Problem, RecipeError
from edgeprune.report.model import DataSummary, UnusableRows
from edgeprune.tasks.preparing import DataCounts, PreparedData, prepare
from edgeprune.tasks.unusable import UnusableCount

GOOD = "text\tlabel\n" + "".join(f"row {index}\t{index % 2}\n" for index in range(10))


def refused(task: Any, train: Path, validation: Path | None) -> tuple[Problem, ...]:
    with pytest.raises(RecipeError) as caught:
        prepare(task, train, validation)
    return caught.value.problems


def test_two_files(tmp_path: Path) -> None:
    train = write(tmp_path / "train.tsv", 'idx\tlabel\ttext\n0\t1\ta "b\n1\t0\tc \n2\t1\td\n')
    validation = write(tmp_path / "dev.csv", 'text,label\n"e, f",0\ng,1\n')
    prepared = prepare(task_config(), train, validation)
    assert prepared.train.texts == ('a "b', "c ", "d")
    assert prepared.train.labels == (1, 0, 1)
    assert prepared.validation.texts == ("e, f", "g")
    assert prepared.summary == DataCounts(
        train=3,
        validation=2,
        labels=("negative", "positive"),
        train_per_label={"negative": 1, "positive": 2},
        validation_per_label={"negative": 1, "positive": 1},
        filtered=0,
        unusable=(),
        split="its own file, dev.csv",
    )
    assert (prepared.notes, prepared.duplicates) == ((), 0)


def test_the_summary_is_what_the_report_holds(tmp_path: Path) -> None:
    train = write(tmp_path / "train.tsv", GOOD + "\t1\nx\t7\n")
    prepared = prepare(task_config(split={"validation": 0.3}), train, None)
    assert [field.name for field in fields(DataCounts)] == list(DataSummary.model_fields)
    assert [field.name for field in fields(UnusableCount)] == list(UnusableRows.model_fields)
    through_json = json.loads(json.dumps(asdict(prepared.summary)))
    assert DataSummary(**through_json).model_dump() == through_json


def test_labels_of_parquet_compare_as_text_and_values_may_share_a_class(tmp_path: Path) -> None:
    stars = pa.array([1, 2, 3, 4, 5] * 2, pa.int64())
    pq.write_table(pa.table({"text": [f"t{i}" for i in range(10)], "label": stars}), tmp_path / "t.parquet")
    lines = "".join(json.dumps({"text": f"v{star}", "label": star}) + "\n" for star in (1, 3, 5))
    validation = write(tmp_path / "v.jsonl", lines)
    labels = {1: "bad", 2: "bad", 3: "so-so", 4: "good", 5: "good"}
    prepared = prepare(task_config(labels=labels), tmp_path / "t.parquet", validation)
    assert prepared.train.classes == ("bad", "so-so", "good")
    assert prepared.train.labels == (0, 0, 1, 2, 2) * 2
    assert prepared.validation.labels == (0, 1, 2)


def test_many_classes_and_pairs(tmp_path: Path) -> None:
    rows = "".join(f"q{index}\tp{index}\tclass {index % 52}\n" for index in range(520))
    train = write(tmp_path / "train.tsv", "a\tb\tkind\n" + rows)
    task = task_config(
        columns={"text": "a", "text_pair": "b", "label": "kind"},
        labels={f"class {index}": f"c{index}" for index in range(52)},
        split={"validation": 0.1},
    )
    prepared = prepare(task, train, None)
    assert prepared.summary.validation == 52
    assert len(prepared.summary.labels) == 52
    assert prepared.train.text_pairs is not None
    assert all(text[1:] == pair[1:] for text, pair in prepared.train.inputs())


def test_filter_and_group_split_of_a_compressed_file(tmp_path: Path) -> None:
    lines = ["category,text,film"]
    for index in range(60):
        lines.append(f"{'fresh' if index % 3 else 'rotten'},review {index},film {index // 4}")
        lines.append(f"plot,,film {index // 4}")
    path = tmp_path / "reviews.csv.bz2"
    path.write_bytes(bz2.compress("\n".join(lines).encode()))
    task = task_config(
        columns={"text": "text", "label": "category"},
        labels={"rotten": "negative", "fresh": "positive"},
        where={"category": ["fresh", "rotten"]},
        split={"validation": 0.2, "group": "film", "seed": 3},
        max_unusable=0.0,
    )
    prepared = prepare(task, path, None)
    assert (prepared.summary.train, prepared.summary.validation, prepared.summary.filtered) == (48, 12, 60)
    assert prepared.summary.split == (
        "3 of 15 groups by 'film' drawn from reviews.csv.bz2, seed 3: 20.0% of the usable rows"
    )
    films = [
        {int(text.split()[1]) // 4 for text in part.texts} for part in (prepared.train, prepared.validation)
    ]
    assert not films[0] & films[1]
    numbers = [int(text.split()[1]) for text in prepared.train.texts]
    assert numbers == sorted(numbers)


def test_unusable_rows_are_counted_by_reason_with_the_first_places(tmp_path: Path) -> None:
    bad = "no label\n" + " \t1\n" * 4 + "x\t-1\ny\t-1\nz\t2\nw\t\n"
    train = write(tmp_path / "train.tsv", GOOD + bad)
    validation = write(tmp_path / "validation.tsv", GOOD + "\t1\n")
    prepared = prepare(task_config(), train, validation)
    assert prepared.summary.unusable == (
        UnusableCount("empty text", 5, ("train.tsv:13", "train.tsv:14", "train.tsv:15")),
        UnusableCount(
            "unknown label ('-1' × 2, '2' × 1)", 3, ("train.tsv:17", "train.tsv:18", "train.tsv:19")
        ),
        UnusableCount("wrong column count (header has 2)", 1, ("train.tsv:12",)),
        UnusableCount("no label", 1, ("train.tsv:20",)),
    )


def test_an_empty_second_sentence_is_unusable(tmp_path: Path) -> None:
    train = write(tmp_path / "train.tsv", "a\tb\tlabel\nx\ty\t0\nx\t\t1\nx\tz\t1\nv\tw\t1\n")
    task = task_config(columns={"text": "a", "text_pair": "b", "label": "label"}, split={"validation": 0.3})
    assert prepare(task, train, None).summary.unusable == (
        UnusableCount("empty text_pair", 1, ("train.tsv:3",)),
    )


def test_too_many_unknown_labels(tmp_path: Path) -> None:
    unknown = "a\t-1\n" * 3 + "b\t" + "long " * 20 + "\n"
    train = write(tmp_path / "train.tsv", GOOD + unknown + "\t1\n")
    validation = write(tmp_path / "validation.tsv", GOOD)
    (problem,) = refused(task_config(max_unusable=0.1), train, validation)
    assert problem == Problem(
        key=("task", "labels"),
        message="train.tsv: 5 of 15 rows (33.33%) cannot be used, max_unusable allows 10.00%: "
        "4 × unknown label ('-1' × 3, 'long long long long long long long long …' × 1), "
        "at train.tsv:12, train.tsv:13, train.tsv:14; 1 × empty text, at train.tsv:16",
        hint="name these values in `labels`, or leave their rows out with `where`",
    )


def test_too_many_malformed_rows_of_both_files_are_reported_together(tmp_path: Path) -> None:
    train = write(tmp_path / "train.tsv", GOOD + "x\n")
    validation = write(tmp_path / "validation.tsv", GOOD + "\t1\n\t1\n")
    problems = refused(task_config(max_unusable=0.01), train, validation)
    assert [problem.key for problem in problems] == [("task", "max_unusable")] * 2
    assert "train.tsv: 1 of 11 rows (9.09%)" in problems[0].message
    assert "validation.tsv: 2 of 12 rows (16.67%)" in problems[1].message
    assert problems[0].hint == "mend these rows, or raise `max_unusable`"


def test_filtered_rows_are_not_judged(tmp_path: Path) -> None:
    train = write(tmp_path / "train.tsv", GOOD + "\t9\n" * 30)
    prepared = prepare(
        task_config(where={"label": ["0", "1"]}, max_unusable=0.0, split={"validation": 0.2}), train, None
    )
    assert (prepared.summary.filtered, prepared.summary.unusable) == (30, ())


def test_a_filter_value_that_no_row_has_is_told(tmp_path: Path) -> None:
    train = write(tmp_path / "train.tsv", GOOD)
    prepared = prepare(task_config(where={"label": [0, 1, "tow"]}, split={"validation": 0.4}), train, None)
    assert prepared.notes == ("`where` keeps label = 'tow', which no row of train.tsv has",)


def test_a_filter_that_leaves_nothing_shows_what_there_is(tmp_path: Path) -> None:
    train = write(tmp_path / "train.tsv", GOOD)
    (problem,) = refused(task_config(where={"label": ["one"]}, split={"validation": 0.2}), train, None)
    assert problem == Problem(
        ("task", "where"),
        "no row of train.tsv passes the filter (it has 10 rows)",
        "label has '0' × 5, '1' × 5",
    )


@pytest.mark.parametrize("content", ["text\tlabel\nx\n", "text\tlabel\n\t1\n"])
def test_no_usable_row_at_all(tmp_path: Path, content: str) -> None:
    train = write(tmp_path / "train.tsv", content)
    (problem,) = refused(task_config(max_unusable=1.0, split={"validation": 0.2}), train, None)
    assert problem.key == ("task", "train")
    assert problem.message == "train.tsv has no usable row: all 1 that `where` keeps are unusable"


def test_jsonl_of_nothing_but_garbage(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", "garbage\n" * 3)
    (problem,) = refused(task_config(where={"x": ["y"]}, split={"validation": 0.2}), train, None)
    assert "3 × malformed JSON, at train.jsonl:1, train.jsonl:2, train.jsonl:3" in problem.message


def test_a_class_without_training_rows(tmp_path: Path) -> None:
    train = write(tmp_path / "train.tsv", GOOD)
    task = task_config(labels={"0": "no", "1": "yes", "2": "maybe"})
    (problem,) = refused(task, train, write(tmp_path / "validation.tsv", GOOD))
    assert problem == Problem(
        ("task", "labels"),
        "class 'maybe' has no training row (train.tsv has 0 usable)",
        "take the class out of `labels`, or check the values that are mapped to it",
    )


def test_a_class_that_the_split_took_away(tmp_path: Path) -> None:
    train = write(tmp_path / "train.tsv", "text\tlabel\tg\n" + "a\t0\tx\n" * 9 + "b\t1\ty\n")
    task = task_config(split={"validation": 0.1, "group": "g"})
    (problem,) = refused(task, train, None)
    assert problem.message == "class 'positive' has no training row (train.tsv has 1 usable)"
    assert "split.seed" in problem.hint


def test_a_class_that_validation_lacks_is_told(tmp_path: Path) -> None:
    train = write(tmp_path / "train.tsv", GOOD)
    validation = write(tmp_path / "validation.tsv", "text\tlabel\nv\t1\n")
    assert prepare(task_config(), train, validation).notes == (
        "no validation example has class 'negative'; scores say nothing about it",
    )


@pytest.mark.parametrize(
    ("split", "rows", "problem"),
    [
        (
            {"validation": 0.5},
            "a\t1\tx\n",
            Problem(
                ("task", "split", "validation"), "train.tsv has only 1 usable row: nothing can be held out"
            ),
        ),
        (
            {"validation": 0.5, "group": "g"},
            "a\t1\tx\nb\t0\tx\n",
            Problem(
                ("task", "split", "group"),
                "all 2 usable rows of train.tsv have the same 'g': nothing can be held out",
            ),
        ),
        (
            {"validation": 0.5, "whole_texts": True},
            "a b\t1\tx\nb\t0\tx\n",
            Problem(
                ("task", "split", "whole_texts"),
                "train.tsv has fewer than two texts that are no part of another: nothing can be held out",
            ),
        ),
    ],
)
def test_what_cannot_be_split(tmp_path: Path, split: dict[str, Any], rows: str, problem: Problem) -> None:
    train = write(tmp_path / "train.tsv", "text\tlabel\tg\n" + rows)
    assert refused(task_config(split=split), train, None) == (problem,)


def test_parts_of_held_out_texts_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = "a good film\t1\ngood film\t1\nfilm\t0\na bad play\t0\nbad play\t0\na new song\t1\nnew song\t0\n"
    train = write(tmp_path / "train.tsv", "text\tlabel\n" + rows)
    prepared = prepare(task_config(split={"validation": 0.34, "whole_texts": True, "seed": 3}), train, None)
    (held,) = prepared.validation.texts
    assert held in ("a good film", "a bad play", "a new song")
    assert set(prepared.train.texts) == {
        text
        for text in (row.partition("\t")[0] for row in rows.split("\n")[:-1])
        if text not in (held, held.partition(" ")[2])
    }
    assert prepared.parts == 1
    assert prepared.summary.split.startswith("whole texts drawn from train.tsv, seed 3")
    assert prepared.notes[0] == "left out, as parts of validation texts: 1 rows"
    assert len(prepared.train) + len(prepared.validation) + prepared.parts == 7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": {"validation": 0.1, "group": "g", "whole_texts": True}}, "keep one of them"),
        (
            {
                "split": {"validation": 0.1, "whole_texts": True},
                "columns": {"text": "a", "text_pair": "b", "label": "label"},
            },
            "is for single texts",
        ),
    ],
)
def test_whole_texts_are_single_texts_without_groups(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        task_config(**changes)


def test_duplicates_across_the_split_are_counted_not_dropped(tmp_path: Path) -> None:
    train = write(tmp_path / "train.tsv", GOOD + "dev\t1\n")
    validation = write(tmp_path / "validation.tsv", "text\tlabel\nrow 3\t1\nnew\t0\nrow 3\t1\nRow 4\t0\n")
    prepared = prepare(task_config(), train, validation)
    assert (len(prepared.validation), prepared.duplicates) == (4, 2)
    assert prepared.notes == (
        "validation examples that are also training examples, letter by letter: 2 of 4 (50.0%); "
        "they flatter every score",
    )


def test_pairs_are_duplicates_only_when_both_parts_are(tmp_path: Path) -> None:
    train = write(tmp_path / "train.tsv", "text\tb\tlabel\nx\ty\t0\nx\tz\t1\n")
    validation = write(tmp_path / "validation.tsv", "text\tb\tlabel\nx\ty\t0\nx\tw\t1\n")
    task = task_config(columns={"text": "text", "text_pair": "b", "label": "label"})
    assert prepare(task, train, validation).duplicates == 1


def test_rows_without_a_group_stay_together_and_are_told(tmp_path: Path) -> None:
    rows = "".join(f"t{index}\t{index % 2}\t{'' if index < 4 else index}\n" for index in range(20))
    train = write(tmp_path / "train.tsv", "text\tlabel\tg\n" + rows)
    prepared = prepare(task_config(split={"validation": 0.3, "group": "g"}), train, None)
    assert prepared.notes == ("4 rows of train.tsv have no 'g'; the split keeps them together",)
    assert len({"t0", "t1", "t2", "t3"} & set(prepared.train.texts)) in (0, 4)


@pytest.mark.parametrize("split", [None, {"validation": 0.5}])
def test_a_validation_file_goes_with_no_split(tmp_path: Path, split: dict[str, Any] | None) -> None:
    train = write(tmp_path / "train.tsv", GOOD)
    task = task_config() if split is None else task_config(split=split)
    with pytest.raises(EdgepruneError, match="either a validation file or a split"):
        prepare(task, train, None if split is None else train)


ROW = st.tuples(
    st.sampled_from(["good text", "other", "", " "]),
    st.sampled_from(["0", "1", "-1", ""]),
    st.sampled_from(["keep", "drop"]),
    st.sampled_from("abcdef"),
)


def accounted(prepared: PreparedData) -> int:
    summary = prepared.summary
    used = summary.train + summary.validation
    return used + summary.filtered + sum(e.count for e in summary.unusable) + prepared.unsampled


@settings(max_examples=50)
@given(
    st.lists(st.one_of(ROW, st.just(("broken",))), max_size=40),
    st.booleans(),
    st.integers(0, 5),
    st.none() | st.integers(1, 6),
)
def test_every_row_is_accounted_for_and_a_second_time_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, ...]],
    grouped: bool,
    seed: int,
    sample: int | None,
) -> None:
    # One sure row of each class in each of three groups, so that most draws can be split.
    sure = [("sure", label, "keep", group) for label in "01" for group in "xyz"]
    lines = ["\t".join(row) for row in [("text", "label", "use", "g"), *sure, *rows]]
    train = write(tmp_path_factory.mktemp("law") / "train.tsv", "\n".join(lines) + "\n")
    split = {"validation": 0.3, "seed": seed, "group": "g" if grouped else None}
    some = None if sample is None else {"train": sample}
    task = task_config(where={"use": ["keep"]}, split=split, sample=some, max_unusable=1.0)
    try:
        prepared = prepare(task, train, None)
    except RecipeError as error:
        keys = {problem.key for problem in error.problems}
        assert keys <= {("task", "labels"), ("task", "sample", "train")}
        return
    assert accounted(prepared) == len(sure) + len(rows)
    assert prepared.summary.filtered == sum(row[2:3] == ("drop",) for row in rows)
    again = prepare(task, train, None)
    assert again == prepared
    assert again.train.fingerprint() == prepared.train.fingerprint()
