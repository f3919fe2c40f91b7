"""A real SSH server on loopback: what OpenSSH says, and what the user reads."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import devices_kit as kit
import pytest

from edgeprune.cli.failing import exit_code_of
from edgeprune.devices import checking, installing, registry
from edgeprune.devices.addresses import Address, parse_address
from edgeprune.devices.contract import Answer
from edgeprune.devices.opening import open_device
from edgeprune.devices.ssh import failure
from edgeprune.errors import DeviceError, UnsupportedError
from edgeprune.runner.manifest import read_manifest


def _use(server: kit.Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *lines: str) -> None:
    """Has OpenSSH use the server's settings with these before them: the first that is said counts."""
    config = tmp_path / "ssh_config"
    text = (server.folder / "ssh_config").read_text()
    config.write_text("Host *\n" + "".join(f"  {line}\n" for line in lines) + text)
    monkeypatch.setenv("EDGEPRUNE_SSH_CONFIG", str(config))


def test_install_run_fetch_and_back(server: kit.Server, tmp_path: Path) -> None:
    root = tmp_path / 'it\'s $(touch pwned) "`id`" root'
    device = open_device(f"{server.address}{root}")
    old, new = kit.make_bundle(tmp_path / "old", b"old"), kit.make_bundle(tmp_path / "new", b"new" * 500_000)
    first, second = installing.install(device, old), installing.install(device, new)
    home = root / first.name
    assert second.replaced == first.version
    assert kit.served(home) == second.version
    words = ["predict", "--text", "it's $(touch pwned) `id` \\ !! \"\n* é", "-"]
    answer = installing.run_bundle(device, second.path, words, "ä\n".encode())
    assert json.loads(answer.out) == {"words": words, "given": "ä\n"}
    path = installing.put(device, first.name, "x.bin", bytes(range(256)))
    assert installing.fetch(device, path) == bytes(range(256))
    assert installing.rollback(device, first.name).current == first.version
    assert kit.served(home) == first.version
    assert (
        not list(tmp_path.rglob("pwned")) + list(server.home.glob("pwned")) + list(Path.cwd().glob("pwned"))
    )


def test_without_a_folder_it_lies_below_the_home(server: kit.Server) -> None:
    assert checking.facts(open_device(server.address)).root == str(server.home / ".local/share/edgeprune")


