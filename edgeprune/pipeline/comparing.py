"""Runs side by side: reads what they and their deployments left on disk, and measures nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase

from edgeprune.durable import write_text
from edgeprune.errors import UsageError
from edgeprune.measurement.statistics import wilson_interval
from edgeprune.pipeline.comparing_runs import run_differences
from edgeprune.report import content, deployment_storage, storage
from edgeprune.report.comparison import ComparedRow, ComparedRun, Comparison
from edgeprune.report.deployment import Deployment
from edgeprune.report.formatting import confidence, count, plain
from edgeprune.report.model import DeviceRow, Interval, Note, Report, TargetRow, VariantRow

__all__ = ["Filters", "compare", "select", "write_page"]


@dataclass(frozen=True)
class Filters:
    """What to keep of a comparison's rows; empty: everything. Texts match as parts, in lower case."""

    targets: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Found:
    run: ComparedRun
    report: Report
    deployments: list[Deployment]


def compare(paths: Sequence[Path]) -> Comparison:
    """Runs, their targets, devices and variants in one table, with differences to the first run.

    Args:
        paths: Folders of runs, or their `report.json`. The same run twice counts once.

    Raises:
        UsageError: A run has no report, or one that this version does not read.
    """
    found: list[_Found] = []
    notes: list[Note] = []
    for path in paths:
        report = storage.read(path)
        known = next((item for item in found if _same_run(item.report, report)), None)
        if known:
            text = f"is the run {known.run.letter}, {known.run.path}: it is shown once"
            notes.append(Note(where=str(path), text=text, level="info"))
            continue
        folder = storage.files_of(path).json.parent.resolve()
        run = _run(report, folder, _letter(len(found)))
        deployments, said = _deployments(run, report, folder)
        found.append(_Found(run, report, deployments))
        notes += said
    if not found:
        raise UsageError("there is no run to compare", hint="give at least one run's folder")
    first = found[0].report
    rows = [row for item in found for row in _rows(item, first.metric)]
    runs = [item.run for item in found]
    return Comparison(
        metric=first.metric,
        confidence=first.confidence,
        runs=runs,
        rows=rows,
        differences=run_differences(runs, rows, first.metric, first.confidence),
        know=[*_worth_knowing(found, rows), *notes],
    )


def select(comparison: Comparison, filters: Filters) -> Comparison:
    """The comparison with those rows alone that the filters let through.

    Raises:
        UsageError: No row is left.
    """

    def kept(target: str, place: str, variant: str) -> bool:
        pairs = ((filters.targets, target), (filters.devices, place), (filters.variants, variant))
        return all(
            not wanted or any(word.lower() in text.lower() for word in wanted) for wanted, text in pairs
        )

    rows = [
        row
        for row in comparison.rows
        if kept(row.target, row.place or "not measured", row.variant.name)
        and (not filters.statuses or row.status in filters.statuses)
    ]
    if not rows:
        there = [
            f"{name}: {', '.join(dict.fromkeys(plain(value) for value in values))}"
            for name, values in (
                ("targets", [row.target for row in comparison.rows]),
                ("devices", [row.place or "not measured" for row in comparison.rows]),
                ("variants", [row.variant.name for row in comparison.rows]),
                ("statuses", [row.status for row in comparison.rows]),
            )
        ]
        raise UsageError("no row is left by these filters", hint=f"there are {'; '.join(there)}")
    names = {(row.run, row.target, row.place, row.variant.name) for row in rows}
    differences = [
        item
        for item in comparison.differences
        if (item.run, item.target, item.place, item.variant) in names
        and (item.against_run, item.target, item.place, item.against) in names
    ]
    return comparison.model_copy(update={"rows": rows, "differences": differences})


def write_page(comparison: Comparison, file: Path) -> Path:
    """Writes the comparison as one self-contained page; returns its path.

    Raises:
        UsageError: The file cannot be written.
    """
    from edgeprune.report import comparison_page

    page = comparison_page.render(comparison)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, page)
    except OSError as error:
        raise UsageError(f"the page cannot be written: {error.strerror}", where=str(file)) from error
    return file


def _letter(index: int) -> str:
    """A to Z, then AA, AB and so on."""
    before, last = divmod(index, len(ascii_uppercase))
    return (_letter(before - 1) if before else "") + ascii_uppercase[last]


def _same_run(one: Report, other: Report) -> bool:
    return (one.recipe, one.run_id, one.started) == (other.recipe, other.run_id, other.started)


def _run(report: Report, folder: Path, letter: str) -> ComparedRun:
    return ComparedRun(
        letter=letter,
        recipe=report.recipe,
        run_id=report.run_id,
        path=str(folder),
        started=report.started,
        verdict=report.verdict,
        encoder=report.encoder,
        parameters=report.parameters,
        validation=report.data.validation,
        examples=_examples(report),
        timed_beside=_timed_beside(report),
        original=next((row.key for row in report.stages if row.stage == "finetune"), ""),
    )


def _examples(report: Report) -> str:
    """What fixes the validation examples: their file, how they were split off, and how many of each label."""
    hashes = {row.role: row.sha256 for row in report.assets}
    source = hashes.get("validation") or hashes.get("train", "")
    labels = ", ".join(
        f"{name} {number}" for name, number in sorted(report.data.validation_per_label.items())
    )
    return f"{source}; {report.data.split}; {labels}"


