"""Texts in, one line of JSON each out, in order, up to the first that cannot be read."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import runner_bundle_kit
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.runner.__main__ import main
from edgeprune.runner.examples import InputError, grouped, parse_example, parse_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def _rows(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def _labels(bundle: Path, texts: list[str]) -> list[str]:
    answerer = runner_bundle_kit.answerer(bundle)
    return [answerer.answer([(text,)])[0].label for text in texts]


def test_texts_of_the_command_line(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [word for text in runner_bundle_kit.TEXTS for word in ("--text", text)]
    assert main(["predict", "--bundle", str(bundle), *words]) == 0
    rows = _rows(capsys.readouterr().out)
    assert [row["label"] for row in rows] == _labels(bundle, runner_bundle_kit.TEXTS)
    for row in rows:
        assert list(row["scores"]) == runner_bundle_kit.LABELS
        assert row["score"] == max(row["scores"].values()) == row["scores"][row["label"]]
        assert sum(row["scores"].values()) == pytest.approx(1)


@pytest.mark.parametrize("batch", ["1", "3"])
def test_lines_of_text_stand_as_they_are(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], batch: str
) -> None:
    texts = ["the film is good", "", '"bad" is [the] word', "$(bad)", "{bad", "badly"]
    (tmp_path / "texts").write_bytes("\ufeff".encode() + "\r\n".join(texts).encode())
    assert main(["predict", "--bundle", str(bundle), str(tmp_path / "texts"), "--batch", batch]) == 0
    assert [row["label"] for row in _rows(capsys.readouterr().out)] == _labels(bundle, texts)


def test_json_in_all_its_forms(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    forms = [
        "bad film",
        ["bad film"],
        {"text": "bad film"},
        {"sentence": "bad film", "text": "good", "id": 3},
    ]
    path = runner_bundle_kit.save_lines(tmp_path / "texts.jsonl", forms)
    assert main(["predict", "--bundle", str(bundle), str(path)]) == 0
    rows = _rows(capsys.readouterr().out)
    assert len(rows) == len(forms)
    assert all(row == rows[0] for row in rows)


def test_pairs(pair_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = "the film is good", "badly"
    forms = [[one, two], {"text": one, "text_pair": two}, {"claim": two, "premise": one}]
    path = runner_bundle_kit.save_lines(tmp_path / "pairs.jsonl", forms)
    assert main(["predict", "--bundle", str(pair_bundle), str(path)]) == 0
    answer = runner_bundle_kit.answerer(pair_bundle).answer([(one, two)])[0]
    assert _rows(capsys.readouterr().out) == [answer.row()] * 3
    assert answer.scores != runner_bundle_kit.answerer(pair_bundle).answer([(two, one)])[0].scores


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "line 3 is not JSON: "),
        (b"", "line 3 is empty"),
        (b"[" * 100_000, "line 3 is nested too deeply"),
        (b"\xff", "line 3 is not UTF-8: invalid start byte at byte 0"),
        (b"3", 'line 3 is int; this model reads {"sentence": …} or a string'),
        (b'["a", "b"]', "line 3 has 2 text(s); this model reads"),
        (b'{"id": 3}', "line 3 lacks 'sentence'; this model reads"),
        (b'{"text": "a", "text_pair": "b"}', "line 3 has 2 text(s)"),
        (b'{"sentence": null}', "line 3 has NoneType where a text should be"),
        (b'"\\ud800"', r"line 3 has half a character ('\ud800'), which is no text"),
    ],
)
@pytest.mark.parametrize("batch", ["1", "4"])
def test_a_line_that_cannot_be_read_is_named_after_those_before_are_answered(
    bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    line: bytes,
    message: str,
    batch: str,
) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_bytes(b'"good"\n"bad"\n' + line + b'\n"good"\n')
    assert main(["predict", "--bundle", str(bundle), str(path), "--batch", batch]) == 2
    said = capsys.readouterr()
    assert [row["label"] for row in _rows(said.out)] == _labels(bundle, ["good", "bad"])
    assert said.err.startswith(f"error: {message}")
    assert len(said.err.splitlines()) == 1


def test_json_that_is_not_announced_is_asked_about(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = b'{"sentence": "good"}\n'
    words = ["predict", "--bundle", str(bundle), "-"]
    said = []
    for form in ([], ["--format", "jsonl"], ["--format", "text"]):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(line)))
        said.append((main([*words, *form]), capsys.readouterr()))
    assert [code for code, _ in said] == [2, 0, 0]
    assert said[0][1].err.startswith("error: line 1 is a JSON object; say --format jsonl, or text")
    labels = _labels(bundle, ["good", line.decode().strip()])
    assert [_rows(output.out)[0]["label"] for _, output in said[1:]] == labels


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give texts either by --text or in a file"),
        (["--text", "a", "file"], "give texts either by --text or in a file"),
        (["nowhere"], "nowhere cannot be read: No such file or directory"),
        (["--text", "a\udcff"], "has half a character"),
    ],
)
def test_what_is_wrong_with_the_words(
    bundle: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["predict", "--bundle", str(bundle), *words]) == 2
    assert message in capsys.readouterr().err


def test_a_text_alone_is_no_pair(pair_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--bundle", str(pair_bundle), "--text", "good"]) == 2
    wanted = "error: --text 'good' is one text, but this model reads pairs (premise, claim)"
    assert wanted in capsys.readouterr().err


def test_a_folder_that_is_no_bundle_is_code_5(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--bundle", str(tmp_path), "--text", "good"]) == 5
    assert "is no bundle: it has no manifest.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["predict", "--batch", "0"], ["predict", "--threads", "x"], ["predikt"], []]
)
def test_other_wrong_words_are_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "usage: runner" in capsys.readouterr().err


@settings(max_examples=40)
@given(JSON, st.sampled_from([("sentence",), ("premise", "claim")]))
def test_any_value_is_texts_or_an_error_of_ours(value: Any, columns: tuple[str, ...]) -> None:
    try:
        texts = parse_example(value, columns)
    except InputError:
        return
    assert len(texts) == len(columns)
    assert all(text.encode() is not None for text in texts)


@given(st.text())
def test_any_line_is_json_or_an_error_of_ours(line: str) -> None:
    try:
        value = parse_json(line)
    except InputError:
        return
    assert json.dumps(value) == json.dumps(json.loads(line))


@given(st.integers(0, 9), st.integers(1, 4), st.booleans())
def test_groups_keep_order_and_what_came_before_an_error(count: int, size: int, broken: bool) -> None:
    def examples() -> Any:
        yield from ((str(number),) for number in range(count))
        if broken:
            raise InputError("no more")

    found: list[list[tuple[str, ...]]] = []
    try:
        for group in grouped(examples(), size):
            found.append(group)  # noqa: PERF402 - what came before the error is wanted
        ended = False
    except InputError:
        ended = True
    assert ended == broken
    assert [int(text) for group in found for (text,) in group] == list(range(count))
    assert all(len(group) == size for group in found[:-1])


def _process(bundle: Path, *words: str, **more: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", str(bundle / "runner"), *words]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(command, **pipes, **more)  # type: ignore[call-overload, no-any-return]


def test_a_bundle_answers_in_place_while_its_input_goes_on(bundle: Path, tmp_path: Path) -> None:
    """Run as a folder from elsewhere, in a locale without UTF-8, with edgeprune out of reach."""
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONPATH": ""}
    with _process(bundle, "predict", "-", "--threads", "1", cwd=tmp_path, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for text in ("the film is good", "Ünïcode 👍"):
            process.stdin.write(f"{text}\n".encode())
            process.stdin.flush()
            assert [json.loads(process.stdout.readline())["label"]] == _labels(bundle, [text])
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait(60) == 0


def test_a_reader_who_has_enough_is_no_error(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "texts").write_text("good\n" * 5000, encoding="utf-8")
    with _process(bundle, "predict", str(tmp_path / "texts")) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 0
        assert process.stderr.read() == b""
