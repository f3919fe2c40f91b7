"""`measure`: every variant of a target and the original, on the same examples, interleaved, on one device.

Where the chain made something else of the original, what its variants would be without that is measured in
the same run: their dense counterparts, which show what each step brought and are no candidates.

Only raw results are kept here (logits per example, nanoseconds per call, texts per round). Intervals and
verdicts are made from them when the report is written, so that another acceptance needs no new measurement.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from edgeprune.errors import Problem, RecipeError
from edgeprune.recipe.schema import Length, Measurement, Section
from edgeprune.stages.answering import (
    ORIGINAL,
    answers,
    candidate_folders,
    dense_folders,
    left_out,
    reading_notes,
    save_arrays,
    scores,
)
from edgeprune.stages.contract import RUNNER, Outcome, Stage, Work

if TYPE_CHECKING:
    from edgeprune.measurement.accuracy import Predictor
    from edgeprune.measurement.batches import Batch
    from edgeprune.measurement.reading import Reading
    from edgeprune.measurement.throughput import Rounds
    from edgeprune.runner.session import Session

__all__ = ["MEASURE", "ORIGINAL", "MeasureConfig", "timing_name"]

Progress = Callable[..., None]


class MeasureConfig(Section):
    """Where it is measured: filled in by the plan, not by users.

    Attributes:
        target: Name of the target.
        threads: Threads that every model may use.
        cpu: Model of the processor; numbers from another one are other numbers.
        features: Its features.
        variants: ``backend/variant`` of every compiled candidate.
        dense: ``backend/variant`` of every candidate with a dense counterpart of its own.
    """

    target: str
    threads: int
    cpu: str
    features: list[str]
    variants: list[str]
    dense: list[str] = Field(default_factory=list)


def apply(work: Work) -> Outcome:
    """Measure accuracy, latency, throughput, then load time and memory in fresh processes."""
    from edgeprune.measurement.pytorch import open_original
    from edgeprune.measurement.reading import read_texts
    from edgeprune.stages.quiet import quiet_libraries
    from edgeprune.tasks.examples import Examples

    quiet_libraries()
    config: MeasureConfig = work.config
    protocol: Measurement = work.sections["measurement"]
    validation = Examples.load(work.inputs["data"] / "validation")
    candidates = candidate_folders(work, config.variants)
    folders = candidates | dense_folders(work, config.dense)
    compared = folders.keys() - candidates.keys()
    sessions, notes = _open(folders, config.threads, compared)
    opened = {name: folders[name] for name in sessions}
    readings = read_texts(
        {ORIGINAL: work.inputs["original"], **opened}, validation, work.sections["model.max_length"]
    )
    original = open_original(work.inputs["original"], config.threads)
    models: dict[str, Predictor] = {ORIGINAL: original, **sessions}
    logits, silent = answers(models, readings, protocol.batch, work.progress, compared)
    models = {name: models[name] for name in logits}
    readings = {name: readings[name] for name in logits}
    streams = {length: _streams(readings, length, protocol) for length in protocol.lengths}
    nanoseconds = _latency(models, streams, protocol, work.progress)
    executed = {ORIGINAL: original.executed}
    executed |= {name: sessions[name].executed().summary for name in logits if name in sessions}
    del models, sessions
    rounds = _throughput(original, candidates, config.threads, readings, protocol, work.progress)

    del original
    work.progress(text="load time and memory in fresh processes")
    fresh = _fresh(work.inputs["original"], candidates, config.threads, _longest(streams))
    save_arrays(work.output / "logits.npz", {"labels": np.asarray(validation.labels), **logits})
    save_arrays(work.output / "nanoseconds.npz", nanoseconds)
    record = {
        name: {"executed": executed[name], **fresh.get(name, {}), **scores(values, validation)}
        for name, values in logits.items()
    }
    for name, found in rounds.items():
        record[name]["throughput"] = asdict(found)
    (work.output / "measured.json").write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")
    return Outcome(record={"models": record}, notes=[*reading_notes(readings), *notes, *silent])


def _open(
    folders: Mapping[str, Path], threads: int, optional: Collection[str]
) -> tuple[dict[str, Session], list[str]]:
    """A session per model; and a note on each optional one that cannot be opened."""
    from edgeprune.runner.session import open_session
    from edgeprune.runner.variant import RunnerError

    sessions, notes = {}, []
    for name, folder in folders.items():
        try:
            sessions[name] = open_session(folder, threads=threads)
        except RunnerError as error:
            if name not in optional:
                raise
            notes.append(left_out(name, error))
    return sessions, notes


def timing_name(model: str, length: int | str) -> str:
    """Name of one array in `nanoseconds.npz`: int64 [blocks, calls per block]."""
    return f"{model}@{length}"


def _streams(
    readings: Mapping[str, Reading], length: Length, protocol: Measurement
) -> dict[str, list[Batch]]:
    """What latency is measured on at one length, the same texts for every model.

    Real examples; for a number, those that fit, padded.
    """
    from edgeprune.measurement.reading import fitting

    whole = None if length == "real" else length
    chosen = fitting(readings, whole)
    if not chosen:
        shortest = min(int(item.encoded.lengths.min()) for item in readings.values())
        message = f"no validation text has {length} tokens or fewer; the shortest has {shortest}"
        raise RecipeError([Problem(("measurement", "lengths"), message, "measure at a larger length")])
    groups = [chosen[start : start + protocol.batch] for start in range(0, len(chosen), protocol.batch)]
    return {name: reading.batches(groups, whole) for name, reading in readings.items()}


def _latency(
    models: Mapping[str, Predictor],
    streams: Mapping[Length, Mapping[str, list[Batch]]],
    protocol: Measurement,
    progress: Progress,
) -> dict[str, npt.NDArray[np.int64]]:
    """Nanoseconds of every call, by `timing_name`."""
    from edgeprune.measurement.latency import measure_interleaved

    def caller(model: Predictor, batches: list[Batch]) -> Callable[[int], Any]:
        return lambda number: model.run(*batches[number])

    found: dict[str, npt.NDArray[np.int64]] = {}
    for index, (length, stream) in enumerate(streams.items()):
        callers = {name: caller(model, stream[name]) for name, model in models.items()}
        numbers = range(len(stream[ORIGINAL]))
        text = f"latency at length {length}, {len(callers)} models interleaved"
        progress(step=index, total=len(streams), text=text)
        timings = measure_interleaved(callers, {length: numbers}, protocol.calls, protocol.warmup)
        found |= {timing_name(name, length): rows[length] for name, rows in timings.nanoseconds.items()}
    return found


def _throughput(
    original: Predictor,
    candidates: Mapping[str, Path],
    threads: int,
    readings: Mapping[str, Reading],
    protocol: Measurement,
    progress: Progress,
) -> dict[str, Rounds]:
    """Texts that the original and each candidate answer in the time of a round; none without such a time.

    PyTorch has one set of threads for the whole process, so the original answers one batch after the other.
    """
    from edgeprune.measurement.throughput import measure_rounds
    from edgeprune.runner.throughput import Callers, ThroughputSession, open_throughput

    if not protocol.throughput_seconds:
        return {}
    progress(text=f"throughput, {len(candidates) + 1} models in turns")
    models: dict[str, ThroughputSession] = {ORIGINAL: Callers(original.run, 1)}
    models |= {name: open_throughput(folder, threads) for name, folder in candidates.items()}
    batches = _streams({name: readings[name] for name in models}, "real", protocol)
    return measure_rounds(models, batches, protocol.throughput_seconds)


def _longest(streams: Mapping[Length, Mapping[str, list[Batch]]]) -> dict[str, Batch]:
    """The texts that are the original's largest batch, as each model reads them."""
    places = [(length, index) for length, stream in streams.items() for index in range(len(stream[ORIGINAL]))]
    length, index = max(places, key=lambda place: streams[place[0]][ORIGINAL][place[1]].ids.size)
    return {name: batches[index] for name, batches in streams[length].items()}


def _fresh(
    original: Path, folders: Mapping[str, Path], threads: int, batches: Mapping[str, Batch]
) -> dict[str, dict[str, Any]]:
    """Load time and peak memory of each model in a process of its own that answers its batch."""
    from edgeprune.measurement.fresh import probe_artifact, probe_original

    probed = {ORIGINAL: probe_original(original, threads, batches[ORIGINAL])}
    probed |= {name: probe_artifact(folder, threads, batches[name]) for name, folder in folders.items()}
    return {
        name: {"load_seconds": row.load_seconds, "peak_memory_bytes": row.peak_memory_bytes}
        for name, row in probed.items()
    }


MEASURE = Stage(
    name="measure",
    summary="accuracy, latency and throughput of all variants of one target, beside the original",
    config=MeasureConfig,
    apply=apply,
    requires=("original", "data"),
    provides=("measured",),
    reads=("measurement", "model.max_length"),
    ignores=("measurement.ablation",),
    ensures=("measured.json", "logits.npz", "nanoseconds.npz"),
    code=(
        "stages.measure", "stages.answering", "stages.quiet", "measurement", *RUNNER, "structure", "tasks",
    ),
    libraries=("torch", "transformers", "numpy"),
    in_recipe=False,
)  # fmt: skip
