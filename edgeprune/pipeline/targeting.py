"""A target's part of a plan: what is compiled for it, and what says how good that is.

| node | when |
|---|---|
| ``compile <target>/<backend>/<variant>`` | per variant that can be compiled here |
| ``export original``, ``quantize original`` | once, where the chain exports something else |
| ``compile <target>/dense/<backend>/<variant>`` | then: the same variant of the original |
| ``measure <target>`` | the target is this machine |
| ``answer <target>`` | it has variants for an accelerator that is not here |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from edgeprune import stages
from edgeprune.errors import UnsupportedError
from edgeprune.recipe.schema import Section, Target
from edgeprune.stages.answering import dense_name
from edgeprune.stages.contract import Stage

if TYPE_CHECKING:
    from edgeprune.pipeline.planning import Builder
    from edgeprune.runner.cpu import Cpu

__all__ = ["Refusal", "TargetPlan", "plan_target", "why_unmeasured"]

_EXPORTED = ("onnx", "quantized")


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
        answer: Id of the node that finds the accuracy of variants whose accelerator is not here, or None.
        dense: Ids of the nodes that compile the same variants of the original as it is. A variant that is
            made from it anyway has its own node here; without `measurement.ablation` others are not here.
    """

    target: Target
    compiled: Mapping[str, str]
    measure: str | None
    unmeasured: str
    refusals: tuple[Refusal, ...]
    answer: str | None = None
    dense: Mapping[str, str] = field(default_factory=dict)

    def less(self, refused: Mapping[str, str]) -> TargetPlan:
        """The same, where some of its nodes turned out to be refused.

        Args:
            refused: Id of each such node, of this target or of another, to the reason.
        """
        named = {name: refused[node] for name, node in self.compiled.items() if node in refused}
        left = {name: node for name, node in self.compiled.items() if name not in named}
        dense = {name: node for name, node in self.dense.items() if name in left}
        more = tuple(
            Refusal(backend, variant, reason)
            for name, reason in named.items()
            for backend, _, variant in [name.partition("/")]
        )
        return replace(self, compiled=left, dense=dense, refusals=(*self.refusals, *more))

    @property
    def compressed(self) -> bool:
        """Whether any variant is made from something else than the original as it is."""
        return any(self.dense.get(variant) != node for variant, node in self.compiled.items())


def plan_target(target: Target, builder: Builder) -> TargetPlan:
    """Adds a node per variant that can be compiled here, and one that measures them together.

    Raises:
        UnsupportedError: Nothing that the target lists can be compiled here.
    """
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
    dense = _dense_nodes(target, builder, compiled)
    measure = None if unmeasured else _add_measure_node(target, builder, compiled, dense, machine)
    answer = _add_answer_node(target, builder, compiled, dense, machine) if unmeasured else None
    return TargetPlan(target, compiled, measure, unmeasured, tuple(refusals), answer, dense)


def _add_compile_nodes(
    target: Target, builder: Builder, features: list[str]
) -> tuple[dict[str, str], list[Refusal]]:
    """Ids of the compile nodes by ``backend/variant``, and the variants that cannot be had."""
    from edgeprune import backends
    from edgeprune.stages.compile import for_target

    stage = stages.get("compile")
    batch = builder.recipe.shell.measurement.batch
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
            body = for_target(target, entry.backend, variant, features, batch)
            inputs = {source: builder.provided[source]}
            node = builder.add(row, body, name=name, inputs=inputs, refusable=True)
            compiled[f"{entry.backend}/{variant}"] = node.id
    return compiled, refusals


def _dense_nodes(target: Target, builder: Builder, compiled: Mapping[str, str]) -> dict[str, str]:
    """Ids of the nodes that compile the original for each variant (see `TargetPlan.dense`)."""
    same = {variant: node for variant, node in compiled.items() if _is_of_the_original(node, builder)}
    if not builder.recipe.shell.measurement.ablation:
        return same
    others = {variant: node for variant, node in compiled.items() if variant not in same}
    for node in others.values():  # before what is compiled of them, so that that stands together
        for source in builder.nodes[node].inputs.values():
            _of_the_original(source, builder)
    names = {variant: f"compile {target.name}/{dense_name(variant)}" for variant in others}
    return same | {
        variant: _of_the_original(node, builder, names[variant]) for variant, node in others.items()
    }


def _is_of_the_original(node: str, builder: Builder) -> bool:
    """Whether a node's result is made from the original as it is."""
    inputs = builder.nodes[node].inputs
    itself = inputs.get("model", builder.provided["original"]) == builder.provided["original"]
    return itself and all(_is_of_the_original(inputs[kind], builder) for kind in _EXPORTED if kind in inputs)


