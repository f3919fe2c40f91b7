"""`compile`: one variant of the exported model for one target. The plan adds one per variant."""

from __future__ import annotations

from edgeprune.recipe.schema import Section, Target
from edgeprune.stages.contract import RUNNER, Outcome, Stage, Work

__all__ = ["COMPILE", "CompileConfig", "for_target"]


class CompileConfig(Section):
    """What is compiled: filled in by the plan, not by users.

    Attributes:
        backend: Name of the backend.
        variant: Precision.
        target: The target, reduced to what this variant depends on.
        features: This machine's CPU features when the target is this machine; else empty.
        dialect: Form of the quantized model that it is compiled from; None: the exported one.
        batch: Examples that are answered at once; None: nothing that is compiled depends on it.
        compute_capability: The GPU in this machine, for what is built for it; else None.
    """

    backend: str
    variant: str
    target: Target
    features: list[str]
    dialect: str | None = None
    batch: int | None = None
    compute_capability: float | None = None


def for_target(
    target: Target, backend: str, variant: str, features: list[str], batch: int = 1
) -> CompileConfig:
    """The body for one variant; whatever else target and recipe say does not change what is compiled.

    Args:
        target: The target.
        backend: Name of a backend.
        variant: Precision.
        features: Features of this machine's CPU where it is the target; else empty.
        batch: Examples that are answered at once; goes into the body of engines only.
    """
    from edgeprune import backends
    from edgeprune.backends.nvidia_gpu import compute_capability

    engines = backends.BACKENDS[backend].accelerator
    return CompileConfig(
        backend=backend,
        variant=variant,
        target=target.only(backend, variant),
        features=features,
        dialect=backends.dialect(backend, variant),
        batch=batch if engines else None,
        compute_capability=compute_capability() if engines else None,
    )


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
        batch=config.batch or 1,
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
    code=("stages.compile", "backends", "quantization", *RUNNER),
    in_recipe=False,
)
