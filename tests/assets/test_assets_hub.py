from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from assets_kit import MODEL_FILES, Resolver
from loopback_hub import Hub, Repository, serve_hub

from edgeprune.assets import lookup
from edgeprune.errors import AssetError

OLD, NEW = "a" * 40, "b" * 40
TABLE = b"sentence,label\ngood,1\nbad,0\n"
SPLITS = (
    b"---\nconfigs:\n- config_name: sst2\n  data_files:\n"
    b"  - split: train\n    path: sst2/train.csv\n  - split: validation\n    path: sst2/validation.csv\n---\n"
)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    model = {**MODEL_FILES, "merges.txt": b"a b", "pytorch_model.bin": b"pickle", "onnx/config.json": b"{}"}
    data = {"README.md": SPLITS, "sst2/train.csv": TABLE, "sst2/validation.csv": TABLE}
    repositories = {
        "models/o/tiny": Repository(
            {OLD: {**model, "config.json": b'{"old": 1}'}, NEW: model}, {"main": OLD, "v2": NEW}
        ),
        "models/o/pickled": Repository(
            {OLD: {"config.json": b"{}", "vocab.txt": b"a", "pytorch_model.bin": b"pickle"}}, {"main": OLD}
        ),
        "models/o/gated": Repository({OLD: model}, {"main": OLD}, gated=True),
        "models/o/private": Repository({OLD: model}, {"main": OLD}, token="hf_secret"),
        "datasets/o/glue": Repository({OLD: data}, {"main": OLD}),
    }
    with serve_hub(repositories) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        yield served


def test_a_model_is_fetched_without_its_pickles_and_stays(
    hub: Hub,
    tmp_path: Path,
    cache: Path,
    resolve_here: Resolver,
    closed_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asset = resolve_here("hub://o/tiny", kind="model")
    assert {path.name for path in asset.path.iterdir()} == {*MODEL_FILES, "merges.txt"}
    assert (asset.path / "config.json").read_bytes() == b'{"old": 1}'
    assert asset.path.name == "tiny"
    assert asset.detail == f"commit {OLD}, from {hub.url}"
    assert not [line for line in hub.requests if "pytorch_model" in line or "onnx" in line]

    hub.requests.clear()
    hub.repositories["models/o/tiny"].refs["main"] = NEW
    assert lookup(["hub://o/tiny"], kind="model", cache=cache, base=tmp_path) == asset
    assert resolve_here("hub://o/tiny", kind="model") == asset
    assert hub.requests == []

    renewed = resolve_here("hub://o/tiny", kind="model", refresh=True)
    assert renewed.detail == f"commit {NEW}, from {hub.url}"
    assert (renewed.path / "config.json").read_bytes() == b"{}"

    monkeypatch.setenv("HF_ENDPOINT", closed_url)
    hub.repositories.clear()
    assert resolve_here("hub://o/tiny", kind="model") == renewed


def test_a_pinned_revision_is_fetched_not_the_newest(hub: Hub, resolve_here: Resolver) -> None:
    asset = resolve_here("hub://o/tiny@v2", kind="model")
    assert asset.detail == f"commit {NEW}, from {hub.url}"
    assert (asset.path / "config.json").read_bytes() == b"{}"


def test_what_the_hub_does_not_serve_is_named(
    hub: Hub, resolve_here: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = ("hub://o/pickled", "hub://o/nothing", "hub://o/tiny@v9", "hub://o/gated", "hub://o/private")
    with pytest.raises(AssetError) as caught:
        resolve_here(*sources, kind="model")
    assert caught.value.message == (
        "no source of this model could be used:\n"
        "  hub://o/pickled: the repository o/pickled has no *.safetensors, only pytorch_model.bin, and "
        "pickled weights are never loaded\n"
        "  hub://o/nothing: the Hub has no model o/nothing, or it is private\n"
        "  hub://o/tiny@v9: o/tiny has no revision 'v9'\n"
        "  hub://o/gated: o/gated is gated\n"
        "  hub://o/private: the Hub has no model o/private, or it is private"
    )
    assert "set HF_TOKEN" in caught.value.hint
    assert not [line for line in hub.requests if "/resolve/" in line]
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert resolve_here("hub://o/private", kind="model").detail == f"commit {OLD}, from {hub.url}"


def test_offline_the_hub_clients_own_cache_serves_if_it_is_whole(
    hub: Hub, tmp_path: Path, resolve_here: Resolver, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    uri = f"hub://o/tiny@{OLD}"
    hub.forbidden_files.add("model.safetensors")
    with pytest.raises(AssetError, match="the Hub answers HTTP 403"):
        resolve_here(uri, kind="model")

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        AssetError, match="the Hub is not asked; the Hub client's own cache holds part of it only"
    ):
        resolve_here(uri, kind="model")

    monkeypatch.delenv("HF_HUB_OFFLINE")
    hub.forbidden_files.clear()
    fetched = resolve_here(uri, kind="model")
    for file in fetched.path.iterdir():
        file.unlink()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.requests.clear()
    again = resolve_here(uri, kind="model")
    assert again.sha256 == fetched.sha256
    why = "HF_HUB_OFFLINE is set, so the Hub is not asked"
    assert again.detail == f"commit {OLD}, from the Hub client's own cache because {why}"
    assert hub.requests == []


def test_a_refresh_that_fails_keeps_what_was_there(
    hub: Hub, resolve_here: Resolver, monkeypatch: pytest.MonkeyPatch, closed_url: str, tmp_path: Path
) -> None:
    asset = resolve_here("hub://o/tiny", kind="model")
    monkeypatch.setenv("HF_ENDPOINT", closed_url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
    with pytest.raises(AssetError, match="the Hub cannot be reached at") as caught:
        resolve_here("hub://o/tiny", kind="model", refresh=True)
    assert "leave out the refresh to use it" in caught.value.hint
    assert resolve_here("hub://o/tiny", kind="model") == asset


def test_one_split_of_a_dataset_becomes_one_parquet_file(
    hub: Hub, resolve_here: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet

    asset = resolve_here("hub://o/glue#config=sst2&split=train")
    assert asset.path.name == "train.parquet"
    assert asset.detail == f"commit {OLD}, from {hub.url}"
    rows = pyarrow.parquet.read_table(asset.path).to_pylist()
    assert rows == [{"sentence": "good", "label": 1}, {"sentence": "bad", "label": 0}]


def test_a_dataset_is_not_guessed_at(hub: Hub, resolve_here: Resolver) -> None:
    with pytest.raises(
        AssetError, match="has the splits train, validation and the source names none"
    ) as caught:
        resolve_here("hub://o/glue#config=sst2")
    assert caught.value.hint == "add #split=train"


def test_a_dataset_with_code_is_refused(hub: Hub, tmp_path: Path, resolve_here: Resolver) -> None:
    trap = tmp_path / "ran"
    code = f"open({str(trap)!r}, 'w').close()\n".encode()
    hub.repositories["datasets/o/code"] = Repository({OLD: {"code.py": code}}, {"main": OLD})
    with pytest.raises(AssetError, match=r"hub://o/code#split=train: \w+: .*script"):
        resolve_here("hub://o/code#split=train")
    assert not trap.exists()
