"""Small bundles whose runner does no more than the tests need, and an SSH server of their own on loopback."""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from edgeprune.runner.cpu import normalise_architecture
from edgeprune.runner.manifest import (
    File,
    Manifest,
    file_version,
    problems,
    read_manifest,
    sha256_of,
    write_manifest,
)

__all__ = ["HERE", "SSHD", "Server", "answers", "make_bundle", "rewrite", "served", "serving"]

HERE = normalise_architecture(platform.machine())
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

# Says its words and what it was given; its self-test fails where the bundle says so.
_RUNNER = """
import json, pathlib, sys
folder = pathlib.Path(__file__).resolve().parent.parent
words = sys.argv[1:]
if words[0] == "selftest":
    failures = json.loads((folder / "model" / "failures.json").read_text())
    print(json.dumps({"ok": not failures, "failures": failures}))
    sys.exit(5 if failures else 0)
if words[0] == "import":
    module = __import__(words[1])
    print(module.__file__, module.VALUE)
    sys.exit(0)
sys.stdout.write(json.dumps({"words": words, "given": sys.stdin.read()}) + "\\n")
sys.stderr.write("to standard error\\n")
sys.exit(int((folder / "model" / "code.txt").read_text()))
"""


def make_bundle(
    folder: Path,
    model: bytes = b"model",
    *,
    name: str = "sentiment-here",
    failures: tuple[str, ...] = (),
    wheels: Mapping[str, bytes] | None = None,
    code: int = 0,
    **changes: object,
) -> Path:
    """Writes a bundle that is whole. Its runner is a stand-in: what it says is not what is tested."""
    contents = {
        "runner/__init__.py": b"",
        "runner/__main__.py": _RUNNER.encode(),
        "model/model.onnx": model,
        "model/failures.json": json.dumps(failures).encode(),
        "model/code.txt": str(code).encode(),
        **{f"wheels/{wheel}": content for wheel, content in (wheels or {}).items()},
    }
    for path, content in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    files = {path: File(sha256_of(folder / path), len(content)) for path, content in contents.items()}
    manifest = Manifest(
        name=name,
        version=file_version(files),
        target="here",
        variant="onnxruntime/fp32",
        architecture=HERE,
        python="3.9",
        requirements=[],
        columns=["text"],
        labels=["no", "yes"],
        files=files,
    )
    write_manifest(folder, replace(manifest, **changes))  # type: ignore[arg-type]
    return folder


def rewrite(folder: Path, **changes: object) -> Path:
    """The bundle in `folder` with another manifest."""
    write_manifest(folder, replace(read_manifest(folder), **changes))  # type: ignore[arg-type]
    return folder


def served(home: Path) -> str | None:
    """Version that answers in the folder of one bundle, after every file of it was looked at."""
    if not (home / "current").is_symlink():
        return None
    folder = (home / "current").resolve(strict=True)
    manifest = read_manifest(folder)
    assert problems(folder, manifest) == []
    assert folder.name == manifest.version
    return manifest.version


def answers(home: Path) -> bool:
    """Whether the program that answers there starts."""
    command = ["python3", str(home / "current" / "runner"), "predict"]
    return subprocess.run(command, input=b"", capture_output=True).returncode == 0


@dataclass(frozen=True)
class Server:
    """An SSH server on loopback that lets one key in."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def address(self) -> str:
        return f"ssh://127.0.0.1:{self.port}"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def home(self) -> Path:
        """Home of the device's user."""
        return self.folder / "home"

    def sessions(self) -> list[int]:
        """Process ids of the connections that it serves, those that they started included, innermost first."""
        return _below(self.process.pid)


def _below(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(word) for word in task.read_text().split()]
        except OSError:
            continue
        for child in children:
            found += [*_below(child), child]
    return found


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Starts an SSH server with a fresh host key, and writes the settings that a client needs."""
    assert SSHD is not None
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    for name in ("host_key", "other_host_key", "user_key", "stranger_key"):
        words = [
            "ssh-keygen",
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-C",
            "edgeprune tests",
            "-f",
            str(folder / name),
        ]
        subprocess.run(words, check=True)
    shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where the server gives its rights up; root only
    (folder / "home").mkdir()
    port = _free_port()
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder / 'host_key'}\nPidFile none\n"
        f"AuthorizedKeysFile {folder / 'authorized_keys'}\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n"
        "MaxStartups 100\nMaxSessions 100\nAcceptEnv NOTHING\nPrintMotd no\n"
        # A home of its own: start-up files of whoever runs the tests are none of the device's.
        f"SetEnv HOME={folder / 'home'} PATH={Path(sys.executable).parent}:{os.environ['PATH']}\n"
    )
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {(folder / 'host_key.pub').read_text()}")
    (folder / "ssh_config").write_text(
        f"Host *\n  IdentityFile {folder / 'user_key'}\n  IdentitiesOnly yes\n  IdentityAgent none\n"
        f"  UserKnownHostsFile {folder / 'known_hosts'}\n  GlobalKnownHostsFile /dev/null\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [SSHD, "-D", "-e", "-f", str(folder / "sshd_config")],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
    server = Server(folder, port, process)
    try:
        _await_port(server)
        yield server
    finally:
        process.terminate()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_port(server: Server) -> None:
    last = time.monotonic() + 20
    while time.monotonic() < last:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", server.port)) == 0:
                return
        assert server.process.poll() is None, (server.folder / "log").read_text()
        time.sleep(0.05)
    raise AssertionError("sshd does not listen")
