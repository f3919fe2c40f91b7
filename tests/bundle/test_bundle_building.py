"""The same content gives the same bytes, in a folder and in a zip; what is built is read."""

from __future__ import annotations

import os
import string
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bundle_kit import HOSTILE, content, tree
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.bundle.building import build
from edgeprune.bundle.content import Sample
from edgeprune.bundle.reading import opened, read
from edgeprune.errors import EdgepruneError, UsageError
from edgeprune.runner.manifest import read_manifest

TEXTS = st.text(max_size=30) | st.sampled_from(
    HOSTILE
)  # of any Unicode but surrogates, as data files have it
NAMES = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=12).map(
    lambda text: f"n{text}"
)
SHARES = st.floats(0, 1)


@st.composite
def changes(draw: st.DrawFn) -> dict[str, Any]:
    labels = tuple(draw(st.lists(TEXTS, min_size=2, max_size=4, unique=True)))
    columns = tuple(draw(st.lists(TEXTS, min_size=1, max_size=2, unique=True)))
    sample = st.builds(
        Sample,
        st.tuples(*[TEXTS] * len(columns)),
        st.fixed_dictionaries(dict.fromkeys(labels, SHARES)),
    )
    return {
        "labels": labels,
        "columns": columns,
        "samples": tuple(draw(st.lists(sample, max_size=3))),
        "name": draw(NAMES),
        "tolerance": draw(SHARES),
        "cpu_features": tuple(draw(st.lists(NAMES, max_size=2))),
        "provenance": draw(st.dictionaries(TEXTS, TEXTS | st.integers() | st.lists(TEXTS), max_size=3)),
    }


@settings(max_examples=25, deadline=None)
@given(changed=changes())
def test_what_is_built_is_read_and_built_again_the_same(changed: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        given = content(folder / "from", **changed)
        manifest = build(given, folder / "made")
        found = read(folder / "made")
        assert found.manifest == manifest
        assert replace(found.content, model=given.model) == given
        assert {name: path.read_bytes() for name, path in found.content.model.items()} == {
            name: path.read_bytes() for name, path in given.model.items()
        }
        build(found.content, folder / "again")
        assert tree(folder / "again") == tree(folder / "made")
        build(given, folder / "one.zip")
        with opened(folder / "one.zip") as unpacked:
            assert unpacked.manifest == manifest
            build(unpacked.content, folder / "two.zip")
        assert (folder / "two.zip").read_bytes() == (folder / "one.zip").read_bytes()


def test_neither_time_nor_umask_nor_modes_of_the_sources_are_in_it(tmp_path: Path) -> None:
    given = content(tmp_path / "from")
    build(given, tmp_path / "one.zip")
    build(given, tmp_path / "one")
    for path in given.model.values():
        path.chmod(0o700)
        os.utime(path, (1, time.time() - 10**7))
    before = os.umask(0o077)
    try:
        build(given, tmp_path / "two.zip")
        build(given, tmp_path / "two")
    finally:
        os.umask(before)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert {
        f"{path.stat().st_mode & 0o777:o}" for path in (tmp_path / "two").rglob("*") if path.is_file()
    } == {"644"}


def test_what_is_in_it(tmp_path: Path) -> None:
    wheel = tmp_path / "numpy-2.0-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    made = build(content(tmp_path / "from", wheels=(wheel,)), tmp_path / "made")
    assert (tmp_path / "made" / "wheels" / wheel.name).read_bytes() == b"wheel"
    fixed = {"README.md", "requirements.txt", "sample.jsonl", f"wheels/{wheel.name}"}
    fixed |= {f"model/{name}" for name in ("model.onnx", "tokenizer.json", "variant.json")}
    assert {name for name in made.files if not name.startswith("runner/")} == fixed
    program = [name for name in made.files if name.startswith("runner/")]
    assert {"runner/__main__.py", "runner/session.py"} <= set(program)
    assert all(name.endswith(".py") for name in program)
    with zipfile.ZipFile(_zip(tmp_path)) as archive:
        assert {name.split("/")[0] for name in archive.namelist()} == {"tiny-board"}


def _zip(folder: Path) -> Path:
    build(content(folder / "from"), folder / "packed.zip")
    return folder / "packed.zip"


def test_the_runner_in_it_starts_by_itself(tmp_path: Path) -> None:
    build(content(tmp_path / "from"), tmp_path / "made")
    words = [sys.executable, "-B", "-P", "runner", "--help"]
    alone = {"PYTHONPATH": "", "PATH": os.environ["PATH"]}
    done = subprocess.run(words, cwd=tmp_path / "made", capture_output=True, text=True, env=alone)
    assert done.returncode == 0, done.stderr
    assert "probe" in done.stdout
    assert read(tmp_path / "made").manifest.name == "tiny-board"


def test_a_python_that_ran_it_left_caches_that_do_not_matter(tmp_path: Path) -> None:
    build(content(tmp_path / "from"), tmp_path / "made")
    cache = tmp_path / "made" / "runner" / "__pycache__"
    cache.mkdir()
    (cache / "cpu.cpython-311.pyc").write_bytes(b"x")
    build(read(tmp_path / "made").content, tmp_path / "again")
    assert not (tmp_path / "again" / "runner" / "__pycache__").exists()


@pytest.mark.parametrize("name", ["full", "file.zip", "file"])
def test_nothing_is_written_over(tmp_path: Path, name: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    (tmp_path / "file.zip").write_text("mine")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="there already"):
        build(content(tmp_path / "from"), tmp_path / name)
    assert (tmp_path / "file.zip").read_text() == "mine"


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    build(content(tmp_path / "from"), tmp_path / "made")
    assert read_manifest(tmp_path / "made").name == "tiny-board"


@pytest.mark.parametrize("name", ["../up", "a b", "-rf", "", "a/b", "naïve", "$(x)", "a\n"])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    given = content(tmp_path / "from")
    for bad in (
        replace(given, name=name),
        replace(given, model={**given.model, name: given.model["variant.json"]}),
    ):
        with pytest.raises(EdgepruneError, match="is a name that no bundle has"):
            build(bad, tmp_path / "out" / "made")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["made", "made.zip"])
def test_a_failed_build_leaves_nothing(tmp_path: Path, name: str) -> None:
    given = content(tmp_path / "from")
    (tmp_path / "from" / "model.onnx").unlink()
    with pytest.raises(EdgepruneError, match=r"cannot be written: .*model\.onnx"):
        build(given, tmp_path / "out" / name)
    assert list((tmp_path / "out").iterdir()) == []
