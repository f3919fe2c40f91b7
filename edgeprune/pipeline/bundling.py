"""From a finished run to a bundle for one of its targets."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeprune.bundle import building
from edgeprune.bundle.content import Content
from edgeprune.errors import EdgepruneError
from edgeprune.pipeline.expecting import COUNT, SEED, Expected, expect, tolerance
from edgeprune.pipeline.finished import FinishedRun, open_run
from edgeprune.pipeline.picking import Pick, pick
from edgeprune.pipeline.store import Artifact
from edgeprune.report.model import TargetRow
from edgeprune.runner.cpu import Cpu
from edgeprune.runner.manifest import Manifest
from edgeprune.runner.session import SPARSE
from edgeprune.runner.variant import RunnerError, Variant, read_variant

__all__ = ["Bundled", "bundle", "collect"]

# From the lowest versions that such models were run with, to the next that may break with what was before.
# onnxruntime 1.19 is the last one for Python 3.9.
_RUNTIMES = {"onnxruntime": ("onnxruntime>=1.19,<2",), "openvino": ("openvino>=2025.0,<2028",)}
_ALWAYS = ("numpy>=1.26,<3", "tokenizers>=0.21,<1")

_VNNI = "avx512_vnni|avx_vnni"
_BF16 = "avx512_bf16|amx_bf16"
_FIXED = ("variant.json", "tokenizer.json")


@dataclass(frozen=True)
class Bundled:
    """What `bundle` made.

    Attributes:
        path: The folder or zip.
        manifest: What is in it.
        reason: Why this variant.
        notes: What the user should know.
    """

    path: Path
    manifest: Manifest
    reason: str
    notes: tuple[str, ...]


def bundle(
    run: Path | FinishedRun,
    output: Path,
    *,
    target: str | None = None,
    variant: str | None = None,
    wheels_for: str | None = None,
) -> Bundled:
    """Writes the bundle of one target of a run.

    Args:
        run: Folder of the run, e.g. ``runs/quickstart/latest``, or the run once it is open: its artifacts
            are then not checked again.
        output: A folder, or a zip if it ends in ``.zip``; must not be there, or be an empty folder.
        target: Name of the target; may be left out if the run has one.
        variant: ``backend/precision``; left out: see `picking.pick`.
        wheels_for: Version of the device's Python, e.g. ``3.11``: what the runner needs is fetched for it and
            put in. None: the device installs that by itself.

    Raises:
        UsageError: There is no such run, target or variant, or the output is there already.
        AcceptanceError: No variant is accepted, and none was named.
        AssetError: A wheel cannot be had.
        UnsupportedError: Nothing here gives the answers that the samples need.
        EdgepruneError: An artifact of the run is gone or damaged, or the output cannot be written.
    """
    content, picked = collect(open_run(run) if isinstance(run, Path) else run, target, variant)
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as scratch:
        if wheels_for is not None:
            content = _with_wheels(content, wheels_for, Path(scratch))
        manifest = building.build(content, output)
    return Bundled(output, manifest, picked.reason, tuple(content.provenance["notes"]))


def collect(run: FinishedRun, target: str | None = None, variant: str | None = None) -> tuple[Content, Pick]:
    """What goes into the bundle of one target of a run, and why that variant. Raises as `bundle` does."""
    row = run.target(target)
    picked = pick(run.report, row, variant)
    node = f"compile {row.name}/{picked.row.name}"
    artifact = run.artifact(node)
    compiled = _variant_of(artifact)
    expected = _expected(run, artifact, compiled)
    columns = run.shell.task.columns
    model, notes = _model_files(artifact, compiled)
    if picked.warning:
        notes.insert(0, picked.warning)
    notes += _about_answers(compiled, expected)
    content = Content(
        name=f"{run.report.recipe}-{row.name}",
        target=row.name,
        variant=picked.row.name,
        architecture=compiled.architecture,
        requirements=(*_RUNTIMES.get(compiled.backend, ()), *_ALWAYS),
        columns=(columns.text,) if columns.text_pair is None else (columns.text, columns.text_pair),
        labels=tuple(compiled.labels),
        model=model,
        samples=expected.samples,
        tolerance=tolerance(compiled.precision),
        cpu_features=_needed_features(run, node, compiled),
    )
    return replace(content, provenance=_provenance(run, row, picked, node, compiled, expected, notes)), picked


def _variant_of(artifact: Artifact) -> Variant:
    try:
        return read_variant(artifact.path)
    except RunnerError as error:
        raise EdgepruneError(
            str(error), hint="run the recipe again with this version of edgeprune"
        ) from error


def _expected(run: FinishedRun, artifact: Artifact, compiled: Variant) -> Expected:
    from edgeprune.stages.quiet import quiet_libraries
    from edgeprune.tasks.examples import Examples

    quiet_libraries()
    validation = Examples.load(run.artifact("prepare").path / "validation")
    return expect(artifact.path, compiled, validation)


def _model_files(artifact: Artifact, compiled: Variant) -> tuple[dict[str, Path], list[str]]:
    """What of a compiled model's folder goes to a device, and a note on what does not."""
    from edgeprune.backends.onnx_mobile import OPERATORS

    taken = {*_FIXED, *compiled.files.values()} | ({OPERATORS} & artifact.files.keys())
    left = sorted(artifact.files.keys() - taken)
    notes = [f"not in the bundle, as nothing on the device reads it: {', '.join(left)}"] if left else []
    return {name: artifact.path / name for name in sorted(taken)}, notes


