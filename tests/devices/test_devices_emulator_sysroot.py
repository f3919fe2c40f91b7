"""Packages for another processor: the real apt, with a folder for a source."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from edgeprune.devices.sysroot import PACKAGES, unpack
from edgeprune.errors import DeviceError, UnsupportedError

needs_apt = pytest.mark.skipif(
    shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None, reason="no apt here"
)
STATE = (Path("/var/lib/apt/lists"), Path("/var/cache/apt"), Path("/var/lib/dpkg"))


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's list of sources; empty."""
    listed = tmp_path / "sources.list"
    listed.touch()
    settings = tmp_path / "user.conf"
    settings.write_text(
        f'Dir::Etc::sourcelist "{listed}";\nDir::Etc::sourceparts "{tmp_path / "none"}";\n'
        f'APT::Update::Post-Invoke {{ "touch {tmp_path / "hooked"}"; }};\n'
        'APT::Sandbox::User "root";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(settings))
    return listed


def package(
    repository: Path, name: str, files: dict[str, str], links: dict[str, str], needs: str = ""
) -> str:
    """Builds a package and returns its entry of the list."""
    tree = repository / "build" / name
    for path, text in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    for path, target in links.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).symlink_to(target)
    control = (
        f"Package: {name}\nVersion: 1:2.0+x\nArchitecture: arm64\nMaintainer: nobody <n@example.org>\n"
        f"Description: none\n{needs}"
    )
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(control)
    (tree / "DEBIAN/postinst").write_text("#!/bin/sh\nfalse\n")
    (tree / "DEBIAN/postinst").chmod(0o755)
    file = repository / f"{name}.deb"
    command = ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(file)]
    subprocess.run(command, check=True, capture_output=True)
    data = file.read_bytes()
    return (
        f"{control}Filename: ./{file.name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
    )


@pytest.fixture
def repository(tmp_path: Path, sources: Path) -> Path:
    """A source with the packages that are asked for, and one that they need."""
    folder = tmp_path / "a repository"
    folder.mkdir()
    python, stdlib, cpp = PACKAGES
    entries = [
        package(folder, python, {}, {"usr/bin/python3": "python3.12"}, "Depends: python3.12-minimal\n"),
        package(
            folder,
            "python3.12-minimal",
            {"usr/bin/python3.12": "program", "usr/share/doc/python3.12/README": "read me"},
            {"usr/lib/python3.12/site.py": "/etc/python3.12/site.py"},
        ),
        package(folder, stdlib, {"etc/python3.12/site.py": "site"}, {}),
        package(folder, cpp, {"usr/lib/ld.so": "loader"}, {}),
    ]
    (folder / "Packages.gz").write_bytes(gzip.compress("\n".join(entries).encode()))
    address = str(folder).replace(" ", "%20")
    sources.write_text(f"deb [trusted=yes] copy:{address} ./\n")
    return folder


def listing(*folders: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for folder in folders
        for path in folder.rglob("*")
    }


@needs_apt
def test_a_system_is_unpacked_and_the_machine_stays_as_it_is(repository: Path, tmp_path: Path) -> None:
    folder = tmp_path / "root"
    folder.mkdir()
    before, said = listing(*STATE), list[str]()
    sysroot = unpack(folder, said.append)
    assert sysroot.python == "usr/bin/python3.12"
    assert list(sysroot.packages) == sorted([*PACKAGES, "python3.12-minimal"])
    one = sysroot.packages["libstdc++6"]
    data = (repository / "libstdc++6.deb").read_bytes()
    assert (one.version, one.sha256) == ("1:2.0+x", hashlib.sha256(data).hexdigest())
    assert len(said) == 2
    # A link to / would be one of this machine's; the C library's loader is named below /lib.
    assert os.readlink(folder / "usr/lib/python3.12/site.py") == "../../../etc/python3.12/site.py"  # noqa: PTH115
    assert (folder / "lib/python3.12/site.py").read_text() == "site"
    assert (folder / "lib/ld.so").read_text() == "loader"
    assert not (folder / "usr/share").exists()
    assert listing(*STATE) == before
    assert not (tmp_path / "hooked").exists()


@needs_apt
def test_a_file_that_is_not_the_listed_one_is_refused(repository: Path, tmp_path: Path) -> None:
    file = repository / "libstdc++6.deb"
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    (tmp_path / "root").mkdir()
    with pytest.raises(DeviceError, match=r"apt cannot reach its sources: .*Hash Sum mismatch"):
        unpack(tmp_path / "root", lambda text: None)
    assert list((tmp_path / "root").iterdir()) == []


@needs_apt
def test_sources_without_arm_packages_are_told_so(sources: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"give no system for arm64: Unable to locate") as caught:
        unpack(tmp_path, lambda text: None)
    assert "ports" in caught.value.hint


@needs_apt
def test_sources_that_are_not_reached_are_told_so(sources: Path, tmp_path: Path) -> None:
    sources.write_text("deb [trusted=yes] http://someone:secret@127.0.0.1:1/debian ./\n")
    with pytest.raises(DeviceError, match=r"apt cannot reach its sources: Failed to fetch") as caught:
        unpack(tmp_path, lambda text: None)
    assert "secret" not in str(caught.value)


def test_a_machine_without_apt_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnsupportedError, match="this machine has no apt-get") as caught:
        unpack(tmp_path, lambda text: None)
    assert "edgeprune device add" in caught.value.hint
