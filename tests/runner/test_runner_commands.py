"""The commands are those that the guide tells of, and importing one is not importing all."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeprune.runner.__main__ import COMMANDS, main

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "answer-on-a-device.md"
FOLDER = ROOT / "edgeprune" / "runner"


def test_the_guide_has_every_command() -> None:
    assert re.findall(r"^\| `(\w+)` \|", GUIDE.read_text(encoding="utf-8"), re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_helps(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert f"usage: runner {name} " in capsys.readouterr().out


def test_help_without_a_command_names_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    output = capsys.readouterr().out
    assert all(f"  {name} " in output for name in COMMANDS)


def test_the_selftest_needs_nothing_but_python_until_all_is_there() -> None:
    program = (
        "import sys; import edgeprune.runner.selftest; "
        "print(sorted({'numpy', 'tokenizers', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_packages_that_an_installation_put_beside_it_come_first(tmp_path: Path) -> None:
    """So that a bundle that brought its wheels can be asked by hand."""
    shutil.copytree(FOLDER, tmp_path / "runner", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-I", str(tmp_path / "runner"), "predict", "--text", "a"]
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "numpy.py").write_text("raise SystemExit('ours')\n", encoding="utf-8")
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (1, "ours")
