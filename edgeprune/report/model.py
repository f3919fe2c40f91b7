"""The report as data: what `report.json` holds, and the only thing that renderers see.

Units are in the field names (`_seconds`, `_ms`, `_bytes`); shares are 0..1 and accuracy differences are
in points (percent of examples), because that is how people speak of them. `SCHEMA` changes whenever a
reader of an older report could misread a newer one.
"""

from __future__ import annotations

from math import exp, log
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "SCHEMA",
    "Ablation",
    "AblationRow",
    "AssetRow",
    "DataSummary",
    "DeviceRow",
    "Fusions",
    "Gain",
    "Interval",
    "LatencyRow",
    "Note",
    "Quality",
    "Report",
    "StageRow",
    "TargetRow",
    "Throughput",
    "UnusableRows",
    "VariantRow",
]

SCHEMA: Final = "edgeprune.report/1"

Verdict = Literal["pass", "fail", "inconclusive"]


class Row(BaseModel):
    """Base of all parts of the report: closed, so that a typo is an error and not a lost number."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Interval(Row):
    """A measured value with its confidence interval.

    `method` says how the interval was made, in words that a reader can look up.
    """

    estimate: float
    low: float
    high: float
    confidence: float
    method: str


class Quality(Row):
    """How well a model answers on the validation examples. All values 0..1; Matthews -1..1."""

    n: int
    accuracy: float
    f1: float
    matthews: float
    f1_average: Literal["binary", "macro"] = "binary"


class LatencyRow(Row):
    """Latency of one model at one input length, milliseconds per call.

    `speedup_original` and `speedup_fp32` are ratios of medians measured interleaved in one process
    (above 1: this model is faster); None for the model that the ratio is against, or when there is none.
    """

    length: int | Literal["real"]
    batch: int
    calls: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    speedup_original: Interval | None = None
    speedup_fp32: Interval | None = None


class Throughput(Row):
    """Texts of their real lengths that one model answers a second, where it always has more of them.

    `texts_per_second` is over all rounds; `low` and `high` are the slowest and the fastest round, which is no
    confidence interval. `streams`: batches that were under way at once.
    """

    texts_per_second: float
    low: float
    high: float
    rounds: int
    streams: int


class Fusions(Row):
    """What the runtime fused of the model's graph.

    `operators`: those that do the work of several of the model's, by the runtime's names, to their number.
    `attention_layers`: layers that have attention heads; `attention_fused`: those of them whose attention is
    one operator.
    """

    operators: dict[str, int]
    attention_layers: int
    attention_fused: int


class VariantRow(Row):
    """One compiled candidate (or the original itself, `backend="pytorch"`), with why it won or lost.

    `precision` is what was asked for; `executed` is what the runtime says it runs. `stand_in` says what
    answered in its place where its device is not here; its quality, difference and agreement are then those
    of the stand-in, and it has no latency.
    """

    name: str
    backend: str
    precision: str
    executed: str = ""
    stand_in: str = Field(default="", description="What answered in its place; empty: nothing did.")
    fusions: Fusions | None = Field(default=None, description="None: not looked into.")
    status: Literal["reference", "accepted", "rejected", "inconclusive", "refused", "not measured"]
    reason: str
    chosen: bool = False
    quality: Quality | None = None
    difference_points: Interval | None = Field(
        default=None, description="Metric of this variant minus the original's, points."
    )
    agreement: float | None = Field(default=None, description="Share of examples with the original's answer.")
    latency: list[LatencyRow] = Field(default_factory=list)
    throughput: Throughput | None = Field(default=None, description="None: not measured.")
    file_bytes: int | None = None
    load_seconds: float | None = Field(default=None, description="From nothing to ready, in a fresh process.")
    peak_memory_bytes: int | None = Field(
        None, description="Peak resident set of a fresh process that answered."
    )
    notes: list[str] = Field(default_factory=list)

    @property
    def typical_ms(self) -> float:
        """Geometric mean over lengths of the median latency, as candidates are compared; it has some."""
        return exp(sum(log(entry.p50_ms) for entry in self.latency) / len(self.latency))


class DeviceRow(Row):
    """Where the numbers of one target come from."""

    kind: str
    cpu: str
    architecture: str
    cores: int
    threads: int
    features: list[str]
    emulated: bool = False


class Gain(Row):
    """How many times faster than the dense model in full precision, at one input length.

    A ratio of medians measured interleaved in one process. Faster is what has its whole interval above 1.
    """

    length: int | Literal["real"]
    speedup: Interval

    @property
    def faster(self) -> bool:
        """Whether the measurement shows that it is faster."""
        return self.speedup.low > 1


class AblationRow(Row):
    """One step of the way from the dense model in full precision to the compressed one in INT8.

    `variant` is the name of the row in `TargetRow.dense` or, if there is none, in `TargetRow.variants`.
    Of several INT8 variants of a backend, one stands for all, and `picked` says why it does.
    """

    backend: str
    compressed: bool
    precision: str
    variant: str
    picked: str = ""
    gains: list[Gain] = Field(default_factory=list, description="Empty for the model that all are against.")


class Ablation(Row):
    """What compression and INT8 each brought to a target.

    `compressed`: whether any candidate is made from something else than the original as it is; otherwise the
    candidates are the dense models. `missing`: why there is nothing to compare with; empty when there is.
    """

    compressed: bool
    missing: str = ""
    rows: list[AblationRow] = Field(default_factory=list)


class TargetRow(Row):
    """One target: may it ship, what was chosen, and every candidate. The original comes first.

    `dense` has the counterparts of the candidates that are made from the original as it is, not compressed.
    They are measured for comparison, with no verdict of their own. `ablation` is None in reports that were
    written before there was one.
    """

    name: str
    description: str
    architecture: str
    verdict: Verdict
    reason: str
    measured: bool
    chosen: str | None = None
    device: DeviceRow | None = None
    variants: list[VariantRow]
    dense: list[VariantRow] = Field(default_factory=list)
    ablation: Ablation | None = None

    @model_validator(mode="after")
    def _steps_have_rows(self) -> TargetRow:
        known = {row.name for row in (*self.variants, *self.dense)}
        unknown = (
            [row.variant for row in self.ablation.rows if row.variant not in known] if self.ablation else []
        )
        if unknown:
            raise ValueError(f"`ablation` names rows that are not there: {', '.join(unknown)}")
        return self


class StageRow(Row):
    """One node of the plan. `seconds` is what it cost when it was made, also when it was cached now."""

    id: str
    stage: str
    key: str
    cached: bool
    seconds: float
    record: dict[str, Any] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)


class AssetRow(Row):
    """One asset: which of its sources served, its hash, and those tried before and why they failed."""

    role: str
    uri: str
    sha256: str
    size_bytes: int
    tried: list[str] = Field(default_factory=list)


class UnusableRows(Row):
    """Rows that were counted and left out, by reason, with the first places."""

    reason: str
    count: int
    places: list[str]


class DataSummary(Row):
    """What the task's data turned into."""

    train: int
    validation: int
    labels: list[str]
    train_per_label: dict[str, int]
    validation_per_label: dict[str, int]
    filtered: int = Field(default=0, description="Rows left out by `where`, on purpose.")
    unusable: list[UnusableRows] = Field(default_factory=list)
    split: str = Field(description="How validation came about, in words.")


