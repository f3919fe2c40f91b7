"""Bundles on this machine as the device: what is there after each step, and what is refused."""

from __future__ import annotations

import fcntl
import io
import json
import os
import zipfile
from pathlib import Path

import devices_kit as kit
import pytest

from edgeprune.devices import checking, installing
from edgeprune.devices.contract import Device
from edgeprune.devices.opening import open_device
from edgeprune.errors import DeviceError, UnsupportedError, UsageError
from edgeprune.runner.manifest import read_manifest

NAME = "sentiment-here"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "it's $(here)\n" / "root"  # a folder of the device; see `device`


@pytest.fixture
def device(root: Path, tmp_path: Path) -> Device:
    found = open_device(f"local://{tmp_path}/root")
    found.root = str(root)  # an address has no line break, but no shell would see it either
    return found


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return kit.make_bundle(tmp_path / "old", b"old model")


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return kit.make_bundle(tmp_path / "new", b"new model, larger")


def _version(folder: Path) -> str:
    return read_manifest(folder).version


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_install_replace_and_back(device: Device, root: Path, old: Path, new: Path, tmp_path: Path) -> None:
    home, one, two = root / NAME, _version(old), _version(new)
    seen: list[tuple[int, int]] = []
    first = installing.install(device, old, lambda done, total: seen.append((done, total)))
    total = read_manifest(old).total_bytes
    assert (first.name, first.version, first.replaced) == (NAME, one, None)
    assert (first.sent_bytes, first.already) == (total, 0)
    assert seen[-1] == (total, total)
    assert Path(first.path) == home / "releases" / one
    assert kit.served(home) == one
    assert kit.answers(home)

    second = installing.install(device, new)
    assert (second.version, second.replaced) == (two, one)
    # The runner is the same in both: it is taken from the version that is there.
    assert second.sent_bytes == len(b"new model, larger")
    assert kit.served(home) == two
    assert installing.versions(device, NAME) == checking.Versions(
        two, one, tuple(sorted([one, two])), str(home)
    )

    again = installing.install(device, new)
    assert (again.sent_bytes, again.replaced) == (0, None)

    for expected in (one, two, one):
        assert installing.rollback(device, NAME).current == expected
        assert kit.served(home) == expected

    third = kit.make_bundle(tmp_path / "third", b"third")
    assert installing.install(device, third).replaced == one
    assert _names(home / "releases") == sorted([one, _version(third)])  # the one before the last is gone
    assert _names(home / "incoming") == []


def test_a_rollback_that_has_nowhere_to_go(device: Device, old: Path) -> None:
    with pytest.raises(UsageError, match="no bundle 'nothing' is installed") as caught:
        installing.rollback(device, "nothing")
    assert caught.value.hint == "deploy one first"
    installing.install(device, old)
    with pytest.raises(UsageError, match="no earlier version"):
        installing.rollback(device, NAME)
    with pytest.raises(UsageError) as caught:
        installing.rollback(device, "nothing")
    assert caught.value.hint == f"there are: {NAME}"


def test_a_rollback_to_what_was_changed_there(device: Device, root: Path, old: Path, new: Path) -> None:
    installing.install(device, old)
    installing.install(device, new)
    (root / NAME / "previous" / "model" / "model.onnx").write_bytes(b"changed!!")
    with pytest.raises(UnsupportedError, match="was changed on the device"):
        installing.rollback(device, NAME)
    assert kit.served(root / NAME) == _version(new)


@pytest.mark.parametrize("name", ["../x", "a/b", "", "$(id)", "a b", "it's\n"])
def test_a_name_that_no_bundle_has(device: Device, root: Path, name: str) -> None:
    with pytest.raises(UsageError):
        installing.rollback(device, name)
    with pytest.raises(UsageError):
        installing.put(device, name, "x", b"")
    with pytest.raises(UsageError):
        installing.put(device, NAME, name, b"")
    assert not root.exists()


def test_a_bundle_that_was_tampered_with(device: Device, root: Path, old: Path) -> None:
    (old / "model" / "model.onnx").write_bytes(b"OLD model")
    with pytest.raises(UnsupportedError, match=r"model/model\.onnx was changed"):
        installing.install(device, old)
    (old / "manifest.json").write_text("{}")
    with pytest.raises(UnsupportedError, match="not in the format"):
        installing.install(device, old)
    assert not root.exists()


