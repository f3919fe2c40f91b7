"""A run's folder: `<runs>/<recipe>/<id>/`, and the `latest` link beside it.

recipe.yaml    the resolved recipe, every default written out
plan.json      nodes, inputs, keys
events.jsonl   what happened, when
report.*       json, md, html: written last, so a folder without them is an unfinished run
               (or one that was to stop early)
artifacts/     links to what each node gave
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.durable import write_text

if TYPE_CHECKING:
    from edgeprune.pipeline.planning import Plan
    from edgeprune.recipe.loading import Recipe
    from edgeprune.report.model import Report

__all__ = ["RunFolder"]


@dataclass(frozen=True)
class RunFolder:
    """One run's folder.

    Attributes:
        path: The folder.
        id: Its name: UTC time and four random hexadecimal digits.
    """

    path: Path
    id: str

    @classmethod
    def create(cls, runs: Path, recipe: str) -> RunFolder:
        """Make a new, empty run folder."""
        name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        path = runs / recipe / name
        (path / "artifacts").mkdir(parents=True)
        return cls(path, name)

    def write_recipe(self, recipe: Recipe) -> None:
        """Write the resolved recipe."""
        from io import StringIO

        from ruamel.yaml import YAML

        text = StringIO()
        yaml = YAML(pure=True)
        yaml.width = 110
        yaml.dump(recipe.resolved(), text)
        header = f"# Resolved from {recipe.path}; relative paths are relative to its folder.\n"
        write_text(self.path / "recipe.yaml", f"{header}{text.getvalue()}")

    def write_plan(self, plan: Plan) -> None:
        """Write every node with its inputs and the ingredients of its key."""
        nodes = [
            {
                "id": node.id,
                "stage": node.stage.name,
                "key": node.key,
                "inputs": dict(node.inputs),
                "ingredients": node.ingredients,
            }
            for node in plan.nodes
        ]
        write_text(self.path / "plan.json", json.dumps({"nodes": nodes}, indent=1, sort_keys=True))

    def link_artifacts(self, artifacts: Mapping[str, Path]) -> None:
        """Link the artifact of each node, by its id."""
        for name, path in artifacts.items():
            self.artifact(name).symlink_to(path, target_is_directory=True)

    def artifact(self, node: str) -> Path:
        """Where the link to a node's artifact is, or will be."""
        return self.path / "artifacts" / node.replace("/", "-").replace(" ", "-")

    def finish(self, report: Report) -> None:
        """Write the report, and move `latest` here."""
        from edgeprune.report import storage

        storage.write(report, self.path)
        self._point_latest()

    def _point_latest(self) -> None:
        """Atomically make `latest` this run."""
        link = self.path.parent / "latest"
        temporary = self.path.parent / f".latest-{self.id}"
        temporary.symlink_to(self.id, target_is_directory=True)
        temporary.replace(link)
