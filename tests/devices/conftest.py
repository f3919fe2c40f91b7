"""These tests have a home, a configuration and an SSH server of their own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

import devices_kit


@pytest.fixture(autouse=True)
def _own_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPRUNE_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv("EDGEPRUNE_SSH_CONFIG", raising=False)


@pytest.fixture(scope="session")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[devices_kit.Server]:
    if devices_kit.SSHD is None:
        pytest.skip("there is no sshd here: install openssh-server")
    with devices_kit.serving(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def server(_server: devices_kit.Server, monkeypatch: pytest.MonkeyPatch) -> devices_kit.Server:
    """An SSH server on loopback that OpenSSH is told of."""
    monkeypatch.setenv("EDGEPRUNE_SSH_CONFIG", str(_server.folder / "ssh_config"))
    return _server
