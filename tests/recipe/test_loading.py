"""Recipes from files: places, extends, --set, and every problem at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.errors import RecipeError, UsageError
from edgeprune.pipeline import running
from edgeprune.recipe.composing import compose
from edgeprune.recipe.document import read_document
from edgeprune.recipe.loading import load_target

GOOD = """\
name: tiny
description: for a test
seed: 1
task:
  type: text-classification
  train: file://train.tsv
  validation: file://validation.tsv
  columns: {text: sentence, label: label}
  labels: {0: bad, 1: good}
model:
  source: file://model
stages:
  - finetune: {epochs: 1, learning_rate: 1e-4}
  - export
targets: [x86]
acceptance: {max_drop: 1}
measurement: {lengths: [real, 16]}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(GOOD)
    return path


def _load(path: Path, *overrides: str):
    return running.load(path, overrides)


def _problems(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        _load(path, *overrides)
    return [str(problem) for problem in caught.value.problems]


def test_a_good_recipe(recipe: Path) -> None:
    loaded = _load(recipe)
    assert [entry.name for entry in loaded.stages] == ["finetune", "export"]
    assert loaded.stages[0].config.learning_rate == 1e-4  # YAML 1.2: a number, not the text "1e-4"
    assert loaded.shell.task.label_names == ["bad", "good"]
    assert loaded.shell.model.source == ["file://model"]


def test_resolved_recipe_loads_to_the_same(recipe: Path, tmp_path: Path) -> None:
    from ruamel.yaml import YAML

    first = _load(recipe)
    again = tmp_path / "again.yaml"
    with again.open("w") as stream:
        YAML(pure=True).dump(first.resolved(), stream)
    assert _load(again).resolved() == first.resolved()


def test_every_problem_at_once_with_its_line(recipe: Path) -> None:
    text = (
        GOOD.replace("epochs: 1,", "epohcs: 1,")
        .replace("seed: 1", "seed: one")
        .replace("type: text-", "type: txt-")
    )
    recipe.write_text(text)
    problems = _problems(recipe)
    assert problems == [
        f"{recipe}:3:1: seed: should be a valid integer, got text 'one'",
        f"{recipe}:5:3: task.type: 'txt-classification' is not allowed here\n"
        "  hint: did you mean 'text-classification'?",
        f"{recipe}:13:5: stages.0.finetune: key 'epochs' is missing\n"
        "  hint: Passes over the training data; may be a fraction.",
        f"{recipe}:13:16: stages.0.finetune.epohcs: unknown key 'epohcs'\n  hint: did you mean 'epochs'?",
    ]


@pytest.mark.parametrize(
    "section", ["task", "model", "stages", "targets", "acceptance", "measurement", "seed"]
)
def test_no_section_has_a_default(recipe: Path, section: str) -> None:
    import re

    recipe.write_text(re.sub(rf"(?m)^{section}:.*\n(?:  .*\n)*", "", GOOD))
    assert any(f"section '{section}' is missing" in problem for problem in _problems(recipe))


def test_unknown_stage(recipe: Path) -> None:
    recipe.write_text(GOOD.replace("- finetune:", "- finetun:"))
    (problem,) = _problems(recipe)
    assert (
        problem
        == f"{recipe}:13:5: stages.0.finetun: there is no stage 'finetun'\n  hint: did you mean 'finetune'?"
    )


def test_malformed_source_is_found_before_anything_runs(recipe: Path) -> None:
    recipe.write_text(GOOD.replace("file://model", "ftp://model"))
    (problem,) = _problems(recipe)
    assert problem.startswith(f"{recipe}:11:3: model.source: ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1", "not valid YAML"),
        ("a: 1\na: 2\n", "not valid YAML"),
        ("- 1\n", "expected a mapping"),
        ("", "is empty"),
        ("<<<<<<< HEAD\na: 1\n=======\na: 2\n>>>>>>> x\n", "merge conflict"),
    ],
)
def test_what_is_no_recipe_at_all(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=words) as caught:
        read_document(path)
    assert str(path) in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        _load(tmp_path / "nothing.yaml")


def test_set(recipe: Path) -> None:
    loaded = _load(
        recipe, "stages.finetune.epochs=2.5", "seed=9", "stages.1.export={opset: 17}", "task.metric=f1"
    )
    assert loaded.stages[0].config.epochs == 2.5
    assert loaded.stages[1].config.opset == 17
    assert (loaded.shell.seed, loaded.shell.task.metric) == (9, "f1")


