"""Runs of the imitated stages: what is made, what is found, what a failure says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pipeline_kit import ids

from edgeprune import stages
from edgeprune.errors import (
    AssetError,
    EdgepruneError,
    ExitCode,
    Problem,
    RecipeError,
    UnsupportedError,
    UsageError,
)
from edgeprune.pipeline import running
from edgeprune.pipeline.running import PartialResult, RunResult
from edgeprune.stages.contract import Outcome, Work

pytestmark = pytest.mark.usefixtures("imitated")

NODES = [
    "prepare",
    "finetune",
    "export",
    "compile pc/onnxruntime/fp32",
    "compile pc/onnxruntime/int8-dynamic",
    "compile pc/openvino/fp32",
    "measure pc",
    "compile board/onnxruntime/fp32",
]


class Runs:
    """Runs of one recipe in one cache; `events` are the last one's."""

    def __init__(self, recipe: Path, folder: Path) -> None:
        self.recipe = recipe
        self.cache = folder / "cache"
        self.runs = folder / "runs"
        self.events: list[dict[str, Any]] = []

    def __call__(self, *overrides: str, **more: Any) -> RunResult:
        self.events = []
        loaded = running.load(self.recipe, overrides)
        return running.run(loaded, cache=self.cache, runs=self.runs, listeners=[self.events.append], **more)

    def until(self, step: str, *overrides: str) -> PartialResult:
        self.events = []
        loaded = running.load(self.recipe, overrides)
        return running.run_until(
            loaded, step, cache=self.cache, runs=self.runs, listeners=[self.events.append]
        )

    def did(self, kind: str) -> list[str]:
        return ids(self.events, kind)


@pytest.fixture
def run(recipe: Path, tmp_path: Path) -> Runs:
    return Runs(recipe, tmp_path)


def test_everything_is_made_once_and_then_found(run: Runs) -> None:
    first = run(command="edgeprune run tiny.yaml")
    assert run.did("node_started") == run.did("node_finished") == NODES
    assert [event["kind"] for event in run.events][-1] == "run_finished"
    assert (first.exit_code, first.report.verdict) == (0, "pass")
    assert first.report.command == "edgeprune run tiny.yaml"
    second = run()
    assert run.did("node_cached") == NODES
    assert run.did("node_started") == []
    assert [row.cached for row in second.report.stages] == [True] * len(NODES)
    assert [row.seconds for row in second.report.stages] == [row.seconds for row in first.report.stages]
    assert second.report.targets == first.report.targets
    assert second.report.run_id != first.report.run_id


def test_progress_reaches_listeners(run: Runs) -> None:
    run()
    steps = [event for event in run.events if event["kind"] == "node_progress"]
    assert [(event["id"], event["step"], event["total"]) for event in steps] == [
        ("finetune", step, 4) for step in (1, 2, 3, 4)
    ]


def test_only_what_depends_on_a_change_is_made_again(run: Runs) -> None:
    run()
    run("measurement.calls=40")
    assert run.did("node_started") == ["measure pc"]
    run("stages.finetune.epochs=2")
    assert run.did("node_cached") == ["prepare"]
    run("acceptance.max_drop=3", "task.metric=f1")
    assert run.did("node_started") == []


def test_a_change_of_the_data_is_seen(run: Runs) -> None:
    run()
    data = run.recipe.with_name("train.tsv")
    data.write_text(data.read_text() + "1\tmore\n")
    run()
    assert run.did("node_started") == NODES


