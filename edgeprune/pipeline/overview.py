"""What a run would do or did in part, what recipes and targets there are: text for a terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from edgeprune import stages
from edgeprune.errors import EdgepruneError
from edgeprune.pipeline.planning import Node, Plan, asset_sources
from edgeprune.pipeline.running import PartialResult, load, plan
from edgeprune.pipeline.store import ArtifactStore
from edgeprune.recipe.document import read_document
from edgeprune.recipe.loading import recipe_schema, shipped, target_schema

__all__ = ["list_shipped", "schema", "show", "show_made"]


def show(path: Path, overrides: Sequence[str], cache: Path, stream: TextIO) -> None:
    """Write the plan of a recipe: assets, nodes in order with what is cached, targets with their variants."""
    recipe = load(path, overrides)
    full = plan(recipe, cache)
    _write(_text(full, ArtifactStore(cache)), stream)


def _text(full: Plan, store: ArtifactStore) -> list[str]:
    shell = full.recipe.shell
    lines = [f"{shell.name}: {shell.description}", "", "Assets"]
    for role, (sources, _) in asset_sources(full.recipe).items():
        asset = full.assets[role]
        state = f"here, from {asset.uri}" if asset else f"to fetch, from the first of: {', '.join(sources)}"
        lines.append(f"  {role:<11} {state}")
    lines += ["", "Steps"]
    width = max(len(node.id) for node in full.nodes)
    for number, node in enumerate(full.nodes, 1):
        lines.append(f"  {number:>2}  {node.id:<{width}}  {_state(node, store)}")
        needs = [*node.assets.values(), *dict.fromkeys(node.inputs.values())]
        writes = f"writes {', '.join(node.stage.ensures)}" if node.stage.ensures else ""
        lines.append(f"      {'':<{width}}  needs {', '.join(needs)}; {writes}".rstrip("; "))
    lines += ["", "Targets"]
    for item in full.targets:
        lines.append(f"  {item.target.name}: {item.target.description}")
        lines.append(f"      variants: {', '.join(item.compiled)}")
        lines += [f"      refused: {row.backend}/{row.variant}: {row.reason}" for row in item.refusals]
        if item.unmeasured:
            lines.append(f"      not measured: {item.unmeasured}")
    limits = [f"at most {shell.acceptance.max_drop:g} points of {shell.task.metric} lost"]
    if shell.acceptance.min_agreement is not None:
        limits.append(f"agreement at least {shell.acceptance.min_agreement:.1%}")
    if shell.acceptance.min_speedup is not None:
        limits.append(f"at least {shell.acceptance.min_speedup:g}× as fast as the original")
    lines += ["", f"Acceptance: {', '.join(limits)}, at {shell.acceptance.confidence * 100:g} % confidence"]
    return [*lines, *(f"Warning: {text}" for text in full.warnings)]


def _state(node: Node, store: ArtifactStore) -> str:
    if node.key is None:
        return "to do (its key is known once the assets are here)"
    found = store.find(node.stage.name, node.key, verify=False)
    return f"cached (took {found.seconds:.0f} s)" if found else "to do"


def show_made(result: PartialResult, stream: TextIO) -> None:
    """Write what a run that stopped early made, where it lies, and what the user should know."""
    width = max(len(name) for name in result.made)
    lines = []
    for name, item in result.made.items():
        how = "was cached, took" if item.cached else "took"
        lines.append(f"{name:<{width}}  {how} {item.artifact.seconds:.0f} s: {item.artifact.path}")
    notes = [(note.where, note.text) for note in result.notes]
    notes += [(name, text) for name, item in result.made.items() for text in item.artifact.notes]
    lines += [f"! {name}: {text}" for name, text in notes]
    _write([*lines, f"no report, as the run was to stop here; its folder: {result.folder}"], stream)


def list_shipped(kind: str, stream: TextIO) -> None:
    """Write a line for each recipe or target: path and description."""
    paths = shipped(kind)
    rows = [(_relative(path), _description(path)) for path in paths]
    width = max((len(name) for name, _ in rows), default=0)
    _write([f"{name:<{width}}  {text}" for name, text in rows] or [f"no {kind} here"], stream)


def _relative(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _description(path: Path) -> str:
    try:
        return str(read_document(path).data.get("description", "(no description)"))
    except EdgepruneError as error:
        return f"(cannot be read: {str(error).splitlines()[0]})"


def schema(what: str) -> str:
    """JSON Schema of a `recipe`, a `target` or a `report`, as text."""
    if what == "recipe":
        found: dict[str, Any] = recipe_schema(stages.recipe_stages())
    elif what == "target":
        found = target_schema()
    else:
        from edgeprune.report import storage

        found = storage.schema()
    return json.dumps(found, indent=2)


def _write(lines: list[str], stream: TextIO) -> None:
    stream.write("\n".join(lines) + "\n")
