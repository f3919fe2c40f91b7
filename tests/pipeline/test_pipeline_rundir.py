"""A run's folder: the resolved recipe, and the link to the latest run."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune.pipeline import running
from edgeprune.pipeline.rundir import RunFolder


def test_every_run_has_its_own_folder(tmp_path: Path) -> None:
    folders = [RunFolder.create(tmp_path / "runs", "tiny") for _ in range(5)]
    assert len({folder.path for folder in folders}) == 5
    assert all(folder.path == tmp_path / "runs" / "tiny" / folder.id for folder in folders)
    assert all((folder.path / "artifacts").is_dir() for folder in folders)


def test_the_resolved_recipe_loads_to_the_same(recipe: Path, tmp_path: Path) -> None:
    loaded = running.load(recipe, ["stages.finetune.epochs=2.5", "acceptance.min_speedup=1.5"])
    folder = RunFolder.create(tmp_path / "runs", "tiny")
    folder.write_recipe(loaded)
    text = (folder.path / "recipe.yaml").read_text()
    assert text.startswith(f"# Resolved from {recipe}")
    again = running.load(folder.path / "recipe.yaml")
    assert again.resolved() == loaded.resolved()
    assert again.stages[0].config == loaded.stages[0].config
    assert "max_unusable: 0.01" in text, "defaults are written out"


@pytest.mark.usefixtures("imitated")
def test_latest_is_the_last_run_that_finished(recipe: Path, tmp_path: Path) -> None:
    def run(*overrides: str) -> Path:
        return running.run(
            running.load(recipe, overrides), cache=tmp_path / "cache", runs=tmp_path / "runs"
        ).folder

    latest = tmp_path / "runs" / "tiny" / "latest"
    first = run()
    assert latest.resolve() == first
    assert not latest.readlink().is_absolute(), "the folder of runs can be moved"
    second = run()
    assert latest.resolve() == second != first
    with pytest.raises(Exception, match="no luck"):
        run("stages.finetune.fail=no luck")
    assert latest.resolve() == second
    assert [path.name for path in latest.parent.iterdir() if path.name.startswith(".")] == []


def test_latest_is_never_missing_while_it_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The link is replaced in one step: at every operation it leads to the old run or the new one."""
    runs = tmp_path / "runs"
    first, second = RunFolder.create(runs, "tiny"), RunFolder.create(runs, "tiny")
    first._point_latest()
    latest, seen = runs / "tiny" / "latest", []

    def watched(name: str) -> None:
        plain = getattr(Path, name)

        def call(self: Path, *arguments: object, **named: object) -> object:
            seen.append(latest.resolve().name)
            result = plain(self, *arguments, **named)
            seen.append(latest.resolve().name)
            return result

        monkeypatch.setattr(Path, name, call)

    for name in ("symlink_to", "replace", "rename", "unlink"):
        watched(name)
    second._point_latest()
    assert seen == [first.id, first.id, first.id, second.id]
