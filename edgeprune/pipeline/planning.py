"""From a recipe and its targets to a plan: every node, its inputs, its key; nothing is run.

The chain of a recipe is checked here, before anything is fetched or trained: each stage's `requires`
against what the stages before it provide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from edgeprune import stages
from edgeprune.assets import Asset, Kind
from edgeprune.errors import RecipeError, UnsupportedError
from edgeprune.pipeline.checking import chain_problems, length_problems, target_problems
from edgeprune.pipeline.keys import code_hash, digest, library_versions
from edgeprune.pipeline.warning import pattern_warnings
from edgeprune.recipe.document import KeyPath
from edgeprune.recipe.loading import Recipe
from edgeprune.recipe.schema import Section, Target
from edgeprune.stages.contract import Stage

if TYPE_CHECKING:
    from edgeprune.runner.cpu import Cpu

__all__ = [
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


@dataclass(frozen=True)
class Refusal:
    """A variant that this machine or runtime cannot make, and why."""

    backend: str
    variant: str
    reason: str


@dataclass(frozen=True)
class TargetPlan:
    """What happens for one target.

    Attributes:
        target: The target.
        compiled: Ids of the nodes that compile its variants, by ``backend/variant``.
        measure: Id of the node that measures it, or None with the reason in `unmeasured`.
        unmeasured: Why it is not measured here; empty when it is.
        refusals: Variants that are not compiled.
    """

    target: Target
    compiled: Mapping[str, str]
    measure: str | None
    unmeasured: str
    refusals: tuple[Refusal, ...]


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


class _Builder:
    """Collects nodes while a plan is made."""

    def __init__(self, recipe: Recipe, targets: Sequence[Target], assets: Mapping[str, Asset | None]) -> None:
        self.recipe = recipe
        self.targets = targets
        self.assets = assets
        self.nodes: dict[str, Node] = {}
        self.provided: dict[str, str] = {}  # artifact kind -> id of the last node that provides it

    def add(
        self,
        stage: Stage,
        config: Section,
        *,
        name: str,
        inputs: Mapping[str, str] | None = None,
        place: KeyPath = (),
    ) -> Node:
        """Add a node; its inputs are what its stage requires, unless they are given."""
        try:
            config = stage.resolve(stage.fit(config, self.targets))
        except RecipeError as error:
            raise self.recipe.error([problem.below(place) for problem in error.problems]) from error
        stage = stage.of(config)
        wired = (
            {kind: self.provided[kind] for kind in stage.needs(config)} if inputs is None else dict(inputs)
        )
        sections = {path: self._section(path) for path in stage.reads}
        roles = {role: role for role in stage.assets} | {key: f"{name}.{key}" for key in stage.models(config)}
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
        node = Node(name, stage, config, wired, roles, key, ingredients, sections, place)
        self.nodes[name] = node
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
    builder = _Builder(recipe, targets, assets)
    prepare = stages.get("prepare")
    builder.add(prepare, prepare.config(), name="prepare")
    for name, entry in zip(_names(recipe), recipe.stages, strict=True):
        builder.add(stages.get(entry.name), entry.config, name=name, place=entry.key)
    plans = [_plan_target(target, builder) for target in targets]
    nodes = tuple(builder.nodes.values())
    return Plan(recipe, nodes, tuple(plans), dict(assets), pattern_warnings(nodes, targets))


def _names(recipe: Recipe) -> list[str]:
    """`distill`, then `distill-2`, `distill-3` … when a recipe lists a stage more than once."""
    listed = [entry.name for entry in recipe.stages]
    counts = [listed[: place + 1].count(name) for place, name in enumerate(listed)]
    return [name if count == 1 else f"{name}-{count}" for name, count in zip(listed, counts, strict=True)]


def _plan_target(target: Target, builder: _Builder) -> TargetPlan:
    """One compile node per variant that can be compiled here, and a node that measures them together."""
    from edgeprune.runner.cpu import describe

    machine = describe()
    unmeasured = why_unmeasured(target, machine.architecture)
    compiled, refusals = _add_compile_nodes(target, builder, [] if unmeasured else list(machine.features))
    if not compiled:
        reasons = "; ".join(f"{item.backend}/{item.variant}: {item.reason}" for item in refusals)
        raise UnsupportedError(
            f"target {target.name!r}: nothing that it lists can be compiled here ({reasons})",
            hint="`edgeprune doctor` says what is missing",
        )
    measure = None if unmeasured else _add_measure_node(target, builder, compiled, machine)
    return TargetPlan(target, compiled, measure, unmeasured, tuple(refusals))


def _add_compile_nodes(
    target: Target, builder: _Builder, features: list[str]
) -> tuple[dict[str, str], list[Refusal]]:
    """Ids of the compile nodes by ``backend/variant``, and the variants that cannot be had."""
    from edgeprune import backends
    from edgeprune.stages.compile import for_target

    stage = stages.get("compile")
    compiled: dict[str, str] = {}
    refusals: list[Refusal] = []
    for entry in target.backends:
        row = _with_libraries(stage, backends.BACKENDS[entry.backend].distributions)
        for variant in entry.variants:
            source = "quantized" if backends.dialect(entry.backend, variant) else "onnx"
            reason = backends.check(entry.backend, variant, target)
            if source not in builder.provided:
                reason = "it is made from a quantized model, and the recipe has no `quantize`"
            if reason is not None:
                refusals.append(Refusal(entry.backend, variant, reason))
                continue
            name = f"compile {target.name}/{entry.backend}/{variant}"
            body = for_target(target, entry.backend, variant, features)
            inputs = {source: builder.provided[source]}
            compiled[f"{entry.backend}/{variant}"] = builder.add(row, body, name=name, inputs=inputs).id
    return compiled, refusals


def _add_measure_node(target: Target, builder: _Builder, compiled: Mapping[str, str], machine: Cpu) -> str:
    """Id of the node that measures all compiled variants beside the original."""
    from edgeprune import backends
    from edgeprune.runner.cpu import usable_cores
    from edgeprune.stages.measure import MeasureConfig

    stage = stages.get("measure")
    body = MeasureConfig(
        target=target.name,
        threads=target.device.threads or usable_cores(machine),
        cpu=machine.model,
        features=list(machine.features),
        variants=list(compiled),
    )
    inputs = {kind: builder.provided[kind] for kind in stage.requires}
    inputs |= {f"compiled/{variant}": name for variant, name in compiled.items()}
    libraries = {name for entry in target.backends for name in backends.BACKENDS[entry.backend].distributions}
    row = _with_libraries(stage, tuple(sorted(libraries)))
    return builder.add(row, body, name=f"measure {target.name}", inputs=inputs).id


def _with_libraries(stage: Stage, names: tuple[str, ...]) -> Stage:
    """The stage with a backend's own libraries in its key."""
    return replace(stage, libraries=tuple(dict.fromkeys((*stage.libraries, *names))))


def why_unmeasured(target: Target, architecture: str) -> str:
    """Why a target cannot be measured on a machine of that architecture; empty when it can."""
    if target.device.kind == "none":
        return "no device is configured for it: compiled, not measured"
    if target.architecture != architecture:
        return f"this machine is {architecture}, the target is {target.architecture}: compiled, not measured"
    return ""
