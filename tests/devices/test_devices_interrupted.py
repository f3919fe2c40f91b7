"""Deploys that break off at random moments: the device serves the old version or the new one, always whole."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import devices_kit as kit
import pytest

from edgeprune.devices import installing
from edgeprune.devices.contract import Device
from edgeprune.devices.opening import open_device
from edgeprune.errors import DeviceError, EdgepruneError
from edgeprune.runner.manifest import read_manifest

pytestmark = pytest.mark.thorough  # minutes of real uploads

MODEL_BYTES = 6_000_000
PROGRAM = (
    "import sys; from pathlib import Path; from edgeprune.devices import installing, opening;"
    "installing.install(opening.open_device(sys.argv[1]), Path(sys.argv[2]))"
)
NAME = "sentiment-here"


class Cut(Exception):  # noqa: N818
    """What a broken connection looks like to the program that sends."""


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("bundles")
    rng = random.Random(0)
    return [kit.make_bundle(folder / str(number), rng.randbytes(MODEL_BYTES)) for number in range(3)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("device") / "root"


def _other(bundles: list[Path], home: Path, number: int) -> Path:
    """A bundle that does not answer now; every third time one that is neither there as the one before."""
    served = kit.served(home)
    left = [bundle for bundle in bundles if read_manifest(bundle).version != served]
    return left[number % len(left)]


@contextmanager
def _watched(home: Path, allowed: set[str | None]) -> Iterator[None]:
    """Looks all the time at what answers: nothing but what is allowed, and every file of it."""
    over = threading.Event()
    wrong: list[object] = []

    def watch() -> None:
        while not over.is_set():
            try:
                served = kit.served(home)
            except Exception as error:
                wrong.append(error)
                return
            if served not in allowed:
                wrong.append(served)
            over.wait(0.02)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert wrong == []


def _cut_connection(rng: random.Random, device: Device, server: kit.Server, bundle: Path) -> None:
    """The client's end goes at a random byte."""
    last = rng.uniform(0, MODEL_BYTES)

    def cut(done: int, total: int) -> None:
        if done > last:
            raise Cut

    with suppress(Cut, EdgepruneError):
        installing.install(device, bundle, cut)


def _kill_session(rng: random.Random, device: Device, server: kit.Server, bundle: Path) -> None:
    """The device's end goes at a random moment: the server's process, the Python there, or all of them."""
    over = threading.Event()

    def kill() -> None:
        over.wait(rng.uniform(0, 4))
        while not over.is_set():
            found = server.sessions()
            for pid in rng.sample(found, min(len(found), rng.choice([1, 9]))):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if found:
                return
            over.wait(0.02)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        with suppress(EdgepruneError):
            installing.install(device, bundle)
    finally:
        over.set()
        thread.join()


def _kill_client(rng: random.Random, device: Device, server: kit.Server, bundle: Path) -> None:
    """The program that deploys is killed at a random moment, OpenSSH with it or not."""
    words = [sys.executable, "-c", PROGRAM, device.address, str(bundle)]
    alone = rng.random() < 0.5
    process = subprocess.Popen(words, start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        process.wait(rng.uniform(0.2, 6))
    except subprocess.TimeoutExpired:
        if alone:
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


KINDS: list[Callable[[random.Random, Device, kit.Server, Path], None]] = [
    _cut_connection,
    _kill_session,
    _kill_client,
]


@pytest.mark.parametrize("number", range(30))
def test_whatever_breaks_off(number: int, server: kit.Server, root: Path, bundles: list[Path]) -> None:
    device, home, rng = open_device(f"{server.address}{root}"), root / NAME, random.Random(number)
    if kit.served(home) is None:
        installing.install(device, bundles[0])
    old, bundle = kit.served(home), _other(bundles, home, number)
    new = read_manifest(bundle).version
    with _watched(home, {old, new}):
        KINDS[number % len(KINDS)](rng, device, server, bundle)
        installed = installing.install(device, bundle)
    assert kit.served(home) == new == installed.version
    assert kit.answers(home)
    assert sorted(path.name for path in (home / "releases").iterdir()) == sorted({str(old), new})
    assert list((home / "incoming").iterdir()) == []


@contextmanager
def _small_disk(folder: Path, size: int) -> Iterator[Path]:
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(words, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here: that takes root's rights")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("part", [-1.0, 0.0, 0.3, 0.9])
def test_a_full_disk(part: float, server: kit.Server, tmp_path: Path, bundles: list[Path]) -> None:
    """The disk is full before the upload (-1), or becomes so while it goes on."""
    one, two = bundles[:2]
    old, new = read_manifest(one).version, read_manifest(two).version
    with _small_disk(tmp_path / "disk", 4 * MODEL_BYTES) as disk:
        device, home = open_device(f"{server.address}{disk}/root"), disk / "root" / NAME
        installing.install(device, one)
        filler = disk / "filler"

        def fill(done: int, total: int) -> None:
            if done >= part * total and not filler.exists():
                with suppress(OSError), filler.open("wb", buffering=0) as stream:
                    while stream.write(bytes(1 << 16)):
                        pass

        if part < 0:
            fill(0, 1)
        with pytest.raises(DeviceError, match=r"the disk of .* is full") as caught:
            installing.install(device, two, fill)
        assert caught.value.hint
        assert kit.served(home) == old
        assert not (home / "releases" / new).exists()
        filler.unlink()
        assert installing.install(device, two).replaced == old
        assert kit.served(home) == new


def test_two_deploys_at_once(server: kit.Server, root: Path, bundles: list[Path]) -> None:
    device, home = open_device(f"{server.address}{root}"), root / NAME
    installing.install(device, bundles[0])
    found: list[str] = []

    def deploy(bundle: Path) -> None:
        time.sleep(0.1)
        found.append(installing.install(open_device(device.address), bundle).version)

    threads = [threading.Thread(target=deploy, args=(bundle,)) for bundle in bundles[1:]]
    with _watched(home, {read_manifest(bundle).version for bundle in bundles}):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(found) == sorted(read_manifest(bundle).version for bundle in bundles[1:])
    assert kit.served(home) in found
    assert kit.answers(home)
