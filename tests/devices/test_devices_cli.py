"""`edgeprune device` and `edgeprune rollback` as a user types them."""

from __future__ import annotations

from pathlib import Path

import devices_kit as kit
import pytest

from edgeprune.cli.failing import exit_code_of
from edgeprune.devices import installing
from edgeprune.devices.opening import open_device


def _said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert exit_code_of(list(words)) == code
    said = capsys.readouterr()
    return said.err if code else said.out


def test_names(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "no device has a name yet" in _said(capsys, "device", "list")
    said = _said(capsys, "device", "add", "pi", "ssh://pi@raspberrypi", "--python", "venv/bin/python")
    assert said == f"pi is ssh://pi@raspberrypi, noted in {tmp_path / 'config' / 'devices.yaml'}\n"
    _said(capsys, "device", "add", "here", "local")
    listed = "here  local\npi    ssh://pi@raspberrypi  Python: venv/bin/python\n"
    assert _said(capsys, "device", "list") == listed
    assert "is ssh://pi@raspberrypi already" in _said(capsys, "device", "add", "pi", "local", code=2)
    _said(capsys, "device", "remove", "pi")
    assert "there is no device 'pi'" in _said(capsys, "device", "remove", "pi", code=2)
    assert "not the address" in _said(capsys, "device", "add", "x", "pi@host", code=2)


def test_check_and_rollback(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    address = f"local://{tmp_path}/root"
    old, new = kit.make_bundle(tmp_path / "old", b"old"), kit.make_bundle(tmp_path / "new", b"new")
    _said(capsys, "device", "add", "here", address)
    device = open_device("here")
    one = installing.install(device, old).version
    assert "has no earlier version" in _said(capsys, "rollback", "sentiment-here", "--device", "here", code=2)
    two = installing.install(device, new).version
    said = _said(capsys, "rollback", "sentiment-here", "--device", "here")
    assert said == f"sentiment-here on here: {one} answers, {two} is kept\n"

    said = _said(capsys, "device", "check", "here", "--bundle", str(new))
    assert said.startswith(f"here\n  address     {address}\n")
    assert f"    sentiment-here: {one} answers, before it {two}\n" in said
    assert said.endswith(f"  sentiment-here {two} can run there\n")
    kit.rewrite(new, cpu_features=["warp_drive"])
    said = _said(capsys, "device", "check", "here", "--bundle", str(new), code=5)
    assert "here: this bundle for" in said
    assert "this CPU lacks warp_drive" in said
