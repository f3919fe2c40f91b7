"""What `quantize` does: calibrate once, train if asked, write each dialect, judge it beside FP32, save."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeprune.durable import write_text
from edgeprune.errors import EdgepruneError
from edgeprune.stages.contract import Outcome, Work

if TYPE_CHECKING:
    from edgeprune.quantization.dialects import Dialect
    from edgeprune.quantization.engines import Calibrated, CalibrationSettings
    from edgeprune.quantization.observing import Batch
    from edgeprune.quantization.qdq import Quantized, Settings
    from edgeprune.quantization.sensitivity import Logits, Search
    from edgeprune.stages.quantize import QuantizeConfig

__all__ = ["quantize"]

_BATCH = 16
_TOLERANCE = 0.1
"""Of the mean difference between a trained model's logits in PyTorch and in onnxruntime, by their spread. A
value on the edge of two levels may fall to either side, so the largest difference says little."""


def quantize(work: Work) -> Outcome:
    """Calibrate, train, write, judge, save."""
    from edgeprune.stages.quiet import quiet_libraries

    quiet_libraries()
    config: QuantizeConfig = work.config
    batches, others = _batches(work)
    if config.mode == "qat":
        trials, trained, said = _trained(work, batches, others)
    else:
        trials, trained, said = _Trials(work, _calibrated(work, batches), batches, others), {}, []
    dialects = {dialect: _write(work, trials, dialect) for dialect in config.dialects or ()}
    record = {
        "mode": config.mode,
        "engine": config.engine,
        "method": config.method,
        "smoothing": config.smoothing,
        "weight_bits": config.weight_bits,
        "examples": {"calibration": _count(batches), "judged": _count(others)},
        "dialects": {dialect: found for dialect, (found, _) in dialects.items()},
        **trained,
    }
    write_text(work.output / "quantized.json", json.dumps({"dialects": list(dialects)}))
    notes = [
        *trials.notes,
        *said,
        *_about_bits(config),
        *(f"`keep` has {pattern!r}, which names no operator of this model" for pattern in trials.strange),
        *(note for _, said in dialects.values() for note in said),
    ]
    return Outcome(record=record, notes=list(dict.fromkeys(notes)))


def _calibration(work: Work) -> tuple[CalibrationSettings, Callable[[int, int], None]]:
    """How to calibrate, and whom to tell how far it is."""
    from edgeprune.quantization.engines import CalibrationSettings

    config: QuantizeConfig = work.config

    def tell(done: int, total: int) -> None:
        work.progress(step=done, total=total, text="texts that activations are observed on")

    method = config.method or "minmax"  # `resolve` has filled it in
    return CalibrationSettings(method, config.percentile, config.smoothing or None), tell


def _calibrated(work: Work, batches: Sequence[Batch]) -> Calibrated:
    import onnx

    from edgeprune.quantization.engines import Source, calibrate
    from edgeprune.structure.loading import load

    config: QuantizeConfig = work.config
    torch_model = load(work.inputs["model"]) if config.engine == "neural-compressor" else None
    source = Source(onnx.load(work.inputs["onnx"] / "model.onnx"), torch_model)
    return calibrate(config.engine, source, batches, *_calibration(work))


def _trained(
    work: Work, batches: Sequence[Batch], others: Sequence[Batch]
) -> tuple[_Trials, dict[str, Any], list[str]]:
    """Trials of the trained model, judged by what the FP32 model answered before; record and notes."""
    import onnx

    from edgeprune.quantization.graphs import prepared
    from edgeprune.quantization.retraining import Start
    from edgeprune.stages.quantize_training import train

    config: QuantizeConfig = work.config
    plain_graph = prepared(onnx.load(work.inputs["onnx"] / "model.onnx"))
    begun = Start(plain_graph, _calibrated(work, batches))
    before = _Trials(work, begun.calibrated, batches, others)
    plain = {dialect: before.agreement(before.settings(dialect)) for dialect in config.dialects or ()}
    kept = before.settings((config.dialects or ["symmetric"])[0]).keep
    trained = train(work, begun, batches, others, kept)
    after = _Trials(work, trained.calibrated, batches, others, before.expected)
    differences = {dialect: after.difference(dialect, found) for dialect, found in trained.answers.items()}
    record = trained.record | {"untrained_agreement": plain, "logit_difference": differences}
    return after, record, trained.notes


def _batches(work: Work) -> tuple[list[Batch], list[Batch]]:
    """(to observe, to judge on): different training examples where there are enough; one length a batch."""
    import transformers

    from edgeprune.tasks.encoding import collate, encode
    from edgeprune.tasks.examples import Examples

    config: QuantizeConfig = work.config
    train = Examples.load(work.inputs["data"] / "train")
    order = np.random.default_rng(config.calibration.seed).permutation(len(train)).tolist()
    observed = order[: config.calibration.examples]
    judged = order[len(observed) : len(observed) + config.search.examples] or observed
    tokenizer = transformers.AutoTokenizer.from_pretrained(work.inputs["onnx"], local_files_only=True)

    def grouped(indices: Sequence[int]) -> list[Batch]:
        encoded = encode(tokenizer, train.select(list(indices)), work.sections["model.max_length"])
        alike = [np.flatnonzero(encoded.lengths == length) for length in np.unique(encoded.lengths)]
        return [
            collate(encoded, group[start : start + _BATCH], tokenizer.pad_token_id)
            for group in alike
            for start in range(0, len(group), _BATCH)
        ]

    return grouped(observed), grouped(judged)


def _count(batches: Sequence[Batch]) -> int:
    return sum(len(batch["input_ids"]) for batch in batches)


class _Trials:
    """A calibrated model, written and judged in as many ways as it takes, each judged once.

    Attributes:
        expected: What the FP32 model answers to the judged texts, [texts, classes]; left out: this model's.
        strange: Patterns of `keep` that name no operator.
    """

    def __init__(
        self,
        work: Work,
        calibrated: Calibrated,
        batches: Sequence[Batch],
        others: Sequence[Batch],
        expected: Logits | None = None,
    ) -> None:
        from edgeprune.quantization.sensitivity import groups, logits_of, matching

        self._work, self._calibrated = work, calibrated
        self._batches, self._others = batches, others
        self.expected: Logits = logits_of(calibrated.model, others) if expected is None else expected
        whole = groups(calibrated.model, self._asked("symmetric"))  # the same in both dialects
        self._named, self.strange = matching(whole, work.config.keep)
        self._agreements: dict[Settings, float] = {}

    @property
    def notes(self) -> tuple[str, ...]:
        """Of the calibration."""
        return self._calibrated.notes

    def settings(self, dialect: Dialect) -> Settings:
        """Of the recipe, with all in INT8 that has a range and is not named to stay."""
        return self._calibrated.within(replace(self._asked(dialect), keep=self._named))

    def _asked(self, dialect: Dialect) -> Settings:
        from edgeprune.quantization.qdq import Settings

        config: QuantizeConfig = self._work.config
        return Settings(
            dialect,
            per_channel=config.per_channel,
            products=config.products,
            embeddings=config.embeddings,
            weight_bits=config.weight_bits or 8,
        )

    def written(self, settings: Settings) -> tuple[Any, Quantized]:
        """The model in INT8, and what was done."""
        from edgeprune.quantization.engines import quantize

        return quantize(self._calibrated, settings)

    def difference(self, dialect: Dialect, expected: Logits) -> dict[str, float]:
        """How far the written model's logits are from those of the training: mean and largest.

        Raises:
            EdgepruneError: They are others than rounding explains.
        """
        from edgeprune.quantization.sensitivity import logits_of

        model, _ = self.written(self.settings(dialect))
        off = np.abs(logits_of(model, self._others) - expected)
        if not off.mean() <= _TOLERANCE * max(float(expected.std()), 1e-3):
            raise EdgepruneError(
                f"the written model's logits are off those of the training by {off.mean():.2g} on average, "
                f"and they vary by {expected.std():.2g}",
                where=dialect,
                hint="this is a bug: what was trained is not what was written",
            )
        return {"mean": float(off.mean()), "max": float(off.max())}

    def agreement(self, settings: Settings) -> float:
        """Share of the judged texts that the model in INT8 answers as the FP32 model does."""
        from edgeprune.quantization.sensitivity import logits_of

        if settings not in self._agreements:
            model, _ = self.written(settings)
            same = logits_of(model, self._others).argmax(axis=1) == self.expected.argmax(axis=1)
            self._agreements[settings] = float(same.mean())
        return self._agreements[settings]

    def search(self, settings: Settings, wanted: float) -> Search:
        """The fewest operators that have to stay in FP32, judged by agreement."""
        from edgeprune.quantization.sensitivity import costs, fewest_to_keep

        def tell(done: int, total: int) -> None:
            self._work.progress(
                step=done, total=total, text=f"what INT8 costs by operator ({settings.dialect})"
            )

        ranges = self._calibrated.ranges[settings.dialect]
        ranking = costs(self._calibrated.model, ranges, settings, self._batches, tell)

        def accept(kept: frozenset[str]) -> tuple[bool, str]:
            share = self.agreement(replace(settings, keep=settings.keep | kept))
            return share >= wanted, f"agreement {share:.2%}"

        return fewest_to_keep(list(ranking), accept)


def _write(work: Work, trials: _Trials, dialect: Dialect) -> tuple[dict[str, Any], list[str]]:
    """One dialect's files; its record and notes."""
    import onnx

    from edgeprune.quantization.dialects import violations
    from edgeprune.stages.export import copy_companions

    config: QuantizeConfig = work.config
    settings = trials.settings(dialect)
    first = trials.agreement(settings)
    search: Search | None = None
    if config.mode == "ptq" and first < config.search.min_agreement:
        search = trials.search(settings, config.search.min_agreement)
        settings = replace(settings, keep=settings.keep | search.nodes)
    agreement = trials.agreement(settings)
    model, done = trials.written(settings)
    if wrong := violations(model, dialect, per_channel=config.per_channel):
        raise EdgepruneError(f"the {dialect} model breaks its own rules: {wrong[0]}", where=dialect)
    folder = work.output / dialect
    folder.mkdir()
    onnx.save(model, folder / "model.onnx")
    copy_companions(work.inputs["onnx"], folder)
    record = {
        "int8_operators": {kind: len(names) for kind, names in done.operators.items()},
        "fp32_operators": len(done.kept) + len(done.left),
        "matrix_bytes": {"fp32": done.fp32_bytes, "int8": done.int8_bytes},
        "file_bytes": (folder / "model.onnx").stat().st_size,
        "agreement": {"all_int8": first, "written": agreement},
        "kept": [group.name for group in search.kept] if search else [],
        "trail": [_said(trial) for trial in search.trail] if search else [],
    }
    return record, [f"{dialect}: {note}" for note in _notes(done, search, agreement)]


def _about_bits(config: QuantizeConfig) -> list[str]:
    """Which weights lost a bit, and why."""
    if config.weight_bits != 7:
        return []
    return ["weights use 7 of 8 bits: x86 CPUs without VNNI overflow their 16-bit sums of INT8 products"]


def _said(trial: Any) -> str:
    return f"{', '.join(trial.kept) or 'nothing'} in FP32: {trial.detail}"


def _notes(done: Quantized, search: Search | None, agreement: float) -> list[str]:
    notes = [f"{name} stays in FP32: {reason}" for name, reason in done.left.items()]
    if search is None:
        return notes
    kept = ", ".join(group.name for group in search.kept)
    end = "" if search.accepted else ", which is not enough"
    return [*notes, f"stays in FP32, because INT8 costs too much: {kept} (agreement {agreement:.2%}{end})"]
