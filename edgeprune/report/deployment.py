"""A deployment as data: what `deployment.json` holds, and the only thing that its renderers see.

A deployment is one bundle, installed on one device and judged by what it answered there. A run keeps its
deployments in `deployments/<name>/` of its own folder. Units are as in `report.model`.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, model_validator

from edgeprune.report.model import DeviceRow, Note, Row, VariantRow, Verdict

__all__ = [
    "DEPLOYMENT_SCHEMA",
    "BundleRow",
    "Deployment",
    "DeploymentDevice",
    "Disagreement",
    "Sample",
]

DEPLOYMENT_SCHEMA: Final = "edgeprune.deployment/1"


class BundleRow(Row):
    """What was installed. `version` names its content; `replaced` is the version that was there before."""

    name: str
    version: str
    total_bytes: int
    sent_bytes: int = Field(default=0, description="0: the device had all of it already.")
    path: str = Field(default="", description="Where it lies on the device.")
    replaced: str | None = None


class DeploymentDevice(Row):
    """The device that answered. `conditions`: governor, frequencies, temperatures, where they can be read."""

    name: str = Field(description="As the user calls it; its address where it has no name.")
    address: str = Field(description="E.g. `local`, `emulator` or `ssh://pi@raspberrypi`.")
    row: DeviceRow
    system: str = Field(default="", description="Operating system in words.")
    python: str = ""
    runtime: str = Field(default="", description="Name and version, e.g. 'onnxruntime 1.24.1'.")
    memory_bytes: int | None = None
    conditions: list[str] = Field(default_factory=list)


class Sample(Row):
    """How many of the validation examples the device answered; `seed` drew them where it is not all."""

    answered: int
    available: int
    seed: int | None = None

    @property
    def whole(self) -> bool:
        """Whether the whole validation set was answered."""
        return self.answered == self.available

    @model_validator(mode="after")
    def _part_of_all(self) -> Sample:
        if not 0 <= self.answered <= self.available:
            raise ValueError(f"{self.answered} of {self.available} examples cannot be")
        if not self.whole and self.seed is None:
            raise ValueError("a sample needs the seed that drew it")
        return self


class Disagreement(Row):
    """An example that the device answers otherwise than the original. Scores are 0..1, by label."""

    row: int = Field(description="Place among the validation examples, from 0.")
    texts: list[str]
    label: str | None = Field(default=None, description="The right answer; None: not known.")
    original: dict[str, float] = Field(min_length=1)
    device: dict[str, float] = Field(min_length=1)


class Deployment(Row):
    """Everything a deployment found. Written once, as `deployment.json`; other forms are made from it.

    `variant` holds what the device's own answers and measurements say; `original` the reference on the same
    examples. Where the device is emulated neither has times or memory: those would be the emulator's.
    """

    format: Literal["edgeprune.deployment/1"] = DEPLOYMENT_SCHEMA
    recipe: str
    run_id: str
    target: str
    bundle: BundleRow
    device: DeploymentDevice
    verdict: Verdict
    reason: str
    exit_code: int
    metric: str
    max_drop: float
    min_agreement: float | None = Field(default=None, description="Demanded share of equal answers.")
    min_speedup: float | None = Field(default=None, description="Demanded times faster than the original.")
    confidence: float
    sampled: Sample
    variant: VariantRow
    original: VariantRow | None = Field(default=None, description="The reference, on the same examples.")
    build_agreement: float | None = Field(
        default=None, description="Share of answers equal to those of the same files where they were built."
    )
    disagreed: int = Field(default=0, description="Examples answered otherwise than by the original.")
    disagreements: list[Disagreement] = Field(
        default_factory=list, description="All of them, or the first where they are very many."
    )
    started: str = Field(description="ISO 8601, UTC.")
    seconds: float
    versions: dict[str, str] = Field(default_factory=dict, description="Where it was judged.")
    know: list[Note] = Field(default_factory=list)
    command: str = Field(description="How to do it again.")

    @property
    def emulated(self) -> bool:
        """Whether the device's processor is imitated by software."""
        return self.device.row.emulated

    @model_validator(mode="after")
    def _no_times_of_an_emulator(self) -> Deployment:
        if not self.emulated:
            return self
        for row in (self.variant, *([self.original] if self.original else [])):
            measured = (row.latency, row.throughput, row.load_seconds, row.peak_memory_bytes)
            if any(value is not None and value != [] for value in measured):
                raise ValueError(f"{row.name}: times and memory of an emulated device are the emulator's")
        return self

    @model_validator(mode="after")
    def _no_more_shown_than_counted(self) -> Deployment:
        if not len(self.disagreements) <= self.disagreed <= self.sampled.answered:
            raise ValueError(
                f"{len(self.disagreements)} disagreements are listed, {self.disagreed} counted, "
                f"{self.sampled.answered} examples answered"
            )
        return self
