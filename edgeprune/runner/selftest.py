"""Checks that the bundle is whole, that this machine has what it needs, and that its answers are right.

Imports no more than Python has before all that is checked: what is missing is to be named, not stumbled over.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import List

from .cpu import Cpu
from .manifest import SAMPLE, Manifest, problems, read_manifest, unmet_features
from .processor import describe_own
from .requirements import lacking, parse_version
from .variant import RunnerError

__all__ = ["Findings", "check", "configure", "run", "unfit"]

FAILED = 5  # as for everything that this machine cannot do


@dataclass
class Findings:
    """What was found out.

    Attributes:
        name: Of the bundle; None where it cannot be told.
        version: Of the bundle.
        variant: Of the bundle.
        samples: Number of samples that were answered; 0 where something else fails already.
        largest_difference: Of all scores from what they should be.
        failures: What is wrong, one sentence each.
    """

    name: str | None = None
    version: str | None = None
    variant: str | None = None
    samples: int = 0
    largest_difference: float | None = None
    failures: List[str] = field(default_factory=list)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the words of this command."""
    above = Path(__file__).resolve().parent.parent
    parser.add_argument(
        "--bundle", type=Path, default=above, metavar="DIR", help="left out: the folder above the runner"
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON, whatever is found")


def run(options: argparse.Namespace) -> int:
    """Runs the command: one line for each failure, or one that says that there is none."""
    found = check(options.bundle)
    if options.json:
        sys.stdout.write(json.dumps({"ok": not found.failures, **asdict(found)}) + "\n")
    elif not found.failures:
        sys.stdout.write(
            f"ok: {found.name} {found.version} ({found.variant}), {found.samples} samples,"
            f" largest difference {found.largest_difference:.2g}\n"
        )
    else:
        sys.stderr.write("".join(f"error: {failure}\n" for failure in found.failures))
    return FAILED if found.failures else 0


def check(folder: Path) -> Findings:
    """Whether the bundle in `folder` can be used here; only a whole one that fits is asked its samples."""
    found = Findings()
    try:
        manifest = read_manifest(folder)
        found.name, found.version, found.variant = manifest.name, manifest.version, manifest.variant
        found.failures = [*problems(folder, manifest), *unfit(manifest, describe_own())]
        if not found.failures:
            _answer_samples(folder, manifest, found)
    except RunnerError as error:
        found.failures.append(str(error))
    return found


def unfit(manifest: Manifest, cpu: Cpu) -> List[str]:
    """What this machine lacks, one sentence each.

    Args:
        manifest: What is needed.
        cpu: What this machine has.

    Raises:
        RunnerError: The manifest has a requirement that cannot be read.
    """
    found = []
    if cpu.architecture != manifest.architecture:
        found.append(f"this machine is {cpu.architecture}, but the model is for {manifest.architecture}")
    elif struct.calcsize("P") != 8:
        found.append(f"this Python is a 32-bit program; the runtimes for {manifest.architecture} are not")
    found += [
        f"this CPU lacks {' and '.join(entry.split('|'))}, without which the model cannot run"
        for entry in unmet_features(manifest.cpu_features, cpu.features)
    ]
    here = ".".join(str(number) for number in sys.version_info[:3])
    if parse_version(here) < parse_version(manifest.python):
        found.append(f"Python {here} runs here, but {manifest.python} or newer is needed")
    return found + lacking(manifest.requirements)


def _answer_samples(folder: Path, manifest: Manifest, found: Findings) -> None:
    package = __name__.rpartition(".")[0]
    try:
        answering = import_module(f"{package}.answering")
    except ModuleNotFoundError as error:
        raise RunnerError(f"{error.name} is not installed: pip install {error.name}") from error
    samples = import_module(f"{package}.samples")
    wanted = samples.read_samples(folder / SAMPLE, manifest.columns, manifest.labels)
    answerer = answering.open_answerer(folder)
    # One at a time, as they were answered when the bundle was made.
    answers = [answerer.answer([sample.texts])[0].scores for sample in wanted]
    found.samples = len(answers)
    found.largest_difference, wrong = samples.compare(wanted, answers, manifest.tolerance)
    found.failures += wrong