def test_what_was_damaged_on_the_device_is_sent_anew(device: Device, root: Path, old: Path) -> None:
    installing.install(device, old)
    (root / NAME / "current" / "model" / "model.onnx").write_bytes(b"changed!!")
    mended = installing.install(device, old)
    assert mended.sent_bytes == len(b"old model")
    assert kit.served(root / NAME) == _version(old)


def test_an_upload_that_was_damaged_on_the_device_is_sent_anew(device: Device, root: Path, old: Path) -> None:
    left = root / NAME / "incoming" / _version(old) / "model" / "model.onnx"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"OLD")
    assert installing.install(device, old).version == kit.served(root / NAME)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architecture": "riscv64"}, "riscv64"),
        ({"cpu_features": ["warp_drive"]}, "lacks warp_drive"),
        ({"python": "3.99"}, "3.99 or newer is needed"),
        ({"requirements": ["surely-not-installed>=1"]}, "surely-not-installed is not installed"),
        ({"requirements": ["pytest>=999"]}, "pytest>=999 is needed"),
    ],
)
def test_a_device_that_cannot_run_it(
    device: Device, root: Path, old: Path, changes: dict[str, object], said: str
) -> None:
    kit.rewrite(old, **changes)
    with pytest.raises(UnsupportedError, match=said) as caught:
        installing.install(device, old)
    assert caught.value.hint
    assert checking.check(device, read_manifest(old)) != []
    assert not root.exists()


def test_a_bundle_that_fails_its_own_test_answers_nothing(
    device: Device, root: Path, old: Path, tmp_path: Path
) -> None:
    bad = kit.make_bundle(tmp_path / "bad", failures=("sample 3 is 0.5 off", "it is too late"))
    with pytest.raises(UnsupportedError, match=r"sample 3 is 0\.5 off; it is too late"):
        installing.install(device, bad)
    assert kit.served(root / NAME) is None
    installing.install(device, old)
    with pytest.raises(UnsupportedError):
        installing.install(device, bad)
    assert kit.served(root / NAME) == _version(old)
    assert _names(root / NAME / "releases") == [_version(old)]