def test_the_users_settings_count(
    server: kit.Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A name that only ~/.ssh/config knows, behind a jump host, with what would disturb a program's call."""
    config = tmp_path / "ssh_config"
    text = (server.folder / "ssh_config").read_text()
    jump = f"ssh -F {server.folder / 'ssh_config'} -p {server.port} 127.0.0.1 -W %h:%p"
    config.write_text(
        f"Host board\n  HostName 127.0.0.1\n  Port {server.port}\n  ProxyCommand {jump}\n  RequestTTY force\n"
        f"  RemoteCommand echo no\n  LocalForward 127.0.0.1:{server.port} 127.0.0.1:1\n{text}"
    )
    monkeypatch.setenv("EDGEPRUNE_SSH_CONFIG", str(config))
    assert checking.facts(open_device("ssh://board")).cpu.architecture == kit.HERE


def test_another_python(server: kit.Server, tmp_path: Path) -> None:
    python = tmp_path / "my python's"
    python.symlink_to(sys.executable)
    registry.add("pi", server.address, str(python))
    assert checking.facts(open_device("pi")).executable == str(python)
    registry.add("pi", server.address, str(tmp_path / "gone"), replace=True)
    with pytest.raises(UnsupportedError, match=r"pi has no .*gone") as caught:
        checking.facts(open_device("pi"))
    assert "--python" in caught.value.hint


def test_a_host_key_that_changed(
    server: kit.Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = (server.folder / "other_host_key.pub").read_text()
    (tmp_path / "known").write_text(f"[127.0.0.1]:{server.port} {other}")
    _use(server, monkeypatch, tmp_path, f"UserKnownHostsFile {tmp_path / 'known'}")
    assert exit_code_of(["device", "check", server.address]) == 4
    said = capsys.readouterr().err
    assert "is not the machine that it was: its host key has changed" in said
    assert f"ssh-keygen -R '[127.0.0.1]:{server.port}'" in said
    assert len(said.splitlines()) == 2


def test_a_host_key_that_is_not_known(
    server: kit.Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _use(server, monkeypatch, tmp_path, f"UserKnownHostsFile {tmp_path / 'none'}")
    with pytest.raises(DeviceError, match=r"the host key of 127\.0\.0\.1 is not known here") as caught:
        checking.facts(open_device(server.address))
    assert f"`ssh -p {server.port} 127.0.0.1`" in caught.value.hint
    assert not (tmp_path / "none").exists()


def test_a_key_that_the_device_does_not_know(
    server: kit.Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _use(server, monkeypatch, tmp_path, f"IdentityFile {server.folder / 'stranger_key'}", "IdentityFile none")
    config = Path(os.environ["EDGEPRUNE_SSH_CONFIG"])
    config.write_text(config.read_text().replace(f"  IdentityFile {server.folder / 'user_key'}\n", ""))
    with pytest.raises(DeviceError, match="refuses to let us in") as caught:
        checking.facts(open_device(server.address))
    assert "ssh-copy-id" in caught.value.hint


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ssh://127.0.0.1:1", "nothing there speaks SSH at this port"),
        ("ssh://no-such-host.invalid", "there is no host no-such-host.invalid"),
    ],
)
def test_a_host_that_is_not_there(
    server: kit.Server, address: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code_of(["device", "check", address]) == 4
    err = capsys.readouterr().err
    assert said in err
    assert "hint:" in err


def test_a_host_that_is_silent(server: kit.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _use(server, monkeypatch, tmp_path, "ProxyCommand sleep 30")
    monkeypatch.setattr("edgeprune.devices.ssh._OPTIONS", ("BatchMode=yes", "ConnectTimeout=1"))
    with pytest.raises(DeviceError, match=r"cannot be reached|broke off"):
        checking.facts(open_device(server.address))


def test_settings_that_are_wrong(server: kit.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _use(server, monkeypatch, tmp_path, "Nonsense yes")
    with pytest.raises(DeviceError, match="cannot use its settings"):
        checking.facts(open_device(server.address))


def test_without_openssh(server: kit.Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnsupportedError, match="no OpenSSH client"):
        checking.facts(open_device(server.address))


def test_no_option_weakens_how_the_host_is_checked(
    server: kit.Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What we add to the user's own words is looked at as OpenSSH gets it."""
    real, spy = shutil.which("ssh"), tmp_path / "bin" / "ssh"
    spy.parent.mkdir()
    spy.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path / "words"}\nexec {real} "$@"\n')
    spy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{spy.parent}{os.pathsep}{os.environ['PATH']}")
    checking.facts(open_device(server.address))
    words = (tmp_path / "words").read_text()
    assert "BatchMode=yes" in words
    for forbidden in (
        "StrictHostKeyChecking",
        "UserKnownHostsFile",
        "GlobalKnownHosts",
        "NoHostAuthentication",
    ):
        assert forbidden.lower() not in words.lower()


@pytest.mark.parametrize(
    ("err", "said"),
    [
        ("Timeout, server 10.0.0.7 not responding.", "broke off"),
        ("client_loop: send disconnect: Broken pipe", "broke off"),
        ("kex_exchange_identification: Connection closed by remote host", "broke off"),
        ("ssh: connect to host h port 22: Connection timed out", "cannot be reached"),
        ("ssh: connect to host h port 22: No route to host", "cannot be reached"),
        ("Received disconnect from h: 2: Too many authentication failures", "refuses"),
        ("something new", "ssh to h failed: something new"),
        ("", "exit code 255"),
    ],
)
def test_what_openssh_says_and_means(err: str, said: str) -> None:
    found = failure(parse_address("ssh://user@h"), Answer(255, b"", err))
    assert isinstance(found, DeviceError)
    assert said in found.message
    assert "user@h" in found.hint or "again" in found.hint


def test_hints_can_be_pasted_into_a_shell() -> None:
    found = failure(
        Address("ssh", host="fe80::1%e", port=22), Answer(255, b"", "HOST IDENTIFICATION HAS CHANGED")
    )
    command = found.hint.split("`")[1]
    printed = subprocess.run(["sh", "-c", f"printf '%s\\n' {command}"], capture_output=True, text=True)
    assert printed.stdout.splitlines() == ["ssh-keygen", "-R", "[fe80::1%e]:22"]


def test_a_wrong_architecture_is_one_message(
    server: kit.Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = kit.make_bundle(tmp_path / "bundle", architecture="riscv64", cpu_features=["dotprod"])
    assert exit_code_of(["device", "check", f"{server.address}{tmp_path}/root", "--bundle", str(bundle)]) == 5
    err = capsys.readouterr().err
    assert "the model is for riscv64; this CPU lacks dotprod" in err
    assert len(err.splitlines()) == 2


def test_an_upload_goes_on_from_where_it_broke_off(server: kit.Server, tmp_path: Path) -> None:
    device = open_device(f"{server.address}{tmp_path}/root")
    bundle = kit.make_bundle(tmp_path / "bundle", os.urandom(8_000_000))

    class Cut(Exception):  # noqa: N818
        pass

    def cut(done: int, total: int) -> None:
        if done > total / 2:
            raise Cut

    with pytest.raises(Cut):
        installing.install(device, bundle, cut)
    manifest = read_manifest(bundle)
    home = tmp_path / "root" / manifest.name
    assert kit.served(home) is None
    installed = installing.install(device, bundle)
    assert 0 < installed.already < manifest.total_bytes
    assert installed.sent_bytes == manifest.total_bytes - installed.already
    assert kit.served(home) == manifest.version


def test_a_device_without_python(server: kit.Server) -> None:
    registry.add("pi", server.address, "no-such-python")
    with pytest.raises(UnsupportedError, match="pi has no no-such-python"):
        checking.facts(open_device("pi"))
