"""Every format and every way in which a row can be no row."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.errors import RecipeError
from edgeprune.tasks.parsing import DataFile, Table, parse_delimited, parse_jsonl, parse_parquet

WANTED = ("text", "label")


def parsed(folder: Path, name: str, content: bytes, wanted: tuple[str, ...] = WANTED) -> Table:
    path = folder / name
    path.write_bytes(content)
    file = DataFile(path, "train")
    if ".jsonl" in name:
        return parse_jsonl(file, wanted)
    if name.endswith(".parquet"):
        return parse_parquet(file, wanted)
    return parse_delimited(file, wanted, "csv" if ".csv" in name else "tsv")


def broken(table: Table) -> list[tuple[int, str]]:
    return [(entry.line, entry.reason) for entry in table.broken]


def plain(content: bytes) -> bytes:
    return content


class TestTsv:
    def test_quotes_are_characters(self, tmp_path: Path) -> None:
        table = parsed(tmp_path, "a.tsv", b'label\ttext\n1\t"so-called\n0\tsays ""no"" \'twice\'\n')
        assert table.cells["text"] == ['"so-called', 'says ""no"" \'twice\'']
        assert table.lines == [2, 3]

    def test_byte_order_mark_windows_line_ends_and_no_last_line_end(self, tmp_path: Path) -> None:
        table = parsed(tmp_path, "a.tsv", "\ufefftext\tlabel\r\né\t0\r\nb\t1".encode())
        assert table.columns == ["text", "label"]
        assert table.cells == {"text": ["é", "b"], "label": ["0", "1"]}

    def test_wrong_column_counts_have_their_lines(self, tmp_path: Path) -> None:
        table = parsed(tmp_path, "a.tsv", b"text\tlabel\na\t0\nonly text\n\nb\t1\textra\nc\t1\n")
        assert broken(table) == [
            (3, "wrong column count (header has 2)"),
            (5, "wrong column count (header has 2)"),
        ]
        assert table.lines == [2, 6]

    def test_bytes_that_are_no_text_break_only_their_row(self, tmp_path: Path) -> None:
        table = parsed(tmp_path, "a.tsv", b"text\tlabel\na\t0\nb\xff\t1\nc\t1\n")
        assert broken(table) == [(3, "not UTF-8")]
        assert table.cells["text"] == ["a", "c"]

    def test_bytes_that_are_no_text_do_not_matter_in_other_columns(self, tmp_path: Path) -> None:
        table = parsed(tmp_path, "a.tsv", b"text\tnoise\tlabel\na\t\xff\t0\n")
        assert (table.cells["text"], table.broken) == (["a"], [])

    def test_unicode_line_separators_end_no_line(self, tmp_path: Path) -> None:
        table = parsed(tmp_path, "a.tsv", "text\tlabel\na\u2028b\x85c\t0\n".encode())
        assert table.cells["text"] == ["a\u2028b\x85c"]


class TestCsv:
    def test_quotes_and_line_ends_in_cells(self, tmp_path: Path) -> None:
        table = parsed(tmp_path, "a.csv", b'text,label\n"a, ""b""\nc",1\nd,0\n')
        assert table.cells["text"] == ['a, "b"\nc', "d"]
        assert table.lines == [2, 4]

    def test_a_cell_may_be_larger_than_the_limit_of_csv_which_is_put_back(self, tmp_path: Path) -> None:
        before = csv.field_size_limit()
        table = parsed(tmp_path, "a.csv", b"text,label\n" + b"x" * 200_000 + b",1\n")
        assert len(table.cells["text"][0] or "") == 200_000
        assert csv.field_size_limit() == before

    def test_text_behind_a_closing_quote_is_malformed_and_reading_goes_on(self, tmp_path: Path) -> None:
        table = parsed(tmp_path, "a.csv", b'text,label\n"a" b,1\nc,0\n')
        assert broken(table) == [(2, "malformed (',' expected after '\"')")]
        assert table.lines == [3]

    def test_a_quote_never_closed_counts_every_line_it_swallowed(self, tmp_path: Path) -> None:
        table = parsed(tmp_path, "a.csv", b'text,label\na,1\n"b,0\nc,0\nd,1\n')
        assert [line for line, _ in broken(table)] == [3, 4, 5]
        assert table.lines == [2]

    @given(st.lists(st.tuples(st.text(st.characters(codec="utf-8")), st.sampled_from("01")), max_size=20))
    def test_reads_what_csv_writes(
        self, tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
    ) -> None:
        stream = io.StringIO(newline="")
        csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([("text", "label"), *rows])
        table = parsed(tmp_path_factory.mktemp("csv"), "a.csv", stream.getvalue().encode())
        assert table.cells == {"text": [text for text, _ in rows], "label": [label for _, label in rows]}
        assert table.broken == []


class TestJsonl:
    def test_scalars_become_text_and_missing_stays_missing(self, tmp_path: Path) -> None:
        content = b'{"text": "a", "label": 1}\n\n{"text": null, "label": true}\n{"label": -1, "more": []}\n'
        table = parsed(tmp_path, "a.jsonl", content)
        assert table.cells == {"text": ["a", None, None], "label": ["1", "True", "-1"]}
        assert table.lines == [1, 3, 4]
        assert table.columns == ["text", "label", "more"]

    def test_rows_that_are_none(self, tmp_path: Path) -> None:
        lines = [
            b'\xef\xbb\xbf{"text": "a", "label": 1}',
            b'{"text": "a", "label": 1',
            b'["a", 1]',
            b'{"text": ["a"], "label": 1}',
            b'{"text": "\xff", "label": 1}',
            b'{"text": "\\ud800", "label": 1}',
            b"\xff",
            b"[" * 100_000,
        ]
        table = parsed(tmp_path, "a.jsonl", b"\n".join(lines))
        assert table.lines == [1]
        assert broken(table) == [
            (2, "malformed JSON"),
            (3, "not a JSON object"),
            (4, "a cell holds a list, an object or bytes"),
            (5, "not UTF-8"),
            (6, "not UTF-8"),
            (7, "not UTF-8"),
            (8, "malformed JSON"),
        ]

    def test_a_column_that_no_row_has_is_absent(self, tmp_path: Path) -> None:
        assert list(parsed(tmp_path, "a.jsonl", b'{"text": "a"}\n').cells) == ["text"]


class TestParquet:
    def write(self, path: Path, **columns: object) -> DataFile:
        pq.write_table(pa.table(columns), path)
        return DataFile(path, "train")

    def test_integers_and_missing_cells(self, tmp_path: Path) -> None:
        file = self.write(
            tmp_path / "a.parquet", idx=[7, 8], text=["a", None], label=pa.array([0, -1], pa.int8())
        )
        table = parse_parquet(file, WANTED)
        assert table.columns == ["idx", "text", "label"]
        assert table.cells == {"text": ["a", None], "label": ["0", "-1"]}
        assert table.lines == [1, 2]

    def test_categories_read_as_their_values(self, tmp_path: Path) -> None:
        file = self.write(
            tmp_path / "a.parquet", text=["a", "b"], label=pa.array(["x", "y"]).dictionary_encode()
        )
        assert parse_parquet(file, WANTED).cells["label"] == ["x", "y"]

    def test_cells_that_are_no_text(self, tmp_path: Path) -> None:
        file = self.write(tmp_path / "a.parquet", text=[["a"], None], label=[0, 1])
        table = parse_parquet(file, WANTED)
        assert broken(table) == [(1, "a cell holds a list, an object or bytes")]
        assert table.cells["text"] == [None]

    def test_text_that_is_not_utf8(self, tmp_path: Path) -> None:
        text = pa.array([b"a\xff"], pa.binary()).view(pa.string())
        file = self.write(tmp_path / "a.parquet", text=text, label=[0])
        with pytest.raises(RecipeError, match="cannot be read as parquet: 'utf-8' codec"):
            parse_parquet(file, WANTED)

    def test_a_column_that_is_there_twice(self, tmp_path: Path) -> None:
        table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
        pq.write_table(table, tmp_path / "a.parquet")
        with pytest.raises(RecipeError, match=r"a\.parquet has 2 columns called 'text'"):
            parse_parquet(DataFile(tmp_path / "a.parquet", "train"), WANTED)

    def test_a_file_that_is_not_parquet(self, tmp_path: Path) -> None:
        with pytest.raises(RecipeError, match=r"a\.parquet cannot be read as parquet") as caught:
            parsed(tmp_path, "a.parquet", b"text\tlabel\n")
        assert caught.value.problems[0].key == ("task", "train")


@pytest.mark.parametrize(("suffix", "pack"), [("", plain), (".gz", gzip.compress), (".bz2", bz2.compress)])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", b"text\tlabel\na\t0\nb\t1\n"),
        ("a.csv", b"label,text\n0,a\n1,b\n"),
        ("a.jsonl", b'{"text": "a", "label": 0}\n{"text": "b", "label": 1}\n'),
    ],
)
def test_compressed_or_not_gives_the_same(
    tmp_path: Path, name: str, content: bytes, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    table = parsed(tmp_path, name + suffix, pack(content))
    assert table.cells == {
        "text": ["a", "b"],
        "label": ["0", "1"],
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a.tsv is empty: it has no header"),
        (b"text\ttext\tlabel\n", "a.tsv has 2 columns called 'text'"),
        ("text\tlabel\na\t0\n".encode("utf-16"), "a.tsv has a header that is not UTF-8"),
    ],
)
def test_headers_that_cannot_be_used(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parsed(tmp_path, "a.tsv", content)
    assert caught.value.problems[0].message == message
    assert caught.value.problems[0].key == ("task", "train")


@given(
    st.lists(
        st.one_of(
            st.builds(lambda text: json.dumps({"text": text, "label": 1}).encode(), st.text()),
            st.binary(min_size=1, max_size=20).map(lambda raw: raw.replace(b"\n", b"?")).filter(bytes.strip),
        ),
        max_size=10,
    )
)
def test_jsonl_accounts_for_every_line(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    table = parsed(tmp_path_factory.mktemp("jsonl"), "a.jsonl", b"\n".join(lines))
    blank = sum(not line.decode("utf-8", "surrogateescape").removeprefix("\ufeff").strip() for line in lines)
    assert len(table.lines) + len(table.broken) + blank == len(lines)
