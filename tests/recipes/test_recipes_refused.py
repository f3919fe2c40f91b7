"""What is wrong is said with its place, a hint and the right exit code, never as a traceback."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from recipes_kit import Done, Project

pytestmark = pytest.mark.recipe


@pytest.fixture
def project(recipe: Path, tmp_path: Path) -> Project:
    return Project(recipe, tmp_path / "cache", tmp_path / "runs")


@pytest.fixture
def variation(recipe: Path):
    """A changed copy of the recipe beside it."""
    path = recipe.with_name("variation.yaml")

    def write(before: str, after: str) -> Path:
        text = recipe.read_text()
        assert before in text
        path.write_text(text.replace(before, after))
        return path

    yield write
    path.unlink(missing_ok=True)


def _refused(done: Done, code: int, *patterns: str) -> None:
    assert done.code == code, done
    assert "Traceback" not in done.err + done.out
    for pattern in patterns:
        assert re.search(pattern, done.err), done.err


def test_every_mistake_of_a_recipe_at_once(project: Project, variation) -> None:
    path = variation("epochs: 6, learning_rate: 5e-3", "epohcs: 6, learning_rate: fast")
    for verb in ("validate", "run"):
        _refused(
            project.edgeprune(verb, str(path)),
            2,
            r"variation\.yaml:15:16: stages\.0\.finetune\.epohcs: unknown key 'epohcs'\n  hint: did you mean 'epochs'",
            r"variation\.yaml:15:\d+: stages\.0\.finetune\.learning_rate: should be a valid number, got text 'fast'",
            r"3 problems",
        )


def test_an_impossible_order_of_stages(project: Project, variation) -> None:
    path = variation("  - finetune:", "  - export: {}\n  - finetune:")
    _refused(
        project.edgeprune("run", str(path), "--runs", str(project.runs)),
        2,
        r"variation\.yaml:15:5: stages\.0\.export: 'export' requires 'model', which no earlier stage provides",
        r"hint: put one of these before it: finetune",
    )
    assert not project.runs.exists(), "refused before anything was begun"


def test_a_column_that_the_data_lacks(project: Project, variation) -> None:
    path = variation("text: sentence", "text: sentense")
    _refused(
        project.edgeprune("run", str(path)),
        2,
        r"variation\.yaml:8:13: task\.columns\.text: .*'sentense'",
        r"did you mean 'sentence'",
    )


def test_labels_outside_the_map(project: Project, variation) -> None:
    path = variation("labels: {0: bad, 1: good}", "labels: {0: bad, 2: good}")
    _refused(
        project.edgeprune("run", str(path)),
        2,
        r"variation\.yaml:9:3: task\.labels: train\.tsv: \d+ of 400 rows .*max_unusable allows 1\.00%.*'1' × \d+",
        r"hint: name these values in `labels`",
    )


def test_an_asset_that_cannot_be_had(project: Project) -> None:
    sources = "model.source=[file://no-such-model, $EDGEPRUNE_DATA/no/model]"
    _refused(
        project.run("--set", sources),
        4,
        "file://no-such-model",
        r"\$EDGEPRUNE_DATA/no/model",
        "hint: ",
    )


def test_a_target_of_which_nothing_can_be_compiled_here(project: Project) -> None:
    target = project.recipe.with_name("nothing.yaml")
    target.write_text(
        "name: nothing\ndescription: a board that has none of this\narchitecture: aarch64\n"
        "device: {kind: none}\nbackends: [{backend: openvino, variants: [bf16]}]\nspeeds_up: [head]\n"
    )
    _refused(
        project.run("--set", "targets=[nothing.yaml]"),
        5,
        "nothing that it lists can be compiled",
        "openvino/bf16: ",
    )
