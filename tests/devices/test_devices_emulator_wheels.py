"""Wheels for another machine: the real pip, with a folder for an index."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgeprune.devices.wheels import UNUSED, fetch_wheels, left_out, unpack_wheels
from edgeprune.errors import AssetError, UnsupportedError

pytestmark = pytest.mark.thorough  # pip starts a score of times

ARM = "cp311-cp311-manylinux_2_27_aarch64.manylinux_2_28_aarch64"
X86 = "cp311-cp311-manylinux_2_28_x86_64"
PURE = "py3-none-any"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that pip finds wheels in, and nowhere else."""
    for name in os.environ:
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    folder = tmp_path / "index"
    folder.mkdir()
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(folder), "CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return folder


def put(index: Path, name: str, version: str, tags: str, asks: Sequence[str] = (), python: str = "") -> None:
    """Writes a wheel with one module."""
    stem = f"{name.replace('-', '_')}-{version}"
    headers = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    headers += [f"Requires-Dist: {text}" for text in asks]
    headers += [f"Requires-Python: {python}"] if python else []
    module = f"{name.replace('-', '_')}/__init__.py"
    files = {
        module: f"__version__ = {version!r}\n",
        f"{stem}.dist-info/METADATA": "\n".join(headers) + "\n",
        f"{stem}.dist-info/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tags}\n",
        f"{stem}.dist-info/RECORD": f"{module},,\n",
    }
    with zipfile.ZipFile(index / f"{stem}-{tags}.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)


def named(wheels: Sequence[Path]) -> list[str]:
    return [re.sub(r"-(cp|py)3.*", "", wheel.name) for wheel in wheels]


def test_the_wheels_are_those_of_the_other_machine(index: Path, tmp_path: Path) -> None:
    put(index, "numpy", "2.1", ARM)
    put(index, "numpy", "2.2", X86)
    put(index, "numpy", "2.3", "cp312-cp312-manylinux_2_28_aarch64")
    put(index, "numpy", "2.4", "cp311-cp311-manylinux_2_35_aarch64")
    put(index, "numpy", "2.5", PURE, python=">=3.13")
    [wheel] = fetch_wheels(["numpy"], "aarch64", "3.11", tmp_path / "new" / "wheels")
    assert wheel == tmp_path / "new" / "wheels" / f"numpy-2.1-{ARM}.whl"
    assert [path.name for path in wheel.parent.iterdir()] == [wheel.name]
    assert named(fetch_wheels(["numpy"], "x86_64", "3.11.2", tmp_path / "x86")) == ["numpy-2.2"]


def test_what_the_runner_does_not_use_is_left_out_and_named(index: Path, tmp_path: Path) -> None:
    put(index, "tokenizers", "0.22", ARM, ["Huggingface_Hub>=0.16", "black; extra == 'dev'", "idna"])
    put(index, "idna", "3.1", PURE, ["old; python_version < '3.9'", "windows; sys_platform == 'win32'"])
    wheels = fetch_wheels(["tokenizers"], "aarch64", "3.11", tmp_path / "wheels")
    assert named(wheels) == ["idna-3.1", "tokenizers-0.22"]
    assert left_out(wheels, "aarch64", "3.11") == ["huggingface-hub (tokenizers asks for it)"]
    assert left_out(wheels[:1], "aarch64", "3.11") == []
    assert {"onnxruntime", "openvino", "tokenizers"} == set(UNUSED)


def test_versions_suit_each_other(index: Path, tmp_path: Path) -> None:
    for version in ("1.26", "2.0", "2.4"):
        put(index, "numpy", version, ARM)
    put(index, "onnxruntime", "1.20", ARM, ["numpy>=1.21", "protobuf"])
    put(index, "openvino", "2025.1", ARM, ["numpy<2.1,>=1.16"])
    wheels = fetch_wheels(["numpy", "onnxruntime", "openvino"], "aarch64", "3.11", tmp_path / "wheels")
    assert named(wheels) == ["numpy-2.0", "onnxruntime-1.20", "openvino-2025.1"]
    assert sorted(path.name for path in (tmp_path / "wheels").iterdir()) == [wheel.name for wheel in wheels]


def test_a_requirement_for_other_machines_is_passed_over(index: Path, tmp_path: Path) -> None:
    put(index, "numpy", "2.0", ARM)
    asked = ["numpy; platform_machine == 'aarch64'", "winlib; sys_platform == 'win32'"]
    assert named(fetch_wheels(asked, "aarch64", "3.11", tmp_path / "wheels")) == ["numpy-2.0"]


def test_a_wheel_that_is_not_to_be_had_leaves_nothing(index: Path, tmp_path: Path) -> None:
    put(index, "numpy", "2.0", ARM)
    put(index, "onnxruntime", "1.20", X86)
    with pytest.raises(AssetError) as caught:
        fetch_wheels(["numpy", "onnxruntime>=1.20"], "aarch64", "3.11", tmp_path / "wheels")
    assert "onnxruntime>=1.20 for aarch64, Python 3.11: pip finds no wheel" in caught.value.message
    assert list((tmp_path / "wheels").iterdir()) == []


def test_versions_that_never_suit_are_an_error(index: Path, tmp_path: Path) -> None:
    put(index, "numpy", "2.0", ARM)
    put(index, "openvino", "2025.1", ARM, ["numpy<2"])
    with pytest.raises(AssetError, match=r"numpy<2.* for aarch64, Python 3.11: pip finds no wheel"):
        fetch_wheels(["numpy", "openvino"], "aarch64", "3.11", tmp_path / "wheels")


@pytest.mark.parametrize(
    ("architecture", "python"), [("riscv64", "3.11"), ("aarch64", "2.7"), ("arm64", "3.9")]
)
def test_a_machine_without_wheels_is_unsupported(tmp_path: Path, architecture: str, python: str) -> None:
    with pytest.raises(UnsupportedError, match=r"wheels are fetched for .*, not for"):
        fetch_wheels(["numpy"], architecture, python, tmp_path)


def test_wheels_of_another_machine_are_unpacked_as_they_are(index: Path, tmp_path: Path) -> None:
    put(index, "numpy", "2.0", ARM)
    wheels = fetch_wheels(["numpy"], "aarch64", "3.11", tmp_path / "wheels")
    unpack_wheels(wheels, "aarch64", "3.11", tmp_path / "site")
    assert (tmp_path / "site/numpy/__init__.py").read_text() == "__version__ = '2.0'\n"
    assert list(tmp_path.glob("site/**/*.pyc")) == []
    assert list(tmp_path.glob("site/**/direct_url.json")) == []
    with pytest.raises(AssetError, match=r"pip cannot unpack wheels for x86_64.*numpy==2\.0"):
        unpack_wheels(wheels, "x86_64", "3.11", tmp_path / "other")
