from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_model

import edgeprune.runner
from edgeprune.runner.probe import peak_memory_bytes, read_batch
from edgeprune.runner.variant import RunnerError

FOLDER = Path(edgeprune.runner.__file__).parent


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)


def test_the_probe_answers_with_one_json_line(tmp_path: Path) -> None:
    artifact = tiny_model.save_artifact(tmp_path, "onnxruntime")
    ids, mask, types = tiny_model.batch(2, 9)
    np.savez(tmp_path / "inputs.npz", ids=ids, mask=mask, types=types)
    words = ["probe", "--artifact", str(artifact), "--threads", "1", "--inputs", str(tmp_path / "inputs.npz")]
    done = _run(["-m", "edgeprune.runner", *words])
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert values["shape"] == [2, 9]
    assert 0 < values["import_seconds"] < values["load_seconds"]
    assert values["peak_memory_bytes"] > 2**20


def test_a_copy_under_another_name_runs_without_edgeprune(tmp_path: Path) -> None:
    copy = tmp_path / "program"
    shutil.copytree(FOLDER, copy, ignore=shutil.ignore_patterns("__pycache__"))
    artifact = tiny_model.save_artifact(tmp_path / "artifact", "onnxruntime", max_length=12)
    blocked = (
        "import runpy, sys; sys.modules['edgeprune'] = None; "
        f"sys.argv = ['runner', 'probe', '--artifact', {str(artifact)!r}]; "
        f"runpy.run_path({str(copy)!r}, run_name='__main__')"
    )
    done = _run(["-P", "-c", blocked])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["shape"] == [1, 12]
    assert _run([str(copy), "probe", "--artifact", str(artifact)]).returncode == 0


def test_an_unusable_artifact_is_exit_code_5_and_one_line(tmp_path: Path) -> None:
    done = _run(["-m", "edgeprune.runner", "probe", "--artifact", str(tmp_path / "nowhere")])
    assert done.returncode == 5
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_inputs_that_lack_an_array_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "inputs.npz", ids=np.ones((1, 4), np.int64))
    with pytest.raises(RunnerError, match="mask"):
        read_batch(tmp_path / "inputs.npz")


def test_peak_memory_remembers_what_was_freed() -> None:
    block = np.ones(2**27 // 8)  # 128 MiB
    del block
    assert peak_memory_bytes() > 2**27


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: path.name)
def test_files_are_python_39_and_import_nothing_of_edgeprune(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    absolute = {
        name.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for name in node.names
    } | {
        str(node.module).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == 0
    }
    assert absolute <= set(sys.stdlib_module_names) | {"numpy", "tokenizers", "onnxruntime", "openvino"}
