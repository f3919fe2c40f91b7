from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import pytest
from assets_kit import MODEL_FILES, Resolver, write_files
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.assets import Attempt, lookup
from edgeprune.assets.contents import FileFact, first_difference
from edgeprune.errors import AssetError, ExitCode, RecipeError


def test_a_file_is_used_in_place(tmp_path: Path, cache: Path, resolve_here: Resolver) -> None:
    write_files(tmp_path, {"data/train.tsv": b"1\tgood\n"})
    asset = resolve_here("file://data/train.tsv")
    assert asset.path == tmp_path / "data/train.tsv"
    assert asset.sha256 == hashlib.sha256(b"1\tgood\n").hexdigest()
    assert (asset.size_bytes, asset.tried, asset.detail) == (7, (), "used in place")
    assert lookup(["file://data/train.tsv"], kind="dataset", cache=cache, base=tmp_path) == asset
    assert not cache.exists()


def test_a_link_keeps_its_name(tmp_path: Path, resolve_here: Resolver) -> None:
    write_files(tmp_path, {"blob": b"x"})
    (tmp_path / "train.tsv").symlink_to(tmp_path / "blob")
    assert resolve_here(f"file://{tmp_path}/train.tsv").path.name == "train.tsv"


def test_home_is_expanded(tmp_path: Path, resolve_here: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write_files(tmp_path / "home", {"a.csv": b"x"})
    assert resolve_here("file://~/a.csv").path == tmp_path / "home/a.csv"
    with pytest.raises(AssetError, match=r"home folder .* is not known"):
        resolve_here("file://~nobody-of-that-name/a.csv")


def test_the_hash_of_a_folder_is_that_of_its_listing(tmp_path: Path, resolve_here: Resolver) -> None:
    folder = write_files(tmp_path / "model", {**MODEL_FILES, "sub/é.txt": b"deep"})
    listing = b"".join(
        name.encode() + b"\0" + hashlib.sha256(text).hexdigest().encode() + b"\n"
        for name, text in sorted({**MODEL_FILES, "sub/é.txt": b"deep"}.items())
    )
    asset = resolve_here("file://model", kind="model")
    assert (asset.path, asset.sha256) == (folder, hashlib.sha256(listing).hexdigest())
    assert asset.size_bytes == sum(map(len, MODEL_FILES.values())) + 4
    (folder / "config.json").write_bytes(b"[]")
    assert resolve_here("file://model", kind="model").sha256 != asset.sha256


def test_the_data_folder_is_an_environment_variable(
    tmp_path: Path, resolve_here: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path, {"here/a.tsv": b"here", "data/a.tsv": b"there"})
    sources = ("$EDGEPRUNE_DATA/a.tsv", "file://here/a.tsv")
    unset = Attempt(sources[0], "the environment variable EDGEPRUNE_DATA is not set")
    assert resolve_here(*sources).tried == (unset,)
    monkeypatch.setenv("EDGEPRUNE_DATA", str(tmp_path / "data"))
    assert resolve_here(*sources).path == tmp_path / "data/a.tsv"
    monkeypatch.setenv("EDGEPRUNE_DATA", str(tmp_path / "elsewhere"))
    asset = resolve_here(*sources)
    assert asset.path == tmp_path / "here/a.tsv"
    assert asset.tried == (Attempt(sources[0], f"there is no {tmp_path}/elsewhere/a.tsv"),)


def test_when_all_fail_each_is_named_with_its_reason(tmp_path: Path, resolve_here: Resolver) -> None:
    with pytest.raises(AssetError) as caught:
        resolve_here("$EDGEPRUNE_DATA/a.tsv", "file://a.tsv", "file://.")
    assert str(caught.value) == (
        "no source of this dataset could be used:\n"
        "  $EDGEPRUNE_DATA/a.tsv: the environment variable EDGEPRUNE_DATA is not set\n"
        f"  file://a.tsv: there is no {tmp_path}/a.tsv\n"
        f"  file://.: {tmp_path} is a folder; a dataset is one file\n"
        "  hint: set EDGEPRUNE_DATA to the folder that holds a.tsv; name the file inside it"
    )
    assert caught.value.exit_code is ExitCode.UNREACHABLE


def test_there_is_a_hint_when_the_data_folder_is_known_too(
    tmp_path: Path, resolve_here: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEPRUNE_DATA", str(tmp_path))
    with pytest.raises(AssetError) as caught:
        resolve_here("file://a.tsv", "$EDGEPRUNE_DATA/b.tsv")
    assert caught.value.hint == "mend one of these sources, or list another one"


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"model.safetensors": b"", "tokenizer.json": b""}, "has no config.json"),
        ({"config.json": b"", "vocab.txt": b""}, r"has no \*\.safetensors$"),
        (
            {"config.json": b"", "vocab.txt": b"", "pytorch_model.bin": b""},
            r"has no \*\.safetensors, only pytorch_model.bin, and pickled weights are never loaded",
        ),
        ({"config.json": b"", "model.safetensors": b""}, "has no tokenizer"),
        (
            {
                **MODEL_FILES,
                "model.safetensors.index.json": b'{"weight_map": {"a": "model-2.safetensors"}}',
            },
            "lacks model-2.safetensors, which model.safetensors.index.json names",
        ),
        ({**MODEL_FILES, "model.safetensors.index.json": b"{"}, "is no index of weights"),
    ],
)
def test_a_folder_that_is_no_whole_model_is_refused(
    files: dict[str, bytes], says: str, tmp_path: Path, resolve_here: Resolver
) -> None:
    write_files(tmp_path / "model", files)
    with pytest.raises(AssetError) as caught:
        resolve_here("file://model", kind="model")
    assert re.search(says, caught.value.message)


def test_what_a_hash_cannot_cover_is_refused(tmp_path: Path, resolve_here: Resolver) -> None:
    folder = write_files(tmp_path / "model", MODEL_FILES)
    (folder / "loop").symlink_to(folder)
    with pytest.raises(AssetError, match="loop is a link to a folder"):
        resolve_here("file://model", kind="model")
    (folder / "loop").unlink()
    os.mkfifo(folder / "pipe")
    with pytest.raises(AssetError, match="pipe is not a regular file"):
        resolve_here("file://model", kind="model")
    (folder / "pipe").unlink()
    (folder / "dangling").symlink_to(tmp_path / "nothing")
    with pytest.raises(AssetError, match="cannot be read: No such file"):
        resolve_here("file://model", kind="model")
    with pytest.raises(AssetError, match="is a file; a model is a folder"):
        resolve_here("file://model/config.json", kind="model")


def test_a_malformed_source_is_a_mistake_in_the_recipe(resolve_here: Resolver) -> None:
    with pytest.raises(RecipeError, match="is a plain path") as caught:
        resolve_here("a.tsv")
    assert caught.value.exit_code is ExitCode.USAGE


FACTS = st.dictionaries(
    st.sampled_from("abc"), st.builds(FileFact, st.sampled_from(["1", "2"]), st.integers(0, 1))
)


@given(FACTS, FACTS)
def test_a_difference_is_found_exactly_when_there_is_one(
    one: dict[str, FileFact], other: dict[str, FileFact]
) -> None:
    assert (first_difference(one, other) is None) == (one == other)