def test_a_sample_of_the_training_rows(recipe: Path) -> None:
    assert _load(recipe).shell.task.sample is None
    sample = _load(recipe, "task.sample={train: 16000}").shell.task.sample
    assert (sample.train, sample.seed) == (16000, 0)
    assert _load(recipe, "task.sample.train=200", "task.sample.seed=3").shell.task.sample.seed == 3
    assert _load(recipe, "task.sample.train=200", "task.sample=null").shell.task.sample is None
    (problem,) = _problems(recipe, "task.sample.train=0")
    assert "task.sample.train" in problem
    (problem,) = _problems(recipe, "task.sample={seed: 1}")
    assert "key 'train' is missing" in problem


def test_set_can_fill_a_stage_without_a_body(recipe: Path) -> None:
    recipe.write_text(GOOD.replace("  - export\n", "  - export:\n"))
    assert _load(recipe, "stages.export.opset=17").stages[1].config.opset == 17


def test_a_problem_that_set_made_says_so(recipe: Path) -> None:
    (problem,) = _problems(recipe, "stages.finetune.epochs=many")
    assert problem.startswith(
        "--set stages.finetune.epochs=many: stages.0.finetune.epochs: should be a valid number"
    )


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("seed", "not of the form"),
        ("=1", "not of the form"),
        ("stages.finetun.epochs=1", "did you mean 'finetune'"),
        ("seed.x=1", "it has no key 'x'"),
        ("seed=[1", "not valid YAML"),
    ],
)
def test_bad_set(recipe: Path, override: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        _load(recipe, override)
    assert words in str(caught.value)


def test_set_of_a_stage_that_occurs_twice_asks_which(recipe: Path) -> None:
    recipe.write_text(GOOD.replace("  - export\n", "  - export: {}\n  - export: {}\n"))
    with pytest.raises(UsageError, match="2 times"):
        _load(recipe, "stages.export.opset=17")
    assert _load(recipe, "stages.2.export.opset=17").stages[2].config.opset == 17


def test_extends_joins_mappings_and_keeps_places(recipe: Path, tmp_path: Path) -> None:
    child = tmp_path / "child.yaml"
    child.write_text(
        "extends: tiny.yaml\nname: child\ntask:\n  columns:\n    label: lable\nacceptance: {max_drop: lots}\n"
    )
    document = compose(child)
    assert document.data["task"]["columns"] == {"text": "sentence", "label": "lable"}
    assert document.place(("task", "columns", "label")) == f"{child}:5:5"
    assert document.place(("task", "columns", "text")) == f"{recipe}:8:13"
    (problem,) = _problems(child)
    assert problem.startswith(f"{child}:6:14: acceptance.max_drop: ")


def test_extends_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n")
    with pytest.raises(RecipeError, match=r"circle: a\.yaml -> b\.yaml -> a\.yaml"):
        compose(tmp_path / "a.yaml")


def test_extends_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: a\nextends: b.yaml\n")
    with pytest.raises(RecipeError, match=r"a\.yaml:2:1: extends: there is no file"):
        compose(tmp_path / "a.yaml")


_PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-10, 10)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("ab: #'\"-", max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(data=st.dictionaries(st.text("abc", min_size=1, max_size=3), _PLAIN, max_size=4))
def test_reading_is_the_inverse_of_writing(
    tmp_path_factory: pytest.TempPathFactory, data: dict[str, object]
) -> None:
    import json

    path = tmp_path_factory.mktemp("yaml") / "x.yaml"
    path.write_text(json.dumps(data))  # JSON is YAML 1.2
    document = read_document(path)
    assert document.data == data
    assert set(document.places) == set(_paths(data, ()))


def _paths(node: object, key: tuple[object, ...]):
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, value in pairs:
        yield (*key, name)
        yield from _paths(value, (*key, name))


def test_target_with_unknown_variant(tmp_path: Path) -> None:
    path = tmp_path / "board.yaml"
    path.write_text(
        "name: board\ndescription: x\narchitecture: aarch64\ndevice: {kind: none}\n"
        "backends:\n  - {backend: onnxruntim, variants: [fp32]}\n  - {backend: openvino, variants: [fp23]}\n"
        "speeds_up: [head]\n"
    )
    known = {"onnxruntime": ("fp32",), "openvino": ("fp32", "bf16")}
    with pytest.raises(RecipeError) as caught:
        load_target("board.yaml", tmp_path, known)
    assert [str(problem) for problem in caught.value.problems] == [
        f"{path}:6:6: backends.0.backend: there is no backend 'onnxruntim'\n  hint: did you mean 'onnxruntime'?",
        f"{path}:7:36: backends.1.variants.0: backend 'openvino' has no variant 'fp23'\n  hint: did you mean 'fp32'?",
    ]


def test_unknown_target(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no target 'x68'(.|\n)*did you mean 'x86'"):
        load_target("x68", tmp_path)
