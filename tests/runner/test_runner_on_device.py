"""What is sent to a device: it stands alone, and picks the wheels that fit."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgeprune import runner
from edgeprune.devices import asking
from edgeprune.runner.on_device import wheel_site
from edgeprune.runner.on_device.installer import MARK
from edgeprune.runner.on_device.wheel_site import Wheel, fits, fitting, unpack, wheels_in

MACHINE = platform.machine().lower()
OWN = f"cp{sys.version_info[0]}{sys.version_info[1]}"
FOLDER = Path(next(iter(runner.__path__)))


def _wheel(tags: str, name: str = "a") -> Wheel:
    python, abi, system = tags.split("-")
    return Wheel(
        Path(f"{name}-1.0-{tags}.whl"), name, "1.0", python.split("."), abi.split("."), system.split(".")
    )


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("py3-none-any", True),
        ("py2.py3-none-any", True),
        ("py2-none-any", False),
        (f"{OWN}-{OWN}-linux_{MACHINE}", True),
        (f"{OWN}-{OWN}-manylinux_2_27_{MACHINE}.manylinux_2_28_{MACHINE}", True),
        (f"{OWN}-{OWN}-manylinux2014_{MACHINE}", True),
        (f"{OWN}-{OWN}-manylinux_2_99_{MACHINE}", False),
        (f"{OWN}-{OWN}-manylinux_2_28_riscv64", False),
        (f"{OWN}-{OWN}-manylinux2014_riscv64", False),
        (f"{OWN}-{OWN}-musllinux_1_2_{MACHINE}", False),
        (f"{OWN}-{OWN}-win_amd64", False),
        (f"cp39-abi3-manylinux_2_17_{MACHINE}", True),
        (f"cp399-abi3-manylinux_2_17_{MACHINE}", False),
        (f"cp38-cp38-manylinux_2_17_{MACHINE}", False),
        (f"{OWN}-{OWN}t-manylinux_2_17_{MACHINE}", False),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="the tags of this list are those of Linux")
def test_which_wheels_fit(tags: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheel_site, "_glibc", lambda: (2, 36))
    assert fits(_wheel(tags)) is expected


def test_no_manylinux_wheel_fits_another_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheel_site, "_glibc", lambda: (0,))
    assert not fits(_wheel(f"{OWN}-{OWN}-manylinux2014_{MACHINE}"))
    assert fits(_wheel("py3-none-any"))


def test_one_wheel_of_each_is_taken_and_what_has_none_is_named() -> None:
    good, also, bad = _wheel("py3-none-any"), _wheel("py2.py3-none-any"), _wheel("py2-none-any", "b")
    assert fitting([bad, good, also]) == ([good], ["b"])


def test_modules_are_unpacked_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a-1.0-1build-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("a/__init__.py", "a-1.0.data/purelib/b.py", "a-1.0.data/scripts/run", "../outside.py"):
            archive.writestr(name, "VALUE = 1\n")
    (tmp_path / "README.whl").write_text("")
    wheels = wheels_in(tmp_path)
    assert [(wheel.name, wheel.version) for wheel in wheels] == [("a", "1.0")]
    unpack(wheels, tmp_path / "deep" / "site")
    found = {path.relative_to(tmp_path / "deep").as_posix() for path in (tmp_path / "deep").rglob("*.py")}
    assert found == {"site/a/__init__.py", "site/b.py"}
    assert list((tmp_path / "deep" / "site" / "__pycache__").iterdir())


def test_it_needs_nothing_but_the_standard_library(tmp_path: Path) -> None:
    """An isolated Python in an empty folder, with a file there that must not be imported."""
    (tmp_path / "json.py").write_text("raise SystemExit('imported from where it was started')")
    program = asking._program()
    request = json.dumps({"command": "facts", "root": str(tmp_path), "distributions": ["numpy"]}).encode()
    done = subprocess.run(
        [sys.executable, "-S", "-c", asking.BOOT, str(len(program))],
        input=program + request + b"\n",
        capture_output=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr.decode()
    answer = json.loads(done.stdout.partition(MARK)[2])
    assert answer["facts"]["python"] == platform.python_version()
    assert answer["bundles"] == {}


def test_what_starts_it_is_left_alone_by_every_shell() -> None:
    assert not set(asking.BOOT) & set("'\\!\n\t")
    assert asking._program().isascii()