class Note(Row):
    """One thing that the reader should know: a fallback, a mirror, an unmeasured device."""

    where: str
    text: str
    level: Literal["info", "warning"] = "warning"


class Report(Row):
    """Everything a run found. Written once, as `report.json`; all other forms are made from it."""

    format: Literal["edgeprune.report/1"] = SCHEMA
    recipe: str
    description: str
    recipe_path: str
    run_id: str
    seed: int
    started: str = Field(description="ISO 8601, UTC.")
    seconds: float
    verdict: Verdict = Field(description="The worst of the measured targets.")
    exit_code: int
    metric: str
    max_drop: float
    min_agreement: float | None = Field(
        None, description="Demanded share of equal answers; None: not demanded."
    )
    min_speedup: float | None = Field(
        None, description="Demanded times faster than the original; None: not demanded."
    )
    confidence: float
    batch: int
    encoder: str = Field(description="Architecture and size in words, e.g. 'bert, 6 layers, hidden 384'.")
    parameters: int
    targets: list[TargetRow]
    data: DataSummary
    stages: list[StageRow]
    assets: list[AssetRow]
    versions: dict[str, str] = Field(description="Library: version, Python and edgeprune included.")
    machine: DeviceRow
    know: list[Note] = Field(default_factory=list)
    command: str = Field(description="How to run it again.")
