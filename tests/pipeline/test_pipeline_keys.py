"""Cache keys: the hash of everything that a result depends on, and of nothing else."""

from __future__ import annotations

import hashlib
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.assets.contents import file_sha256
from edgeprune.pipeline import keys

_SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
_DATA = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def _reversed(value: Any) -> Any:
    """The same data with the keys of every mapping in another order."""
    if isinstance(value, dict):
        return {name: _reversed(value[name]) for name in reversed(value)}
    return [_reversed(item) for item in value] if isinstance(value, list) else value


@settings(max_examples=40)
@given(_DATA)
def test_the_order_of_keys_does_not_matter(data: Any) -> None:
    assert keys.digest(_reversed(data)) == keys.digest(data)


@settings(max_examples=40)
@given(_DATA, _DATA)
def test_other_data_have_another_digest(one: Any, other: Any) -> None:
    same = keys.digest(one) == keys.digest(other)
    assert same == (repr(_sorted(one)) == repr(_sorted(other)))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def test_a_digest_is_the_same_tomorrow() -> None:
    text = '{"a":[1,2.5,null],"b":"\\u00e9"}'
    assert keys.digest({"b": "é", "a": [1, 2.5, None]}) == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Path("x"), {1, 2}])
def test_what_has_no_exact_text_is_refused(value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        keys.digest({"value": value})


def test_file_hash(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert file_sha256(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of some rooms of edgeprune, which may be changed."""
    for room in ("stages", "tasks"):
        shutil.copytree(keys._PACKAGE / room, tmp_path / "edgeprune" / room)
    monkeypatch.setattr(keys, "_PACKAGE", tmp_path / "edgeprune")
    monkeypatch.setattr(keys, "code_hash", keys.code_hash.__wrapped__)  # without its memory
    return tmp_path / "edgeprune"


def test_code_is_hashed_by_content(package: Path) -> None:
    before = keys.code_hash(("stages.export", "tasks"))
    assert keys.code_hash(("tasks", "stages.export", "tasks.encoding")) == before, (
        "order and repetition are nothing"
    )
    assert keys.code_hash(("stages.export",)) != before

    unrelated = package / "stages" / "finetune.py"
    unrelated.write_text(unrelated.read_text() + "# more\n")
    assert keys.code_hash(("stages.export", "tasks")) == before

    for name in ("stages/export.py", "tasks/encoding.py"):
        text = (package / name).read_text()
        (package / name).write_text(text + "# more\n")
        assert keys.code_hash(("stages.export", "tasks")) != before, name
        (package / name).write_text(text)
    assert keys.code_hash(("stages.export", "tasks")) == before

    (package / "tasks" / "new.py").write_text("")
    assert keys.code_hash(("stages.export", "tasks")) != before, "a new file of a package"


def test_a_moved_source_is_other_code(package: Path) -> None:
    before = keys.code_hash(("tasks",))
    (package / "tasks" / "encoding.py").rename(package / "tasks" / "encoder.py")
    assert keys.code_hash(("tasks",)) != before


def test_compiled_python_is_no_source(package: Path) -> None:
    before = keys.code_hash(("tasks",))
    (package / "tasks" / "__pycache__").mkdir(exist_ok=True)
    (package / "tasks" / "__pycache__" / "x.pyc").write_bytes(b"1")
    assert keys.code_hash(("tasks",)) == before


@pytest.mark.parametrize("name", ["stages.nothing", "nothing", "tasks.encoding.encode"])
def test_code_that_is_not_there_is_an_error(package: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError):
        keys.code_hash((name,))


def test_library_versions() -> None:
    found = keys.library_versions(("pytest", "no-such-library", "click"))
    assert found == {"click": version("click"), "no-such-library": "absent", "pytest": version("pytest")}
    assert list(found) == sorted(found)
