"""Devices by name."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgeprune.devices import registry
from edgeprune.devices.local import LocalDevice
from edgeprune.devices.opening import open_device
from edgeprune.devices.ssh import SshDevice
from edgeprune.errors import RecipeError, UsageError


def _write(text: str) -> Path:
    path = registry.registry_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_name_is_kept_and_forgotten() -> None:
    assert registry.entries() == []
    registry.add("pi", "ssh://pi@raspberrypi/opt/models", "venv/bin/python")
    registry.add("here", "local")
    assert [(entry.name, str(entry.address), entry.interpreter) for entry in registry.entries()] == [
        ("here", "local", None),
        ("pi", "ssh://pi@raspberrypi/opt/models", "venv/bin/python"),
    ]
    pi = open_device("pi")
    assert isinstance(pi, SshDevice)
    assert (pi.name, pi.address, pi.root) == ("pi", "ssh://pi@raspberrypi/opt/models", "/opt/models")
    assert isinstance(open_device("here"), LocalDevice)
    registry.remove("pi")
    assert [entry.name for entry in registry.entries()] == ["here"]


def test_an_address_needs_no_name() -> None:
    device = open_device("ssh://host:2222/srv")
    assert (device.name, device.address) == ("ssh://host:2222/srv", "ssh://host:2222/srv")


def test_a_name_is_not_taken_from_another_device_unless_asked() -> None:
    registry.add("pi", "ssh://one")
    registry.add("pi", "ssh://one")
    with pytest.raises(UsageError, match="'pi' is ssh://one already"):
        registry.add("pi", "ssh://two")
    registry.add("pi", "ssh://two", replace=True)
    assert str(registry.find("pi").address) == "ssh://two"


@pytest.mark.parametrize(
    "name", ["", "-x", "a b", "a/b", "ssh://a", "local", "emulator", "a\n", "../a", "a:b"]
)
def test_what_cannot_be_a_name(name: str) -> None:
    with pytest.raises(UsageError):
        registry.add(name, "local")
    assert registry.entries() == []


@pytest.mark.parametrize(
    ("address", "python"), [("emulator", "p"), ("local", ""), ("local", "-c"), ("local", "a\nb")]
)
def test_what_cannot_be_a_python(address: str, python: str) -> None:
    with pytest.raises(UsageError):
        registry.add("a", address, python)


def test_an_unknown_name_is_answered_with_what_is_there() -> None:
    with pytest.raises(UsageError) as caught:
        open_device("pi")
    assert "device add" in caught.value.hint
    registry.add("raspberry", "ssh://r")
    with pytest.raises(UsageError) as caught:
        open_device("rasberry")
    assert caught.value.hint == "did you mean 'raspberry'?"
    with pytest.raises(UsageError) as caught:
        registry.remove("x")
    assert "there are: raspberry" in caught.value.hint


def test_a_file_written_by_hand() -> None:
    _write("devices:\n  pi: ssh://pi@host\n  board: {address: 'ssh://b', python: /opt/p}\n")
    assert [(entry.name, entry.interpreter) for entry in registry.entries()] == [
        ("board", "/opt/p"),
        ("pi", None),
    ]


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        ("devices:\n  pi: ssh://-x\n", ":2:3", "no host"),
        ("devices:\n  pi: {adress: ssh://x}\n", ":2:3", "not understood"),
        ("devices:\n  pi: 7\n", ":2:3", "not understood"),
        ("devices: []\n", "", "one key"),
        ("pi: ssh://x\n", "", "one key"),
    ],
)
def test_a_file_with_a_mistake_says_where(text: str, where: str, said: str) -> None:
    path = _write(text)
    with pytest.raises(UsageError, match=said) as caught:
        registry.entries()
    assert caught.value.where == f"{path}{where}"


def test_a_file_that_is_no_yaml() -> None:
    _write("devices: {\n")
    with pytest.raises(RecipeError):
        registry.add("pi", "local")


def test_many_at_once_lose_nothing() -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: registry.add(f"d{number}", "local"), range(16)))
    assert len(registry.entries()) == 16


def test_a_file_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGEPRUNE_CONFIG", str(tmp_path / "file" / "config"))
    with pytest.raises(UsageError, match="cannot be written"):
        registry.add("pi", "local")
