"""`quantize`: the exported model in INT8, weights and activations, calibrated on training examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from edgeprune.errors import Problem, RecipeError
from edgeprune.recipe.schema import Section, Share, Target
from edgeprune.stages import distill
from edgeprune.stages.contract import RUNNER, Outcome, Stage, Work

__all__ = ["QUANTIZE", "QuantizeConfig"]


class CalibrationConfig(Section):
    """Training examples that ranges are observed on."""

    examples: int = Field(256, ge=1, description="How many; all where there are fewer.")
    seed: int = Field(0, ge=0, description="Of the draw.")


class SearchConfig(Section):
    """When operators go back to FP32, and on what that is judged: other training examples."""

    min_agreement: Share = Field(
        0.99,
        description="Share of the answers that have to be those of the FP32 model; below it, the costliest "
        "operators stay in FP32. 0: none does.",
    )
    examples: int = Field(1024, ge=1, description="How many answers are compared.")


class QuantizeConfig(distill.DistillConfig):
    """How INT8 is made, and, in mode `qat`, how the model is trained for it."""

    mode: Literal["ptq", "qat"] = Field(
        "ptq",
        description="`qat`: the model is then trained with all roundings in place, as by `distill`; the keys "
        "of `distill` count in this mode only.",
    )
    epochs: float = Field(1.0, gt=0, le=1000, description="As in `distill`.")
    learning_rate: float = Field(5e-5, gt=0, lt=1, description="As in `distill`; of the weights.")
    range_rate: float = Field(
        1e-3, ge=0, lt=1, description="Peak rate of the activations' ranges, relative to each; 0: they stay."
    )
    engine: Literal["onnxruntime", "neural-compressor"] = Field(
        "onnxruntime", description="Who observes the activations; `neural-compressor` exports PyTorch itself."
    )
    method: Literal["minmax", "percentile", "entropy", "mse"] | None = Field(
        None, description="From observations to ranges; left out: percentile, or the engine's minmax."
    )
    percentile: float = Field(
        99.99, gt=50, le=100, description="Per cent of the values that `percentile` covers."
    )
    smoothing: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="How much of outliers moves into weights; 0: none; left out: 0.5 if it can.",
    )
    embeddings: Literal["rows", "table", "none"] = Field(
        "rows", description="A scale per row of an embedding table, one for all, or FP32."
    )
    per_channel: bool = Field(True, description="A scale per output channel of a matrix, or one for all.")
    products: bool = Field(False, description="Attention's two products in INT8, too.")
    keep: list[str] = Field(
        default_factory=list,
        description="What stays in FP32: names of operators or of their groups, with `*`; those of the "
        "targets' `full_precision` are added.",
    )
    search: SearchConfig = Field(
        default_factory=lambda: SearchConfig.model_validate({}), description="What goes back to FP32."
    )
    calibration: CalibrationConfig = Field(
        default_factory=lambda: CalibrationConfig.model_validate({}), description="What ranges come from."
    )
    dialects: list[Literal["symmetric", "asymmetric"]] | None = Field(
        None, min_length=1, description="Forms to write; left out: those that the targets' variants need."
    )
    weight_bits: Literal[7, 8] | None = Field(
        None, description="7: for x86 without VNNI; left out: what this machine needs where it is a target."
    )

    @model_serializer(mode="wrap")
    def _of_its_mode(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what only counts in the other mode, so that it is in no key."""
        found: dict[str, Any] = handler(self)
        return {name: item for name, item in found.items() if name not in _of_other_mode(self.mode)}


_TRAINING = frozenset({*distill.DistillConfig.model_fields, "range_rate"})


def _of_other_mode(mode: str) -> frozenset[str]:
    return _TRAINING if mode == "ptq" else frozenset({"search"})


def check(config: QuantizeConfig) -> list[Problem]:
    """What a mode or an engine cannot do."""
    other = "qat" if config.mode == "ptq" else "ptq"
    problems = [
        Problem((name,), f"counts in mode: {other} only, and the mode is {config.mode}", "leave it out")
        for name in sorted(config.model_fields_set & _of_other_mode(config.mode))
    ]
    if config.mode == "qat":
        problems += [*distill.check(config), *_untrainable(config)]
    if config.engine != "neural-compressor":
        return problems
    if config.method not in (None, "minmax", "mse"):
        hint = "minmax or mse, or engine: onnxruntime"
        problems.append(Problem(("method",), f"neural-compressor has no {config.method!r}", hint))
    if config.smoothing:
        hint = "leave it out, or use engine: onnxruntime"
        problems.append(Problem(("smoothing",), "neural-compressor moves no outliers", hint))
    return problems


def _untrainable(config: QuantizeConfig) -> list[Problem]:
    """What cannot be trained for."""
    problems = []
    if config.engine != "onnxruntime":
        hint = "engine: onnxruntime, whose ranges a training begins with"
        problems.append(Problem(("engine",), f"mode: qat does not begin with {config.engine}", hint))
    if config.products:
        message = "mode: qat does not train attention's products in INT8"
        problems.append(Problem(("products",), message, "leave it out"))
    if not config.per_channel:
        message = "mode: qat trains a scale per output channel"
        problems.append(Problem(("per_channel",), message, "leave it out"))
    return problems


