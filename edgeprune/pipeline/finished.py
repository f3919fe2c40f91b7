"""A finished run, opened again: its report, its recipe, and the artifacts that it left."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.assets.contents import file_sha256
from edgeprune.errors import EdgepruneError, UsageError
from edgeprune.pipeline.rundir import RunFolder
from edgeprune.pipeline.store import Artifact
from edgeprune.recipe.schema import RecipeShell

if TYPE_CHECKING:
    from edgeprune.report.model import Report, TargetRow

__all__ = ["FinishedRun", "open_run"]

_AGAIN = "run the recipe again: what is finished is cached, and only what is missing is made"


@dataclass(frozen=True)
class FinishedRun:
    """A run with a report.

    Attributes:
        path: Its folder.
        report: What it found.
        shell: The resolved recipe's sections.
        nodes: Id of each step of its plan to what the plan says of it: `stage`, `inputs`, `ingredients`.
    """

    path: Path
    report: Report
    shell: RecipeShell
    nodes: Mapping[str, Mapping[str, Any]]
    _checked: dict[str, Artifact] = field(default_factory=dict, init=False, compare=False, repr=False)

    def target(self, name: str | None) -> TargetRow:
        """The target of that name; without a name, the only one.

        Raises:
            UsageError: The run has no such target, or several and none was named.
        """
        known = {row.name: row for row in self.report.targets}
        if name is None and len(known) == 1:
            return next(iter(known.values()))
        if name is None or name not in known:
            what = "the run has several targets" if name is None else f"the run has no target {name!r}"
            raise UsageError(what, where=str(self.path), hint=f"name one with --target: {', '.join(known)}")
        return known[name]

    def artifact(self, node: str) -> Artifact:
        """What a step left; every file of it is compared with its hash when it is first asked for.

        Raises:
            UsageError: The run has no such step.
            EdgepruneError: Its artifact is gone from the cache, or damaged.
        """
        if node in self._checked:
            return self._checked[node]
        if node not in self.nodes:
            raise UsageError(f"the run has no step {node!r}", where=str(self.path))
        path = RunFolder(self.path, self.path.name).artifact(node)
        try:
            document = json.loads((path / "artifact.json").read_text(encoding="utf-8"))
            found = Artifact(path=path.resolve(), **document)
        except (OSError, ValueError, TypeError) as error:
            raise EdgepruneError(
                f"the artifact of {node!r} is gone from the cache", where=str(path), hint=_AGAIN
            ) from error
        for name, facts in found.files.items():
            file = path / name
            if not file.is_file() or file_sha256(file) != facts["sha256"]:
                raise EdgepruneError(f"{name} of {node!r} was changed", where=str(path), hint=_AGAIN)
        self._checked[node] = found
        return found

    def has(self, node: str) -> bool:
        """Whether a step left an artifact that is there still."""
        return (RunFolder(self.path, self.path.name).artifact(node) / "artifact.json").is_file()

    def keys_of(self, node: str) -> dict[str, str]:
        """Key of a step and of everything that it was made from, by id."""
        keys: dict[str, str] = {}
        waiting = [node]
        while waiting:
            name = waiting.pop()
            if name not in keys:
                keys[name] = self.nodes[name]["key"]
                waiting += self.nodes[name]["inputs"].values()
        return dict(sorted(keys.items()))


def open_run(path: Path) -> FinishedRun:
    """Opens the folder of a run, e.g. ``runs/quickstart/latest``.

    Raises:
        UsageError: It is no run's folder, or the run has no report; or its files were changed.
        RecipeError: This version of edgeprune does not take the run's recipe.
    """
    from edgeprune.pipeline import running
    from edgeprune.report import storage

    folder = path if path.is_dir() else path.parent
    report = storage.read(path)
    try:
        document = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
        nodes = {node["id"]: node for node in document["nodes"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"the plan of the run cannot be read: {error}", where=str(folder), hint="give a run's folder"
        ) from error
    shell = running.load(folder / "recipe.yaml").shell
    return FinishedRun(folder, report, shell, nodes)
