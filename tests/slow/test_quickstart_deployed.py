"""The quickstart's model on an emulated ARM64 machine and on one behind SSH: asked there, judged there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from test_quickstart import GIVEN_CACHE, RECIPE

pytestmark = pytest.mark.slow

sys.path.append(str(Path(__file__).parents[1] / "devices"))
devices_kit = import_module("devices_kit")

EXAMPLES = 200
PATIENCE = 3600


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(GIVEN_CACHE) if GIVEN_CACHE else tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def runs(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quickstart's run; everything is in the cache where its own tests ran before."""
    folder = tmp_path_factory.mktemp("runs")
    done = _edgeprune(cache, "run", str(RECIPE), "--runs", str(folder), "--cache", str(cache), "--quiet")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if devices_kit.SSHD is None:
        pytest.skip("there is no sshd here: install openssh-server")
    with devices_kit.serving(tmp_path_factory.mktemp("sshd")) as running:
        yield running


def _edgeprune(cache: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgeprune", *words],
        env={**os.environ, "EDGEPRUNE_CACHE": str(cache), **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def _deploy(cache: Path, runs: Path, *words: str, **environment: str) -> dict[str, Any]:
    done = _edgeprune(cache, "deploy", str(runs / "quickstart" / "latest"), *words, **environment)
    assert done.returncode in (0, 3), done.stderr
    path = next(line[8:] for line in done.stdout.splitlines() if line.startswith("report: "))
    found: dict[str, Any] = json.loads(Path(path).with_suffix(".json").read_text())
    return found


@pytest.mark.skipif(shutil.which("qemu-aarch64-static") is None, reason="needs qemu-user-static")
def test_an_emulated_arm_machine_answers_as_this_one_does(
    cache: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = _deploy(cache, runs, "--target", "arm64", "--examples", str(EXAMPLES))
    device, row = found["device"]["row"], found["variant"]
    assert (device["kind"], device["architecture"], device["emulated"]) == ("emulator", "aarch64", True)
    assert found["sampled"]["answered"] == row["quality"]["n"] == EXAMPLES
    assert found["build_agreement"] >= 0.99
    assert row["quality"]["accuracy"] >= found["original"]["quality"]["accuracy"] - 0.03
    assert (row["latency"], row["load_seconds"], row["peak_memory_bytes"]) == ([], None, None)
    with capsys.disabled():
        accuracy, agreement = row["quality"]["accuracy"], found["build_agreement"]
        sys.stdout.write(f"\nemulated ARM64: {accuracy:.1%} of {EXAMPLES}, {agreement:.1%} as on x86\n")


def test_a_machine_behind_ssh_gives_the_verdict_of_this_one(
    cache: Path, runs: Path, server: Any, tmp_path: Path
) -> None:
    settings = {"EDGEPRUNE_SSH_CONFIG": str(server.folder / "ssh_config")}
    device = f"{server.address}{tmp_path}/models"
    found = _deploy(cache, runs, "--target", "x86", "--device", device, **settings)
    report = json.loads((runs / "quickstart" / "latest" / "report.json").read_text())
    (x86,) = [target for target in report["targets"] if target["name"] == "x86"]
    (chosen,) = [row for row in x86["variants"] if row["chosen"]]
    assert found["verdict"] == "pass"
    assert found["variant"]["name"] == x86["chosen"]
    assert found["build_agreement"] == 1.0
    assert found["variant"]["quality"] == chosen["quality"]
    assert len(found["variant"]["latency"]) == 2
    assert devices_kit.served(tmp_path / "models" / "quickstart-x86") == found["bundle"]["version"]