def test_a_stage_sees_only_what_it_declares(run: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    import pipeline_kit

    from edgeprune import stages

    seen: dict[str, Work] = {}

    def watch(name: str) -> None:
        stage = stages.get(name)
        plain = stage.apply

        def apply(work: Work) -> Outcome:
            seen[name] = work
            assert list(work.output.iterdir()) == []
            return plain(work)

        from dataclasses import replace

        monkeypatch.setattr(pipeline_kit, name.upper(), replace(stage, apply=apply))

    for name in ("prepare", "finetune", "export"):
        watch(name)
    stages.get.cache_clear()
    run()
    assert set(seen["prepare"].assets) == {"train", "validation"}
    assert set(seen["prepare"].sections) == {"task"}
    assert seen["prepare"].inputs == {}
    assert set(seen["finetune"].assets) == {"model"}
    assert set(seen["finetune"].inputs) == {"data"}
    assert (seen["export"].assets, seen["export"].sections) == ({}, {})
    assert seen["export"].inputs["model"].name.startswith("finetune-")
    assert seen["finetune"].scratch.parent == run.cache / "work"


def test_a_damaged_artifact_is_made_again_and_the_report_says_so(run: Runs) -> None:
    run()
    (model,) = run.cache.glob("artifacts/export-*/model.onnx")
    model.write_text("rot")
    report = run().report
    assert run.did("node_started") == ["export"]
    assert model.read_text() == "xxxx seed 1"
    (note,) = [note for note in report.know if note.where == "export"]
    assert "damaged" in note.text
    assert (note.level, [event["where"] for event in run.events if event["kind"] == "note"]) == (
        "warning",
        ["export"],
    )
    assert [note for note in run().report.know if note.where == "export"] == [], "it is whole now"


def test_a_bug_in_a_stage_is_named_with_what_completed(run: Runs) -> None:
    with pytest.raises(EdgepruneError) as caught:
        run("stages.finetune.fail=no luck")
    error = caught.value
    assert (error.exit_code, error.where) == (ExitCode.CRASH, "finetune")
    assert error.message.startswith("ValueError: no luck (pipeline_kit.py:")
    assert "completed: prepare" in error.hint
    assert "the same command goes on" in error.hint
    assert run.events[-1]["kind"] == "run_failed"
    assert run.events[-1]["id"] == "finetune"
    assert not list(run.runs.glob("*/latest")), "an unfinished run is not the latest result"
    run()
    assert run.did("node_cached") == ["prepare"]


def _raise_in_finetune(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    import pipeline_kit

    def refuse(step: int) -> None:
        raise error

    monkeypatch.setattr(pipeline_kit, "_stop_at_gate", refuse)


def _refuse(monkeypatch: pytest.MonkeyPatch, *variants: str) -> None:
    import pipeline_kit

    plain = pipeline_kit.compile_

    def refuse(work: Work) -> Outcome:
        if f"{work.config.backend}/{work.config.variant}" in variants:
            raise UnsupportedError("no such operator: Strange", where="layer 3")
        return plain(work)

    monkeypatch.setattr(pipeline_kit, "COMPILE", replace(pipeline_kit.COMPILE, apply=refuse))


def test_a_candidate_that_cannot_be_compiled_is_refused_and_the_others_are_judged(
    run: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        _refuse(patch, "onnxruntime/int8-dynamic")
        report = run().report
    pc = {row.name: row for row in report.targets[0].variants}
    refused = pc["onnxruntime/int8-dynamic"]
    assert (refused.status, refused.reason) == ("refused", "no such operator: Strange")
    assert refused.quality is None
    assert report.targets[0].chosen == "openvino/fp32"
    assert "onnxruntime/int8-dynamic is left out: no such operator: Strange" in [
        note.text for note in report.know
    ]
    stages.get.cache_clear()
    again = run().report  # nothing is remembered of the refusal
    assert again.targets[0].chosen == "onnxruntime/int8-dynamic"
    assert run.did("node_started") == ["compile pc/onnxruntime/int8-dynamic", "measure pc"]


def test_a_run_that_is_to_stop_at_a_candidate_says_why_it_cannot_be_compiled(
    run: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    _refuse(monkeypatch, "openvino/fp32")
    with pytest.raises(UnsupportedError, match="compile pc/openvino/fp32: layer 3: no such operator"):
        run.until("compile pc/openvino/fp32")


def test_an_error_of_a_stage_keeps_its_kind(run: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    _raise_in_finetune(
        monkeypatch, UnsupportedError("no such operator", where="layer 3", hint="take another")
    )
    with pytest.raises(UnsupportedError) as caught:
        run()
    assert caught.value.where == "finetune: layer 3"
    assert caught.value.hint.startswith("take another")
    assert "completed: prepare" in caught.value.hint


def test_what_a_stage_finds_wrong_in_its_body_is_shown_in_the_recipe(
    run: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = Problem(("epochs",), "2 are too many for this data", "take 1")
    _raise_in_finetune(monkeypatch, RecipeError([problem]))
    with pytest.raises(RecipeError) as caught:
        run()
    (found,) = caught.value.problems
    assert found.path == "stages.0.finetune.epochs"
    assert found.where == f"{run.recipe}:14:16"


def test_an_interrupted_run_goes_on(run: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        _raise_in_finetune(patch, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            run()
    assert (run.events[-1]["kind"], run.events[-1]["message"]) == ("run_failed", "KeyboardInterrupt")
    report = run().report
    (row,) = [row for row in report.stages if row.id == "finetune"]
    assert row.record["steps_of_this_process"] == 3, "one step was done before"
    assert list((run.cache / "tmp").iterdir()) == []


def test_a_stage_that_does_not_write_what_it_promised(run: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    import pipeline_kit

    from edgeprune import stages

    def lazy(work: Work) -> Outcome:
        (work.output / "model.onnx").touch()
        return Outcome()

    from dataclasses import replace

    monkeypatch.setattr(pipeline_kit, "EXPORT", replace(pipeline_kit.EXPORT, apply=lazy))
    stages.get.cache_clear()
    with pytest.raises(EdgepruneError, match=r"export: stage 'export' did not write model\.onnx"):
        run()
    assert not list(run.cache.glob("artifacts/export-*"))


def test_an_asset_that_is_not_there(run: Runs) -> None:
    with pytest.raises(AssetError, match="no-such-model"):
        run("model.source=file://no-such-model")
    assert run.did("node_started") == []


def test_the_run_folder_tells_everything(run: Runs) -> None:
    result = run()
    written = [json.loads(line) for line in (result.folder / "events.jsonl").read_text().splitlines()]
    assert written == [event for event in run.events if event["kind"] != "node_progress"]
    plan = json.loads((result.folder / "plan.json").read_text())["nodes"]
    assert [node["id"] for node in plan] == NODES
    assert [node["key"] for node in plan] == [row.key for row in result.report.stages]
    links = {path.name: path.resolve() for path in (result.folder / "artifacts").iterdir()}
    assert len(links) == len(NODES)
    assert (links["compile-pc-openvino-fp32"] / "variant.json").read_text() == "fp32"
    assert links["finetune"].parent == run.cache / "artifacts"


def test_a_run_that_is_to_stop_early(run: Runs) -> None:
    part = run.until("finetune")
    assert run.did("node_started") == list(part.made) == ["prepare", "finetune"]
    assert [event["total"] for event in run.events if event["kind"] == "node_started"] == [2, 2]
    assert run.events[0]["nodes"] == ["prepare", "finetune"]
    assert (run.events[-1]["kind"], run.events[-1]["until"]) == ("run_stopped", "finetune")
    assert {path.name for path in part.folder.iterdir()} == {
        "artifacts", "events.jsonl", "plan.json", "recipe.yaml",
    }  # fmt: skip
    assert (part.folder / "artifacts" / "finetune").resolve() == part.made["finetune"].artifact.path
    assert not (part.folder.parent / "latest").exists()
    run()
    assert run.did("node_cached") == ["prepare", "finetune"]
    assert run.did("node_started") == NODES[2:]


def test_any_step_of_the_plan_can_be_the_last(run: Runs) -> None:
    latest = run.runs / "tiny" / "latest"
    whole = run()
    for count, step in enumerate(NODES, 1):
        part = run.until(step)
        assert list(part.made) == NODES[:count]
        assert all(item.cached for item in part.made.values())
    assert latest.resolve() == whole.folder


def test_a_step_that_the_plan_does_not_have(run: Runs) -> None:
    with pytest.raises(UsageError, match="has no step 'learn_maks'") as caught:
        run.until("learn_maks", "model.source=file://not-fetched-either")
    assert caught.value.exit_code == ExitCode.USAGE
    assert caught.value.hint == f"its steps are: {', '.join(NODES)}"
    assert not run.runs.exists()


def test_what_went_wrong_on_the_way_is_told_without_a_report_too(run: Runs) -> None:
    model = run.until("finetune").made["finetune"].artifact.path / "model.safetensors"
    model.write_text("rot")
    (note,) = run.until("export").notes
    assert (note.where, "damaged" in note.text) == ("finetune", True)
    with pytest.raises(EdgepruneError, match="no luck"):
        run.until("export", "stages.finetune.fail=no luck")
    assert run.events[-1]["kind"] == "run_failed"
