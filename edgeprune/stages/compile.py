"""`compile`: one variant of the exported model for one target. The plan adds one per variant."""

from __future__ import annotations

from edgeprune.recipe.schema import Section, Target
from edgeprune.stages.contract import Outcome, Stage, Work

__all__ = ["COMPILE", "CompileConfig", "for_target"]


class CompileConfig(Section):
    """What is compiled: filled in by the plan, not by users.

    Attributes:
        backend: Name of the backend.
        variant: Precision.
        target: The target, reduced to what this variant depends on.
        features: This machine's CPU features when the target is this machine; else empty.
        dialect: Form of the quantized model that it is compiled from; None: the exported one.
    """

    backend: str
    variant: str
    target: Target
    features: list[str]
    dialect: str | None = None


def for_target(target: Target, backend: str, variant: str, features: list[str]) -> CompileConfig:
    """The body for one variant; whatever else the target says does not change what is compiled."""
    from edgeprune import backends

    only, dialect = target.only(backend, variant), backends.dialect(backend, variant)
    return CompileConfig(backend=backend, variant=variant, target=only, features=features, dialect=dialect)


def apply(work: Work) -> Outcome:
    """Compile into the output folder."""
    from edgeprune import backends

    config: CompileConfig = work.config
    source = work.inputs["quantized"] / config.dialect if config.dialect else work.inputs["onnx"]
    compiled = backends.compile_variant(
        config.backend,
        source,
        config.variant,
        config.target,
        work.output,
        max_length=work.sections["model.max_length"],
    )
    record = {
        "file_bytes": compiled.file_bytes,
        "executed": compiled.executed,
        "fusions": compiled.fusions.record() if compiled.fusions else None,
        "notes": list(compiled.notes),
    }
    return Outcome(record=record)


COMPILE = Stage(
    name="compile",
    summary="one variant for one target",
    config=CompileConfig,
    apply=apply,
    requires=("onnx",),
    provides=("compiled",),
    reads=("model.max_length",),
    ensures=("variant.json", "tokenizer.json"),
    code=("stages.compile", "backends", "quantization", "runner"),
    in_recipe=False,
)