def _of_the_original(node: str, builder: Builder, name: str = "") -> str:
    """Id of the node that does to the original what another does to the chain's model; added at need."""
    name = name or f"{node} original"
    if name not in builder.nodes:
        made = builder.nodes[node]
        body = made.stage.dense(made.config)
        needed = made.inputs if body is made.config else made.stage.needs(body)
        inputs = {kind: made.inputs[kind] for kind in needed}
        if "model" in inputs:
            inputs["model"] = builder.provided["original"]
        inputs |= {kind: _of_the_original(inputs[kind], builder) for kind in _EXPORTED if kind in inputs}
        builder.add(made.stage, body, name=name, inputs=inputs, like=node, optional=True)
    return name


def _add_measure_node(
    target: Target, builder: Builder, compiled: Mapping[str, str], dense: Mapping[str, str], machine: Cpu
) -> str:
    """Id of the node that measures all compiled variants beside the original."""
    from edgeprune.runner.cpu import usable_cores
    from edgeprune.stages.measure import MeasureConfig

    body = MeasureConfig(
        target=target.name,
        threads=target.device.threads or usable_cores(machine),
        cpu=machine.model,
        features=list(machine.features),
        variants=list(compiled),
        dense=_own(compiled, dense),
    )
    return _add_judging_node("measure", body, target, builder, compiled, dense)


def _add_answer_node(
    target: Target, builder: Builder, compiled: Mapping[str, str], dense: Mapping[str, str], machine: Cpu
) -> str | None:
    """Id of the node in which stand-ins answer for variants that need an accelerator, if there are any."""
    from edgeprune import backends
    from edgeprune.runner.cpu import usable_cores
    from edgeprune.stages.answer import AnswerConfig

    waiting = {
        variant: node
        for variant, node in compiled.items()
        if backends.BACKENDS[variant.partition("/")[0]].accelerator
    }
    if not waiting:
        return None
    body = AnswerConfig(
        target=target.name,
        threads=usable_cores(machine),
        variants=list(waiting),
        dense=_own(waiting, dense),
    )
    return _add_judging_node("answer", body, target, builder, waiting, dense)


def _own(compiled: Mapping[str, str], dense: Mapping[str, str]) -> list[str]:
    """Variants with a dense counterpart that is another artifact."""
    return [variant for variant, node in compiled.items() if dense.get(variant, node) != node]


def _add_judging_node(
    name: str,
    body: Section,
    target: Target,
    builder: Builder,
    compiled: Mapping[str, str],
    dense: Mapping[str, str],
) -> str:
    """Id of a node that takes compiled variants and their dense counterparts."""
    from edgeprune import backends

    stage = stages.get(name)
    inputs = {kind: builder.provided[kind] for kind in stage.requires}
    inputs |= {f"compiled/{variant}": node for variant, node in compiled.items()}
    inputs |= {f"compiled/{dense_name(variant)}": dense[variant] for variant in _own(compiled, dense)}
    libraries = {row for entry in target.backends for row in backends.BACKENDS[entry.backend].distributions}
    row = _with_libraries(stage, tuple(sorted(libraries)))
    return builder.add(row, body, name=f"{name} {target.name}", inputs=inputs).id


def _with_libraries(stage: Stage, names: tuple[str, ...]) -> Stage:
    """The stage with a backend's own libraries in its key."""
    return replace(stage, libraries=tuple(dict.fromkeys((*stage.libraries, *names))))


def why_unmeasured(target: Target, architecture: str) -> str:
    """Why a target cannot be measured on a machine of that architecture; empty when it can."""
    if target.device.kind == "none":
        reason = "no device is configured for it"
    elif target.architecture != architecture:
        reason = f"this machine is {architecture}, the target is {target.architecture}"
    else:
        return ""
    waiting, others = _waiting(target)
    if not waiting:
        return f"{reason}: compiled, not measured"
    where = f" of {', '.join(waiting)}" if others else ""
    rest = f"; {', '.join(others)}: compiled, not measured" if others else ""
    return f"{_stand_in(where)}{rest}"


def _stand_in(where: str) -> str:
    from edgeprune.backends.nvidia_gpu import why_untimed

    return f"accuracy of the ONNX{where} on onnxruntime CPU; latency not measured here: {why_untimed()}"


def _waiting(target: Target) -> tuple[list[str], list[str]]:
    """Backends of a target that need an accelerator, and the others."""
    from edgeprune import backends

    names = [entry.backend for entry in target.backends]
    waiting = [name for name in names if backends.BACKENDS[name].accelerator]
    return waiting, [name for name in names if name not in waiting]
