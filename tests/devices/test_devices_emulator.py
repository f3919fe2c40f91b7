"""The emulated device, as far as it goes without QEMU; test_devices_emulator_real.py starts it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgeprune.cli.device_setup import setup
from edgeprune.devices import emulation
from edgeprune.devices.addresses import parse_address
from edgeprune.devices.arm_processor import cpuinfo
from edgeprune.devices.emulator import Emulator
from edgeprune.errors import DeviceError, UnsupportedError
from edgeprune.runner.cpu import parse_cpuinfo

HWCAP = 0x119FFB  # what QEMU 7.2 says of its neoverse-n1


@pytest.fixture
def qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that says that it is QEMU, alone on the path."""
    program = tmp_path / "bin" / "qemu-aarch64-static"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'qemu-aarch64 version 0.0'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    return program


def test_the_processor_is_described_as_linux_would() -> None:
    cpu = parse_cpuinfo(cpuinfo(HWCAP, 3), "aarch64")
    assert (cpu.model, cpu.logical_cores) == ("emulated by QEMU (Neoverse-N1)", 3)
    assert cpu.features == ("dotprod", "fp16", "neon")
    assert parse_cpuinfo(cpuinfo(0b11, 1), "aarch64").features == ("neon",)


def test_without_qemu_it_is_unsupported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnsupportedError, match="no qemu-aarch64-static") as caught:
        emulation.prepare(tmp_path)
    assert "apt-get install qemu-user-static" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("qemu")
def test_before_it_is_set_up_it_says_how() -> None:
    device = Emulator("emulator", parse_address("emulator"))
    assert (device.kind, device.emulated, device.address) == ("emulator", True, "emulator")
    with pytest.raises(DeviceError, match="not set up yet") as caught:
        device.python(["-c", "print(1)"])
    assert caught.value.hint == "edgeprune device setup emulator"


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"format": "edgeprune.emulator/0"}', "cut {"])
def test_a_record_that_is_not_ours_is_no_machine(tmp_path: Path, qemu: Path, record: str) -> None:
    folder = emulation._Place.below(tmp_path).folder
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(record)
    assert emulation.find(tmp_path) is None


def test_a_machine_is_named_by_what_it_is_made_of(tmp_path: Path, qemu: Path) -> None:
    here = emulation._Place.below(tmp_path)
    assert emulation._Place.below(tmp_path) == here
    qemu.write_text("#!/bin/sh\necho 'qemu-aarch64 version 0.1'\n")
    assert emulation._Place.below(tmp_path).name != here.name


def test_a_change_of_any_file_is_seen_and_bytecode_is_none(tmp_path: Path) -> None:
    for name in ("python/bin/python3", "sysroot/lib/libc.so.6", "sysroot/usr/lib/python3.11/os.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "sysroot/usr/lib64").symlink_to("lib")
    seen = [emulation._digest(tmp_path)]
    (tmp_path / "bytecode").mkdir()
    (tmp_path / "bytecode/os.pyc").write_text("compiled")
    assert emulation._digest(tmp_path) == seen[0]
    for change in (
        lambda: (tmp_path / "sysroot/lib/libc.so.6").write_text("other"),
        lambda: (tmp_path / "python/bin/python3").rename(tmp_path / "python/bin/python"),
        lambda: (tmp_path / "sysroot/usr/lib64").unlink(),
        lambda: (tmp_path / "sysroot/usr/lib64").symlink_to("other"),
    ):
        change()
        seen.append(emulation._digest(tmp_path))
    assert len(set(seen)) == len(seen)


def test_what_a_killed_process_left_is_swept_by_the_next(tmp_path: Path, qemu: Path) -> None:
    place = emulation._Place.below(tmp_path)
    place.root.mkdir()
    left = place.root / f".{place.name}.partial.abc"
    (left / "sysroot").mkdir(parents=True)
    other = place.root / ".aarch64-other.partial.abc"
    other.mkdir()
    with place.locked(lambda text: None):
        assert not left.exists()
        assert other.exists()


def test_a_failure_leaves_nothing_and_is_told(tmp_path: Path, qemu: Path) -> None:
    with pytest.raises(UnsupportedError, match="this machine has no apt-get"):
        emulation.prepare(tmp_path)
    assert [path.name for path in (tmp_path / "emulator").iterdir() if path.suffix != ".lock"] == []


def test_setup_takes_no_other_device() -> None:
    done = CliRunner().invoke(setup, ["pi"])
    assert done.exit_code == 2
    assert "'pi' is not 'emulator'" in done.output


@pytest.mark.usefixtures("qemu")
def test_setup_shows_what_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(tmp_path))
    folder = emulation._Place.below(tmp_path).folder
    folder.mkdir(parents=True)
    record = {
        "format": "edgeprune.emulator/1",
        "qemu": "qemu-aarch64 version 0.0",
        "cpu": "neoverse-n1",
        "python": "3.11.2",
        "libc": "glibc 2.36",
        "libraries": {"numpy": "2.4.6", "onnxruntime": "1.32.0"},
        "packages": {"libc6": {"version": "2.36-9", "sha256": "0" * 64}},
        "wheels": {},
        "left_out": ["protobuf (onnxruntime asks for it)"],
        "digest": emulation._digest(folder),
    }
    (folder / "record.json").write_text(json.dumps(record))
    done = CliRunner().invoke(setup, ["emulator"])
    assert done.exit_code == 0
    assert done.output.splitlines() == [
        "emulator ready: neoverse-n1, Python 3.11.2, numpy 2.4.6, onnxruntime 1.32.0",
        "  qemu-aarch64 version 0.0",
        f"  {folder}",
        "  left out: protobuf (onnxruntime asks for it); the runner does not use it",
        "  it answers as ARM does; its times mean nothing and are not reported as latency",
    ]
