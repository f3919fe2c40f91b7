"""What mode `qat` of `quantize` does: train with all roundings in place, and export what was learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeprune.errors import UnsupportedError
from edgeprune.stages.contract import Work

if TYPE_CHECKING:
    from onnx import ModelProto

    from edgeprune.quantization.dialects import Dialect
    from edgeprune.quantization.engines import Calibrated
    from edgeprune.quantization.observing import Batch
    from edgeprune.quantization.ranges import Range
    from edgeprune.quantization.retraining import Start
    from edgeprune.quantization.sensitivity import Logits
    from edgeprune.quantization.sites import Site
    from edgeprune.stages.quantize import QuantizeConfig
    from edgeprune.training.fake_quantization import FakeQuantization

__all__ = ["Trained", "train"]

_EXPORTED = "trained"


@dataclass(frozen=True, eq=False)
class Trained:
    """What a training gave.

    Attributes:
        calibrated: The trained model with its ranges, ready to be written.
        answers: By dialect: what the trained model with its roundings answers to the judged texts in PyTorch,
            [texts, classes].
        record: Of the training, for the report.
        notes: What a reader of the report should know.
    """

    calibrated: Calibrated
    answers: Mapping[Dialect, Logits]
    record: dict[str, Any]
    notes: list[str]


def train(
    work: Work, begun: Start, batches: Sequence[Batch], others: Sequence[Batch], kept: frozenset[str]
) -> Trained:
    """Train the model that was exported, and export it again.

    Args:
        work: Of `quantize` in mode `qat`.
        begun: The calibrated model.
        batches: Calibration examples.
        others: Examples that are judged.
        kept: Operators that stay in FP32.

    Raises:
        UnsupportedError: The PyTorch model is not the exported one, or its architecture is not known.
        EdgepruneError: The teacher does not fit the student.
    """
    import onnx
    import transformers

    from edgeprune.quantization.graphs import prepared
    from edgeprune.quantization.retraining import carried_over
    from edgeprune.stages.export import write_onnx
    from edgeprune.stages.student_training import teach
    from edgeprune.stages.validating import validation_quality
    from edgeprune.structure.loading import load
    from edgeprune.training.fake_quantization import FakeQuantization
    from edgeprune.training.quantization_aware import QuantizationAware

    transformers.set_seed(work.seed)
    config: QuantizeConfig = work.config
    tokenizer = transformers.AutoTokenizer.from_pretrained(work.inputs["model"], local_files_only=True)
    student = load(work.inputs["model"])
    sites = _sites(student, begun.plain, batches[0])
    fake = FakeQuantization(_plan(begun, [site for site in sites if site.operator not in kept], config))

    def qualities() -> dict[str, Any]:
        found = {}
        for dialect in fake.dialects:
            fake.use(dialect)
            found[str(dialect)] = validation_quality(work, student, tokenizer)
        return found

    fp32 = validation_quality(work, student, tokenizer)
    fake.attach(student)
    before = qualities()
    fake.remove()
    adapt = partial(QuantizationAware, fake=fake, step_rate=config.range_rate)
    taught = teach(work, student, tokenizer, adapt)
    after = qualities()
    answers = {dialect: _answers(student, fake, dialect, others) for dialect in fake.dialects}
    taught.adaptation.detach()
    write_onnx(student.eval(), work.scratch / _EXPORTED, _opset(begun.plain))
    exported = prepared(onnx.load(work.scratch / _EXPORTED / "model.onnx"))
    learned = fake.ranges()
    calibrated = carried_over(begun, sites, exported, _sites(student, exported, batches[0]), learned)
    record = {
        "quality": after[fake.dialects[0]],
        "qualities": {"fp32": fp32, "untrained": before, "trained": after},
        "ranges": {
            dialect: _growth(begun.calibrated.ranges[dialect], learned[dialect]) for dialect in learned
        },
        **taught.record,
    }
    return Trained(calibrated, answers, record, taught.notes)


def _sites(student: Any, graph: ModelProto, batch: Batch) -> tuple[Site, ...]:
    """Where the graph has the student's matrices; all of the encoder's among them."""
    from edgeprune.quantization.sites import find_sites
    from edgeprune.structure.architectures import linear_sites
    from edgeprune.training.fake_quantization import executed_matrices

    found = find_sites(graph, executed_matrices(student, batch))
    missing = {site.name for site in linear_sites(student)} - {site.module for site in found}
    if missing:
        raise UnsupportedError(
            f"the encoder's {sorted(missing)[0]} takes no part in a forward pass",
            where=type(student).__name__,
            hint="use mode: ptq, which needs the exported graph alone",
        )
    return found


def _plan(begun: Start, sites: Sequence[Site], config: QuantizeConfig) -> Any:
    from edgeprune.training.fake_quantization import Plan

    rows = config.embeddings
    return Plan(
        sites=[site for site in sites if site.kind == "linear" or rows != "none"],
        ranges={dialect: begun.calibrated.ranges[dialect] for dialect in config.dialects or ()},
        scales=begun.calibrated.scales,
        embeddings="table" if rows == "table" else "rows",
        weight_bits=config.weight_bits or 8,
        learned=config.range_rate > 0,
    )


def _answers(student: Any, fake: FakeQuantization, dialect: Dialect, batches: Sequence[Batch]) -> Logits:
    import torch

    fake.use(dialect)
    student.eval()
    with torch.inference_mode():
        parts = [
            student(**{name: torch.from_numpy(values) for name, values in batch.items()}).logits.numpy()
            for batch in batches
        ]
    return np.concatenate(parts)


def _opset(model: ModelProto) -> int:
    return next(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def _growth(before: Mapping[str, Range], after: Mapping[str, Range]) -> dict[str, float]:
    """How wide the ranges are against those of the calibration: the least, the middle and the most."""
    ratios = [found.peak / before[name].peak for name, found in after.items() if before[name].peak]
    least, middle, most = np.quantile(ratios or [1.0], [0, 0.5, 1]).tolist()
    return {"least": least, "median": middle, "most": most}
