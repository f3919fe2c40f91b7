"""The emulator for real: made through apt and pip, and used. Minutes; needs QEMU, apt and a PyPI index."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeprune import runner
from edgeprune.devices import emulation
from edgeprune.devices.addresses import parse_address
from edgeprune.devices.emulator import Emulator
from edgeprune.errors import DeviceError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("qemu-aarch64-static") is None, reason="qemu-user-static is not installed"
    ),
    pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt here"),
]

# What the process that runs pytest was given; the fixture of tests/conftest.py replaces it.
GIVEN_CACHE = os.environ.get("EDGEPRUNE_CACHE")
CLASSES, HIDDEN, WORDS = 3, 48, 97

_ANSWER = """
import json, sys
sys.path.insert(0, sys.argv[1])
from runner.session import open_session
import numpy as np
batch = np.load(sys.argv[2])
session = open_session(sys.argv[3], 1)
print(json.dumps(session.run(batch["ids"], batch["mask"], batch["types"]).tolist()))
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the emulator in it; the given one, so that it is made once for all tests."""
    folder = Path(GIVEN_CACHE) if GIVEN_CACHE else tmp_path_factory.mktemp("cache")
    emulation.prepare(folder)
    return folder


@pytest.fixture
def emulator(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(cache))
    return Emulator("emulator", parse_address("emulator"))


def save_model(folder: Path, *, quantized: bool) -> Path:
    """A compiled classifier with a linear layer between embeddings and head, in FP32 or dynamic INT8."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime.quantization import quantize_dynamic

    from edgeprune.runner.variant import Variant, write_variant

    random = np.random.default_rng(3)
    shapes = {"words": (WORDS, HIDDEN), "dense": (HIDDEN, HIDDEN), "head": (HIDDEN, CLASSES)}
    weights = [
        numpy_helper.from_array((random.normal(size=shape) / 4).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Gather", ["words", "input_ids"], ["embedded"]),
        helper.make_node("MatMul", ["embedded", "dense"], ["mixed"]),
        helper.make_node("Tanh", ["mixed"], ["states"]),
        helper.make_node("ReduceMean", ["states", "middle"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "head"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])],
        [*weights, numpy_helper.from_array(np.array([1], np.int64), "middle")],
    )
    folder.mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    if quantized:
        quantize_dynamic(folder / "model.onnx", folder / "model.onnx", op_types_to_quantize=["MatMul"])
    labels = ["bad", "good", "neither"]
    files = {"model": "model.onnx"}
    precision = "int8-dynamic" if quantized else "fp32"
    write_variant(
        folder, Variant("onnxruntime", precision, files, ["input_ids"], labels, 32, "aarch64", threads=1)
    )
    return folder


@pytest.mark.parametrize("quantized", [False, True])
def test_a_model_answers_on_arm_as_it_does_here(emulator: Emulator, tmp_path: Path, quantized: bool) -> None:
    from edgeprune.runner.session import open_session

    folder = save_model(tmp_path / "a model", quantized=quantized)
    random = np.random.default_rng(5)
    ids = random.integers(0, WORDS, size=(50, 12))
    batch = {"ids": ids, "mask": np.ones_like(ids), "types": np.zeros_like(ids)}
    np.savez(tmp_path / "batch.npz", **batch)
    package = Path(next(iter(runner.__path__))).parent
    answer = emulator.python(["-c", _ANSWER, str(package), str(tmp_path / "batch.npz"), str(folder)])
    assert (answer.code, answer.err) == (0, "")
    there = np.array(json.loads(answer.out), np.float32)
    here = open_session(folder, 1).run(**batch)
    np.testing.assert_allclose(there, here, atol=0.02)
    assert (there.argmax(1) == here.argmax(1)).mean() >= 0.98


def test_it_is_a_machine_of_its_own(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("QEMU_CPU", "cortex-a53")
    child = "import platform, sys; print(platform.machine(), sys.argv[1:])"
    program = (
        "import json, os, platform, subprocess, sys\n"
        f"child = subprocess.run([sys.executable, '-I', '-c', {child!r}, *sys.argv[1:]], capture_output=True)\n"
        "print(json.dumps([platform.machine(), sys.argv[1:], sys.stdin.read(), sorted(os.environ), sys.path,"
        " os.__file__, os.path.expanduser('~'), child.stdout.decode()]))\n"
    )
    words = ["a b", "'\"", "$(id)", "two\nlines", "Ü"]
    answer = emulator.python(["-c", program, *words], [b"gi", b"ven"])
    assert (answer.code, answer.err) == (0, "")
    machine, said, given, variables, path, module, home, child_said = json.loads(answer.out)
    assert (machine, said, given) == ("aarch64", words, "given")
    assert set(variables) <= {"HOME", "LANG", "LC_CTYPE", "PATH", "PWD", "SHLVL", "TMPDIR", "_"}
    assert not [folder for folder in path if folder.startswith("/nowhere")]
    assert module.startswith("/usr/lib/python3")
    assert home == str(emulation.home(Path(os.environ["EDGEPRUNE_CACHE"])))
    assert child_said == f"aarch64 {words}\n"


def test_exit_codes_crashes_and_silence_come_back(emulator: Emulator) -> None:
    assert emulator.python(["-c", "import sys; sys.exit(7)"]).code == 7
    crash = emulator.python(["-c", "import ctypes; ctypes.string_at(0)"])
    assert crash.code == -signal.SIGSEGV
    assert not list(Path.cwd().glob("*.core"))
    with pytest.raises(DeviceError, match="did not finish within 2 seconds"):
        emulator.python(["-c", "import time; time.sleep(60)"], patience=2)


def test_it_is_made_once_and_again_when_it_was_changed(cache: Path) -> None:
    said: list[str] = []
    machine = emulation.prepare(cache, said.append)
    assert said == []
    assert machine.libraries.keys() == {"numpy", "onnxruntime", "tokenizers"}
    assert machine.left_out
    assert {"libc6", "libstdc++6"} <= machine.packages.keys()
    changed = machine.folder / "python/pyvenv.cfg"
    changed.write_text(changed.read_text() + "\n")
    again = emulation.prepare(cache, said.append)
    assert "was changed since it was made" in said[0]
    assert (again.folder, again.digest) == (machine.folder, machine.digest)


def test_a_killed_setup_leaves_no_machine(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from edgeprune.devices.emulation import prepare; "
        "prepare(Path(sys.argv[1]), lambda text: print(text, flush=True))"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            if line.startswith("pip:"):
                os.killpg(process.pid, signal.SIGKILL)
                break
    assert process.wait() == -signal.SIGKILL
    assert emulation.find(tmp_path) is None
