"""From a recipe and its targets to a plan: every node, its inputs, its key; nothing is run.

The chain of a recipe is checked here, before anything is fetched or trained: each stage's `requires`
against what the stages before it provide.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edgeprune import stages
from edgeprune.assets import Asset, Kind
from edgeprune.errors import RecipeError
from edgeprune.pipeline.checking import chain_problems, length_problems, target_problems
from edgeprune.pipeline.keys import code_hash, digest, library_versions
from edgeprune.pipeline.targeting import Refusal, TargetPlan, plan_target, why_unmeasured
from edgeprune.pipeline.warning import pattern_warnings
from edgeprune.recipe.document import KeyPath
from edgeprune.recipe.loading import Recipe
from edgeprune.recipe.schema import Section, Target
from edgeprune.stages.contract import Stage

__all__ = [
    "Builder",
    "Node",
    "Plan",
    "Refusal",
    "TargetPlan",
    "asset_sources",
    "make_plan",
    "why_unmeasured",
]


@dataclass(frozen=True)
class Node:
    """One step of a plan.

    Attributes:
        id: Unique name, e.g. ``finetune`` or ``compile x86/openvino/fp32``.
        stage: What it does.
        config: The stage's body, `resolve` applied.
        inputs: Artifact kind to the id of the node that provides it.
        assets: Role that its stage knows an asset by, to the asset's role in the plan.
        key: Its artifact's address; None while an asset that it depends on is not here yet.
        ingredients: What the key is the hash of.
        sections: The recipe sections that the stage reads, as objects.
        place: Where its body stands in the recipe; empty for a step that the plan adds.
        optional: Nothing that ships is made from it: a run goes on without it when it fails.
        refusable: One of several candidates: where it turns out to be unsupported, a run goes on without it.
    """

    id: str
    stage: Stage
    config: Section
    inputs: Mapping[str, str]
    assets: Mapping[str, str]
    key: str | None
    ingredients: dict[str, Any]
    sections: Mapping[str, Any]
    place: KeyPath = ()
    optional: bool = False
    refusable: bool = False

    def without(self, kinds: Collection[str]) -> Node:
        """The same step, less some of its inputs; another artifact, so with another key."""
        left = {kind: source for kind, source in self.inputs.items() if kind not in kinds}
        parents = {kind: key for kind, key in self.ingredients["inputs"].items() if kind in left}
        ingredients = {**self.ingredients, "inputs": parents}
        key = None if self.key is None else digest(ingredients)
        return replace(self, inputs=left, ingredients=ingredients, key=key)


@dataclass(frozen=True)
class Plan:
    """All nodes in an order in which each finds its inputs made, and what will disappoint in the result."""

    recipe: Recipe
    nodes: tuple[Node, ...]
    targets: tuple[TargetPlan, ...]
    assets: Mapping[str, Asset | None]
    warnings: tuple[str, ...] = field(default=())

    def node(self, name: str) -> Node:
        """The node of that id."""
        return next(node for node in self.nodes if node.id == name)


def asset_sources(recipe: Recipe) -> dict[str, tuple[list[str], Kind]]:
    """Role of every asset that a recipe names: its sources and whether it is a model or a dataset."""
    shell = recipe.shell
    sources: dict[str, tuple[list[str], Kind]] = {
        "model": (shell.model.source, "model"),
        "train": (shell.task.train, "dataset"),
    }
    if shell.task.validation is not None:
        sources["validation"] = (shell.task.validation, "dataset")
    for name, entry in zip(_names(recipe), recipe.stages, strict=True):
        for key, listed in stages.get(entry.name).models(entry.config).items():
            sources[f"{name}.{key}"] = (listed, "model")
    return sources


class Builder:
    """Collects nodes while a plan is made.

    Attributes:
        recipe: The recipe.
        targets: Its targets.
        assets: Role to asset, as for `make_plan`.
        nodes: The nodes so far, by id.
        provided: Artifact kind to the id of the last node that provides it.
    """

    def __init__(self, recipe: Recipe, targets: Sequence[Target], assets: Mapping[str, Asset | None]) -> None:
        self.recipe = recipe
        self.targets = targets
        self.assets = assets
        self.nodes: dict[str, Node] = {}
        self.provided: dict[str, str] = {}

    def add(
        self,
        stage: Stage,
        config: Section,
        *,
        name: str,
        inputs: Mapping[str, str] | None = None,
        place: KeyPath = (),
        like: str = "",
        optional: bool = False,
        refusable: bool = False,
    ) -> Node:
        """Add a node.

        Args:
            stage: What it does.
            config: Its body.
            name: Its id.
            inputs: Artifact kind to node; left out: what its stage requires, of the chain so far.
            place: Where its body stands in the recipe.
            like: Id of the node whose models it uses; left out: its own.
            optional: See `Node`; what it provides is not taken by the nodes after it.
            refusable: See `Node`.
        """
        try:
            config = stage.resolve(stage.fit(config, self.targets))
        except RecipeError as error:
            raise self.recipe.error([problem.below(place) for problem in error.problems]) from error
        stage = stage.of(config)
        wired = (
            {kind: self.provided[kind] for kind in stage.needs(config)} if inputs is None else dict(inputs)
        )
        sections = {path: self._section(path) for path in stage.reads}
        models = {key: f"{like or name}.{key}" for key in stage.models(config)}
        roles = {role: role for role in stage.assets} | models
        roles = {role: known for role, known in roles.items() if known in self.assets}
        found = {role: self.assets[known] for role, known in roles.items()}
        hashes = {role: _identity(asset) if asset else None for role, asset in found.items()}
        parents = {kind: self.nodes[source].key for kind, source in wired.items()}
        ingredients = {
            "stage": stage.name,
            "config": config.model_dump(mode="json"),
            "sections": {path: _plain(path, value, stage.ignores) for path, value in sections.items()},
            "seed": self.recipe.shell.seed if stage.seeded else None,
            "assets": hashes,
            "inputs": parents,
            "code": code_hash(("stages.contract", *stage.code)),
            "libraries": library_versions(stage.libraries),
        }
        known = None not in hashes.values() and None not in parents.values()
        key = digest(ingredients) if known else None
        node = Node(name, stage, config, wired, roles, key, ingredients, sections, place, optional, refusable)
        self.nodes[name] = node
        if not optional:
            self.provided.update(dict.fromkeys(stage.provides, name))
        return node

    def _section(self, path: str) -> Any:
        value: Any = self.recipe.shell
        for part in path.split("."):
            value = getattr(value, part)
        return value


def _identity(asset: Asset) -> str:
    """What an asset is to a key: its content, and the ending of a file's name, which tells its format."""
    return asset.sha256 + ("".join(asset.path.suffixes) if asset.path.is_file() else "")


