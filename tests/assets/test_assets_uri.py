from __future__ import annotations

import contextlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.assets import check, problems
from edgeprune.assets.asset import Kind
from edgeprune.assets.uri import DataFolderSource, FileSource, HubSource, UriError, WheelSource, parse

HASH = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"


@pytest.mark.parametrize(
    ("uri", "kind", "expected"),
    [
        ("hub://o/n", "model", HubSource("hub://o/n", "model", "o/n")),
        ("hub://o/n@refs/pr/1", "model", HubSource("hub://o/n@refs/pr/1", "model", "o/n", "refs/pr/1")),
        (
            "hub://o/n@v1#config=sst2&split=train",
            "dataset",
            HubSource("hub://o/n@v1#config=sst2&split=train", "dataset", "o/n", "v1", "sst2", "train"),
        ),
        (
            f"pypi://a-b==1.0+cpu/c/d.csv.bz2#sha256={HASH.upper()}",
            "dataset",
            WheelSource(
                f"pypi://a-b==1.0+cpu/c/d.csv.bz2#sha256={HASH.upper()}",
                "dataset", "a-b", "1.0+cpu", "c/d.csv.bz2", HASH,
            ),
        ),
        ("file://../a b#c", "model", FileSource("file://../a b#c", "../a b#c")),
        ("$EDGEPRUNE_DATA/a/b.tsv", "dataset", DataFolderSource("$EDGEPRUNE_DATA/a/b.tsv", "a/b.tsv")),
    ],
)  # fmt: skip
def test_each_form_is_read(uri: str, kind: Kind, expected: object) -> None:
    assert parse(uri, kind) == expected


@pytest.mark.parametrize(
    ("uri", "kind", "says", "hints"),
    [
        ("data/train.tsv", "dataset", "is a plain path", "write file://data/train.tsv"),
        ("", "dataset", "is a plain path", "one of hub://"),
        ("https://example.org/x", "dataset", "unknown scheme 'https'", "one of hub://"),
        (" file://x", "dataset", "white space around it", "one of hub://"),
        ("file://a\0b", "dataset", "control characters", "one of hub://"),
        ("file://", "dataset", "names no path", "file://path"),
        ("$HOME/x", "dataset", "another variable than $EDGEPRUNE_DATA", "$EDGEPRUNE_DATA/path"),
        ("$EDGEPRUNE_DATA", "dataset", "has no path", "$EDGEPRUNE_DATA/path"),
        ("$EDGEPRUNE_DATA/", "dataset", "names no path below", "$EDGEPRUNE_DATA/path"),
        ("$EDGEPRUNE_DATA/a/../../b", "dataset", "leaves the folder", "$EDGEPRUNE_DATA/path"),
        ("$EDGEPRUNE_DATA//etc/passwd", "dataset", "leaves the folder", "$EDGEPRUNE_DATA/path"),
        ("hub://bert", "model", "owner/name", "hub://owner/name"),
        ("hub://o/n@", "model", "owner/name", "hub://owner/name"),
        ("hub://o/n@../x", "model", "owner/name", "hub://owner/name"),
        ("hub://o/n#split=train", "model", "a model takes no '#split=train'", "hub://owner/name"),
        ("hub://o/n#part=x", "dataset", "unknown option 'part=x'", "config=…&split=…"),
        ("hub://o/n#", "dataset", "unknown option ''", "config=…&split=…"),
        ("hub://o/n#split=a&split=b", "dataset", "same option twice", "config=…&split=…"),
        ("hub://o/n#split=train[:10]", "dataset", "must be a plain name", "config=…&split=…"),
        (f"pypi://a/b#sha256={HASH}", "model", "does not pin a package", "package==version"),
        (f"pypi://-r==1/b#sha256={HASH}", "model", "does not pin a package", "package==version"),
        (f"pypi://a==1.*/b#sha256={HASH}", "model", "does not pin a package", "package==version"),
        (f"pypi://a==1#sha256={HASH}", "model", "names no file or folder", "package==version"),
        (f"pypi://a==1/b/../../c#sha256={HASH}", "model", "not a plain relative path", "package==version"),
        (f"pypi://a==1/C:/c#sha256={HASH}", "model", "not a plain relative path", "package==version"),
        (f"pypi://a==1/b\\c#sha256={HASH}", "model", "not a plain relative path", "package==version"),
        ("pypi://a==1/b", "model", "lacks the SHA-256 of its wheel", "pip hash"),
        ("pypi://a==1/b#sha256=12", "model", "64 hexadecimal digits", "pip download"),
    ],
)
def test_a_malformed_source_is_named_and_mended(uri: str, kind: Kind, says: str, hints: str) -> None:
    problem = check(uri, kind)
    assert problem is not None
    assert repr(uri) in problem.message
    assert says in problem.message
    assert hints in problem.hint


def test_problems_stand_at_their_place_in_the_list() -> None:
    found = problems(["file://a", "b", "c"], "dataset", ("task", "train"))
    assert [problem.path for problem in found] == ["task.train.1", "task.train.2"]
    (alone,) = problems(["b"], "dataset", ("task", "train"))
    assert alone.path == "task.train"
    assert problems(["file://a"], "dataset", ("task", "train")) == []


@given(
    st.sampled_from(["", "hub://", "pypi://", "file://", "$EDGEPRUNE_DATA/"]),
    st.text(alphabet="ab/.@#=&:\\$\0 é1") | st.text(),
    st.sampled_from(["model", "dataset"]),
)
def test_any_text_is_read_or_refused_properly(prefix: str, rest: str, kind: Kind) -> None:
    with contextlib.suppress(UriError):
        assert parse(prefix + rest, kind).uri == prefix + rest


@given(st.lists(st.sampled_from(["a", "b.c", "..", ".", "", "é"]), min_size=1, max_size=5))
def test_no_accepted_path_climbs(parts: list[str]) -> None:
    path = "/".join(parts)
    for uri in (f"pypi://a==1/{path}#sha256={HASH}", f"$EDGEPRUNE_DATA/{path}"):
        if check(uri, "dataset") is None:
            source = parse(uri, "dataset")
            assert isinstance(source, WheelSource | DataFolderSource)
            assert ".." not in source.path.split("/")
            assert not source.path.startswith("/")


def test_importing_the_room_imports_no_client_library() -> None:
    program = (
        "import sys, edgeprune.assets\n"
        "heavy = {'datasets', 'filelock', 'huggingface_hub', 'numpy', 'pyarrow', 'requests', 'torch'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
