"""The tiny recipe through the real command line: what it leaves, and what a second run does again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from recipes_kit import LAYERS, Finished, made

from edgeprune.report import storage

pytestmark = pytest.mark.recipe

CHAIN = ["prepare", "finetune", "export"]
VARIANTS = ["onnxruntime/fp32", "onnxruntime/int8-dynamic", "openvino/fp32", "openvino/bf16"]


def _target(report: dict[str, Any]) -> dict[str, Any]:
    (target,) = report["targets"]
    found: dict[str, Any] = target
    return found


def _variants(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in _target(report)["variants"]}


def _compiled(finished: Finished) -> list[str]:
    """Compile nodes of this machine: all four variants, less what its processor lacks."""
    return [node["id"] for node in finished.report["stages"] if node["stage"] == "compile"]


def test_every_node_is_made_once_in_order(finished: Finished) -> None:
    nodes = [*CHAIN, *_compiled(finished), "measure pc"]
    assert made(finished.events, "node_started") == nodes
    assert made(finished.events, "node_finished") == nodes
    assert [(row["id"], row["cached"]) for row in finished.report["stages"]] == [
        (name, False) for name in nodes
    ]
    assert {
        "compile pc/onnxruntime/fp32",
        "compile pc/onnxruntime/int8-dynamic",
        "compile pc/openvino/fp32",
    } <= set(nodes)


def test_every_variant_is_measured_or_refused_with_its_reason(finished: Finished) -> None:
    variants = _variants(finished.report)
    assert next(iter(variants)) == "original"
    assert sorted(variants) == sorted(["original", *VARIANTS])
    refused = {name for name, row in variants.items() if row["status"] == "refused"}
    assert refused <= {"openvino/bf16"}, "everything else runs on every processor"
    for name in refused:
        assert variants[name]["reason"]
        assert any(name in note["text"] for note in finished.report["know"])
    for name in set(variants) - refused:
        row = variants[name]
        assert [entry["length"] for entry in row["latency"]] == ["real", 16], name
        assert all(0 < entry["p50_ms"] <= entry["p90_ms"] <= entry["p99_ms"] for entry in row["latency"]), (
            name
        )
        throughput = row["throughput"]
        assert 0 < throughput["low"] <= throughput["texts_per_second"] <= throughput["high"], name
        assert (throughput["rounds"], throughput["streams"] >= 1) == (3, True), name
        assert row["quality"]["n"] == 120, name
        assert row["load_seconds"] > 0, name
        assert row["peak_memory_bytes"] > 10e6, name
        assert row["file_bytes"] > 1000, name
        assert row["executed"], name


def test_the_model_learned_and_its_compiled_forms_agree_with_it(finished: Finished) -> None:
    variants = _variants(finished.report)
    assert variants["original"]["quality"]["accuracy"] > 0.8
    for backend in ("onnxruntime/fp32", "openvino/fp32"):
        assert variants[backend]["agreement"] == 1.0
        assert variants[backend]["difference_points"]["estimate"] == 0.0
    assert variants["onnxruntime/int8-dynamic"]["agreement"] > 0.9
    (export,) = [row for row in finished.report["stages"] if row["id"] == "export"]
    assert export["record"]["max_logit_difference"] < 1e-4


def test_the_fastest_accepted_variant_is_chosen(finished: Finished) -> None:
    target = _target(finished.report)
    accepted = [row for row in target["variants"] if row["status"] == "accepted"]
    (chosen,) = [row for row in accepted if row["chosen"]]
    assert (target["verdict"], target["chosen"]) == ("pass", chosen["name"])

    def typical(row: dict[str, Any]) -> float:
        first, second = (entry["p50_ms"] for entry in row["latency"])
        return float(first * second)

    assert typical(chosen) == min(map(typical, accepted))


def test_the_report_says_where_everything_comes_from(finished: Finished) -> None:
    report = finished.report
    assert (report["verdict"], report["exit_code"], report["seed"]) == ("pass", 0, 3)
    assert report["encoder"].startswith(f"bert, {LAYERS} layers, hidden 32")
    assert [row["uri"] for row in report["assets"]] == [
        "file://model",
        "file://data/train.tsv",
        "file://data/validation.tsv",
    ]
    assert all(re.fullmatch("[0-9a-f]{64}", row["sha256"]) for row in report["assets"])
    assert {"edgeprune", "python", "torch", "transformers", "onnxruntime", "openvino"} <= set(
        report["versions"]
    )
    assert report["data"]["train"] == 400
    assert report["data"]["validation"] == 120
    assert report["command"].startswith("edgeprune run ")


def test_the_run_folder_is_whole(finished: Finished) -> None:
    folder = finished.project.runs / "tiny" / "latest"
    assert {"recipe.yaml", "plan.json", "events.jsonl", "report.json", "report.md", "report.html"} <= {
        path.name for path in folder.iterdir()
    }
    links = {path.name: path.resolve() for path in (folder / "artifacts").iterdir()}
    assert (links["finetune"] / "model.safetensors").is_file()
    assert (links["compile-pc-onnxruntime-fp32"] / "variant.json").is_file()
    assert not list((finished.project.cache / "tmp").iterdir()), "outputs in the making"
    assert not list((finished.project.cache / "work").iterdir()), "checkpoints of finished stages"


def test_the_terminal_shows_progress_and_the_verdict(finished: Finished) -> None:
    assert "[2/" in finished.done.err
    assert "+ finetune done in" in finished.done.err
    assert "Traceback" not in finished.done.err + finished.done.out
    assert "PASS" in finished.done.out
    path = Path(finished.done.out.splitlines()[-1].removeprefix("report: "))
    assert (finished.project.recipe.parent / path).is_file()


def test_the_report_is_shown_again_in_every_form(finished: Finished) -> None:
    run = str(finished.project.runs / "tiny" / "latest")
    path = finished.project.edgeprune("report", run, "--html")
    assert path.code == 0
    assert Path(path.out.strip()).read_text().lower().startswith("<!doctype html>")
    assert "PASS" in finished.project.edgeprune("report", run).out


def test_the_html_needs_nothing_from_elsewhere(finished: Finished) -> None:
    text = storage.files_of(finished.project.runs / "tiny" / "latest").html.read_text()
    fetched = re.findall(
        r"""(?:\bsrc|\bsrcset|\bhref|\bdata|@import|url)\s*(?:=|\()\s*["']?([^"'\s)>]+)""", text
    )
    assert [address for address in fetched if not address.startswith(("#", "data:"))] == []
    assert "<script src" not in text
    assert "openvino/fp32" in text


def test_a_second_run_makes_nothing(finished: Finished) -> None:
    again = finished.project.run()
    events = finished.project.events()
    assert again.code == 0
    assert made(events, "node_started") == []
    assert made(events, "node_cached") == [row["id"] for row in finished.report["stages"]]
    report = finished.project.report()
    assert all(row["cached"] for row in report["stages"])
    assert report["targets"] == finished.report["targets"], "the same measurement gives the same words"


def test_another_acceptance_measures_nothing_anew(finished: Finished) -> None:
    again = finished.project.run("--set", "acceptance.max_drop=15", "--set", "acceptance.confidence=0.9")
    assert again.code == 0
    assert made(finished.project.events(), "node_started") == []
    assert "at most 15 may be lost" in _target(finished.project.report())["reason"]


def test_an_impossible_acceptance_is_exit_code_3_with_the_numbers(finished: Finished) -> None:
    refused = finished.project.run("--set", "acceptance.min_speedup=1000")
    assert refused.code == 3
    assert made(finished.project.events(), "node_started") == []
    report = finished.project.report()
    assert (report["verdict"], report["exit_code"]) == ("fail", 3)
    assert _target(report)["chosen"] is None
    for name, row in _variants(report).items():
        if row["status"] not in ("reference", "refused"):
            assert row["status"] == "rejected", name
            assert re.search(
                r"\d\.\d\d× the original's speed .* below the 1000× that is needed", row["reason"]
            ), name
    assert "FAIL" in refused.out
    assert "below the 1000× that is needed" in refused.out
    assert "pc is not accepted" in refused.err


def test_a_changed_stage_reruns_only_what_depends_on_it(finished: Finished) -> None:
    again = finished.project.run("--set", "stages.export.opset=17")
    assert again.code == 0
    events = finished.project.events()
    assert made(events, "node_cached") == ["prepare", "finetune"]
    assert made(events, "node_started") == ["export", *_compiled(finished), "measure pc"]


def test_damaged_artifacts_are_made_again_and_the_report_says_so(finished: Finished) -> None:
    compiled, _ = _artifacts(finished, "compile pc/onnxruntime/fp32")
    prepared, _ = _artifacts(finished, "prepare")
    with (compiled / "model.onnx").open("r+b") as file:
        file.seek(1000)
        file.write(b"\x00damage\x00")
    (prepared / "train" / "examples.jsonl").unlink()
    again = finished.project.run()
    assert again.code == 0
    assert made(finished.project.events(), "node_started") == ["prepare", "compile pc/onnxruntime/fp32"]
    told = {note["where"]: note["text"] for note in finished.project.report()["know"]}
    assert told["prepare"] == told["compile pc/onnxruntime/fp32"]
    assert "damaged" in told["prepare"]
    assert "damaged, so it was made again" in again.err
    assert finished.project.run().code == 0
    assert made(finished.project.events(), "node_started") == []


def _artifacts(finished: Finished, name: str) -> tuple[Path, dict[str, Any]]:
    (row,) = [row for row in finished.report["stages"] if row["id"] == name]
    path = finished.project.cache / "artifacts" / f"{row['stage']}-{row['key']}"
    return path, json.loads((path / "artifact.json").read_text())
