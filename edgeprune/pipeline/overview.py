"""What a run would do or did in part, what recipes and targets there are: text for a terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any, TextIO

from edgeprune import stages
from edgeprune.errors import EdgepruneError
from edgeprune.pipeline.planning import Node, Plan, asset_sources
from edgeprune.pipeline.running import PartialResult, load, plan
from edgeprune.pipeline.store import ArtifactStore
from edgeprune.recipe.document import read_document
from edgeprune.recipe.loading import recipe_schema, shipped, target_schema
from edgeprune.stages.answering import DENSE

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
    lines += ["", "Steps", *_steps(full, store), "", "Targets"]
    for item in full.targets:
        lines.append(f"  {item.target.name}: {item.target.description}")
        lines.append(f"      variants: {', '.join(item.compiled)}")
        if item.compressed and item.dense:
            lines.append(
                "      beside them, for comparison: the original, not compressed, as the same variants"
            )
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


def _steps(full: Plan, store: ArtifactStore) -> list[str]:
    """Two lines a step; the dense counterparts of one target are one step of three lines."""
    groups = [_titled(list(nodes)) for _, nodes in groupby(full.nodes, lambda node: _title(node.id))]
    width = max(len(title) for title, _ in groups)
    counts = accumulate(len(nodes) for _, nodes in groups)
    numbers = [_numbers(last - len(nodes) + 1, last) for last, (_, nodes) in zip(counts, groups, strict=True)]
    margin = max(2, *map(len, numbers))
    lines = []
    for number, (title, nodes) in zip(numbers, groups, strict=True):
        lines.append(f"  {number:>{margin}}  {title:<{width}}  {_states(nodes, store)}")
        indent = " " * (margin + width + 6)
        if len(nodes) > 1:
            lines.append(f"{indent}{', '.join(node.id.removeprefix(title.rstrip('…')) for node in nodes)}")
        lines.append(f"{indent}{_needs_and_writes(nodes)}")
    return lines


def _titled(nodes: list[Node]) -> tuple[str, list[Node]]:
    return (_title(nodes[0].id) if len(nodes) > 1 else nodes[0].id), nodes


def _title(step: str) -> str:
    """The id of a step, or what it shares with those that it is shown with."""
    target, dense, _ = step.partition(f"/{DENSE}/")
    return f"{target}{dense}…" if dense else step


def _numbers(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}–{last}"


def _needs_and_writes(nodes: Sequence[Node]) -> str:
    needs = [name for node in nodes for name in (*node.assets.values(), *map(_title, node.inputs.values()))]
    ensures = dict.fromkeys(name for node in nodes for name in node.stage.ensures)
    writes = f"writes {', '.join(ensures)}" if ensures else ""
    return f"needs {', '.join(dict.fromkeys(needs))}; {writes}".rstrip("; ")


def _states(nodes: Sequence[Node], store: ArtifactStore) -> str:
    """The state of a step; of several, how many are in which."""
    states = [_state(node, store) for node in nodes]
    if len(states) == 1:
        return states[0]
    cached = sum(state.startswith("cached") for state in states)
    return f"{cached} of {len(states)} cached" if cached else f"{len(states)} {states[0]}"


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
    """JSON Schema of a `recipe`, a `target`, a `report` or a `deployment`, as text."""
    if what == "recipe":
        found: dict[str, Any] = recipe_schema(stages.recipe_stages())
    elif what == "target":
        found = target_schema()
    elif what == "deployment":
        from edgeprune.report import deployment_storage

        found = deployment_storage.schema()
    else:
        from edgeprune.report import storage

        found = storage.schema()
    return json.dumps(found, indent=2)


def _write(lines: list[str], stream: TextIO) -> None:
    stream.write("\n".join(lines) + "\n")