def _needed_features(run: FinishedRun, node: str, compiled: Variant) -> tuple[str, ...]:
    """Features without which the model answers wrongly or not at all.

    Nothing on ARM: onnxruntime picks its kernels by the processor, and those without dotprod, i8mm or FP16
    give the same products, slower. x86 without VNNI adds INT8 products in saturating 16 bits, which is exact
    only for weights of 7 bits; and OpenVINO computes bfloat16 only where the processor has it.
    """
    if compiled.architecture != "x86_64" or compiled.backend not in _RUNTIMES:
        return ()
    if compiled.precision == "bf16":
        return (_BF16,)
    if compiled.precision == SPARSE:
        return ("amx_int8",)
    if compiled.precision.startswith("int8") and not _has_narrow_weights(run, node):
        return (_VNNI,)
    return ()


def _has_narrow_weights(run: FinishedRun, node: str) -> bool:
    """Whether an INT8 model's weights use 7 of 8 bits: it was made for a processor that saturates."""
    inputs = run.nodes[node]["inputs"]
    if "quantized" in inputs:
        return bool(run.nodes[inputs["quantized"]]["ingredients"]["config"].get("weight_bits") == 7)
    features = run.nodes[node]["ingredients"]["config"]["features"]  # of this machine where it is the target
    return bool(features) and Cpu("", "x86_64", 1, 1, None, tuple(features)).saturates_int8


def _about_answers(compiled: Variant, expected: Expected) -> Iterator[str]:
    """Notes on what answers on the device, and on what answered for the samples."""
    from edgeprune.runner.cpu import describe
    from edgeprune.runner.session import SESSIONS

    if compiled.backend not in SESSIONS:
        yield (
            f"the runner has no session for {compiled.backend}: it does not answer with this bundle, and its "
            "selftest says so; model/ has what a program of your own needs"
        )
    if not expected.answered.startswith("the model itself"):
        yield f"the scores of the samples are from {expected.answered}"
    if compiled.precision.startswith("int8") and describe().saturates_int8:
        yield "the scores of the samples may be off: this CPU has no VNNI and adds INT8 products in 16 bits"


def _provenance(
    run: FinishedRun,
    row: TargetRow,
    picked: Pick,
    node: str,
    compiled: Variant,
    expected: Expected,
    notes: list[str],
) -> dict[str, Any]:
    """Where it comes from. Nothing of this machine and no time: the same run gives the same bytes."""
    report = run.report
    return {
        "recipe": report.recipe,
        "run": report.run_id,
        "picked": picked.reason,
        "verdict": {
            "target": row.verdict,
            "measured": row.measured,
            "variant": picked.row.status,
            "reason": picked.row.reason,
            "metric": report.metric,
            "max_drop": report.max_drop,
        },
        "artifacts": run.keys_of(node),
        "versions": dict(report.versions),
        "made_with": dict(compiled.made_with),
        "sample": {
            "texts": len(expected.samples),
            "of": report.data.validation,
            "drawn": f"short ones, at most {COUNT}, seed {SEED}",
            "answered_by": expected.answered,
        },
        "notes": notes,
    }


def _with_wheels(content: Content, python: str, folder: Path) -> Content:
    from edgeprune.devices.wheels import fetch_wheels, left_out

    wheels = tuple(fetch_wheels(content.requirements, content.architecture, python, folder))
    without = left_out(wheels, content.architecture, python)
    notes = [f"wheels are for Python {python} on {content.architecture}, Linux with glibc"]
    if without:
        notes.append(f"no wheel of what the runner does not use: {', '.join(without)}")
    provenance = dict(content.provenance)
    provenance["notes"] = [*provenance["notes"], *notes]
    provenance["wheels"] = {"python": python, "files": [path.name for path in wheels]}
    return replace(content, wheels=wheels, provenance=provenance)
