"""The headline table: values and verdicts from small measured arrays, the README's section, a tiny whole one."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from functools import reduce
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import headline_runs
import numpy as np
import pytest
from headline_adding import added
from headline_findings import ORIGINAL, Facts, SeedMeasured, dense_name, findings, mean_over_seeds
from headline_measuring import full_precision
from headline_promises import PROMISES, Finding, formatted, verdicts
from headline_runs import named, products, seeds_of, shipped
from headline_table import BEGIN, END, console, findings_of, markdown, replaced
from interleaved import streams_of, timed_apart
from peers_int8_entrants import Entrant
from peers_int8_measuring import Measured, scores_of
from peers_int8_table import overall, rows_of

from edgeprune.errors import UsageError
from edgeprune.measurement.reading import Reading
from edgeprune.measurement.statistics import Interval
from edgeprune.report.model import LatencyRow, TargetRow, VariantRow
from edgeprune.tasks.encoding import Encoded

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
N = 200
MILLISECOND = 1_000_000


def answers(correct: int) -> np.ndarray:
    return (np.arange(N) >= correct).astype(np.int64)


LABELS = answers(N)


def measured(name: str, real: float, long: float, correct: int = 180, *, side: Any = "ours") -> Measured:
    calls = {
        "real": np.full((20, 5), int(real * MILLISECOND)),
        64: np.full((20, 5), int(long * MILLISECOND)),
    }
    scores = scores_of(LABELS, answers(180), answers(correct), 0.95)
    return Measured(Entrant(name, side, Path()), scores, calls, 5_000_000, "int8")


def failed(name: str, why: str) -> Measured:
    return Measured(Entrant(name, "peer", None, problem=why))


def of_seed(seed: int, correct: int, *, scale: float = 1.0) -> SeedMeasured:
    timed = [
        measured(ORIGINAL, 15, 30),
        measured(dense_name("onnxruntime"), 4, 8),
        measured(dense_name("openvino"), 5, 9),
        measured("quick when short", 1.5, 6, 90, side="peer"),
        measured("quick when long", 2, 4, side="peer"),
        failed("nncf mixed", "NNCF is not installed: pip install nncf"),
        measured("mobile", 0.5 * scale, 1.0 * scale, correct),
    ]
    scores = {"mobile": timed[-1].scores, "taskpack": scores_of(LABELS, answers(180), answers(179), 0.95)}
    return SeedMeasured(seed, timed, {name: item for name, item in scores.items() if item})


FACTS = {
    "mobile": {
        1: Facts(1, 100.0, 90_000_000, 9_000_000, "onnxruntime"),
        2: Facts(2, 110.0, 90_000_000, 9_000_000, "openvino"),
    },
    "taskpack": {1: Facts(1, 10, 90_000_000, 700_000), 2: Facts(2, 10, 90_000_000, 740_000)},
}
SEEDS = [of_seed(1, 180), of_seed(2, 182, scale=2)]


def by_key(found: list[Finding]) -> dict[Any, Finding]:
    return {(item.key, item.length): item for item in found}


def value(finding: Finding) -> float:
    assert finding.value is not None, finding.problem
    return finding.value.estimate


def test_every_promise_is_in_the_table_whether_it_was_measured_or_not() -> None:
    found = findings(SEEDS, FACTS)
    assert {item.key for item in found} == set(PROMISES)
    assert all(bool(item.problem) == (item.value is None) for item in found)
    left_out = {item.key for item in found if item.problem == "left out"}
    assert left_out == {"tiny accuracy", "tiny peer", "quickstart minutes"}


def test_latency_is_against_the_original_the_same_runtime_and_the_fastest_peer_at_that_length() -> None:
    found = by_key(findings(SEEDS, FACTS))
    assert found["mobile pytorch", "real"].seeds == pytest.approx((30, 15))
    assert value(found["mobile pytorch", "real"]) == pytest.approx((30 * 15) ** 0.5)
    runtime = found["mobile runtime", 64]
    assert runtime.seeds == pytest.approx((8 / 1, 9 / 2)), "the runtime that ships differs by seed"
    assert runtime.rivals == (dense_name("onnxruntime"), dense_name("openvino"))
    assert found["mobile peer", "real"].rivals == ("quick when short",), "however accurate it is"
    assert found["mobile peer", 64].rivals == ("quick when long",)
    assert found["mobile peer", 64].detail == "quick when long: 4.00 ms, mobile: 1.41 ms"
    ratio = found["mobile peer", 64].value
    assert ratio is not None
    assert ratio.low <= ratio.estimate <= ratio.high


def test_accuracy_is_the_mean_of_the_seeds_differences() -> None:
    found = by_key(findings(SEEDS, FACTS))
    mobile = found["mobile accuracy", None]
    assert mobile.seeds == pytest.approx((0, 1))
    assert value(mobile) == pytest.approx(0.5)
    assert mobile.detail == "90.50 %, the original 90.00 % of 200 sentences"
    one = by_key(findings(SEEDS[:1], FACTS))["mobile accuracy", None]
    assert one.value is not None
    assert one.value.method == "Tango's score interval, paired", "one seed: an interval over sentences"


def test_without_peers_or_answers_the_reason_takes_the_value_s_place() -> None:
    bare = [
        SeedMeasured(item.seed, [row for row in item.timed if row.entrant.side == "ours"], {})
        for item in SEEDS
    ]
    found = by_key(findings(bare, FACTS))
    assert found["mobile peer", 64].problem == "there is nothing to compare with in every seed"
    assert found["mobile accuracy", None].problem == "it did not answer in every seed"
    assert value(found["mobile size", None]) == pytest.approx(10)
    broken = [SeedMeasured(1, [*SEEDS[0].timed[:-1], failed("mobile", "no such kernel")], {})]
    assert by_key(findings(broken, FACTS))["mobile peer", None].problem == "no such kernel"


def test_a_mean_over_seeds_has_student_s_interval() -> None:
    found = mean_over_seeds([1.0, 2.0, 3.0])
    assert found.estimate == 2
    assert found.high - 2 == pytest.approx(4.303 / 3**0.5, rel=1e-3), "t with 2 degrees of freedom"
    assert mean_over_seeds([1.5]).low == mean_over_seeds([1.5]).high == 1.5


def _finding(key: str, measured: float | None, problem: str = "") -> Finding:
    interval = None if measured is None else Interval(measured, measured, measured, 0.95, "")
    return Finding(key, "real" if PROMISES[key].each_length else None, interval, problem=problem)


@pytest.mark.parametrize(
    ("key", "measured", "said"),
    [
        ("mobile accuracy", 0.0, "goal met"),
        ("mobile accuracy", -0.5, "floor met"),
        ("mobile accuracy", -0.75, "missed by 0.25 points"),
        ("mobile peer", 5.01, "goal met"),
        ("mobile peer", 2.81, "floor met"),
        ("mobile peer", 2.5, "missed by 0.3×"),
        ("mobile minutes", 60.0, "goal met"),
        ("mobile minutes", 119.0, "floor met"),
        ("mobile minutes", 150.0, "missed by 30 min"),
        ("tiny accuracy", -2.0, "goal met"),
    ],
)
def test_a_value_is_set_against_floor_and_goal(key: str, measured: float, said: str) -> None:
    assert [item.text for item in verdicts([_finding(key, measured)])] == [said]


@pytest.mark.parametrize(
    ("accuracy", "size", "said"),
    [
        (-0.4, 0.7, "floor met"),
        (-0.8, 0.29, "goal met"),
        (-0.8, 0.7, "missed by 0.3 points"),
        (-0.4, 0.8, "missed by 0.05 MB"),
        (-1.5, 1.75, "missed by 1 points and 1 MB"),
        (-0.4, None, "not measured: left out"),
    ],
)
def test_a_pack_is_judged_by_accuracy_and_size_together(
    accuracy: float, size: float | None, said: str
) -> None:
    found = [_finding("taskpack accuracy", accuracy), _finding("taskpack size", size, "left out")]
    assert [item.text for item in verdicts(found)] == [said, said]


def test_values_are_written_with_their_unit() -> None:
    assert formatted(-0.5, "points") == "−0.50"
    assert formatted(0.5, "points") == "+0.50"
    assert formatted(-0.001, "points") == formatted(0, "points") == "0.00"
    assert formatted(2.8, "times") == "2.80×"
    assert formatted(0.75, "MB") == "0.75 MB"
    assert formatted(119.96, "minutes", with_unit=False) == "120.0"


def row(busy: float = 1.0) -> dict[str, Any]:
    from dataclasses import asdict

    everyone, problems = overall([item.timed for item in SEEDS])
    made = {
        "created": 1_800_000_000, "target": "x86", "cpu": "A CPU", "cores": 2, "threads": 2,
        "versions": {"onnxruntime": "1.2", "nncf": "absent"}, "seeds": [1, 2], "n": N, "calls": 300,
        "lengths": ["real", "64"], "others_percent": busy, "notes": ["mobile, seed 1 ships onnxruntime/int8"],
        "findings": [asdict(item) for item in findings(SEEDS, FACTS)], "models": rows_of(everyone, {}),
        "problems": problems, "recipes": ["mobile"], "facts": {"mobile": []}, "scores": {"mobile": [], "tiny": []},
    }  # fmt: skip
    stored: dict[str, Any] = json.loads(json.dumps(made))
    return stored


def test_a_stored_row_gives_the_same_findings() -> None:
    assert findings_of(row()) == findings(SEEDS, FACTS)


def _pack_alone() -> dict[str, Any]:
    """Its accuracy is not that of `SEEDS`, so that one can be told from the other."""
    from dataclasses import asdict

    alone = [
        SeedMeasured(seed, [], {"taskpack": scores_of(LABELS, answers(180), answers(170), 0.95)})
        for seed in (1, 2)
    ]
    found = findings(alone, {"taskpack": FACTS["taskpack"]})
    changes = {
        "created": 1_800_100_000, "findings": [asdict(item) for item in found], "models": [],
        "recipes": ["taskpack"], "facts": {"taskpack": [1]}, "scores": {"taskpack": [2], "mobile": []}, "notes": ["a"],
    }  # fmt: skip
    return row() | json.loads(json.dumps(changes))


def test_a_recipe_that_nothing_is_timed_for_is_added_to_what_was_measured_before() -> None:
    before = row()
    both = added(before, _pack_alone())
    found, earlier = by_key(findings_of(both)), by_key(findings_of(before))
    changed = {key for key in found if found[key] != earlier[key]}
    assert changed == {("taskpack accuracy", None)}, "its size is the same, and the others are as they were"
    assert value(found["taskpack accuracy", None]) == -5.0
    assert (both["created"], both["models"]) == (before["created"], before["models"])
    assert both["recipes"] == ["mobile", "taskpack"]
    assert both["facts"] == {"mobile": [], "taskpack": [1]}
    assert both["scores"] == {"mobile": [], "tiny": [], "taskpack": [2]}
    said = "taskpack: nothing is timed for it; measured apart, 2027-01-16 on A CPU"
    assert both["notes"] == [*before["notes"], "a", said]
    assert added(both, _pack_alone()) == both
    assert "taskpack: accuracy against the original in FP32 | −5.00" in markdown(both)


@pytest.mark.parametrize("change", [{"seeds": [1, 3]}, {"n": 100}, {"target": "pc"}, {"models": [{}]}])
def test_what_was_measured_otherwise_is_not_added(change: dict[str, Any]) -> None:
    with pytest.raises(
        UsageError, match=next(iter(change)) if "models" not in change else "times of another"
    ):
        added(row(), _pack_alone() | change)


def _columns(line: str) -> list[str]:
    return [part.strip() for part in line.split("  ") if part]


def test_the_console_s_table_has_a_line_for_every_promise_and_says_what_is_missing() -> None:
    text = console(row())
    lines = text.splitlines()
    assert lines[0] == "2027-01-15, A CPU, 2 cores, 2 threads, target x86."
    head = next(line for line in lines if line.startswith("what"))
    assert head.split() == ["what", "measured", "(95", "%", "interval)", "each", "seed", "floor", "goal"]
    peer = next(line for line in lines if "best dense low-precision peer, 64 tokens" in line)
    assert _columns(peer)[1:] == ["2.83× (2.00 to 4.00)", "4.00 · 2.00", "2.80×", "5.00×", "floor met"]
    accuracy = next(line for line in lines if line.startswith("mobile: accuracy"))
    assert _columns(accuracy)[1:3] == ["+0.50 ± 0.71 (−5.85 to +6.85)", "0.00 · +1.00"]
    tiny = next(line for line in lines if line.startswith("tiny: accuracy"))
    assert tiny.endswith("not measured: left out")
    assert lines[-2:] == [
        "mobile, seed 1 ships onnxruntime/int8",
        "not measured: nncf mixed: NNCF is not installed: pip install nncf",
    ]
    assert "measure again" not in text
    assert "Others used up to 40 % of the processor: measure again." in console(row(busy=40))


def test_the_readme_s_tables_are_whole_and_name_the_fastest_peers_only() -> None:
    text = markdown(row())
    tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]
    assert len(tables) == 2
    for table in tables:
        assert len({line.count("|") for line in table}) == 1
    assert len(tables[0]) == 2 + len(findings(SEEDS, FACTS))
    peer = next(line for line in tables[0] if "best dense low-precision peer, 64 tokens" in line)
    assert peer.endswith("| floor met | quick when long: 4.00 ms, mobile: 1.41 ms |")
    models = [line.split("|")[1].strip() for line in tables[1][2:]]
    assert models[0] == ORIGINAL
    assert set(models[1:]) == {
        "dense onnxruntime/fp32", "dense openvino/fp32", "quick when short", "quick when long", "mobile",
    }  # fmt: skip
    assert "/tmp" not in text


def test_the_readme_s_section_takes_the_place_between_its_markers() -> None:
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert replaced(text, "new\n\n") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    assert replaced(replaced(text, "one"), "two") == replaced(text, "two")


@pytest.mark.parametrize("text", ["none", BEGIN, f"{END} {BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"])
def test_a_readme_without_its_markers_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no place for the table"):
        replaced(text, "new")


def _variant(name: str, status: Any, ms: float) -> VariantRow:
    latency = [LatencyRow(length="real", batch=1, calls=9, p50_ms=ms, p90_ms=ms, p99_ms=ms, mean_ms=ms)]
    backend, _, precision = name.partition("/")
    return VariantRow(
        name=name, backend=backend, precision=precision, status=status, reason="", latency=latency
    )


def _target(chosen: str | None, *rows: VariantRow) -> TargetRow:
    return TargetRow(
        name="x86", description="", architecture="x86_64", verdict="pass", reason="because", measured=True,
        chosen=chosen, variants=list(rows),
    )  # fmt: skip


def test_what_a_run_chose_is_what_ships() -> None:
    rows = (
        _variant("original", "reference", 9),
        _variant("a/int8", "accepted", 2),
        _variant("b/int8", "accepted", 1),
    )
    assert shipped(_target("a/int8", *rows)) == (rows[1], "")


def test_where_nothing_was_accepted_the_fastest_undecided_variant_stands_for_it_and_a_note_says_so() -> None:
    rows = (
        _variant("a/int8", "rejected", 1),
        _variant("b/int8", "inconclusive", 3),
        _variant("b/fp32", "inconclusive", 4),
    )
    row, note = shipped(_target(None, *rows))
    assert row.name == "b/int8"
    assert note == "no variant was accepted (because); the fastest inconclusive one stands for it"
    with pytest.raises(UsageError, match="measured no variant of target x86: because"):
        shipped(_target(None, _variant("original", "reference", 9)))


def test_names_and_seeds_that_do_not_fit_are_refused() -> None:
    assert named(["mobile=a/b=c"], "--run", ("mobile",)) == [("mobile", Path("a/b=c"))]
    for text in ("mobile", "huge=a"):
        with pytest.raises(UsageError, match="is not NAME=PATH"):
            named([text], "--run", ("mobile",))
    given = {"mobile": {4: Path()}, "tiny": {2: Path()}}
    assert seeds_of(None, given) == [2, 4]
    assert seeds_of(None, {"mobile": {}}) == [1, 2, 3]
    assert seeds_of([4, 2, 1], given) == [1, 2, 4]
    with pytest.raises(UsageError, match="--seeds says"):
        seeds_of([1], given)


def test_a_run_that_is_named_is_not_made_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only what lacks is run: mobile of seed 2."""
    ran: list[tuple[str, int]] = []

    def make(recipe: tuple[str, int], options: Any) -> Path:
        ran.append(recipe)
        return tmp_path / "made"

    def opened(path: Path) -> Any:
        return SimpleNamespace(path=path, shell=SimpleNamespace(seed=1))

    monkeypatch.setattr(headline_runs, "_recipe", lambda path, seed, options: (path.name, seed))
    monkeypatch.setattr(headline_runs, "_made", make)
    monkeypatch.setattr(headline_runs, "open_run", opened)
    monkeypatch.setattr(headline_runs, "_product", lambda name, run, target: run.path)
    options = argparse.Namespace(only=["mobile"], run=[f"mobile={tmp_path}"], recipe=[], seeds=[1, 2])
    found: Any = products(options, "x86")
    assert found == {"mobile": {1: tmp_path, 2: tmp_path / "made"}}
    assert ran == [("bert_sst2_mobile.yaml", 2)]
    options.run *= 2
    with pytest.raises(UsageError, match="two runs of mobile have seed 1"):
        products(options, "x86")
    options.run = [f"tiny={tmp_path}"]
    with pytest.raises(UsageError, match="--only leaves out"):
        products(options, "x86")


