"""The container: same examples, same bytes, and back."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.errors import EdgepruneError
from edgeprune.tasks.examples import Examples

TEXT = st.text(st.characters(codec="utf-8"))


@st.composite
def examples(draw: st.DrawFn) -> Examples:
    classes = draw(st.lists(TEXT, min_size=2, max_size=5, unique=True))
    rows = draw(st.lists(st.tuples(TEXT, TEXT, st.integers(0, len(classes) - 1)), max_size=12))
    return Examples(
        classes=tuple(classes),
        texts=tuple(text for text, _, _ in rows),
        labels=tuple(label for _, _, label in rows),
        text_pairs=tuple(pair for _, pair, _ in rows) if draw(st.booleans()) else None,
    )


SMALL = Examples(("no", "yes"), ("a", "é\n", "c"), (1, 0, 1))


@given(examples())
def test_load_gives_back_what_was_saved(tmp_path_factory: pytest.TempPathFactory, given: Examples) -> None:
    folder = tmp_path_factory.mktemp("examples")
    given.save(folder)
    again = Examples.load(folder)
    assert again == given
    assert again.fingerprint() == given.fingerprint()


@given(examples(), st.data())
def test_fingerprints_are_equal_only_for_equal_examples(first: Examples, data: st.DataObject) -> None:
    pairless = Examples(first.classes, first.texts, first.labels)
    renamed = Examples((*first.classes[1:], "another"), first.texts, first.labels, first.text_pairs)
    second = data.draw(
        st.sampled_from([first, first.select(range(len(first))), pairless, renamed]) | examples()
    )
    assert (first.fingerprint() == second.fingerprint()) == (first == second)


def test_the_files_are_plain_and_the_fingerprint_is_theirs(tmp_path: Path) -> None:
    SMALL.save(tmp_path / "new" / "folder")
    files = [tmp_path / "new" / "folder" / name for name in ("classes.json", "examples.jsonl")]
    assert files[0].read_text(encoding="utf-8") == '{"classes": ["no", "yes"], "pairs": false, "count": 3}\n'
    assert files[1].read_text(encoding="utf-8") == (
        '{"text": "a", "label": "yes"}\n{"text": "é\\n", "label": "no"}\n{"text": "c", "label": "yes"}\n'
    )
    assert SMALL.fingerprint() == hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


@given(examples(), st.data())
def test_joined_are_the_ones_and_then_the_others(first: Examples, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(first)))
    ones, others = first.select(range(cut)), first.select(range(cut, len(first)))
    assert ones.joined(others) == first


def test_only_examples_of_one_task_are_joined() -> None:
    single = Examples(("a", "b"), ("x",), (0,))
    for other in (Examples(("a", "c"), ("x",), (0,)), Examples(("a", "b"), ("x",), (0,), ("y",))):
        with pytest.raises(EdgepruneError, match="two different tasks"):
            single.joined(other)


def test_select_per_class_and_inputs() -> None:
    picked = SMALL.select([2, 0])
    assert picked == Examples(("no", "yes"), ("c", "a"), (1, 1))
    assert picked.per_class() == {"no": 0, "yes": 2}
    assert list(picked.inputs()) == [("c", ""), ("a", "")]
    pairs = Examples(("no", "yes"), ("a", "b"), (0, 1), ("x", "y"))
    assert pairs.select([1]).text_pairs == ("y",)
    assert list(pairs.inputs()) == [("a", "x"), ("b", "y")]


@pytest.mark.parametrize(
    ("texts", "labels", "pairs", "message"),
    [
        (("a",), (0, 1), None, "1 texts, 1 pairs and 2 labels"),
        (("a",), (0,), (), "1 texts, 0 pairs and 1 labels"),
        (("a",), (2,), None, "labels 2..2 are not ids of 2 classes"),
        (("a",), (-1,), None, "labels -1..-1 are not ids of 2 classes"),
    ],
)
def test_what_is_no_set_of_examples(
    texts: tuple[str, ...], labels: tuple[int, ...], pairs: tuple[str, ...] | None, message: str
) -> None:
    with pytest.raises(EdgepruneError, match=message):
        Examples(("no", "yes"), texts, labels, pairs)


@pytest.mark.parametrize("damage", ["cut", "label", "gone", "garbage", "shape"])
def test_damaged_folders_are_refused(tmp_path: Path, damage: str) -> None:
    SMALL.save(tmp_path)
    rows = tmp_path / "examples.jsonl"
    lines = rows.read_bytes().splitlines(keepends=True)
    if damage == "cut":
        rows.write_bytes(b"".join(lines[:-1]))
    elif damage == "label":
        rows.write_bytes(json.dumps({"text": "a", "label": "maybe"}).encode())
    elif damage == "gone":
        rows.unlink()
    elif damage == "garbage":
        rows.write_bytes(b"\xff")
    else:
        (tmp_path / "classes.json").write_bytes(b"[]")
    with pytest.raises(EdgepruneError) as caught:
        Examples.load(tmp_path)
    assert caught.value.where == str(tmp_path)
