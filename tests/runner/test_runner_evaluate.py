"""Every answer with its logits, exactly, in a file that is whole or absent."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import runner_bundle_kit

from edgeprune.runner.__main__ import main
from edgeprune.runner.evaluate import parse_label
from edgeprune.runner.examples import InputError

TEXTS = [*runner_bundle_kit.TEXTS, "", "good " * 40]


def _evaluate(bundle: Path, *words: str) -> int:
    return main(["evaluate", "--bundle", str(bundle), "--threads", "1", *words])


@pytest.mark.parametrize("batch", [1, 4])
def test_logits_are_the_models_to_the_bit(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], batch: int
) -> None:
    answerer = runner_bundle_kit.answerer(bundle)
    asked = [(text,) for text in TEXTS]
    starts = range(0, len(asked), batch)
    logits = np.concatenate(
        [answerer.session.run(*answerer.texts.batch(asked[start : start + batch])) for start in starts]
    )
    answers = logits.argmax(1).tolist()
    labels: list[str | int | None] = [
        *answers[:2],
        runner_bundle_kit.LABELS[answers[2]],
        (answers[3] + 1) % 3,
        None,
    ]
    lines = [{"sentence": text, "label": label} for text, label in zip(TEXTS, labels, strict=False)]
    source = runner_bundle_kit.save_lines(tmp_path / "in.jsonl", [*lines, TEXTS[-1]])
    out = tmp_path / "out.jsonl"
    assert _evaluate(bundle, str(source), "--out", str(out), "--batch", str(batch)) == 0
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [list(row) for row in rows] == [["row", "predicted", "logits", "label"]] * len(TEXTS)
    assert [row["row"] for row in rows] == list(range(len(TEXTS)))
    assert [row["predicted"] for row in rows] == answers
    assert [row["label"] for row in rows] == [*answers[:3], (answers[3] + 1) % 3, None, None]
    assert logits.dtype == np.float32
    assert np.array([row["logits"] for row in rows], np.float32).tobytes() == logits.tobytes()
    summary = json.loads(capsys.readouterr().out)
    assert (summary["n"], summary["labelled"], summary["accuracy"]) == (6, 4, 0.75)
    assert summary["seconds"] > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_from_standard_input_to_standard_output(
    pair_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = "".join(json.dumps({"premise": one, "claim": two}) + "\n" for one, two in runner_bundle_kit.PAIRS)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    assert _evaluate(pair_bundle, "-", "--out", "-") == 0
    *rows, summary = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    answerer = runner_bundle_kit.answerer(pair_bundle)
    assert [row["predicted"] for row in rows] == [
        answerer.answer([pair])[0].index for pair in runner_bundle_kit.PAIRS
    ]
    assert (summary["n"], summary["accuracy"]) == (len(runner_bundle_kit.PAIRS), None)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {"sentence": "a", "label": 3},
            "line 2 has the label 3; the classes are negative, positive, neutral",
        ),
        ({"sentence": "a", "label": True}, "line 2 has the label True"),
        ({"sentence": "a", "label": "good"}, "line 2 has the label 'good'"),
        ({"label": 1}, "line 2 lacks 'sentence'"),
    ],
)
def test_a_wrong_line_leaves_the_last_answers_as_they_were(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], value: object, message: str
) -> None:
    source = runner_bundle_kit.save_lines(tmp_path / "in.jsonl", ["good", value])
    out = tmp_path / "out.jsonl"
    out.write_text("answers of before\n", encoding="utf-8")
    assert _evaluate(bundle, str(source), "--out", str(out)) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")
    assert out.read_text(encoding="utf-8") == "answers of before\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_an_answer_that_is_no_number_is_code_5_and_no_file(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgeprune.runner.session import OnnxruntimeSession

    monkeypatch.setattr(
        OnnxruntimeSession, "_answer", lambda self, arrays: np.array([[0, np.nan, 1]], np.float32)
    )
    source = runner_bundle_kit.save_lines(tmp_path / "in.jsonl", ["good"])
    assert _evaluate(bundle, str(source), "--out", str(tmp_path / "out.jsonl")) == 5
    assert "answered with something that is no number" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_a_file_that_cannot_be_written_is_code_2(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = runner_bundle_kit.save_lines(tmp_path / "in.jsonl", ["good"])
    assert _evaluate(bundle, str(source), "--out", str(tmp_path / "gone" / "out.jsonl")) == 2
    assert "out.jsonl cannot be written: No such file" in capsys.readouterr().err


def test_no_example_is_an_empty_file(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = runner_bundle_kit.save_lines(tmp_path / "in.jsonl", [])
    assert _evaluate(bundle, str(source), "--out", str(tmp_path / "out.jsonl")) == 0
    assert (tmp_path / "out.jsonl").read_bytes() == b""
    assert json.loads(capsys.readouterr().out)["accuracy"] is None


def test_names_of_classes_come_before_their_numbers() -> None:
    labels = ["1", "0"]
    assert [parse_label(label, labels) for label in ("1", "0", 1, 0, None)] == [0, 1, 1, 0, None]
    with pytest.raises(InputError):
        parse_label(1.0, labels)
