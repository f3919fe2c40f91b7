"""Making the artifacts of a plan, node by node: found in the store, or made while holding its lock."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprune.errors import EdgepruneError, RecipeError, UnsupportedError
from edgeprune.pipeline.events import EventLog
from edgeprune.pipeline.planning import Node, Plan
from edgeprune.pipeline.store import Artifact, ArtifactStore
from edgeprune.report.model import Note
from edgeprune.stages.contract import Outcome, Work

__all__ = ["Made", "Maker"]


@dataclass(frozen=True)
class Made:
    """A node's artifact in this run, and whether it was already there."""

    artifact: Artifact
    cached: bool


class Maker:
    """Walks a plan once.

    Attributes:
        made: Artifact of each node done so far, by id.
        refused: Why there is none, by id of each candidate that turned out to be unsupported.
        notes: What happened on the way that the reader of the report should know.
    """

    def __init__(self, plan: Plan, store: ArtifactStore, log: EventLog) -> None:
        self._plan = plan
        self._store = store
        self._log = log
        self.made: dict[str, Made] = {}
        self.refused: dict[str, str] = {}
        self.notes: list[Note] = []

    def make_all(self) -> None:
        """Find or make every node's artifact, in the plan's order.

        An optional node that fails is noted and has no artifact, nor has any optional node that needs it;
        other nodes are made without it, and without candidates that are refused.

        Raises:
            RecipeError: A stage found the data or its body at odds with the recipe; with file and line.
            EdgepruneError: Any other failure: names the node, what completed and what to do next.
        """
        for index, node in enumerate(self._plan.nodes):
            missing = [kind for kind, source in node.inputs.items() if source not in self.made]
            if missing and node.optional:
                continue
            try:
                self.made[node.id] = self._find_or_make(node.without(missing) if missing else node, index)
            except BaseException as error:
                if node.optional and isinstance(error, Exception):
                    self._note(node, f"left out, as nothing that ships needs it: {_message(error)}")
                    continue
                if node.refusable and isinstance(error, UnsupportedError):
                    self.refused[node.id] = _message(error)
                    self._log("note", where=node.id, text=f"refused: {_message(error)}")
                    continue
                self._log("run_failed", id=node.id, message=str(error) or type(error).__name__)
                if isinstance(error, RecipeError):
                    problems = [problem.below(node.place) for problem in error.problems]
                    raise self._plan.recipe.error(problems) from error
                if isinstance(error, Exception):
                    raise _named(error, node, list(self.made)) from error
                raise

    def _find_or_make(self, node: Node, index: int) -> Made:
        name, key = node.stage.name, node.key
        assert key is not None, f"{node.id} has no key although every asset is here"
        with self._store.lock(name, key, waiting=lambda: self._log("node_waiting", id=node.id)):
            found = self._store.find(name, key)
            if found is not None:
                self._store.clean(name, key)  # a run may have been killed just after it published
                self._log("node_cached", id=node.id, seconds=found.seconds)
                return Made(found, cached=True)
            if self._store.path(name, key).exists():
                self._note(node, "its artifact in the cache was damaged, so it was made again")
            self._log("node_started", id=node.id, stage=name, index=index, total=len(self._plan.nodes))
            artifact = self._make(node, key)
            self._log("node_finished", id=node.id, seconds=artifact.seconds)
            return Made(artifact, cached=False)

    def _make(self, node: Node, key: str) -> Artifact:
        name = node.stage.name
        output = self._store.new_output(name, key)
        assets = self._plan.assets
        work = Work(
            config=node.config,
            inputs={kind: self.made[source].artifact.path for kind, source in node.inputs.items()},
            assets={role: asset.path for role, name in node.assets.items() if (asset := assets[name])},
            sections=node.sections,
            seed=self._plan.recipe.shell.seed,
            output=output,
            scratch=self._store.scratch(name, key),
            progress=self._progress(node),
        )
        begun = time.monotonic()
        outcome = node.stage.apply(work)
        seconds = time.monotonic() - begun
        _ensure(node, output)
        return self._publish(node, key, output, outcome, seconds)

    def _publish(self, node: Node, key: str, output: Path, outcome: Outcome, seconds: float) -> Artifact:
        return self._store.publish(
            output,
            stage=node.stage.name,
            key=key,
            ingredients=node.ingredients,
            record=outcome.record,
            notes=outcome.notes,
            seconds=round(seconds, 3),
        )

    def _note(self, node: Node, text: str) -> None:
        self._log("note", where=node.id, text=text)
        self.notes.append(Note(where=node.id, text=text))

    def _progress(self, node: Node) -> Callable[..., None]:
        def progress(**numbers: Any) -> None:
            self._log("node_progress", id=node.id, **numbers)

        return progress


def _ensure(node: Node, output: Path) -> None:
    """The stage's own promise, checked: the files that it `ensures` are there."""
    files = [output / name for name in node.stage.ensures]
    missing = [path.name for path in files if not path.is_file() or not path.stat().st_size]
    if missing:
        raise EdgepruneError(
            f"stage {node.stage.name!r} did not write {', '.join(missing)}",
            hint="this is a bug in the stage: it must fill `work.output`",
        )


def _message(error: Exception) -> str:
    """What happened, on one line."""
    text = error.message if isinstance(error, EdgepruneError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())


def _named(error: Exception, node: Node, completed: list[str]) -> EdgepruneError:
    """The error with the node that it happened in, what completed, and what to run next."""
    done = f"completed: {', '.join(completed)}" if completed else "nothing was completed before it"
    if isinstance(error, EdgepruneError):
        error.where = f"{node.id}: {error.where}" if error.where else node.id
        error.hint = f"{error.hint}; {done}" if error.hint else done
        return error
    place = traceback.extract_tb(error.__traceback__)[-1]
    return EdgepruneError(
        f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})",
        where=node.id,
        hint=f"{done}; the same command goes on from there; --debug shows the traceback",
    )