def resolve(config: QuantizeConfig) -> QuantizeConfig:
    """The engine's own method and smoothing where none are given, and a training's precision."""
    if config.mode == "qat":
        config = config.resolved()
    own: tuple[str, float] = ("percentile", 0.5) if config.engine == "onnxruntime" else ("minmax", 0.0)
    smoothing = own[1] if config.smoothing is None else config.smoothing
    return config.model_copy(update={"method": config.method or own[0], "smoothing": smoothing})


def also(config: QuantizeConfig) -> tuple[str, ...]:
    """The PyTorch model, which neural-compressor exports and `qat` trains, and the latter's teacher."""
    if config.mode == "qat":
        return ("model", *distill.also(config))
    return ("model",) if config.engine == "neural-compressor" else ()


def models(config: QuantizeConfig) -> Mapping[str, list[str]]:
    """The teacher of mode `qat`, where it is not the original."""
    return distill.models(config) if config.mode == "qat" else {}


def varies(config: QuantizeConfig) -> Mapping[str, Any]:
    """What a training's result depends on, beside all else."""
    own = {name: getattr(QUANTIZE, name) for name in ("seeded", "code", "libraries")}
    if config.mode == "ptq":
        return own
    row = distill.DISTILL
    return {
        "seeded": True,
        "code": tuple(dict.fromkeys((*QUANTIZE.code, "stages.quantize_training", *row.code))),
        "libraries": tuple(dict.fromkeys((*QUANTIZE.libraries, "optimum", "optimum-onnx", *row.libraries))),
    }


def dense(config: QuantizeConfig) -> QuantizeConfig:
    """The original is quantized as it is: it lost nothing that a training would have to win back."""
    return config.model_copy(update={"mode": "ptq"})


def fit(config: QuantizeConfig, targets: Sequence[Target]) -> QuantizeConfig:
    """The dialects that variants of the targets are compiled from, and what their processors can add up.

    Raises:
        RecipeError: No variant of any target is compiled from a quantized model, or one is compiled from a
            dialect that is not among those that are asked for.
        UnsupportedError: The engine is not installed.
    """
    from edgeprune import backends

    if config.engine == "neural-compressor":
        from edgeprune.quantization.neural_compressor import require

        require("stages.quantize.engine")
    needed = {
        dialect: f"{entry.backend}/{variant} of target {target.name}"
        for target in targets
        for entry in target.backends
        for variant in entry.variants
        if (dialect := backends.dialect(entry.backend, variant))
    }
    if config.dialects is not None and (missing := sorted(needed.keys() - set(config.dialects))):
        hint = "add it, or leave `dialects` out: those that the targets need are made"
        texts = [f"{needed[dialect]} is compiled from the dialect {dialect}" for dialect in missing]
        raise RecipeError([Problem(("dialects",), text, hint) for text in texts])
    if not needed and config.dialects is None:
        known = sorted({name for row in backends.BACKENDS.values() for name in row.dialects})
        raise RecipeError(
            [
                Problem(
                    (),
                    "no target of this recipe has a variant that is made from a quantized model",
                    f"such variants are: {', '.join(known)}",
                )
            ]
        )
    full = [pattern for target in targets for pattern in target.full_precision]
    changed: dict[str, Any] = {
        "keep": list(dict.fromkeys([*config.keep, *full])),
        "dialects": config.dialects or sorted(needed),
        "weight_bits": config.weight_bits or _weight_bits(targets),
    }
    return config.model_copy(update=changed)


def _weight_bits(targets: Sequence[Target]) -> int:
    """7 where this machine is a target and adds INT8 products in saturating 16 bits."""
    from edgeprune.runner.cpu import describe

    machine = describe()
    here = any(
        target.device.kind == "local" and target.architecture == machine.architecture for target in targets
    )
    return 7 if here and machine.saturates_int8 else 8


def apply(work: Work) -> Outcome:
    """Calibrate, write each dialect, and return to FP32 what costs too much."""
    from edgeprune.stages.quantizing import quantize

    return quantize(work)


QUANTIZE = Stage(
    name="quantize",
    summary="write the exported model in INT8, calibrated on training examples",
    config=QuantizeConfig,
    apply=apply,
    requires=("data", "onnx"),
    provides=("quantized",),
    reads=("model.max_length",),
    ensures=("quantized.json",),
    code=(
        "stages.quantize", "stages.quantizing", "stages.export", "stages.quiet", "quantization",
        "structure", "tasks", "backends", *RUNNER, "durable",
    ),
    libraries=(
        "numpy", "onnx", "onnxruntime", "tokenizers", "torch", "transformers", "neural-compressor",
        "onnxscript", "torchao",
    ),
    resolve=resolve,
    check=check,
    also=also,
    models=models,
    varies=varies,
    dense=dense,
    fit=fit,
)  # fmt: skip
