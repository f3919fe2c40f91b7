"""Everything that can be found wrong without fetching or training, all of it at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune.errors import RecipeError, UnsupportedError, UsageError
from edgeprune.pipeline.validating import validate

pytestmark = pytest.mark.usefixtures("machine")


def _problems(recipe: Path, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        validate(recipe, overrides, recipe.parent / "cache")
    return [f"{problem.where}: {problem.path}" for problem in caught.value.problems]


def _replace(path: Path, *pairs: tuple[str, str]) -> None:
    text = path.read_text()
    for before, after in pairs:
        assert before in text
        text = text.replace(before, after)
    path.write_text(text)


def test_a_good_recipe_says_what_was_checked(recipe: Path) -> None:
    said = validate(recipe, [], recipe.parent / "cache")
    assert said == "2 stages; targets pc, board; 2 training and 2 validation examples"


def test_nothing_is_fetched_to_validate(recipe: Path) -> None:
    said = validate(recipe, ["task.train=hub://nobody/nothing#split=train"], recipe.parent / "cache")
    assert said == "2 stages; targets pc, board; data not checked, as not fetched yet (train)"
    assert not (recipe.parent / "cache").exists()


def test_every_problem_of_the_text_at_once(recipe: Path) -> None:
    _replace(
        recipe,
        ("seed: 1", "seed: -1"),
        ("epochs: 1", "epochs: 0"),
        ("file://model", "flie://model"),
        ("max_drop: 1", "max_dorp: 1"),
    )
    assert _problems(recipe) == [
        f"{recipe}:3:1: seed",
        f"{recipe}:11:3: model.source",
        f"{recipe}:14:16: stages.0.finetune.epochs",
        f"{recipe}:17:1: acceptance",
        f"{recipe}:17:14: acceptance.max_dorp",
    ]


def test_problems_of_targets_and_of_the_chain_at_once(recipe: Path) -> None:
    _replace(recipe, ("  - export\n", ""), ("[pc.yaml, board.yaml]", "[pc.yaml, nowhere]"))
    _replace(
        recipe.with_name("pc.yaml"),
        ("architecture: x86_64", "architecture: x68_64"),
        ("int8-dynamic", "int9"),
    )
    pc = recipe.with_name("pc.yaml")
    assert _problems(recipe) == [
        f"{pc}:3:1: architecture",
        f"{recipe}:14:5: stages.0",
        f"{recipe}:15:20: targets.1",
    ]
    _replace(pc, ("x68_64", "x86_64"))
    assert f"{pc}:6:45: backends.0.variants.1" in _problems(recipe)


def test_two_targets_of_one_name(recipe: Path) -> None:
    assert _problems(recipe, "targets=[pc.yaml, pc.yaml]") == ["--set targets=[pc.yaml, pc.yaml]: targets.1"]


def test_a_column_that_the_data_lack(recipe: Path) -> None:
    _replace(recipe, ("text: sentence", "text: sentense"))
    assert set(_problems(recipe)) == {f"{recipe}:8:13: task.columns.text"}, "in both files"


def test_labels_outside_the_map(recipe: Path) -> None:
    _replace(recipe, ("1: good", "2: good"))
    assert set(_problems(recipe)) == {f"{recipe}:9:3: task.labels"}


def test_lengths_that_the_encoder_does_not_take(recipe: Path) -> None:
    (recipe.parent / "model" / "config.json").write_text(
        '{"model_type": "bert", "max_position_embeddings": 20}'
    )
    assert _problems(recipe) == [f"{recipe}:12:3: model.max_length"]
    assert _problems(recipe, "model.max_length=16", "measurement.lengths=[16, 21]") == [
        "--set measurement.lengths=[16, 21]: measurement.lengths.1"
    ]


def test_a_file_that_is_not_there(recipe: Path) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        validate(recipe.with_name("nothing.yaml"), [], recipe.parent / "cache")


def test_a_target_of_which_nothing_can_be_compiled_here(recipe: Path) -> None:
    _replace(recipe.with_name("board.yaml"), ("onnxruntime, variants: [fp32]", "openvino, variants: [bf16]"))
    with pytest.raises(UnsupportedError, match="'board': nothing that it lists can be compiled here"):
        validate(recipe, [], recipe.parent / "cache")
