"""A bundle that is not whole, or not one, is refused with one message."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from bundle_kit import content

from edgeprune.bundle.building import build
from edgeprune.bundle.reading import opened, read
from edgeprune.errors import UnsupportedError, UsageError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    build(content(folder / "from"), folder / "made")
    build(content(folder / "from"), folder / "made.zip")
    return folder


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


TAMPERED: dict[str, tuple[Callable[[Path], object], str]] = {
    "model": (lambda at: _flip(at / "model" / "model.onnx"), "model/model.onnx was changed"),
    "program": (lambda at: _flip(at / "runner" / "session.py"), "runner/session.py was changed"),
    "samples": (lambda at: _flip(at / "sample.jsonl"), "sample.jsonl was changed"),
    "missing": (lambda at: (at / "README.md").unlink(), "README.md is missing"),
    "short": (lambda at: (at / "model" / "tokenizer.json").write_text("{"), "has 1 bytes instead of 2"),
    "added": (lambda at: (at / "runner" / "json.py").touch(), "'runner/json.py' is not in its manifest"),
    "version": (lambda at: _edit(at / "manifest.json", version="0" * 16), "is not that of its files"),
    "path": (
        lambda at: _edit(at / "manifest.json", files={"../x": {"sha256": "0" * 64, "bytes": 1}}),
        "has the name '..', which no bundle has",
    ),
    "format": (lambda at: _edit(at / "manifest.json", format="edgeprune.bundle/9"), "not in the format"),
    "no manifest": (lambda at: (at / "manifest.json").unlink(), "cannot be read"),
    "no json": (lambda at: (at / "manifest.json").write_text("{"), "cannot be read"),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_a_tampered_folder_is_refused(made: Path, tmp_path: Path, case: str) -> None:
    tamper, message = TAMPERED[case]
    shutil.copytree(made / "made", tmp_path / "made")
    tamper(tmp_path / "made")
    with pytest.raises(UnsupportedError) as caught:
        read(tmp_path / "made")
    assert message in caught.value.message
    assert caught.value.exit_code == 5


def _members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _rezip(members: dict[str, bytes], path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_a_zip_that_was_packed_anew_is_the_same_bundle(made: Path, tmp_path: Path) -> None:
    members = _members(made / "made.zip")
    flat = {name.removeprefix("tiny-board/"): data for name, data in members.items()}
    other = {f"folder/{name}": data for name, data in flat.items()}
    expected = read(made / "made").manifest
    for number, version in enumerate((members, flat, other)):
        with opened(_rezip(version, tmp_path / f"{number}.zip")) as bundle:
            assert bundle.manifest == expected
            folder = bundle.folder
        assert not folder.exists()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("../../gone", b"x", "'../../gone' is not in its manifest"),
        ("/tmp/gone", b"x", "'/tmp/gone' is not in its manifest"),
        ("tiny-board/runner/json.py", b"x", "is not in its manifest"),
        ("tiny-board/sample.jsonl", b"x" * 10**6, "has 1000000 bytes instead of"),
        ("tiny-board/sample.jsonl", None, "sample.jsonl is missing"),
        ("tiny-board/manifest.json", None, "has 0 files manifest.json"),
        ("other/manifest.json", b"{}", "has 2 files manifest.json"),
    ],
)
def test_a_tampered_zip_is_refused(
    made: Path, tmp_path: Path, name: str, data: bytes | None, message: str
) -> None:
    members = _members(made / "made.zip") | ({name: data} if data is not None else {})
    if data is None:
        del members[name]
    with (
        pytest.raises(UnsupportedError) as caught,
        opened(_rezip(members, tmp_path / "other.zip")),
    ):
        raise AssertionError("it was read")
    assert message in caught.value.message
    assert [path.name for path in tmp_path.iterdir()] == ["other.zip"]


def test_a_zip_that_was_cut_or_changed_is_refused(made: Path, tmp_path: Path) -> None:
    whole = (made / "made.zip").read_bytes()
    middle = bytearray(whole)
    middle[whole.index(b"weightsweights") + 100] ^= 1
    for data in (b"", whole[: len(whole) // 2], whole[100:], bytes(middle), b"no zip at all"):
        path = tmp_path / "cut.zip"
        path.write_bytes(data)
        with pytest.raises(UnsupportedError), opened(path):
            raise AssertionError("it was read")


def test_a_name_twice_is_refused(made: Path, tmp_path: Path) -> None:
    shutil.copyfile(made / "made.zip", tmp_path / "twice.zip")
    with (
        pytest.warns(UserWarning, match="Duplicate"),
        zipfile.ZipFile(tmp_path / "twice.zip", "a") as archive,
    ):
        archive.writestr("tiny-board/sample.jsonl", "{}")
    with pytest.raises(UnsupportedError, match="a name twice"), opened(tmp_path / "twice.zip"):
        raise AssertionError("it was read")


@pytest.mark.parametrize("name", ["gone", "gone.zip"])
def test_what_is_not_there_is_a_wrong_command_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="there is no such bundle"), opened(tmp_path / name):
        raise AssertionError("it was read")


@pytest.mark.parametrize(
    "line", ["[]", "{}", '{"texts": "a", "scores": {}}', '{"texts": [], "scores": {"a": "b"}}']
)
def test_samples_that_are_none_are_refused(tmp_path: Path, line: str) -> None:
    from edgeprune.bundle.text import parse_samples

    with pytest.raises(ValueError, match=r"sample|float"):
        parse_samples(f"{line}\n")
