"""The shipped recipes beside what a user would pick instead: one table of measured values, floors and goals.

Every recipe is run with every seed (what is cached is not made again), or its finished run is given with
--run. Then, for each seed, everything is measured side by side in this process: the original in PyTorch, the
dense model in FP32 on each runtime, the dense low-precision variants of peers (NNCF, onnxruntime's quantizer,
OpenVINO's bfloat16) at their documented settings, and what the recipes ship; each model reads the same
sentences with its own tokenizer.

    python benchmarks/headline.py                                      # three recipes, seeds 1 2 3
    python benchmarks/headline.py --only mobile tiny --run mobile=runs/bert_sst2_mobile/latest
    python benchmarks/headline.py --only taskpack --add                # to the last one; nothing is timed
    python benchmarks/headline.py --table --readme                     # print the last one again

Accuracy: mean of the seeds' differences to the original of the same seed, Student's t interval. Latency:
ratio of medians, bootstrap over seeds and blocks; the peer is the fastest at that length, however accurate.
Size: bundle against the original's files. Time: what all steps of a run say that they took when they were
made; fetching and interrupted attempts are not counted, and how busy the machine was then is not known.

Peers need NNCF: see peers_int8.py. Appends to benchmarks/results/headline.json; --readme rewrites the README
between its markers.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

from grid_results import Results, Row
from grid_running import HERE, exit_code, say
from headline_adding import added
from headline_findings import Facts, SeedMeasured, findings
from headline_measuring import measure_seed, notes_of
from headline_promises import MODELS
from headline_runs import Product, products, quickstart
from headline_table import BEGIN, END, console, markdown, replaced
from peers_int8_measuring import Conditions
from peers_int8_sources import measured_target
from peers_int8_table import overall, rows_of
from structure_frontier_latency import others_percent

from edgeprune.cli.options import default_cache
from edgeprune.durable import write_text
from edgeprune.errors import UsageError
from edgeprune.measurement.latency import FEWEST_BLOCKS, Length
from edgeprune.recipe.schema import Target
from edgeprune.runner.cpu import describe, usable_cores

LIBRARIES = ("edgeprune", "torch", "onnxruntime", "openvino", "nncf")


def main() -> int:
    """Run, measure, print; returns the exit code."""
    options = _options()
    return exit_code(lambda: _headline(options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", nargs="+", choices=MODELS, default=list(MODELS), metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs="+", help="[default: of the --run given, or 1 2 3]")
    parser.add_argument(
        "--run", action="append", default=[], metavar="NAME=RUN",
        help="a finished run, instead of making it; also quickstart=RUN; may be given again",
    )  # fmt: skip
    parser.add_argument(
        "--recipe", action="append", default=[], metavar="NAME=YAML", help="instead of the shipped one"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of every recipe")
    parser.add_argument("--target", default="x86", help="name, or path of a YAML file")
    parser.add_argument(
        "--lengths", type=_length, nargs="+", default=["real", 64, 128], metavar="LENGTH",
        help="of the timed inputs: real, or tokens",
    )  # fmt: skip
    parser.add_argument("--calls", type=int, default=300, help="timed calls of each model at each length")
    parser.add_argument("--warmup", type=int, default=20, help="calls before them")
    parser.add_argument("--threads", type=int, help="of every runtime [default: as the target says]")
    parser.add_argument("--examples", type=int, help="of the validation set, for a trial [default: all]")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "headline.json")
    parser.add_argument(
        "--add", action="store_true",
        help="to the last row of --results, instead of a new one: what has no latency",
    )  # fmt: skip
    parser.add_argument("--table", action="store_true", help="print the last row of --results; run nothing")
    parser.add_argument(
        "--readme", type=Path, nargs="?", const=HERE.parent / "README.md", metavar="FILE",
        help=f"rewrite what is between {BEGIN} and {END} [default: the project's README.md]",
    )  # fmt: skip
    parser.add_argument("--cache", type=Path, default=default_cache())
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of run folders")
    options = parser.parse_args()
    for name, least in (("threads", 1), ("examples", 1), ("calls", FEWEST_BLOCKS), ("warmup", 0)):
        value = getattr(options, name)
        if value is not None and value < least:
            parser.error(f"--{name} is at least {least}")
    return options


def _length(text: str) -> Length:
    if text == "real":
        return "real"
    if text.isdecimal() and int(text):
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is neither real nor a number of tokens")


def _headline(options: argparse.Namespace) -> int:
    if options.readme:
        replaced(_read(options.readme), "")  # before hours of work
    row = _last(options.results) if options.table else _measured(options)
    print(console(row), end="")
    if options.readme:
        write_text(options.readme, replaced(_read(options.readme), markdown(row)))
    return 0


def _measured(options: argparse.Namespace) -> Row:
    """Runs and measures; the row is in the results when this returns."""
    target = measured_target(options.target)
    last = _last(options.results) if options.add else None
    results = Results(options.results, ("created",))
    named = quickstart(options)
    found = products(options, target.name)
    conditions = Conditions(
        options.threads or target.device.threads or usable_cores(describe()), options.examples
    )
    measured: list[SeedMeasured] = []
    notes: list[str] = []
    busy = others_percent()
    for seed in next(iter(found.values())):
        of_seed = {name: by_seed[seed] for name, by_seed in found.items()}
        say(f"seed {seed} is measured")
        with TemporaryDirectory(prefix="edgeprune-bench-") as folder:
            measured.append(measure_seed(of_seed, target, conditions, _protocol(options), Path(folder)))
        notes += notes_of(seed, of_seed)
        busy = max(busy, others_percent())
    facts = {name: {seed: item.facts for seed, item in by_seed.items()} for name, by_seed in found.items()}
    if named:
        facts["quickstart"] = named
    row = _row(measured, facts, target, conditions, options)
    row |= {"notes": [*notes, *_about_time(found)], "others_percent": busy}
    if last:
        row = added(last, row)
    results.add(row)
    return row


def _protocol(options: argparse.Namespace) -> list[str]:
    """How models are timed here, which need not be how the runs timed them."""
    return [
        f"measurement.lengths=[{', '.join(map(str, options.lengths))}]",
        f"measurement.calls={options.calls}",
        f"measurement.warmup={options.warmup}",
        "measurement.batch=1",
    ]


def _row(
    measured: list[SeedMeasured],
    facts: dict[str, dict[int, Facts]],
    target: Target,
    conditions: Conditions,
    options: argparse.Namespace,
) -> Row:
    everyone, problems = overall([item.timed for item in measured])
    scores = [item for seed in measured for item in seed.scores.values()]
    return {
        "created": time.time(),
        "target": target.name,
        "cpu": describe().model,
        "cores": usable_cores(describe()),
        "threads": conditions.threads,
        "versions": {name: _version(name) for name in LIBRARIES},
        "seeds": [item.seed for item in measured],
        "n": scores[0].n if scores else 0,
        "calls": options.calls,
        "lengths": list(map(str, options.lengths)),
        "recipes": list(facts),
        "facts": {name: [asdict(item) for item in by_seed.values()] for name, by_seed in facts.items()},
        "findings": [asdict(item) for item in findings(measured, facts)],
        "scores": {
            name: [asdict(item.scores[name]) for item in measured if name in item.scores] for name in MODELS
        },
        "models": rows_of(everyone, {}),
        "problems": problems,
    }


def _about_time(found: dict[str, dict[int, Product]]) -> list[str]:
    cores = sorted({item.cores for by_seed in found.values() for item in by_seed.values()})
    return [
        "minutes are the sum of what all steps of a run took when they were made, on "
        f"{' or '.join(map(str, cores))} cores; fetching and interrupted attempts are not in it, and how "
        "busy the machine was then is not known"
    ]


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


def _last(path: Path) -> Row:
    if not path.is_file():
        raise UsageError("there are no results yet", where=str(path), hint="run without --table")
    row: Row = json.loads(path.read_text(encoding="utf-8"))["rows"][-1]
    return row


def _read(path: Path) -> str:
    if not path.is_file():
        raise UsageError("there is no such file to write the table into", where=str(path))
    return path.read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
