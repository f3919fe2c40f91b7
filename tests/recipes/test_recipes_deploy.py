"""A real run's bundle on this machine and on one behind a real SSH server: installed, asked, judged."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from recipes_kit import Done, Finished

pytestmark = pytest.mark.recipe

sys.path.append(str(Path(__file__).parents[1] / "devices"))
devices_kit = import_module("devices_kit")


@pytest.fixture(autouse=True)
def _own_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPRUNE_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv("EDGEPRUNE_SSH_CONFIG", raising=False)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if devices_kit.SSHD is None:
        pytest.skip("there is no sshd here: install openssh-server")
    with devices_kit.serving(tmp_path_factory.mktemp("sshd")) as running:
        yield running


def _run(finished: Finished) -> Path:
    return finished.project.runs / "tiny" / str(finished.report["run_id"])


def _deploy(finished: Finished, device: str, *words: str) -> tuple[Done, dict[str, Any]]:
    done = finished.project.edgeprune("deploy", str(_run(finished)), "--device", device, *words)
    path = next((Path(line[8:]) for line in done.out.splitlines() if line.startswith("report: ")), None)
    if path is None:
        return done, {}
    found: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())
    assert path.is_file()
    return done, found


def _served(root: Path) -> str | None:
    version: str | None = devices_kit.served(root / "tiny-pc")
    return version


def test_an_accepted_bundle_answers_on_the_device(finished: Finished, tmp_path: Path) -> None:
    done, found = _deploy(finished, f"local://{tmp_path}/models")
    assert done.code == 0, done.err
    (target,) = finished.report["targets"]
    assert (found["verdict"], found["exit_code"]) == ("pass", 0)
    assert found["variant"]["name"] == target["chosen"]
    assert found["sampled"] == {"answered": 120, "available": 120, "seed": None}
    assert found["build_agreement"] == 1.0
    chosen = next(row for row in target["variants"] if row["chosen"])
    # The same files on the same machine: the device's answers are those of the run.
    assert found["variant"]["quality"] == chosen["quality"]
    assert found["variant"]["difference_points"] == chosen["difference_points"]
    assert [row["length"] for row in found["variant"]["latency"]] == ["real", 16]
    assert found["variant"]["peak_memory_bytes"] > 10**6
    assert _served(tmp_path / "models") == found["bundle"]["version"]
    assert "PASS" in done.out


def test_what_is_not_accepted_does_not_answer_unless_it_is_forced(finished: Finished, tmp_path: Path) -> None:
    device = f"local://{tmp_path}"
    accepted, first = _deploy(finished, device, "--variant", "onnxruntime/fp32")
    assert accepted.code == 0, accepted.err
    done, found = _deploy(finished, device, "--variant", "onnxruntime/int8-dynamic", "--examples", "3")
    assert done.code == 3, "three examples decide nothing"
    assert (found["verdict"], found["exit_code"]) == ("inconclusive", 3)
    assert found["sampled"] == {"answered": 3, "available": 120, "seed": 0}
    assert "it does not answer there" in done.err
    assert f"version {first['bundle']['version']} still does" in json.dumps(found["know"])
    assert _served(tmp_path) == first["bundle"]["version"]
    words = ("--variant", "onnxruntime/int8-dynamic", "--examples", "3", "--force")
    forced, found = _deploy(finished, device, *words)
    assert forced.code == 3
    assert found["bundle"]["replaced"] == first["bundle"]["version"]
    assert found["bundle"]["sent_bytes"] == 0, "it was there already"
    assert _served(tmp_path) == found["bundle"]["version"]
    back = finished.project.edgeprune("rollback", "tiny-pc", "--device", device)
    assert back.code == 0, back.err
    assert _served(tmp_path) == first["bundle"]["version"]


def test_behind_ssh(finished: Finished, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPRUNE_SSH_CONFIG", str(server.folder / "ssh_config"))
    root = tmp_path / 'it\'s $(touch here) "mine"'  # nothing of it reaches a shell
    address = f"{server.address}{root}"
    named = finished.project.edgeprune("device", "add", "pi", address)
    assert named.code == 0, named.err
    done, found = _deploy(finished, "pi")
    assert done.code == 0, done.err
    assert (found["device"]["name"], found["device"]["row"]["kind"]) == ("pi", "ssh")
    assert found["device"]["address"] == address
    assert found["build_agreement"] == 1.0
    assert _served(root) == found["bundle"]["version"]
    again, found = _deploy(finished, "pi")
    assert (again.code, found["bundle"]["sent_bytes"]) == (0, 0)
    compared = finished.project.edgeprune("compare", str(_run(finished)), "--device", "pi")
    assert compared.code == 0, compared.err
    assert "pi" in compared.out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--device", "ssh://127.0.0.1:1"], 4, "127.0.0.1"),
        (["--device", "nowhere"], 2, "nowhere"),
        (["--device", "local", "--variant", "onnxruntime/int4"], 2, "it has: onnxruntime/fp32"),
        (["--device", "local", "--target", "phone"], 2, "pc"),
        (["--device", "local", "--examples", "0"], 2, "at least one example"),
    ],
)
def test_what_cannot_be_deployed_is_one_clear_error(
    finished: Finished, words: list[str], code: int, said: str
) -> None:
    done = finished.project.edgeprune("deploy", str(_run(finished)), *words)
    assert done.code == code
    assert said in done.err
    assert "Traceback" not in done.err
