"""Formats by name, and messages about files that cannot serve."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tasks_builders import task_config, write

from edgeprune.errors import Problem, RecipeError
from edgeprune.tasks.parsing import DataFile
from edgeprune.tasks.reading import format_of, read_rows, wanted_columns


def problems(path: Path, **changes: object) -> tuple[Problem, ...]:
    task = task_config(**changes)
    with pytest.raises(RecipeError) as caught:
        read_rows(DataFile(path, "train"), task.format, wanted_columns(task, split=True))
    return caught.value.problems


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train.tsv", "tsv"),
        ("train.TSV.GZ", "tsv"),
        ("v1.2.csv.bz2", "csv"),
        ("a.jsonl.gz", "jsonl"),
        ("a.ndjson", "jsonl"),
        ("train-00000-of-00001.parquet", "parquet"),
    ],
)
def test_the_name_says_the_format(name: str, expected: str) -> None:
    assert format_of(DataFile(Path(name), "train"), "auto") == expected


def test_the_recipe_overrules_the_name() -> None:
    assert format_of(DataFile(Path("data.txt"), "train"), "tsv") == "tsv"


@pytest.mark.parametrize("name", ["data", "data.txt", "data.gz", ".gz"])
def test_a_name_that_says_nothing(name: str) -> None:
    with pytest.raises(RecipeError) as caught:
        format_of(DataFile(Path(name), "train"), "auto")
    assert caught.value.problems == (
        Problem(
            ("task", "format"),
            f"the name {name!r} does not say which format it has",
            "set `format` to tsv, csv, jsonl or parquet",
        ),
    )


def test_rows_keep_wanted_columns_and_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "train.tsv", "idx\ttext\tlabel\n1\ta\t0\nbad\n2\tb\t1\n")
    task = task_config()
    rows = read_rows(DataFile(path, "train"), "auto", wanted_columns(task, split=False))
    assert rows.data.column_names == ["text", "label"]
    assert rows.column("text") == ["a", "b"]
    assert rows.lines == (2, 4)
    assert len(rows) == 3


def test_all_missing_columns_are_named_at_once_with_their_keys(tmp_path: Path) -> None:
    path = write(tmp_path / "train.tsv", "sentence\tlabels\tfilm\na\t0\tx\n")
    found = problems(
        path,
        columns={"text": "sentense", "text_pair": "second", "label": "label"},
        where={"categori": ["a"]},
        split={"validation": 0.5, "group": "movie"},
    )
    columns = "columns are: sentence, labels, film"
    assert found == (
        Problem(
            ("task", "columns", "text"),
            "train.tsv has no column 'sentense'",
            f"{columns}; did you mean 'sentence'?",
        ),
        Problem(("task", "columns", "text_pair"), "train.tsv has no column 'second'", columns),
        Problem(
            ("task", "columns", "label"),
            "train.tsv has no column 'label'",
            f"{columns}; did you mean 'labels'?",
        ),
        Problem(("task", "where", "categori"), "train.tsv has no column 'categori'", columns),
        Problem(("task", "split", "group"), "train.tsv has no column 'movie'", columns),
    )


def test_a_validation_file_needs_no_group_column() -> None:
    task = task_config(split={"validation": 0.5, "group": "movie"})
    assert [column.name for column in wanted_columns(task, split=False)] == ["text", "label"]


def test_many_columns_are_not_all_listed(tmp_path: Path) -> None:
    path = write(tmp_path / "train.tsv", "\t".join(f"c{i}" for i in range(30)) + "\n")
    assert problems(path)[0].hint.endswith("c18, c19 and 10 more")


def test_missing_columns_of_parquet_and_jsonl(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "train.parquet")
    lines = write(tmp_path / "train.jsonl", '{"a": 1}\n')
    for path in (tmp_path / "train.parquet", lines):
        assert [problem.key[-1] for problem in problems(path)] == ["text", "label"]
        assert problems(path)[0].hint == "columns are: a"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.tsv", b"text\tlabel\n", "train.tsv holds no rows"),
        ("train.jsonl", b"\n", "train.jsonl holds no rows"),
        ("train.csv.bz2", b"text,label\n", "train.csv.bz2 cannot be read: Invalid data stream"),
        (
            "train.tsv.gz",
            gzip.compress(b"text\tlabel\n" + b"a\t0\n" * 99, mtime=0)[:-12],
            "train.tsv.gz cannot be read: Compressed file ended before the end-of-stream marker was reached",
        ),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert problems(tmp_path / name) == (Problem(("task", "train"), message),)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path / "train.tsv")
    assert problem.key == ("task", "train")
    assert "No such file" in problem.message


def test_reading_writes_nothing_to_the_users_home(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", "text,label\na,0\n")
    pq.write_table(pa.table({"text": ["a"], "label": [0]}), tmp_path / "train.parquet")
    home = tmp_path / "home"
    home.mkdir()
    program = """
import sys
from pathlib import Path
from edgeprune.tasks.parsing import DataFile
from edgeprune.tasks.reading import WantedColumn, read_rows
for name in sys.argv[1:]:
    rows = read_rows(DataFile(Path(name), "train"), "auto", [WantedColumn("text", ())])
    assert rows.column("text") == ["a"]
    assert rows.data.cache_files == []
"""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "XDG_"))}
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "train.csv"), str(tmp_path / "train.parquet")],
        check=True,
        env={**kept, "HOME": str(home)},
        timeout=120,
    )
    assert list(home.iterdir()) == []
