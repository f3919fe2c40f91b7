"""Patterns of zeros that no target of a recipe turns into speed."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pipeline_kit
import pytest

from edgeprune import stages
from edgeprune.pipeline import overview, running
from edgeprune.recipe.schema import Section
from edgeprune.stages.contract import Outcome, Stage, Work

imitated = pytest.mark.usefixtures("masked")

EVERYWHERE = "pc/onnxruntime, pc/openvino, board/onnxruntime"


class Masks(Section):
    """Body of the imitated `mask`."""

    granularity: str


def copy(work: Work) -> Outcome:
    (work.output / "model.safetensors").write_bytes((work.inputs["model"] / "model.safetensors").read_bytes())
    return Outcome()


MASK = Stage(
    "mask",
    "make zeros",
    Masks,
    copy,
    ("model",),
    ("model", "masks"),
    pattern=lambda body: body.granularity,
    packs=lambda body: True,
)
CUT = Stage("cut", "take them out", Section, copy, ("model", "masks"), ("model",))


@pytest.fixture
def masked(imitated: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    rows = {"mask": f"{__name__}:MASK", "cut": f"{__name__}:CUT"}
    monkeypatch.setattr(stages, "TABLE", pipeline_kit.TABLE | rows)
    stages.get.cache_clear()
    yield
    stages.get.cache_clear()


def _chain(recipe: Path, *items: str) -> None:
    lines = "".join(f"  - {item}\n" for item in (*items, "export"))
    recipe.write_text(recipe.read_text().replace("  - export\n", lines))


def _warnings(recipe: Path, *overrides: str) -> list[str]:
    return list(running.plan(running.load(recipe, overrides), recipe.parent / "cache").warnings)


@imitated
@pytest.mark.parametrize(
    ("granularity", "words"),
    [
        ("weight", "weight-level zeros"),
        ("block", "blocks of zeros"),
        ("2:4", "2:4 zeros"),
        ("4:8", "4:8 zeros"),
    ],
)
def test_a_pattern_that_nothing_speeds_up_is_told_with_every_place(
    recipe: Path, granularity: str, words: str
) -> None:
    _chain(recipe, f"mask: {{granularity: '{granularity}'}}")
    assert _warnings(recipe) == [f"mask: {words}: no speed-up on {EVERYWHERE}; smaller mask pack only"]


@imitated
def test_one_target_that_speeds_it_up_is_enough(recipe: Path) -> None:
    _chain(recipe, "mask: {granularity: block}")
    assert _warnings(recipe) != []
    board = recipe.with_name("board.yaml")
    board.write_text(board.read_text().replace("[head]", "[block, row]"))
    assert _warnings(recipe) == []


@imitated
def test_heads_and_rows_bring_speed_only_where_a_stage_takes_them_out(recipe: Path) -> None:
    _chain(recipe, "mask: {granularity: head+row}", "cut")
    assert _warnings(recipe) == []
    recipe.write_text(recipe.read_text().replace("  - cut\n", ""))
    assert _warnings(recipe, "targets=[board.yaml]") == [
        "mask: heads of zeros: no speed-up, as no later stage takes them out; smaller mask pack only",
        "mask: rows of zeros: no speed-up on board/onnxruntime; smaller mask pack only",
    ]


@imitated
def test_each_stage_has_its_own_sentence(recipe: Path) -> None:
    _chain(recipe, "mask: {granularity: '2:4'}", "mask: {granularity: weight}")
    assert _warnings(recipe, "targets=[board.yaml]") == [
        "mask: 2:4 zeros: no speed-up on board/onnxruntime; smaller mask pack only",
        "mask-2: weight-level zeros: no speed-up on board/onnxruntime; smaller mask pack only",
    ]


@imitated
def test_what_a_later_stage_takes_out_needs_no_warning(recipe: Path) -> None:
    _chain(recipe, "mask: {granularity: weight}", "cut", "mask: {granularity: '2:4'}")
    assert _warnings(recipe) == [f"mask-2: 2:4 zeros: no speed-up on {EVERYWHERE}; smaller mask pack only"]


@imitated
def test_stages_that_make_no_zeros_are_not_warned_of(recipe: Path) -> None:
    assert _warnings(recipe) == []


@imitated
def test_the_plan_and_the_report_show_it(recipe: Path, tmp_path: Path) -> None:
    _chain(recipe, "mask: {granularity: weight}")
    said = f"mask: weight-level zeros: no speed-up on {EVERYWHERE}; smaller mask pack only"
    stream = io.StringIO()
    overview.show(recipe, [], tmp_path / "cache", stream)
    assert stream.getvalue().splitlines()[-1] == f"Warning: {said}"
    report = running.run(running.load(recipe), cache=tmp_path / "cache", runs=tmp_path / "runs").report
    assert [(note.where, note.level) for note in report.know if note.text == said] == [("plan", "warning")]


UNCUT = "no speed-up, as no later stage takes them out; smaller mask pack only"


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("body", "sentences"),
    [
        (
            "{density: 0.1, epochs: 1}",
            [f"weight-level zeros: no speed-up on {EVERYWHERE}; smaller mask pack only"],
        ),
        (
            "{density: 0.1, epochs: 1, method: movement, granularity: {block: [4, 4]}}",
            [f"blocks of zeros: no speed-up on {EVERYWHERE}; smaller when compressed only"],
        ),
        (
            "{density: 0.5, epochs: 1, granularity: '2:4'}",
            [f"2:4 zeros: no speed-up on {EVERYWHERE}; smaller mask pack only"],
        ),
        (
            "{density: 0.5, epochs: 1, granularity: head+row}",
            [f"heads of zeros: {UNCUT}", f"rows of zeros: {UNCUT}"],
        ),
    ],
)
def test_masks_that_are_learned_say_their_pattern(recipe: Path, body: str, sentences: list[str]) -> None:
    _chain(recipe, f"learn_masks: {body}")
    assert _warnings(recipe) == [f"learn_masks: {sentence}" for sentence in sentences]
