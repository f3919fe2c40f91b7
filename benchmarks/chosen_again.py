"""Whether the variants that runs chose are still the fastest: all accepted candidates, measured again.

For every measured target of finished runs, the accepted candidates are timed side by side on the run's own
validation texts, lengths, batch and threads, in several fresh processes, each in an order of its own. What
counts is what a variant is chosen by: the geometric mean over lengths of the median latency. The chosen one
may take --limit times as long as the fastest other; with the whole interval within, it is met, with the whole
interval beyond, missed, and else undecided: measure longer, with nothing else running.

    python benchmarks/chosen_again.py runs/bert_sst2_mobile/latest [RUN ...] [--processes 5] [--calls 300]

Prints a table per target, adds to benchmarks/results/chosen_again.json, and exits with 1 unless all are met.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from grid_results import Results, Row
from grid_running import HERE, exit_code, say
from grid_table import aligned
from interleaved import CONFIDENCE, Calls, Times, inputs_of, stacked, time_ratio, timed, typical_ms
from run_folders import artifact_of
from structure_frontier_latency import QUIET, others_percent

from edgeprune.errors import EdgepruneError, UnsupportedError, UsageError
from edgeprune.measurement.latency import Length
from edgeprune.measurement.statistics import Interval
from edgeprune.runner.cpu import describe

if TYPE_CHECKING:
    from edgeprune.report.model import TargetRow

IDENTITY = ("run", "target", "cpu", "threads", "calls", "processes")

Word = Literal["met", "missed", "undecided"]


@dataclass(frozen=True)
class Job:
    """What every process times.

    Attributes:
        run: The run's folder.
        target: Name of the target.
        chosen: ``backend/variant`` that the run chose.
        accepted: Folder of every accepted candidate, by ``backend/variant``.
        examples: Folder of the validation examples.
        lengths: As the run measured.
        batch: Texts of a call.
        threads: That every model may use.
        calls: Timed calls of each model at each length.
        warmup: Calls before them.
    """

    run: str
    target: str
    chosen: str
    accepted: Mapping[str, str]
    examples: str
    lengths: Sequence[Length]
    batch: int
    threads: int
    calls: int
    warmup: int


def main() -> int:
    """Measure and print; with --job, be one fresh process. Returns the exit code."""
    options = _options()
    if options.job:
        return exit_code(lambda: _be_process(options))
    return exit_code(lambda: _again(options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("runs", type=Path, nargs="*", metavar="RUN", help="folder of a finished run")
    parser.add_argument("--processes", type=int, default=5, help="fresh ones, one after the other")
    parser.add_argument("--calls", type=int, default=300, help="timed calls a process, model and length")
    parser.add_argument("--warmup", type=int, default=20, help="calls before them")
    parser.add_argument("--threads", type=int, help="of a model [default: as the run measured]")
    parser.add_argument("--limit", type=float, default=1.05, help="times the fastest other's latency")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "chosen_again.json")
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.job and not options.runs:
        parser.error("give the folder of a finished run")
    if min(options.processes, options.calls, options.warmup) < 1:
        parser.error("--processes, --calls and --warmup are at least 1")
    return options


def _again(options: argparse.Namespace) -> int:
    results = Results(options.results, IDENTITY)
    words = []
    for job in [job for run in options.runs for job in jobs_of(run, options)]:
        if len(job.accepted) < 2:
            print(f"{job.run}, {job.target}: {job.chosen} is the only accepted candidate\n")
            continue
        before = others_percent()
        times = stacked_times(job, options.processes)
        row = compared(job, times, options.limit) | {"processes": options.processes}
        row["others_percent"] = max(before, others_percent())
        results.add(row)
        print(table(row), flush=True)
        words.append(row["verdict"])
    return 0 if all(word == "met" for word in words) else 1


def jobs_of(run: Path, options: argparse.Namespace) -> list[Job]:
    """What there is to measure again of a run: one job per target that it measured and chose for.

    Raises:
        UsageError: It is no finished run, it measured nothing or accepted nothing, or its artifacts are gone.
    """
    from edgeprune.report import storage

    run = run.resolve()
    targets = storage.read(run).targets
    found = [_job(run, target, options) for target in targets if target.measured and target.chosen]
    if not found:
        reasons = "; ".join(f"{target.name}: {target.reason}" for target in targets)
        raise UsageError(f"nothing was chosen ({reasons})", where=str(run))
    return found


def _job(run: Path, target: TargetRow, options: argparse.Namespace) -> Job:
    accepted = [row for row in target.variants if row.status == "accepted"]
    assert target.chosen is not None
    assert target.device is not None
    latency = accepted[0].latency
    return Job(
        run=f"{run.parent.name}/{run.name}",
        target=target.name,
        chosen=target.chosen,
        accepted={row.name: str(artifact_of(run, f"compile {target.name}/{row.name}")) for row in accepted},
        examples=str(artifact_of(run, "prepare") / "validation"),
        lengths=[row.length for row in latency],
        batch=latency[0].batch,
        threads=options.threads or target.device.threads,
        calls=options.calls,
        warmup=options.warmup,
    )


def stacked_times(job: Job, processes: int) -> dict[str, Times]:
    """Times of every candidate, a group per fresh process."""
    groups: list[dict[str, Calls]] = []
    with tempfile.TemporaryDirectory(prefix="edgeprune-bench-") as name:
        path = Path(name) / "job.json"
        path.write_text(json.dumps(asdict(job)))
        for number in range(processes):
            words = [sys.executable, str(Path(__file__).resolve()), "--job", str(path), "--seed", str(number)]
            done = subprocess.run(words, stdout=subprocess.DEVNULL, check=False)
            if done.returncode:
                raise EdgepruneError(f"a process that timed the candidates ended with {done.returncode}")
            with np.load(path.with_suffix(".npz")) as arrays:
                groups.append(_by_model(job, arrays))
            say(f"{job.run}, {job.target}: process {number + 1} of {processes}")
    return {model: stacked([group[model] for group in groups]) for model in job.accepted}


def _by_model(job: Job, arrays: Mapping[str, Any]) -> dict[str, Calls]:
    from edgeprune.stages.measure import timing_name

    return {
        model: {length: arrays[timing_name(model, length)] for length in job.lengths}
        for model in job.accepted
    }


def _be_process(options: argparse.Namespace) -> int:
    """Time the candidates once, and leave the times beside the job."""
    from edgeprune.stages.measure import timing_name

    job = Job(**json.loads(options.job.read_text()))
    found = time_once(job, options.seed)
    arrays = {
        timing_name(model, length): rows for model, calls in found.items() for length, rows in calls.items()
    }
    np.savez(options.job.with_suffix(".npz"), **arrays)  # type: ignore[arg-type]  # as in stages.measure
    return 0


def time_once(job: Job, seed: int) -> dict[str, Calls]:
    """Open all accepted candidates in this process, in an order of its own, and time them interleaved.

    Raises:
        UnsupportedError: One of them cannot be opened here.
    """
    from edgeprune.measurement.reading import read_texts
    from edgeprune.runner.session import open_session
    from edgeprune.runner.variant import RunnerError
    from edgeprune.stages.quiet import quiet_libraries
    from edgeprune.tasks.examples import Examples

    quiet_libraries()
    names = np.random.default_rng(seed).permutation(list(job.accepted)).tolist()
    try:
        sessions = {name: open_session(job.accepted[name], job.threads) for name in names}
    except RunnerError as error:
        raise UnsupportedError(str(error), where=job.run, hint="run its recipe again") from error
    first = sessions[names[0]]
    examples = Examples.load(Path(job.examples))
    reading = read_texts({"": first.folder}, examples, first.variant.max_length)[""]
    return timed(sessions, inputs_of(reading, job.lengths, job.batch), job.calls, job.warmup, seed)


def compared(job: Job, times: Mapping[str, Times], limit: float) -> Row:
    """The chosen candidate beside every other.

    Args:
        job: What was timed.
        times: Of every candidate.
        limit: How many times the fastest other's latency it may take.
    """
    typical = {name: typical_ms(found) for name, found in times.items()}
    others = {
        name: time_ratio(times[job.chosen], found) for name, found in times.items() if name != job.chosen
    }
    fastest = min(others, key=lambda name: typical[name])
    return {
        "run": job.run,
        "target": job.target,
        "chosen": job.chosen,
        "fastest_other": fastest,
        "verdict": verdict(others[fastest], limit),
        "limit": limit,
        "ratios": {name: asdict(ratio) for name, ratio in others.items()},
        "typical_ms": typical,
        "median_ms": {
            name: {str(length): float(np.median(rows)) / 1e6 for length, rows in found.items()}
            for name, found in times.items()
        },
        "batch": job.batch,
        "threads": job.threads,
        "calls": job.calls,
        "cpu": describe().model,
    }


def verdict(ratio: Interval, limit: float) -> Word:
    """Whether a ratio of latencies is within a limit, as far as its interval can tell."""
    if ratio.high <= limit:
        return "met"
    return "missed" if ratio.low > limit else "undecided"


def table(row: Row) -> str:
    """A run's target: its candidates, the fastest first, and what became of the chosen one."""
    lengths = list(row["median_ms"][row["chosen"]])
    head = ["candidate", *(_column(length) for length in lengths), "typical ms", "chosen / this (95 %)"]
    lines = [head]
    for name in sorted(row["typical_ms"], key=row["typical_ms"].get):
        medians = [f"{row['median_ms'][name][length]:.3f}" for length in lengths]
        ratio = row["ratios"].get(name)
        compared = f"{ratio['estimate']:.3f} ({ratio['low']:.3f}–{ratio['high']:.3f})" if ratio else "chosen"
        lines.append([name, *medians, f"{row['typical_ms'][name]:.3f}", compared])
    ratio = row["ratios"][row["fastest_other"]]
    busy = f"; others used up to {row['others_percent']:.0f} % of the processor: measure again"
    return (
        f"{row['run']}, {row['target']}: median ms, batch {row['batch']}, {row['threads']} threads, "
        f"{row['processes']} processes of {row['calls']} calls, {row['cpu']}\n"
        f"{aligned(lines)}\n"
        f"{row['verdict']}: {row['chosen']} takes {ratio['estimate']:.3f} times as long as "
        f"{row['fastest_other']} ({100 * CONFIDENCE:g} % interval {ratio['low']:.3f} to {ratio['high']:.3f}, "
        f"at most {row['limit']:g})"
        f"{busy if row['others_percent'] > QUIET else ''}\n"
    )


def _column(length: str) -> str:
    return "real lengths" if length == "real" else f"{length} tokens"


if __name__ == "__main__":
    sys.exit(main())
