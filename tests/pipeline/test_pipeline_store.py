"""The store: what is published is whole, what is damaged is not there, what was killed leaves nothing."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from pipeline_kit import Process, events, ids, wait_until

from edgeprune.pipeline import store as store_module
from edgeprune.pipeline.store import Artifact, ArtifactStore


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "cache")


def _publish(store: ArtifactStore, text: str = "weights") -> Artifact:
    output = store.new_output("train", "k1")
    (output / "deep").mkdir()
    (output / "deep" / "model").write_text(text)
    (output / "empty").touch()
    (store.scratch("train", "k1") / "checkpoint").write_text("half")
    return store.publish(
        output,
        stage="train",
        key="k1",
        ingredients={"config": {"epochs": 1}},
        record={"score": 0.5},
        notes=["one"],
        seconds=2.5,
    )


def test_what_was_published_is_found(store: ArtifactStore) -> None:
    assert store.find("train", "k1") is None
    published = _publish(store)
    assert store.find("train", "k1") == published
    assert published.path == store.path("train", "k1")
    assert {name: facts["size"] for name, facts in published.files.items()} == {"deep/model": 7, "empty": 0}
    assert (published.record, published.notes, published.seconds) == ({"score": 0.5}, ["one"], 2.5)
    assert store.find("train", "k2") is None
    assert store.find("export", "k1") is None


def test_nothing_else_is_left_after_publishing(store: ArtifactStore) -> None:
    _publish(store)
    left = [path.relative_to(store.root).as_posix() for path in store.root.glob("*/*")]
    assert left == ["artifacts/train-k1"]


def test_everybody_may_read_an_artifact(store: ArtifactStore) -> None:
    assert _publish(store).path.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    "harm", ["changed", "longer", "missing", "folder", "manifest", "format", "key", "no manifest"]
)
def test_a_damaged_artifact_is_not_there(store: ArtifactStore, harm: str) -> None:
    artifact = _publish(store)
    file, manifest = artifact.path / "deep" / "model", artifact.path / "artifact.json"
    document = json.loads(manifest.read_text())
    if harm == "changed":
        file.write_text("weighty")
    elif harm == "longer":
        file.write_text("weights+")
    elif harm == "missing":
        file.unlink()
    elif harm == "folder":
        file.unlink()
        file.mkdir()
    elif harm == "manifest":
        manifest.write_text(manifest.read_text()[:-20])
    elif harm == "format":
        manifest.write_text(json.dumps(document | {"format": "edgeprune.artifact/0"}))
    elif harm == "key":
        manifest.write_text(json.dumps(document | {"key": "k2"}))
    else:
        manifest.unlink()
    assert store.find("train", "k1") is None
    again = _publish(store, "new weights")
    assert store.find("train", "k1") == again
    assert file.read_text() == "new weights"
    assert list((store.root / "tmp").iterdir()) == []


def test_without_verifying_only_the_manifest_is_read(store: ArtifactStore) -> None:
    artifact = _publish(store)
    (artifact.path / "deep" / "model").write_text("weighty")
    assert store.find("train", "k1", verify=False) == artifact
    assert store.damage(artifact) == ["deep/model"]


class _Crash(BaseException):
    """The process ends here: nothing in the way may catch it."""


def _crash_at(monkeypatch: pytest.MonkeyPatch, number: int) -> list[str]:
    """Let the `number`-th operation on the disk (from 0) end the process; returns those that were begun."""
    begun: list[str] = []

    def guarded(name: str, operation: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            begun.append(name)
            if len(begun) > number:
                raise _Crash
            return operation(*arguments, **named)

        return call

    monkeypatch.setattr(Path, "rename", guarded("rename", Path.rename))
    monkeypatch.setattr(Path, "write_text", guarded("write", Path.write_text))
    monkeypatch.setattr(os, "fsync", guarded("fsync", os.fsync))
    monkeypatch.setattr(store_module.shutil, "rmtree", guarded("rmtree", store_module.shutil.rmtree))
    return begun


@pytest.mark.parametrize("damaged", [False, True])
def test_a_crash_at_any_operation_leaves_the_artifact_whole_or_absent(tmp_path: Path, damaged: bool) -> None:
    """Every operation of publishing is the last one once; then the same is published again."""
    number, ended = 0, False
    while not ended:
        store = ArtifactStore(tmp_path / str(number))
        if damaged:
            (_publish(store, "old").path / "deep" / "model").write_text("rot")
        output = store.new_output("train", "k1")
        (output / "model").write_text("weights")
        (store.scratch("train", "k1") / "checkpoint").write_text("half")
        with pytest.MonkeyPatch.context() as patch:
            begun = _crash_at(patch, number)
            try:
                store.publish(output, stage="train", key="k1", ingredients={}, record={}, notes=[], seconds=1)
                ended = True
            except _Crash:
                pass
        found = ArtifactStore(store.root).find("train", "k1")
        if found is not None:
            assert (found.path / "model").read_text() == "weights"
        else:
            assert (store.scratch("train", "k1") / "checkpoint").exists(), (
                "checkpoints stay until there is an artifact"
            )
            assert _publish(ArtifactStore(store.root)).path.is_dir()
        number += 1
    assert {"rename", "write", "fsync", "rmtree"} == set(begun)
    assert number > 6


def test_a_killed_making_is_cleaned_by_the_next(store: ArtifactStore) -> None:
    old = store.new_output("train", "k1")
    (old / "half").write_text("x")
    other = store.new_output("train", "k2")
    new = store.new_output("train", "k1")
    assert not old.exists()
    assert list(new.iterdir()) == []
    assert other.exists(), "another artifact's making is somebody else's"


def test_scratch_survives_until_publication(store: ArtifactStore) -> None:
    (store.scratch("train", "k1") / "checkpoint").write_text("40")
    assert (ArtifactStore(store.root).scratch("train", "k1") / "checkpoint").read_text() == "40"
    _publish(store)
    assert list(store.scratch("train", "k1").iterdir()) == []


def test_a_lock_is_held_by_one(store: ArtifactStore) -> None:
    order: list[str] = []
    waits = threading.Event()

    def second() -> None:
        with ArtifactStore(store.root).lock("train", "k1", waiting=waits.set):
            order.append("second")

    with store.lock("train", "k1", waiting=lambda: order.append("waited")):
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(10), "the second says that it waits"
        order.append("first")
        with store.lock("train", "k2", waiting=lambda: order.append("waited")):
            order.append("another key is free")
    thread.join(10)
    assert order == ["first", "another key is free", "second"]


def test_a_lock_is_free_after_an_error(store: ArtifactStore) -> None:
    with pytest.raises(ZeroDivisionError), store.lock("train", "k1", waiting=lambda: None):
        raise ZeroDivisionError
    with store.lock("train", "k1", waiting=lambda: pytest.fail("the lock is still held")):
        pass


def test_two_processes_that_want_one_artifact(recipe: Path, tmp_path: Path) -> None:
    """One makes it, the other says that it waits, and then finds it."""
    cache, gate = tmp_path / "cache", tmp_path / "gate"
    with Process(recipe, cache, tmp_path / "one", gate) as one:
        wait_until((gate / "reached").exists)
        with Process(recipe, cache, tmp_path / "two", gate) as two:
            wait_until(lambda: two.has("node_waiting", "finetune"))
            assert not two.has("node_cached", "finetune")
            (gate / "go").touch()
            assert (one.finish(), two.finish()) == (0, 0)
    first, second = events(tmp_path / "one"), events(tmp_path / "two")
    assert {"prepare", "finetune"} <= set(ids(first, "node_finished"))
    assert ids(second, "node_cached")[:2] == ["prepare", "finetune"]
    assert sorted(ids(first, "node_started") + ids(second, "node_started")) == sorted(
        ids(first, "node_cached") + ids(first, "node_started")
    ), "every node was made once"


def test_a_killed_process_frees_its_lock_and_leaves_its_checkpoints(recipe: Path, tmp_path: Path) -> None:
    cache, gate = tmp_path / "cache", tmp_path / "gate"
    with Process(recipe, cache, tmp_path / "one", gate) as one:
        wait_until((gate / "reached").exists)
        one.kill()
    assert list((cache / "artifacts").glob("finetune-*")) == []
    assert len(list((cache / "tmp").glob("finetune-*/half"))) == 1
    (gate / "go").touch()
    with Process(recipe, cache, tmp_path / "two", gate) as two:
        two.finish()
    assert ids(events(tmp_path / "two"), "node_cached") == ["prepare"]
    (artifact,) = (cache / "artifacts").glob("finetune-*")
    assert (artifact / "model.safetensors").read_text() == "xxxx seed 1", (
        "two steps before the kill, two after"
    )
    assert json.loads((artifact / "artifact.json").read_text())["record"]["steps_of_this_process"] == 2
    assert not (artifact / "half").exists()
    assert list((cache / "tmp").iterdir()) == []
    assert list((cache / "work").iterdir()) == []
