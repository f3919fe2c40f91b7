"""Quantizers side by side: who is set against whom, the table, and a tiny comparison from end to end."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from peers_int8_entrants import Entrant, attempt
from peers_int8_measuring import Measured, Scores, judged
from peers_int8_peers import NNCF, NNCF_CONTROLLED, ONNXRUNTIME
from peers_int8_sources import examples_of
from peers_int8_table import Overall, against_peers, overall, ratios, rows_of, table, worth_showing

from edgeprune.errors import UnsupportedError
from edgeprune.measurement import statistics
from edgeprune.recipe.schema import Acceptance
from edgeprune.stages.quantize import QUANTIZE, QuantizeConfig
from edgeprune.tasks.examples import Examples

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
N = 200
MILLISECOND = 1_000_000


def measured(name: str, correct: int, milliseconds: float, *, side: Any = "peer") -> Measured:
    labels = np.zeros(N, np.int64)
    answers = (np.arange(N) >= correct).astype(np.int64)
    original = (np.arange(N) >= 180).astype(np.int64)
    difference = statistics.accuracy_difference(labels, original, answers, 0.95)
    calls = {
        "real": np.full((20, 5), int(milliseconds * MILLISECOND)),
        64: np.full((20, 5), int(2 * milliseconds * MILLISECOND)),
    }
    scores = Scores(N, correct, statistics.agreement(original, answers, 0.95), difference)
    return Measured(Entrant(name, side, Path(), how={"a": 1}), scores, calls, 23_000_000, "int8")


def failed(name: str, why: str) -> Measured:
    return Measured(Entrant(name, "peer", None, problem=why))


CASE = [
    measured("openvino/int8", 178, 2.0, side="ours"),
    measured("onnxruntime/int8-dynamic", 170, 1.0, side="ours"),
    measured("onnxruntime/fp32", 178, 4.0, side="ours"),
    measured("fast and wrong", 150, 0.5),
    measured("as accurate", 178, 2.5),
    measured("better and slow", 181, 3.0),
    failed("nncf mixed", "NNCF is not installed: pip install nncf"),
]


def _overall(cases: list[list[Measured]]) -> list[Overall]:
    return overall(cases)[0]


def _named(everyone: list[Overall], name: str) -> Overall:
    return next(row for row in everyone if row.name == name)


def test_only_peers_with_as_many_right_answers_count() -> None:
    everyone = _overall([CASE])
    found = against_peers(_named(everyone, "openvino/int8"), everyone, as_accurate=True)
    assert [(item.length, item.peer) for item in found] == [
        ("real", "as accurate"), (64, "as accurate"), ("all", "as accurate"),
    ]  # fmt: skip
    assert all(item.ratio and item.ratio.estimate == pytest.approx(1.25) for item in found)
    anyone = against_peers(_named(everyone, "openvino/int8"), everyone, as_accurate=False)
    assert {item.peer for item in anyone} == {"fast and wrong"}
    assert anyone[0].ratio is not None
    assert anyone[0].ratio.estimate == pytest.approx(0.25)


def test_the_fastest_peer_may_be_another_at_each_length() -> None:
    slow_when_long = measured("as accurate", 178, 1.0)
    assert slow_when_long.calls is not None
    calls = {"real": slow_when_long.calls["real"], 64: 50 * slow_when_long.calls[64]}
    case = [CASE[0], Measured(slow_when_long.entrant, slow_when_long.scores, calls), CASE[5]]
    everyone = _overall([case])
    found = against_peers(everyone[0], everyone, as_accurate=True)
    assert [item.peer for item in found] == ["as accurate", "better and slow", "better and slow"]


def test_without_a_peer_that_is_as_accurate_there_is_no_ratio() -> None:
    everyone = _overall([[measured("openvino/int8", 199, 2.0, side="ours"), *CASE[3:6]]])
    found = against_peers(everyone[0], everyone, as_accurate=True)
    assert {(item.peer, item.ratio) for item in found} == {(None, None)}
    assert "none" in ratios(found, "title")


def test_accuracy_is_compared_over_all_cases() -> None:
    """Ours has more right answers in one case and fewer in the other; what counts is the sum."""
    first = [measured("ours", 170, 2.0, side="ours"), measured("peer", 172, 1.0)]
    second = [measured("ours", 176, 2.0, side="ours"), measured("peer", 173, 1.0)]
    everyone = _overall([first, second])
    assert against_peers(everyone[0], everyone, as_accurate=True)[0].peer is None
    assert everyone[0].accuracies == (85.0, 88.0)
    assert everyone[0].times["real"].shape == (2, 20, 5)


def test_what_another_of_ours_beats_in_both_is_not_set_against_peers() -> None:
    shown = [row.name for row in worth_showing(_overall([CASE]))]
    assert shown == ["openvino/int8", "onnxruntime/int8-dynamic"]


def test_acceptance_says_what_of_ours_would_ship() -> None:
    found = {row.entrant.name: row for row in judged(CASE, Acceptance(max_drop=4.0, min_speedup=9.0))}
    assert found["openvino/int8"].status == "accepted"
    assert found["openvino/int8"].chosen
    assert found["onnxruntime/fp32"].status == "accepted"
    assert found["onnxruntime/int8-dynamic"].status == "inconclusive"
    assert {found[name].status for name in ("fast and wrong", "nncf mixed")} == {""}
    strict = judged(CASE, Acceptance(max_drop=4.0, min_agreement=0.995))
    assert {row.status for row in strict if row.entrant.side == "ours"} == {"inconclusive", "rejected"}


def test_the_table_names_everyone_and_says_what_is_missing() -> None:
    rows = judged(CASE, Acceptance(max_drop=4.0))
    everyone, problems = overall([rows, rows])
    text = table(everyone, problems, [0.9, 0.9])
    lines = text.splitlines()
    assert lines[0].startswith("original in FP32: 90.00 ± 0.00 % of 200")
    assert lines[3].split() == [
        "model", "accuracy", "%", "points", "agreement", "%", "MB", "real", "lengths", "64", "tokens", "typical",
        "accepted", "chosen",
    ]  # fmt: skip
    assert lines[4].split()[:7] == ["fast", "and", "wrong", "75.00", "±", "0.00", "-15.00"], (
        "the fastest first"
    )
    assert next(line for line in lines if line.startswith("ours: openvino/int8")).endswith("2/2     2/2")
    assert lines[-1] == "not measured: nncf mixed: NNCF is not installed: pip install nncf"
    assert table([], {}, []) == "nothing was measured in every case\n"


def test_one_that_failed_in_a_case_is_not_compared() -> None:
    other = [row if row.entrant.name != "as accurate" else failed("as accurate", "no memory") for row in CASE]
    everyone, problems = overall([CASE, other])
    assert "as accurate" not in {row.name for row in everyone}
    assert problems["as accurate"] == "no memory"


def test_rows_are_plain_data() -> None:
    everyone = _overall([CASE])
    found = against_peers(everyone[0], everyone, as_accurate=True)
    rows = json.loads(json.dumps(rows_of(everyone, {"as_accurate": found})))
    ours = next(row for row in rows if row["name"] == "openvino/int8")
    assert ours["median_ms"] == {"real": pytest.approx(2), "64": pytest.approx(4)}
    assert [item["peer"] for item in ours["peers"]["as_accurate"]] == ["as accurate"] * 3
    assert rows[-1]["peers"]["as_accurate"] == []


def test_peers_have_different_names() -> None:
    names = [peer.name for peer in (*ONNXRUNTIME, *NNCF, *NNCF_CONTROLLED)]
    assert len(set(names)) == len(names)
    assert "onnxruntime static u8s8 per channel, fused" in names
    assert "nncf performance, rest bf16" in names


def test_one_that_cannot_be_made_does_not_stop_the_others(tmp_path: Path) -> None:
    def ours(folder: Path) -> None:
        raise UnsupportedError("this CPU has no bfloat16", hint="another CPU")

    def theirs(folder: Path) -> None:
        raise KeyError("a tensor")

    assert attempt("a", "ours", tmp_path / "a", ours).problem == "this CPU has no bfloat16"
    assert attempt("b", "peer", tmp_path / "b", theirs).problem == "KeyError: 'a tensor'"
    made = attempt("c", "peer", tmp_path / "c", lambda folder: (folder / "x").write_text("y"))
    assert made.folder == tmp_path / "c"
    assert not made.problem


def test_everyone_is_calibrated_on_the_examples_that_our_stage_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeprune.stages import quantizing
    from edgeprune.stages.contract import Work

    texts = tuple(f"text {number}" for number in range(30))
    train = Examples(("bad", "good"), texts, tuple(number % 2 for number in range(30)))
    train.save(tmp_path / "train")
    config = QUANTIZE.config.model_validate(
        {"calibration": {"examples": 7, "seed": 3}, "search": {"examples": 9}}
    )
    assert isinstance(config, QuantizeConfig)
    taken: list[set[str]] = []

    def encode(tokenizer: Any, examples: Examples, length: int) -> Any:
        taken.append(set(examples.texts))
        return SimpleNamespace(lengths=np.array([], np.int64))

    monkeypatch.setattr("edgeprune.tasks.encoding.encode", encode)
    tokenizers = SimpleNamespace(from_pretrained=lambda *_, **__: SimpleNamespace(pad_token_id=0))
    monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace(AutoTokenizer=tokenizers))
    inputs = {"data": tmp_path, "onnx": tmp_path}
    work = Work(config, inputs, {}, {"model.max_length": 8}, 0, tmp_path, tmp_path, lambda **_: None)
    quantizing._batches(work)
    observed, others = examples_of(tmp_path, config)
    assert (len(observed), len(others)) == (7, 9)
    assert taken == [set(observed.texts), set(others.texts)]


def _project(folder: Path) -> Path:
    """A recipe for a target with every kind of variant, and its run."""
    from recipes_kit import write_project

    recipe = write_project(folder)
    target = (
        (folder / "pc.yaml").read_text().replace("[fp32, int8-dynamic]", "[int8-dynamic, int8-static-u8s8]")
    )
    (folder / "pc.yaml").write_text(target.replace("[fp32, bf16]", "[int8]"))
    stage = "  - quantize: {calibration: {examples: 16}, search: {examples: 16}}\n"
    recipe.write_text(recipe.read_text().replace("targets:", f"{stage}targets:"))
    return recipe


def _bench(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    common = ["--cache", str(folder / "cache"), "--runs", str(folder / "runs"), "--lengths", "real", "16"]
    common += ["--results", str(folder / "peers.json"), "--target", str(folder / "project" / "pc.yaml")]
    common += ["--calls", "20", "--warmup", "1", "--threads", "1", "--examples", "40"]
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / "peers_int8.py"), *words[:1], *common, *words[1:]],
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )


@pytest.mark.recipe
def test_a_tiny_comparison_from_end_to_end(tmp_path: Path) -> None:
    recipe = _project(tmp_path / "project")

    done = _bench(tmp_path, str(recipe), "--seeds", "1", "2")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "peers.json").read_text())["rows"]
    assert row["cases"] == ["tiny seed 1", "tiny seed 2"]
    assert row["calibration"] == [16, 16]
    assert "all calibrated on the same 16 training examples" in done.stdout
    models = {item["name"]: item for item in row["models"]}
    assert {name for name, item in models.items() if item["side"] == "ours"} == {
        "onnxruntime/int8-dynamic", "onnxruntime/int8-static-u8s8", "openvino/int8",
    }  # fmt: skip
    for name in ("onnxruntime fp32, fused", "onnxruntime static u8s8 per channel, fused"):
        assert models[name]["n"] == 40
        assert len(models[name]["accuracies"]) == 2
    assert models["onnxruntime fp32, fused"]["agreements"] == [100, 100]
    assert models["openvino/int8"]["how"]["quantize"]["examples"]["calibration"] == 16
    if find_spec("nncf") is None:
        assert row["problems"]["nncf mixed, rest fp32"] == "NNCF is not installed: pip install nncf"
        assert "not measured: nncf mixed, rest fp32: NNCF is not installed" in done.stdout
    else:
        assert models["nncf mixed, rest fp32"]["how"]["subset_size"] == 16
    assert "peer / ours" in done.stdout

    (run, *_) = (tmp_path / "runs" / "tiny").iterdir()
    of_run = _bench(tmp_path, str(run))
    assert of_run.returncode == 0, of_run.stderr
    saved = (run / "artifacts" / "finetune").resolve()
    of_model = _bench(tmp_path, str(saved), "--recipe", str(recipe))
    assert of_model.returncode == 0, of_model.stderr
    rows = json.loads((tmp_path / "peers.json").read_text())["rows"]
    assert [len(item["models"]) for item in rows[1:]] == [len(models)] * 2, "added, not replaced"

    for words, said in (
        ([str(run), "--step", "prepare"], "step 'prepare' gives no classifier"),
        ([str(run), "--step", "distill"], "nothing of a step 'distill'"),
        ([str(run), "--lengths", "99"], "the encoder takes at most 64 tokens, not 99"),
        ([str(run), "--lengths", "long"], "measurement.lengths"),
        ([str(run), "--seeds", "1"], "--seeds is for recipes"),
        ([str(saved)], "give its recipe with --recipe"),
        ([str(tmp_path)], "no recipe, no folder of a run"),
        ([str(run), "--set", "task.metric=f1"], "this compares accuracy"),
        ([str(run), "--target", str(tmp_path / "project" / "board.yaml")], "is not this machine"),
        ([str(run), "--calibration", "0"], "--calibration is at least 1"),
    ):
        refused = _bench(tmp_path, *words)
        assert refused.returncode == 2, (words, refused.stderr)
        assert said in refused.stderr, (words, refused.stderr)
        assert "Traceback" not in refused.stderr
