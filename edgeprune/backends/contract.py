"""What a backend takes and gives: the same for every runtime."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from edgeprune.backends.fusions import Fusions
from edgeprune.errors import EdgepruneError
from edgeprune.recipe.schema import Target
from edgeprune.runner.cpu import Cpu
from edgeprune.runner.variant import Variant, write_variant

__all__ = ["Backend", "CompiledVariant", "Compiler", "Request", "copy_tokenizer", "write_artifact"]


@dataclass(frozen=True)
class Request:
    """One variant to compile.

    Attributes:
        onnx_folder: Holds `model.onnx` (inputs ids, mask and types as Hugging Face names them, output
            `logits`, dynamic batch and length), `tokenizer.json` and the model's `config.json`.
        variant: Precision, e.g. ``int8-dynamic``.
        target: Machine to compile for.
        max_length: Tokens that inputs are cut to.
        output: Folder to write; made if it is not there.
        cpu: CPU of this machine, which is the target's when its device is local.
        batch: Examples that are answered at once, for runtimes that must know beforehand.
    """

    onnx_folder: Path
    variant: str
    target: Target
    max_length: int
    output: Path
    cpu: Cpu
    batch: int = 1

    @property
    def runs_here(self) -> bool:
        """Whether the target's device is this very machine."""
        return self.target.device.kind == "local" and self.target.architecture == self.cpu.architecture


@dataclass(frozen=True)
class Compiler:
    """What one backend's compiler leaves for the artifact's description.

    Attributes:
        files: Role to name of the files it wrote into the output folder.
        inputs: Names of the model's inputs.
        notes: What was done to the model, one sentence each.
        bucket: Multiple of tokens that inputs should be padded to.
    """

    files: dict[str, str]
    inputs: list[str]
    notes: list[str] = field(default_factory=list)
    bucket: int = 1


@dataclass(frozen=True)
class CompiledVariant:
    """A compiled artifact on disk.

    Attributes:
        folder: What `runner.session.open_session` opens.
        variant: What the folder says about itself.
        executed: What the runtime says it runs; None when the target is not this machine.
        fusions: What the runtime fused; None when the target is not this machine, or it cannot be told.
        unknown: What of this could not be found out, and why; one sentence each.
    """

    folder: Path
    variant: Variant
    executed: str | None
    fusions: Fusions | None = None
    unknown: tuple[str, ...] = ()

    @property
    def file_bytes(self) -> int:
        """Size of the model's files, without tokenizer and description."""
        return sum((self.folder / name).stat().st_size for name in self.variant.files.values())

    @property
    def notes(self) -> Sequence[str]:
        """What was done to the model, and what is not known about it, for the report."""
        return [*self.variant.notes, *self.unknown]


class Backend(Protocol):
    """One runtime. Implementations import it inside `compile` only."""

    def refusal(self, variant: str, target: Target, cpu: Cpu) -> str | None:
        """Why this known variant cannot be had for `target`; None when it can. Cheap."""

    def compile(self, request: Request) -> Compiler:
        """Writes the model's files into `request.output`."""


def write_artifact(request: Request, backend: str, compiled: Compiler, made_with: dict[str, str]) -> Variant:
    """Completes the folder: tokenizer and `variant.json` beside the model's files."""
    config = _read_config(request.onnx_folder)
    copy_tokenizer(request.onnx_folder, request.output)
    variant = Variant(
        backend=backend,
        precision=request.variant,
        files=compiled.files,
        inputs=compiled.inputs,
        labels=_labels(config),
        max_length=request.max_length,
        architecture=request.target.architecture,
        threads=request.target.device.threads,
        bucket=compiled.bucket,
        pad_id=config.get("pad_token_id") or 0,
        made_with=made_with,
        notes=compiled.notes,
    )
    write_variant(request.output, variant)
    return variant


def copy_tokenizer(source: Path, output: Path) -> None:
    """Copies `tokenizer.json`.

    Raises:
        EdgepruneError: The exported model has none.
    """
    path = source / "tokenizer.json"
    if not path.is_file():
        message = "the exported model has no tokenizer.json"
        raise EdgepruneError(message, where=str(source), hint="export it again")
    shutil.copyfile(path, output / path.name)


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        message = f"the exported model's config.json cannot be read: {error}"
        raise EdgepruneError(message, where=str(folder), hint="export it again") from error
    return config


def _labels(config: dict[str, Any]) -> list[str]:
    """Class names in the order of their ids; config.json has the ids as text."""
    names = config.get("id2label", {})
    return [str(names[key]) for key in sorted(names, key=int)]