def _timed_beside(report: Report) -> str:
    """What fixes how much the original computes, and with what: its base model and PyTorch's version."""
    base = next((row.sha256 for row in report.assets if row.role == "model"), "")
    return f"{base}; torch {report.versions.get('torch', '')}" if base else ""


def _deployments(run: ComparedRun, report: Report, folder: Path) -> tuple[list[Deployment], list[Note]]:
    """The newest deployment of each target, device and variant, and what was left out."""
    newest: dict[tuple[str, str, str], Deployment] = {}
    notes = []
    for file in deployment_storage.deployments_of(folder):
        where = f"run {run.letter}, deployment {file.parent.name}"
        try:
            found = deployment_storage.read(file)
        except UsageError as error:
            notes.append(Note(where=where, text=f"left out: {error.message}"))
            continue
        if (found.recipe, found.run_id) != (report.recipe, report.run_id):
            notes.append(Note(where=where, text=f"left out: it is of the run {found.recipe}, {found.run_id}"))
            continue
        key = (found.target, _deployed_place(found), found.variant.name)
        older = newest.get(key)
        if older is not None:
            text = (
                f"of several deployments of {found.variant.name} to {found.device.name}, the newest is shown"
            )
            notes.append(Note(where=f"run {run.letter}", text=text, level="info"))
        if older is None or older.started < found.started:
            newest[key] = found
    return list(newest.values()), notes


def _rows(found: _Found, metric: str) -> Iterator[ComparedRow]:
    for target in found.report.targets:
        place = _place(target)
        for variant in content.ordered_variants(target):
            yield _row(found, target.name, place, variant, metric)
    for item in found.deployments:
        original = [item.original] if item.original else []
        variant = item.variant.model_copy(update={"chosen": item.verdict == "pass"})
        sampled = item.sampled
        part = "" if sampled.whole else f"{count(sampled.answered)} examples, seed {sampled.seed}"
        for shown in (*original, variant):
            row = _row(found, item.target, _deployed_place(item), shown, metric)
            yield row.model_copy(update={"emulated": item.emulated, "deployed": True, "sampled": part})


def _row(found: _Found, target: str, place: str, variant: VariantRow, metric: str) -> ComparedRow:
    if found.report.metric != metric:
        variant = variant.model_copy(update={"difference_points": None})
    quality = variant.quality
    return ComparedRow(
        run=found.run.letter,
        target=target,
        place=place,
        variant=variant,
        score=None if quality is None else content.metric_value(quality, metric),
        interval=_interval(variant, metric, found.report.confidence),
    )


def _interval(variant: VariantRow, metric: str, level: float) -> Interval | None:
    """Of an accuracy; other metrics need the answers themselves, which reports do not hold."""
    quality = variant.quality
    if quality is None or metric != "accuracy" or not quality.n:
        return None
    low, high = wilson_interval(round(quality.accuracy * quality.n), quality.n, level)
    return Interval(
        estimate=quality.accuracy, low=low, high=high, confidence=level, method="Wilson's score interval"
    )


def _place(target: TargetRow) -> str:
    return "" if target.device is None else _machine(target.device)


def _machine(device: DeviceRow) -> str:
    threads = f"{device.threads} thread{'s' if device.threads != 1 else ''}"
    return f"{plain(device.cpu)}, {threads}"


def _deployed_place(item: Deployment) -> str:
    emulated = ", emulated" if item.emulated else ""
    return f"{plain(item.device.name)} ({_machine(item.device.row)}{emulated})"


def _worth_knowing(found: Sequence[_Found], rows: Sequence[ComparedRow]) -> Iterator[Note]:
    """What makes rows less comparable than they look."""
    first = found[0]
    for item in found[1:]:
        where = f"runs {first.run.letter} and {item.run.letter}"
        if item.run.examples != first.run.examples:
            text = (
                f"judged on other validation examples ({count(first.run.validation)} and "
                f"{count(item.run.validation)}): no difference between the two is shown"
            )
            yield Note(where=where, text=text)
        elif not first.run.original or item.run.original != first.run.original:
            text = "have two originals: differences to the original are not to the same one"
            yield Note(where=where, text=text, level="info")
        if item.report.metric != first.report.metric:
            theirs, ours = (content.metric_name(name) for name in (item.report.metric, first.report.metric))
            text = f"judged by {theirs}, shown is {ours}: its differences to the original are left out"
            yield Note(where=f"run {item.run.letter}", text=text)
        if item.report.confidence != first.report.confidence:
            levels = (confidence(entry.report.confidence) for entry in (first, item))
            yield Note(where=where, text=f"their intervals are of {' and '.join(levels)}")
        changed = _other_versions(first.report, item.report)
        if changed:
            yield Note(where=where, text=f"other versions: {changed}", level="info")
    for place in _unique(row.place for row in rows if row.emulated):
        yield Note(where=place, text="emulated: its answers count, its times do not and are not shown")
    for target in _unique(row.target for row in rows):
        places = _unique(row.place for row in rows if row.target == target and row.variant.latency)
        if len(places) > 1:
            text = (
                f"latencies come from {len(places)} devices and are compared within each: {'; '.join(places)}"
            )
            yield Note(where=f"target {target}", text=text, level="info")


def _other_versions(first: Report, other: Report) -> str:
    shared = sorted(first.versions.keys() & other.versions.keys())
    return ", ".join(
        f"{name} {first.versions[name]} and {other.versions[name]}"
        for name in shared
        if first.versions[name] != other.versions[name]
    )


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
