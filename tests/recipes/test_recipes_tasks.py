"""Sentence pairs, three classes, JSON lines, a split, another metric: one run with all of them."""

from __future__ import annotations

import pytest
from recipes_kit import Project, made, write_model, write_pairs

pytestmark = pytest.mark.recipe

RECIPE = """\
extends: base.yaml
description: which of three things the second sentence says
task:
  train: file://data/pairs.jsonl
  validation: null
  split: {validation: 0.2, seed: 1}
  columns: {text: first, text_pair: second, label: verdict}
  metric: matthews
  max_unusable: 0.05
stages:
  - finetune: {epochs: 6, learning_rate: 5e-3, batch_size: 32, checkpoint_steps: 1000}
  - export: {check_examples: 8}
acceptance: {max_drop: 30, min_agreement: 0.5}
measurement: {batch: 4, lengths: [real], calls: 20, throughput_seconds: 0}
"""

BASE = """\
name: tiny
description: to be changed
seed: 3
task:
  type: text-classification
  train: file://nowhere.tsv
  columns: {text: sentence, label: label}
  labels: {b: negative, g: positive, m: neutral}
model: {source: [file://no-such-model, file://model], max_length: 32}
targets: [../targets/here.yaml]
"""

TARGET = """\
name: here
description: this machine, one runtime
architecture: %s
device: {kind: local, threads: 1}
backends: [{backend: onnxruntime, variants: [fp32]}]
speeds_up: [head]
"""


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Project:
    from edgeprune.runner.cpu import describe

    folder = tmp_path_factory.mktemp("pairs")
    (folder / "recipes").mkdir()
    (folder / "targets").mkdir()
    write_model(folder / "recipes" / "model")
    data = folder / "recipes" / "data" / "pairs.jsonl"
    write_pairs(data, 500, seed=2)
    with data.open("a") as file:
        file.write(
            '{"first": "a film .", "second": "", "verdict": "b"}\n{"first": "x", "second": "y", "verdict": "z"}\n'
        )
    (folder / "targets" / "here.yaml").write_text(TARGET % describe().architecture)
    (folder / "recipes" / "base.yaml").write_text(BASE)
    recipe = folder / "recipes" / "pairs.yaml"
    recipe.write_text(RECIPE)
    project = Project(recipe, folder / "cache", folder / "runs")
    done = project.run()
    assert done.code == 0, done.err
    return project


def test_pairs_of_three_classes_are_learned_and_measured(pairs: Project) -> None:
    report = pairs.report()
    original, variant = report["targets"][0]["variants"]
    assert report["metric"] == "matthews"
    assert original["quality"]["f1_average"] == "macro"
    assert original["quality"]["matthews"] > 0.5
    assert variant["agreement"] == 1.0
    assert variant["latency"][0]["batch"] == 4
    assert original["quality"]["n"] == report["data"]["validation"] == 100
    assert report["data"]["labels"] == ["negative", "positive", "neutral"]


def test_rows_that_cannot_be_used_are_in_the_report(pairs: Project) -> None:
    rows = {row["reason"]: row for row in pairs.report()["data"]["unusable"]}
    assert sum(row["count"] for row in rows.values()) == 2
    assert any("pairs.jsonl:501" in place for place in rows["empty text_pair"]["places"])
    assert any("unknown label" in reason and "'z'" in reason for reason in rows)


def test_the_source_that_served_is_in_the_report(pairs: Project) -> None:
    (note,) = [note for note in pairs.report()["know"] if note["where"] == "asset model"]
    assert note["text"].startswith("served by file://model, after: file://no-such-model: ")


def test_labels_are_names_in_the_model_that_ships(pairs: Project) -> None:
    import json

    variant = json.loads((pairs.artifact("compile") / "variant.json").read_text())
    assert variant["labels"] == ["negative", "positive", "neutral"]
    assert made(pairs.events(), "node_finished")[-1] == "measure here"
