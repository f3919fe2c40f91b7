"""The small comparison of versions says what the `packaging` library says."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from edgeprune.runner.requirements import (
    installed_version,
    lacking,
    meets,
    parse_requirement,
    parse_version,
)
from edgeprune.runner.variant import RunnerError

NUMBERS = st.lists(st.integers(0, 3), min_size=1, max_size=3).map(lambda parts: ".".join(map(str, parts)))
PUBLIC = st.tuples(
    NUMBERS,
    st.sampled_from(["", "a1", "b0", "rc1", "rc2"]),
    st.sampled_from(["", ".post0", ".post1"]),
    st.sampled_from(["", ".dev0", ".dev3"]),
).map("".join)
VERSIONS = st.tuples(PUBLIC, st.sampled_from(["", "+cpu", "+cu128.1"])).map("".join)
CLAUSES = st.one_of(
    st.tuples(st.sampled_from(["==", "!=", "<=", ">=", "<", ">"]), PUBLIC).map("".join),
    st.tuples(st.sampled_from(["==", "!="]), NUMBERS, st.just(".*")).map("".join),
    st.tuples(st.just("~="), NUMBERS.filter(lambda text: "." in text)).map("".join),
)


@given(PUBLIC, PUBLIC)
def test_order(one: str, other: str) -> None:
    assert (parse_version(one) < parse_version(other)) == (Version(one) < Version(other))
    assert (parse_version(one) == parse_version(other)) == (Version(one) == Version(other))


@given(VERSIONS, st.lists(CLAUSES, max_size=3))
@example("1.dev0", ["<1.post0"])  # early, but not an early form of what is excluded
@example("1.post0.dev0", ["<1.post0"])
@example("1.post0", [">1a1"])  # corrects another release than the one that is excluded
@example("1.post0", [">1.dev0"])
@example("1a1.post0", [">1a1"])
def test_conditions(version: str, clauses: list[str]) -> None:
    text = ",".join(clauses)
    name, parsed = parse_requirement(f"some-library{text}")
    assert name == "some-library"
    assert meets(version, parsed) == SpecifierSet(text, prereleases=True).contains(version), (version, text)


@pytest.mark.parametrize(
    "text", ["v1.0", "1.0.RC1", "1.0-1", "1.0_post2", "2026.4.1-22982-e213", "1.0c2", "1.0.alpha", "1.0dev"]
)
def test_other_spellings(text: str) -> None:
    if text.startswith("2026"):
        with pytest.raises(RunnerError, match="is not a version"):
            parse_version(text)
        return
    canonical = parse_version(str(Version(text)))
    assert parse_version(text) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        ">=1",
        "a b",
        "a>=",
        "a>=x",
        "a>=1;python_version<'4'",
        "a[b]>=1",
        "a @ file://x",
        "a===1",
        "a~=1",
        "a<=1.*",
        "a==1+x",
    ],
)
def test_what_is_not_for_a_bundle_is_refused(text: str) -> None:
    with pytest.raises(RunnerError, match=r"cannot be read|is not a version"):
        parse_requirement(text)


def test_what_is_missing_or_of_the_wrong_version_is_named() -> None:
    here = {"numpy": "2.1.0", "onnxruntime": "1.14.1"}
    wanted = ["numpy>=1.21,<3", "onnxruntime>=1.16", "tokenizers>=0.13", "openvino"]
    assert lacking(wanted, here.get) == [
        "onnxruntime 1.14.1 is installed, but onnxruntime>=1.16 is needed",
        "tokenizers is not installed: pip install 'tokenizers>=0.13'",
        "openvino is not installed: pip install 'openvino'",
    ]


def test_a_module_whose_distribution_has_another_name_is_found(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("modules")
    (folder / "boards_runtime.py").write_text("__version__ = '1.2'\n", encoding="utf-8")
    (folder / "broken_runtime.py").write_text("raise OSError('no such library')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    assert installed_version("boards-runtime") == "1.2"
    assert installed_version("broken-runtime") is None
    assert installed_version("nobody-has-this") is None
    assert installed_version("numpy") is not None
