"""What this machine has: Python, libraries, processor, and which targets work here."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, TextIO

from edgeprune.errors import EdgepruneError
from edgeprune.pipeline import running
from edgeprune.pipeline.planning import why_unmeasured
from edgeprune.recipe.loading import shipped
from edgeprune.recipe.schema import Target
from edgeprune.runner.cpu import describe

__all__ = ["Finding", "examine", "show"]

_FEATURES = {
    "x86_64": {
        "avx2": "AVX2",
        "avx512_vnni": "AVX512-VNNI",
        "avx_vnni": "AVX-VNNI",
        "avx512_bf16": "AVX512-BF16",
        "amx_int8": "AMX-INT8",
        "amx_bf16": "AMX-BF16",
    },
    "aarch64": {"neon": "NEON", "dotprod": "dotprod", "i8mm": "i8mm", "bf16": "BF16", "sve": "SVE"},
}


@dataclass(frozen=True)
class Finding:
    """One variant of one target: whether it can be compiled here, and what it needs if not."""

    target: str
    backend: str
    variant: str
    works: bool
    needs: str


def examine() -> dict[str, Any]:
    """Versions, processor, memory, and a `Finding` per variant of every target that is here."""
    machine = describe()
    known = _FEATURES.get(machine.architecture, {})
    findings: list[Finding] = []
    measured: dict[str, str] = {}
    for path in shipped("targets"):
        try:
            target = running.target(str(path))
        except EdgepruneError as error:
            findings.append(Finding(path.stem, "-", "-", False, str(error).splitlines()[0]))
            continue
        findings += _findings(target)
        measured[target.name] = why_unmeasured(target, machine.architecture) or "measured on this machine"
    return {
        "versions": running.versions(),
        "cpu": asdict(machine)
        | {"features": {words: name in machine.features for name, words in known.items()}},
        "targets": [asdict(finding) for finding in findings],
        "measured": measured,
    }


def _findings(target: Target) -> list[Finding]:
    from edgeprune import backends

    found = []
    for entry in target.backends:
        for variant in entry.variants:
            reason = backends.check(entry.backend, variant, target)
            found.append(Finding(target.name, entry.backend, variant, reason is None, reason or ""))
    return found


def show(stream: TextIO, *, as_json: bool = False) -> None:
    """Write what `examine` finds, for people or as JSON."""
    found = examine()
    stream.write((json.dumps(found, indent=1) if as_json else "\n".join(_lines(found))) + "\n")


def _lines(found: dict[str, Any]) -> list[str]:
    cpu = found["cpu"]
    have = [name for name, there in cpu["features"].items() if there]
    lack = [name for name, there in cpu["features"].items() if not there]
    memory = f"{cpu['memory_bytes'] / 1e9:.1f} GB memory" if cpu["memory_bytes"] else "memory unknown"
    lines = [
        "Processor",
        f"  {cpu['model']} ({cpu['architecture']}), {cpu['physical_cores']} cores,"
        f" {cpu['logical_cores']} threads, {memory}",
        f"  has    {', '.join(have) or 'none of the features that matter here'}",
        f"  lacks  {', '.join(lack) or 'nothing that matters here'}",
        "",
        "Versions",
    ]
    width = max(len(name) for name in found["versions"])
    lines += [f"  {name:<{width}}  {number}" for name, number in found["versions"].items()]
    for target in dict.fromkeys(row["target"] for row in found["targets"]):
        lines += ["", f"Target {target}: {found['measured'].get(target, '')}"]
        for row in (row for row in found["targets"] if row["target"] == target):
            state = "works" if row["works"] else f"no: {row['needs']}"
            lines.append(f"  {row['backend'] + '/' + row['variant']:<26} {state}")
    return lines