def _plain(path: str, value: Any, ignores: tuple[str, ...]) -> Any:
    """A section as plain data, without the fields that the stage's result does not depend on."""
    if not isinstance(value, Section):
        return value
    left_out = {name.removeprefix(f"{path}.") for name in ignores if name.startswith(f"{path}.")}
    dumped = value.model_dump(mode="json", exclude=left_out)
    return {name: _in_order(getattr(value, name), item) for name, item in dumped.items()}


def _in_order(value: Any, dumped: Any) -> Any:
    """A mapping of the user's own keys as pairs: their order gives class ids, and `digest` would lose it."""
    return list(dumped.items()) if isinstance(value, dict) else dumped


def make_plan(recipe: Recipe, targets: Sequence[Target], assets: Mapping[str, Asset | None]) -> Plan:
    """Lay out every step of a recipe for its targets.

    Args:
        recipe: A checked recipe.
        targets: Its targets, loaded.
        assets: Role to the local asset, or None where it is not here yet (keys that depend on it are None).

    Raises:
        RecipeError: A stage lacks what no earlier stage provides, its body does not fit, two targets have one
            name, or the encoder has no positions for a length.
        UnsupportedError: Nothing that a target lists can be compiled here.
    """
    problems = [*chain_problems(recipe), *target_problems(targets), *length_problems(recipe, assets)]
    if problems:
        raise recipe.error(problems)
    builder = Builder(recipe, targets, assets)
    prepare = stages.get("prepare")
    builder.add(prepare, prepare.config(), name="prepare")
    for name, entry in zip(_names(recipe), recipe.stages, strict=True):
        builder.add(stages.get(entry.name), entry.config, name=name, place=entry.key)
    plans = [plan_target(target, builder) for target in targets]
    nodes = tuple(builder.nodes.values())
    return Plan(recipe, nodes, tuple(plans), dict(assets), pattern_warnings(nodes, targets))


def _names(recipe: Recipe) -> list[str]:
    """`distill`, then `distill-2`, `distill-3` … when a recipe lists a stage more than once."""
    listed = [entry.name for entry in recipe.stages]
    counts = [listed[: place + 1].count(name) for place, name in enumerate(listed)]
    return [name if count == 1 else f"{name}-{count}" for name, count in zip(listed, counts, strict=True)]
