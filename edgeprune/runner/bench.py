"""Times answers as `predict` gives them, from text to score, and the model's part in them.

The load time and the memory are those of a process of its own, which does nothing else.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Callable, List, Sequence, Union

import numpy as np

from .answering import Answerer, Runs, bundle_words, open_answerer, open_bundle, positive
from .collecting import no_garbage_collection
from .examples import Example, InputError
from .machine import read_state, system_name
from .manifest import MODEL, SAMPLE
from .predict import format_words, read_examples
from .processor import describe_own
from .requirements import installed_version
from .samples import read_samples

__all__ = ["Length", "Timed", "Times", "configure", "fitting", "run", "time_answers"]

REAL = "real"
PATIENCE = 600.0

Length = Union[int, str]


@dataclass(frozen=True)
class Times:
    """Milliseconds of calls."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float


@dataclass(frozen=True)
class Timed:
    """What was measured at one length.

    Attributes:
        length: Tokens that texts are padded to; ``real``: they are not.
        texts: Different texts that were asked; asked again when they ran out.
        calls: Calls that count.
        call: From texts to scores.
        session: The part of the model alone.
    """

    length: Length
    texts: int
    calls: int
    call: Times
    session: Times


class Stopwatch:
    """A model, and how long its last answer took.

    Attributes:
        nanoseconds: Of the last answer.
    """

    def __init__(self, model: Runs, clock: Callable[[], int]) -> None:
        self._model, self._clock = model, clock
        self.nanoseconds = 0

    def run(self, ids: np.ndarray, mask: np.ndarray, types: np.ndarray) -> np.ndarray:
        """The model's answer."""
        start = self._clock()
        logits = self._model.run(ids, mask, types)
        self.nanoseconds = self._clock() - start
        return logits


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the words of this command."""
    parser.add_argument(
        "file", nargs="?", help="texts to ask, as for predict; left out: the bundle's samples"
    )
    format_words(parser)
    parser.add_argument("--calls", type=positive, default=200, metavar="N", help="calls that are timed")
    parser.add_argument("--warmup", type=positive, default=20, metavar="N", help="calls before them")
    parser.add_argument(
        "--lengths",
        type=_lengths,
        default=[REAL],
        metavar="N,…",
        help=f"tokens to pad to, and {REAL!r} for none; texts that are longer are left out",
    )
    parser.add_argument("--batch", type=positive, default=1, metavar="N", help="texts answered at once")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    bundle_words(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the command: a table, or one line of JSON, on standard output."""
    manifest = open_bundle(options.bundle)
    if options.file:
        examples = list(read_examples(options.file, options.format, manifest.columns))
    else:
        samples = read_samples(options.bundle / SAMPLE, manifest.columns, manifest.labels)
        examples = [sample.texts for sample in samples]
    answerer = open_answerer(options.bundle, options.threads)
    streams = [(length, fitting(answerer, examples, length)) for length in options.lengths]
    before = read_state()
    loaded, notes = _load_afresh(options.bundle, options.threads)
    timed = [
        time_answers(answerer, length, stream, options.calls, options.warmup, options.batch)
        for length, stream in streams
    ]
    found = {
        "name": manifest.name,
        "version": manifest.version,
        "variant": manifest.variant,
        "threads": answerer.threads,
        "batch": options.batch,
        "warmup": options.warmup,
        "lengths": [asdict(entry) for entry in timed],
        "load": loaded,
        "notes": notes,
        "machine": {
            "cpu": asdict(describe_own()),
            "system": system_name(),
            "python": platform.python_version(),
            "runtime": {manifest.backend: installed_version(manifest.backend)},
            "before": asdict(before),
            "after": asdict(read_state()),
        },
    }
    sys.stdout.write((json.dumps(found) if options.json else _table(found)) + "\n")
    return 0


def fitting(answerer: Answerer, examples: Sequence[Example], length: Length) -> List[Example]:
    """The examples that have at most `length` tokens.

    Raises:
        InputError: There is none, or the model reads no such length.
    """
    if not examples:
        raise InputError("there is no text to ask")
    if isinstance(length, str):
        return list(examples)
    longest = answerer.texts.max_length
    if length > longest:
        raise InputError(f"--lengths has {length}, but the model reads at most {longest} tokens")
    tokens = answerer.texts.lengths(examples)
    if min(tokens) > length:
        raise InputError(f"no text has {length} tokens or fewer; the shortest has {min(tokens)}")
    return [example for example, count in zip(examples, tokens) if count <= length]