def test_the_dense_model_is_compiled_in_fp32_for_every_runtime_of_the_target() -> None:
    from edgeprune.pipeline import running

    plain = full_precision(running.target("x86"))
    assert [(entry.backend, list(entry.variants)) for entry in plain.backends] == [
        ("openvino", ["fp32"]), ("onnxruntime", ["fp32"]),
    ]  # fmt: skip


def _reading(*texts: list[int]) -> Reading:
    lengths = np.array([len(ids) for ids in texts])
    return Reading(Encoded(list(texts), None, lengths, 0, 8), pad_id=0)


class Remembering:
    """Answers nothing and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def run(self, ids: np.ndarray, mask: np.ndarray, types: np.ndarray) -> np.ndarray:
        self.asked.append(ids.tolist())
        return np.zeros((1, 2), np.float32)


def test_every_model_is_timed_on_the_same_texts_as_its_own_tokens() -> None:
    """A cut vocabulary spells a word with other tokens, and perhaps with more of them."""
    readings = {"whole": _reading([9], [8, 7], [6, 5]), "cut": _reading([1], [2, 3], [4, 4, 4])}
    streams = streams_of(readings, ["real", 2], 1)
    assert [batch.ids.tolist() for batch in streams[2]["cut"]] == [[[1, 0]], [[2, 3]]], "fits for both"
    assert len(streams["real"]["whole"]) == len(streams["real"]["cut"]) == 3
    models = {name: Remembering() for name in readings}
    calls = timed_apart(models, streams, calls=3, warmup=0)
    assert {name: list(rows) for name, rows in calls.items()} == {name: ["real", 2] for name in readings}
    assert max(token for ids in models["cut"].asked for token in ids[0]) == 4
    assert [[9]] in models["whole"].asked
    with pytest.raises(UsageError, match="no text has 0 tokens"):
        streams_of(readings, [0], 1)


def _bench(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    common = ["--cache", str(folder / "cache"), "--runs", str(folder / "runs"), "--lengths", "real", "16"]
    common += ["--results", str(folder / "headline.json"), "--target", str(folder / "project" / "pc.yaml")]
    common += ["--calls", "20", "--warmup", "1", "--threads", "1"]
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / "headline.py"), *words, *common],
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


@pytest.mark.recipe
def test_a_tiny_table_from_end_to_end(tmp_path: Path) -> None:
    from recipes_kit import write_project

    whole = write_project(tmp_path / "project")
    text = whole.read_text()
    target = whole.with_name("pc.yaml")
    target.write_text(target.read_text().replace("[fp32, bf16]", "[int8]"))
    cut = whole.with_name("cut.yaml")
    pruned = "  - prune_structure: {budget: {heads: 0.5, ffn: 0.5}, vocabulary: {}}\n  - export"
    quantized = "  - quantize: {calibration: {examples: 16}, search: {examples: 16}}\ntargets:"
    changes = {"name: tiny": "name: cut", "  - export": pruned, "targets:": quantized}
    cut.write_text(reduce(lambda words, change: words.replace(*change), changes.items(), text))
    pack = whole.with_name("pack.yaml")
    masks = "  - learn_masks: {density: 0.5, epochs: 1, batch_size: 16}\n  - export"
    pack.write_text(text.replace("name: tiny", "name: pack").replace("  - export", masks))
    readme = tmp_path / "README.md"
    readme.write_text(f"# a\n{BEGIN}\n{END}\nb\n")
    recipes = ["--recipe", f"mobile={cut}", "--recipe", f"taskpack={pack}"]

    first = _bench(tmp_path, "--only", "mobile", *recipes, "--seeds", "1", "2")
    assert first.returncode == 0, first.stderr
    done = _bench(
        tmp_path, "--only", "taskpack", *recipes, "--seeds", "1", "2", "--add", "--readme", str(readme)
    )
    assert done.returncode == 0, done.stderr
    (stored,) = json.loads((tmp_path / "headline.json").read_text())["rows"]
    found = by_key(findings_of(stored))
    assert stored["seeds"] == [1, 2]
    assert stored["n"] == 120
    for key in (("mobile pytorch", "real"), ("mobile runtime", 16), ("mobile peer", 16)):
        assert value(found[key]) > 0
        assert len(found[key].seeds) == 2
    assert value(found["mobile size", None]) > 0
    assert value(found["taskpack size", None]) > 0
    assert -100 <= value(found["taskpack accuracy", None]) <= 100
    assert found["tiny peer", None].problem == "left out"
    assert "mobile: faster than the best dense low-precision peer, 16 tokens" in done.stdout
    assert readme.read_text().startswith(f"# a\n{BEGIN}\n20")
    assert str(tmp_path) not in readme.read_text()

    again = _bench(tmp_path, "--table")
    assert again.returncode == 0, again.stderr
    assert again.stdout == done.stdout
    runs = sorted(path for path in (tmp_path / "runs" / "cut").iterdir() if not path.is_symlink())
    named_run = _bench(tmp_path, "--only", "mobile", "--run", f"mobile={runs[0]}", "--examples", "40")
    assert named_run.returncode == 0, named_run.stderr
    rows = json.loads((tmp_path / "headline.json").read_text())["rows"]
    assert (rows[1]["seeds"], rows[1]["n"]) == ([1], 40)

    readme.write_text("no markers")
    for words, said in (
        (["--table", "--readme", str(readme)], "no place for the table"),
        (["--table", "--readme", str(tmp_path / "none.md")], "no such file"),
        (["--run", "huge=x"], "is not NAME=PATH"),
        (["--recipe", f"tiny={tmp_path / 'none.yaml'}"], "none.yaml"),
        (["--run", f"mobile={tmp_path}"], "report"),
        (["--examples", "0"], "--examples is at least 1"),
    ):
        refused = _bench(tmp_path, *words)
        assert refused.returncode == 2, (words, refused.stderr)
        assert said in refused.stderr, (words, refused.stderr)
        assert "Traceback" not in refused.stderr
