"""Our INT8 beside that of others: NNCF for OpenVINO and onnxruntime's own quantizer, on the same model.

For every source, the same exported FP32 model goes through our stages (`quantize`, then `compile` for every
variant of the target) and through the peers at their documented settings (see peers_int8_peers.py). All are
calibrated on the same training texts, run by the same runner with the same threads, and timed interleaved in
one process on the same validation texts, one at a time. Printed: accuracy, agreement with the original in
FP32, file size, median latency at each length; and, for what would ship and for every variant of ours that no
other of ours beats in both, how many times as long the fastest peer takes that has as many right answers or
more. A source is a folder of a run, a recipe (--seeds gives several), or a folder of a saved classifier
with --recipe. Several sources, such as seeds, are one table: mean ± sample standard deviation, times as
geometric means, intervals over sources and blocks.

    python benchmarks/peers_int8.py recipes/bert_sst2_mobile.yaml --seeds 1 2 3
    python benchmarks/peers_int8.py runs/bert_sst2_mobile/latest --step distill

NNCF is no dependency of edgeprune. `pip install nncf` adds it to an environment; to leave that as it is,
`pip install --target DIR --no-deps nncf ninja openvino-telemetry pydot tabulate` and put DIR on PYTHONPATH.
Without it its rows say so. Appends to benchmarks/results/peers_int8.json.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

from grid_results import Results, Row
from grid_running import HERE, exit_code
from peers_int8_entrants import exported, ours
from peers_int8_material import material_of
from peers_int8_measuring import Conditions, Measured, measure
from peers_int8_peers import peers
from peers_int8_sources import Case, cases, measured_target, quantize_body
from peers_int8_table import against_peers, overall, ratios, rows_of, table, worth_showing
from structure_frontier_latency import QUIET, others_percent

from edgeprune.cli.options import default_cache
from edgeprune.recipe.schema import Target
from edgeprune.runner.cpu import describe, usable_cores

LIBRARIES = ("edgeprune", "onnxruntime", "openvino", "nncf")
AS_ACCURATE = "the fastest peer with as many right answers or more, at each length"
ANY = "the fastest peer, however accurate"


def main() -> int:
    """Make, measure, print; returns the exit code."""
    options = _options()
    return exit_code(lambda: _compare(options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "sources", type=Path, nargs="+", metavar="SOURCE", help="run, recipe or saved classifier"
    )
    parser.add_argument("--seeds", type=int, nargs="+", help="of a recipe, instead of its own")
    parser.add_argument(
        "--step", default="finetune", help="whose classifier [default: finetune, the original]"
    )
    parser.add_argument("--recipe", type=Path, help="of a saved classifier")
    parser.add_argument(
        "--target", default="x86", help="whose variants are ours; name, or path of a YAML file"
    )
    parser.add_argument("--lengths", nargs="+", default=["real", "64", "128"], metavar="LENGTH")
    parser.add_argument("--calls", type=int, default=300, help="timed calls of each model at each length")
    parser.add_argument("--warmup", type=int, default=20, help="calls before them")
    parser.add_argument("--threads", type=int, help="of every runtime [default: as the target says]")
    parser.add_argument(
        "--calibration", type=int, help="examples, for all [default: as the recipe says, or 256]"
    )
    parser.add_argument("--examples", type=int, help="of the validation set, for a trial [default: all]")
    parser.add_argument("--accuracy-control", action="store_true", help="NNCF's too; takes long")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the recipe")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "peers_int8.json")
    parser.add_argument("--cache", type=Path, default=default_cache())
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of run folders")
    options = parser.parse_args()
    for name in ("threads", "calibration", "examples"):
        value = getattr(options, name)
        if value is not None and value < 1:
            parser.error(f"--{name} is at least 1")
    if options.seeds and not all(source.suffix in (".yaml", ".yml") for source in options.sources):
        parser.error("--seeds is for recipes; other sources are trained already")
    options.set += [
        f"measurement.lengths=[{', '.join(options.lengths)}]",
        f"measurement.calls={options.calls}",
        f"measurement.warmup={options.warmup}",
        "measurement.batch=1",
    ]
    return options


def _compare(options: argparse.Namespace) -> int:
    target = measured_target(options.target)
    threads = options.threads or target.device.threads or usable_cores(describe())
    conditions = Conditions(threads, options.examples)
    results = Results(options.results, ("created",))
    names: list[str] = []
    found: list[list[Measured]] = []
    originals: list[float] = []
    calibration: list[int] = []
    busy = others_percent()
    for case in cases(options):
        with TemporaryDirectory(prefix="edgeprune-bench-") as folder:
            measured, accuracy, observed = _measured(case, target, conditions, Path(folder), options)
        names.append(case.name)
        found.append(measured)
        originals.append(accuracy)
        calibration.append(observed)
        busy = max(busy, others_percent())
    everyone, problems = overall(found)
    best = worth_showing(everyone)
    beside = {
        "as_accurate": [item for row in best for item in against_peers(row, everyone, as_accurate=True)],
        "any": [item for row in best for item in against_peers(row, everyone, as_accurate=False)],
    }
    row = _about(names, conditions, busy, options)
    row |= {
        "calibration": calibration,
        "originals": originals,
        "models": rows_of(everyone, beside),
        "problems": problems,
    }
    results.add(row)
    print(_head(row))
    print(table(everyone, problems, originals))
    print(ratios(beside["as_accurate"], AS_ACCURATE))
    print(ratios(beside["any"], ANY))
    return 0


def _measured(
    case: Case, target: Target, conditions: Conditions, folder: Path, options: argparse.Namespace
) -> tuple[list[Measured], float, int]:
    """All entrants of one case, the original's accuracy, and how many examples all are calibrated on."""
    from edgeprune.stages.quiet import quiet_libraries

    quiet_libraries()
    body = quantize_body(case.recipe, target, options.calibration)
    onnx = exported(case, folder / "onnx")
    material = material_of(case, onnx, body, target, folder, control=options.accuracy_control)
    entrants = [*ours(case, onnx, body, target, describe(), folder), *peers(material)]
    return *measure(case, entrants, conditions), len(material.calibration)


def _head(row: Row) -> str:
    busy = f"; others used up to {row['others_percent']:.0f} % of the processor: measure again"
    return (
        f"{', '.join(row['cases'])}: {row['calls']} interleaved calls of each model at each length, batch 1, "
        f"{row['threads']} threads, {row['cpu']}{busy if row['others_percent'] > QUIET else ''}\n"
        f"all calibrated on the same {max(row['calibration'])} training examples"
    )


def _about(names: Sequence[str], conditions: Conditions, busy: float, options: argparse.Namespace) -> Row:
    return {
        "created": time.time(),
        "cases": list(names),
        "step": options.step,
        "target": options.target,
        "threads": conditions.threads,
        "calls": options.calls,
        "examples": conditions.examples,
        "others_percent": busy,
        "cpu": describe().model,
        "versions": {name: _version(name) for name in LIBRARIES},
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
