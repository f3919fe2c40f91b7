"""All models of a seed in one process: dense references, peers and what ships; answers first, then times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from grid_running import say
from headline_findings import ORIGINAL, SeedMeasured, dense_name
from headline_runs import STEP, Product
from interleaved import streams_of, timed_apart
from peers_int8_entrants import Entrant, exported, ours
from peers_int8_material import material_of
from peers_int8_measuring import Conditions, Measured, Scores, answered, scores_of
from peers_int8_peers import peers
from peers_int8_sources import Case, case_of_run, quantize_body

from edgeprune.errors import UsageError
from edgeprune.recipe.schema import Target
from edgeprune.runner.cpu import describe
from edgeprune.tasks.examples import Examples

if TYPE_CHECKING:
    from edgeprune.measurement.accuracy import Predictor
    from edgeprune.measurement.pytorch import Original
    from edgeprune.measurement.reading import Reading

__all__ = ["full_precision", "measure_seed", "notes_of"]


def measure_seed(
    found: Mapping[str, Product],
    target: Target,
    conditions: Conditions,
    overrides: Sequence[str],
    folder: Path,
) -> SeedMeasured:
    """Makes the dense references and the peers of the original, then measures all of them.

    Args:
        found: What ships, by recipe.
        target: Whose runtimes, and where it is measured.
        conditions: Threads and examples.
        overrides: Of the recipe, for `measurement`.
        folder: For what is made.

    Raises:
        UsageError: The recipes are judged on different examples, or no text fits a length.
        EdgepruneError: A model does not answer with numbers.
    """
    from edgeprune.stages.quiet import quiet_libraries

    quiet_libraries()
    first = next(iter(found.values()))
    case = case_of_run(first.folder, STEP, overrides)
    examples = _examples(found, case, conditions)
    compiled = {name: item for name, item in found.items() if item.variant}
    entrants = _references(case, target, folder) if compiled else []
    entrants += [Entrant(name, "ours", item.answers) for name, item in compiled.items()]
    measuring = _Measuring(case, found, entrants, examples, conditions)
    packs = {name: measuring.scores(name, found[name].answers) for name in found if name not in compiled}
    timed = measuring.all_timed() if compiled else []
    timed = [_without_paths(row, [folder, *(item.answers for item in found.values())]) for row in timed]
    scores = {row.entrant.name: row.scores for row in timed if row.scores and row.entrant.name in found}
    return SeedMeasured(case.recipe.shell.seed, timed, packs | scores)


def full_precision(target: Target) -> Target:
    """The target with FP32 alone on each of its runtimes."""
    backends = [entry.model_copy(update={"variants": ["fp32"]}) for entry in target.backends]
    return target.model_copy(update={"backends": backends})


def notes_of(seed: int, found: Mapping[str, Product]) -> list[str]:
    """What the reader should know of what was measured."""
    first = next(iter(found.values())).original
    others = [name for name, item in found.items() if item.original != first]
    notes = [note for item in found.values() for note in item.notes]
    if others:
        notes.append(
            f"seed {seed}: {', '.join(others)} started from another original than {next(iter(found))}, whose "
            "original the dense references and peers are made from; accuracy is against its own"
        )
    return notes


def _without_paths(row: Measured, folders: Sequence[Path]) -> Measured:
    """Runtimes say which file they mean; a table is for readers who do not have it."""
    problem = row.entrant.problem
    for folder in folders:
        problem = problem.replace(f"{folder}/", "").replace(str(folder), "it")
    return replace(row, entrant=replace(row.entrant, problem=problem))


def _examples(found: Mapping[str, Product], case: Case, conditions: Conditions) -> Examples:
    """The validation examples, which have to be the same for all."""
    examples = Examples.load(case.data / "validation")
    for name, item in found.items():
        if Examples.load(case_of_run(item.folder, STEP, ()).data / "validation") != examples:
            raise UsageError(f"{name} is judged on other examples than {next(iter(found))}")
    if conditions.examples is None:
        return examples
    return examples.select(range(min(conditions.examples, len(examples))))


def _references(case: Case, target: Target, folder: Path) -> list[Entrant]:
    """The dense model: our FP32 on every runtime, and low precision as peers make it."""
    body = quantize_body(case.recipe, target, None)
    onnx = exported(case, folder / "onnx")
    plain = ours(case, onnx, body, full_precision(target), describe(), folder)
    dense = [replace(item, name=dense_name(item.name.removesuffix("/fp32"))) for item in plain]
    return [*dense, *peers(material_of(case, onnx, body, target, folder), full_precision=False)]


class _Measuring:
    """One seed: the texts as every model reads them, and the originals' answers to them."""

    def __init__(
        self,
        case: Case,
        found: Mapping[str, Product],
        entrants: Sequence[Entrant],
        examples: Examples,
        conditions: Conditions,
    ) -> None:
        from edgeprune.measurement.pytorch import open_original
        from edgeprune.measurement.reading import read_texts

        self._shell = case.recipe.shell
        self._entrants = entrants
        self._threads = conditions.threads
        self._labels = np.asarray(examples.labels)
        folders = {ORIGINAL: case.model} | {item.name: item.folder for item in entrants if item.folder}
        folders |= {name: item.answers for name, item in found.items()}
        folders |= {str(item.original): item.original for item in found.values()}
        self._readings = read_texts(folders, examples, self._shell.model.max_length)
        self._original = open_original(case.model, self._threads)
        self._own = {name: str(item.original) for name, item in found.items()}
        known = {str(case.model): self._answers(self._original, str(case.model))}
        for item in found.values():
            if str(item.original) not in known:
                model = open_original(item.original, self._threads)
                known[str(item.original)] = self._answers(model, str(item.original))
        self._expected = known
        self._case = case

    def scores(self, name: str, folder: Path) -> Scores:
        """A classifier in PyTorch, FP32."""
        from edgeprune.measurement.pytorch import open_original

        say(f"{name}: being asked")
        answers = self._answers(open_original(folder, self._threads), name)
        return scores_of(self._labels, self._expected_of(name), answers, self._confidence)

    def all_timed(self) -> list[Measured]:
        """The original and all entrants, timed interleaved, each on the texts as it reads them."""
        models: dict[str, Predictor] = {ORIGINAL: self._original}
        found = {ORIGINAL: self._of_original(self._original)}
        for entrant in self._entrants:
            name = entrant.name
            say(f"{name}: {entrant.problem or 'being asked'}")
            found[name], session = answered(
                entrant, self._shell, self._threads, self._reading(name), self._labels,
                self._expected_of(name),
            )  # fmt: skip
            if session:
                models[name] = session
        protocol = self._shell.measurement
        readings = {name: self._reading(name) for name in models}
        streams = streams_of(readings, protocol.lengths, protocol.batch)
        say(f"seed {self._shell.seed}: {len(models)} models are timed interleaved")
        calls = timed_apart(models, streams, protocol.calls, protocol.warmup)
        return [replace(row, calls=calls.get(name)) for name, row in found.items()]

    @property
    def _confidence(self) -> float:
        return self._shell.acceptance.confidence

    def _of_original(self, original: Original) -> Measured:
        answers = self._expected[str(self._case.model)]
        scores = scores_of(self._labels, answers, answers, self._confidence)
        size = (self._case.model / "model.safetensors").stat().st_size
        return Measured(Entrant(ORIGINAL, "ours", self._case.model), scores, None, size, original.executed)

    def _answers(self, model: Predictor, name: str) -> np.ndarray:
        from edgeprune.measurement.accuracy import predict

        reading = self._reading(name)
        batch = self._shell.measurement.batch
        answers: np.ndarray = predict(model, reading.encoded, batch, reading.pad_id, name).argmax(axis=1)
        return answers

    def _reading(self, name: str) -> Reading:
        return self._readings.get(name, self._readings[ORIGINAL])

    def _expected_of(self, name: str) -> np.ndarray:
        """Answers of a recipe's own original, or of the one that references are made from."""
        return self._expected[self._own.get(name, str(self._case.model))]
