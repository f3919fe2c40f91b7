"""What a bundle's README says, and that it says no user's words to a shell."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bundle_kit import HOSTILE, content

from edgeprune.bundle.content import Sample
from edgeprune.bundle.text import parse_samples, readme, requirements, sample_lines

README = """\
# tiny-board

    model      onnxruntime/int8-dynamic
    target     board, aarch64
    needs      Python >= 3.9, onnxruntime>=1.19,<2, numpy>=1.26,<3
    processor  any of that architecture
    takes      "sentence"
    labels     "bad", "good"
    recipe     "tiny"
    run        "20261123-000000-abcd"

Python 3.9 or newer, in a virtual environment if the system's Python takes no packages. In this folder:

    python3 -m pip install -r requirements.txt
    python3 runner selftest
    python3 runner predict --text "a text of yours"

"""


def _commands(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if re.match(r" {4}(python3|echo|sh) ", line)]


def test_the_readme_begins_with_three_commands(tmp_path: Path) -> None:
    said = readme(content(tmp_path))
    assert said.startswith(README)
    assert len(_commands(said)) == 3
    assert max(map(len, said.splitlines())) <= 120


def test_wheels_are_installed_without_a_network(tmp_path: Path) -> None:
    said = readme(content(tmp_path, wheels=(tmp_path / "a-1-py3-none-any.whl",)))
    assert _commands(said)[0] == "python3 -m pip install --no-index --no-deps wheels/*.whl"


def test_pairs_are_given_as_json(tmp_path: Path) -> None:
    said = readme(content(tmp_path, columns=("first", "second")))
    assert (
        _commands(said)[2]
        == """echo '["a first text of yours", "a second one"]' | python3 runner predict -"""
    )


def test_features_are_named(tmp_path: Path) -> None:
    assert "processor  avx512_vnni or avx_vnni\n" in readme(
        content(tmp_path, cpu_features=("avx512_vnni|avx_vnni",))
    )


def test_what_the_runner_does_not_answer_for_is_said(tmp_path: Path) -> None:
    said = readme(content(tmp_path, variant="tensorrt/fp16"))
    assert "**The runner does not answer with this model.**" in said
    assert _commands(said) == ["sh model/build.sh"]
    assert "selftest" in said


@pytest.mark.parametrize("word", HOSTILE)
def test_words_of_users_stay_in_the_indented_block(tmp_path: Path, word: str) -> None:
    plain = readme(content(tmp_path / "plain"))
    said = readme(
        content(
            tmp_path / "hostile",
            labels=(word, "good"),
            columns=(word,),
            samples=(Sample((word,), {word: 1.0, "good": 0.0}),),
        )
    )
    different = [
        (mine, theirs)
        for mine, theirs in zip(said.splitlines(), plain.splitlines(), strict=True)
        if mine != theirs
    ]
    assert [mine.split()[0] for mine, _ in different] == ["takes", "labels"]
    assert all(mine.startswith("    ") and mine.isascii() for mine, _ in different)
    assert _commands(said) == _commands(plain)


def test_requirements_are_lines(tmp_path: Path) -> None:
    assert requirements(content(tmp_path)) == "onnxruntime>=1.19,<2\nnumpy>=1.26,<3\n"


def test_samples_are_ascii_lines() -> None:
    samples = tuple(Sample((word, "b"), {word: 0.25, "good": 0.75}) for word in HOSTILE)
    text = sample_lines(samples)
    assert text.isascii()
    assert text.count("\n") == len(samples)
    assert parse_samples(text) == samples
