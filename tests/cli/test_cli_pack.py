"""`edgeprune pack`: what is printed and the exit codes."""

from __future__ import annotations

from pathlib import Path

import packs_kit
import pytest

from edgeprune.cli.failing import exit_code_of


@pytest.fixture
def project(tmp_path: Path) -> packs_kit.Project:
    return packs_kit.make(tmp_path)


def test_inspect(project: packs_kit.Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(["pack", "inspect", str(project.pack)]) == 0
    said = capsys.readouterr().out
    assert "the checksum is good" in said
    assert "bits a weight" in said


def test_apply(project: packs_kit.Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["pack", "apply", str(project.pack), "--base", str(project.base), "--output"]
    output = tmp_path / "out"
    assert exit_code_of([*words, str(output)]) == 0
    assert capsys.readouterr().out == f"written to {output}\n"
    assert (output / "model.safetensors").is_file()
    assert exit_code_of([*words, str(output)]) == 2
    assert "there already and not empty" in capsys.readouterr().err
    words[4] = str(output)
    assert exit_code_of([*words, str(tmp_path / "again")]) == 2
    assert "made from another base" in capsys.readouterr().err
    words[4] = str(tmp_path / "nothing")
    assert exit_code_of([*words, str(tmp_path / "again")]) == 4
    words[4] = "pypi://broken"
    assert exit_code_of([*words, str(tmp_path / "again")]) == 2


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (None, 2, "cannot be read"),
        (b"something else", 2, "this is no mask pack"),
        (b"EDGEPACK" + bytes([1, 0, 0, 0]) + bytes(100), 1, "damaged"),
        (b"EDGEPACK" + bytes([9, 0, 0, 0]) + bytes(100), 5, "of version 9"),
    ],
)
def test_files_that_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, code: int, said: str
) -> None:
    path = tmp_path / "x.edgepack"
    if content is not None:
        path.write_bytes(content)
    assert exit_code_of(["pack", "inspect", str(path)]) == code
    error = capsys.readouterr().err
    assert said in error
    assert str(path) in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pack", "apply", "x.edgepack"], "Missing option '--base'"),
        (["pack", "inspect"], "Missing argument 'FILE'"),
        (["pack", "inspct", "x"], "No such command 'inspct'"),
    ],
)
def test_a_wrong_command_line(capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert exit_code_of(words) == 2
    assert said in capsys.readouterr().err