def time_answers(
    answerer: Answerer,
    length: Length,
    examples: Sequence[Example],
    calls: int,
    warmup: int,
    batch: int,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> Timed:
    """Times calls, each of which answers the next `batch` examples.

    Args:
        answerer: Answers them.
        length: Tokens to pad to, or ``real``.
        examples: At least one, none longer than `length`.
        calls: Calls that are timed.
        warmup: Calls before them.
        batch: Examples of a call.
        clock: Nanoseconds.
    """
    watch = Stopwatch(answerer.session, clock)
    watched = Answerer(answerer.manifest, answerer.texts, watch, answerer.threads)
    padded = None if isinstance(length, str) else length
    whole, inner = np.empty(calls, np.int64), np.empty(calls, np.int64)
    gc.collect()
    with no_garbage_collection():
        for call in range(-warmup, calls):
            asked = [examples[(call * batch + offset) % len(examples)] for offset in range(batch)]
            start = clock()
            watched.answer(asked, padded)
            nanoseconds = clock() - start
            if call >= 0:
                whole[call], inner[call] = nanoseconds, watch.nanoseconds
    return Timed(length, len(examples), calls, _times(whole), _times(inner))


def _times(nanoseconds: np.ndarray) -> Times:
    milliseconds = nanoseconds / 1e6
    p50, p90, p99 = np.percentile(milliseconds, [50, 90, 99]).tolist()
    return Times(p50, p90, p99, float(milliseconds.mean()))


def _load_afresh(bundle: Path, threads: int | None) -> tuple[dict[str, Any] | None, List[str]]:
    """What `probe` says in a process of its own; None and why, where no such process can be had."""
    words = [sys.executable, str(Path(__file__).resolve().parent), "probe", "--artifact", str(bundle / MODEL)]
    words += [] if threads is None else ["--threads", str(threads)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=True)
        loaded: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or [f"exit code {error.returncode}"])[-1]
    except (OSError, subprocess.SubprocessError, IndexError, ValueError) as error:
        reason = str(error)
    else:
        return loaded, []
    return None, [f"load time and memory could not be measured in a process of their own: {reason}"]


def _lengths(text: str) -> List[Length]:
    return [word if word == REAL else positive(word) for word in text.split(",")]


def _table(found: dict[str, Any]) -> str:
    machine = found["machine"]
    cpu = machine["cpu"]
    runtime = ", ".join(f"{name} {version}" for name, version in machine["runtime"].items())
    lines = [
        f"{found['name']} {found['version']} ({found['variant']}), {found['threads']} thread(s),"
        f" batch {found['batch']}",
        f"{cpu['model']}, {cpu['architecture']}, {' '.join(cpu['features']) or 'no known features'};"
        f" {machine['system']}; Python {machine['python']}; {runtime}",
        f"{'ms':24}{'p50':>9}{'p90':>9}{'p99':>9}{'mean':>9}",
    ]
    for entry in found["lengths"]:
        for part, name in (("call", "text to score"), ("session", "model alone")):
            values = (entry[part][key] for key in ("p50_ms", "p90_ms", "p99_ms", "mean_ms"))
            lines.append(f"{entry['length']!s:>6}  {name:16}" + "".join(f"{value:9.3f}" for value in values))
    if found["load"]:
        megabytes = found["load"]["peak_memory_bytes"] / 1e6
        lines.append(f"first answer after {found['load']['load_seconds']:.2f} s, {megabytes:.0f} MB at most")
    for moment in ("before", "after"):
        state = machine[moment]
        told = [f"{name} × {cores}" for name, cores in state["governors"].items()]
        told += [f"{value} MHz" for value in state["megahertz"]]
        told += [f"{name} {value:.1f} °C" for name, value in state["celsius"].items()]
        lines += [f"{moment}: {', '.join(told)}"] if told else []
    return "\n".join([*lines, *(f"note: {note}" for note in found["notes"])])