def test_only_one_changes_something_at_a_time(
    device: Device, root: Path, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installing, "_BUSY", 0.2)
    (root / NAME).mkdir(parents=True)
    with (root / NAME / "lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(DeviceError, match="something else is changing"):
            installing.install(device, old)
    installing.install(device, old)


def test_the_runner_gets_its_words_and_texts_as_they_are(device: Device, old: Path) -> None:
    words = ["predict", "--text", 'it\'s $(touch /tmp/x) `id` "é"\n; --help', ""]
    given = "a text\n'$HOME'\n"
    installing.install(device, old)
    answer = installing.run_bundle(device, f"{NAME}/current", words, given.encode())
    assert answer.code == 0
    assert json.loads(answer.out) == {"words": words, "given": given}
    assert answer.err == "to standard error\n"


def test_the_exit_code_of_the_runner_is_handed_on(device: Device, tmp_path: Path) -> None:
    installed = installing.install(device, kit.make_bundle(tmp_path / "fails", code=5))
    assert installing.run_bundle(device, installed.path, ["predict"]).code == 5
    with pytest.raises(DeviceError, match="there is no bundle in"):
        installing.run_bundle(device, f"{NAME}/releases/other", ["predict"])


def test_files_there_and_back(device: Device, root: Path) -> None:
    content = bytes(range(256)) * 1000 + b"\n\x1eedgeprune\x1e{}\n"
    path = installing.put(device, NAME, "texts.jsonl", content)
    assert Path(path) == root / NAME / "work" / "texts.jsonl"
    assert installing.fetch(device, path) == content
    installing.clean(device, NAME)
    with pytest.raises(DeviceError, match="No such file"):
        installing.fetch(device, path)
    installing.clean(device, "never-there")


def test_a_folder_that_may_not_be_written(tmp_path: Path, old: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DeviceError, match="Not a directory"):
        installing.install(open_device(f"local://{tmp_path}/file"), old)


def test_facts(device: Device, old: Path) -> None:
    installing.install(device, old)
    found = checking.facts(device, ["pytest", "surely-not-installed"])
    assert found.cpu.architecture == kit.HERE
    assert found.installed == {"pytest": pytest.__version__, "surely-not-installed": None}
    assert found.free_bytes > 0
    assert list(found.bundles) == [NAME]
    assert found.bundles[NAME].current == _version(old)


def test_a_python_that_is_not_there(tmp_path: Path) -> None:
    from edgeprune.devices.addresses import Address
    from edgeprune.devices.local import LocalDevice

    gone = LocalDevice("here", Address("local"), str(tmp_path / "python"))
    with pytest.raises(UnsupportedError, match="has no Python") as caught:
        checking.facts(gone)
    assert "--python" in caught.value.hint


def _fake_python(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("script", "error", "said"),
    [
        ("echo 'edgeprune: Python 3.6.9' >&2; exit 1", UnsupportedError, r"Python 3\.6\.9 is too old"),
        ("echo 'cannot load' >&2; exit 3", UnsupportedError, "exit code 3: cannot load"),
        ("echo hello", DeviceError, "ended without an answer"),
    ],
)
def test_a_python_that_is_none(tmp_path: Path, script: str, error: type[Exception], said: str) -> None:
    from edgeprune.devices.addresses import Address
    from edgeprune.devices.local import LocalDevice

    python = _fake_python(tmp_path / "python", script)
    with pytest.raises(error, match=said):
        checking.facts(LocalDevice("here", Address("local"), python))


def test_what_start_up_files_say_is_not_the_answer(device: Device, tmp_path: Path) -> None:
    from edgeprune.devices.addresses import Address
    from edgeprune.devices.local import LocalDevice

    python = _fake_python(tmp_path / "python", 'echo "Welcome, {user}!"; exec python3 "$@"')
    assert checking.facts(LocalDevice("here", Address("local"), python)).cpu.architecture == kit.HERE


def _wheel(name: str, value: int, tags: str = "py3-none-any") -> tuple[str, bytes]:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(f"{name}.py", f"VALUE = {value}\n")
        info = f"{name}-1.0.dist-info"
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: gone\n"
        )
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tags}\n")
        archive.writestr(f"{info}/RECORD", "")
    return f"{name}-1.0-{tags}.whl", stream.getvalue()


@pytest.mark.parametrize("with_pip", [True, False])
def test_packages_that_come_with_the_bundle(
    device: Device, root: Path, tmp_path: Path, with_pip: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not with_pip:  # a module of that name that is no pip is found first, and has no spec
        hidden = tmp_path / "hidden"
        hidden.mkdir()
        (hidden / "sitecustomize.py").write_text(
            "import importlib.util as u\nfind = u.find_spec\n"
            "u.find_spec = lambda name, package=None: None if name == 'pip' else find(name, package)\n"
        )
        monkeypatch.setenv("PYTHONPATH", f"{hidden}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    wheels = dict([_wheel("edgeprune_brought", 7), _wheel("edgeprune_other", 8)])
    bundle = kit.make_bundle(tmp_path / "bundle", wheels=wheels, requirements=["edgeprune_brought>=1"])
    installed = installing.install(device, bundle)
    answer = installing.run_bundle(device, installed.path, ["import", "edgeprune_brought"])
    assert answer.out.decode().split()[-1] == "7", answer.err
    by_pip = list(Path(installed.path, "site").glob("*.dist-info/INSTALLER"))
    assert bool(by_pip) == with_pip
    assert kit.served(root / NAME) == installed.version


def test_packages_that_do_not_fit(device: Device, root: Path, tmp_path: Path) -> None:
    wheels = dict([_wheel("edgeprune_brought", 7, "cp27-cp27m-win32")])
    bundle = kit.make_bundle(tmp_path / "bundle", wheels=wheels)
    with pytest.raises(UnsupportedError, match="edgeprune_brought"):
        installing.install(device, bundle)
    assert kit.served(root / NAME) is None
