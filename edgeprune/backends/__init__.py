"""Backends by name: what can be compiled, whether it can be compiled here, and compiling it.

A new backend is one file in this folder and one row in `BACKENDS`. Nothing here imports a runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from edgeprune.errors import UnsupportedError
from edgeprune.runner.cpu import Cpu, describe

if TYPE_CHECKING:
    from edgeprune.backends.contract import Backend, CompiledVariant
    from edgeprune.quantization.dialects import Dialect
    from edgeprune.recipe.schema import Target

__all__ = ["BACKENDS", "Row", "check", "compile_variant", "dialect", "names", "versions"]


@dataclass(frozen=True)
class Row:
    """One backend.

    Attributes:
        implementation: ``module:class`` of its `contract.Backend`.
        variants: Precisions that it compiles.
        package: Module that must be importable.
        install: What to give to pip when it is not.
        distributions: Packages whose versions change what is compiled.
        dialects: Variants that are compiled from a quantized model, to the form of it (see
            `quantization.dialects`); all others are compiled from the exported one.
        instead: Modules, any of which does as well as `package`. Of the distributions, only some need be
            installed then.
        accelerator: Whether it builds engines for an NVIDIA GPU: for a number of examples that must be known,
            and for the GPU that is there. They are not timed; the ONNX file that they are built of answers
            in their place.
    """

    implementation: str
    variants: tuple[str, ...]
    package: str
    install: str
    distributions: tuple[str, ...]
    dialects: Mapping[str, Dialect] = field(default_factory=dict)
    instead: tuple[str, ...] = ()
    accelerator: bool = False


BACKENDS: Mapping[str, Row] = MappingProxyType(
    {
        "onnxruntime": Row(
            implementation="edgeprune.backends.onnxruntime:Onnxruntime",
            variants=(
                "fp32",
                "fp16",
                "int8-dynamic",
                "int8-static-u8s8",
                "int8-static-s8s8",
                "fp32-ort",
                "int8-dynamic-ort",
                "int8-static-u8s8-ort",
                "int8-static-s8s8-ort",
            ),
            dialects={
                "int8-static-u8s8": "asymmetric",
                "int8-static-s8s8": "symmetric",
                "int8-static-u8s8-ort": "asymmetric",
                "int8-static-s8s8-ort": "symmetric",
            },
            package="onnxruntime",
            install="edgeprune",
            distributions=("onnx", "onnxruntime"),
        ),
        "openvino": Row(
            implementation="edgeprune.backends.openvino:Openvino",
            variants=("fp32", "bf16", "int8", "int8-sparse"),
            dialects={"int8": "asymmetric", "int8-sparse": "asymmetric"},
            package="openvino",
            install="edgeprune[openvino]",
            distributions=("openvino",),
        ),
        "tensorrt": Row(
            implementation="edgeprune.backends.tensorrt:Tensorrt",
            variants=("fp32", "fp16", "int8", "int8-fp16", "2:4", "int8-2:4"),
            dialects={"int8": "symmetric", "int8-fp16": "symmetric", "int8-2:4": "symmetric"},
            package="tensorrt_rtx_bindings",
            install="edgeprune[tensorrt]",
            distributions=(
                "onnx",
                "onnxruntime",
                "tensorrt-rtx-cu13-bindings",
                "tensorrt-rtx-cu13-libs",
                "tensorrt",
                "tensorrt-cu12",
                "tensorrt-cu13",
            ),
            instead=("tensorrt",),
            accelerator=True,
        ),
    }
)


def names() -> list[str]:
    """Names of all backends."""
    return sorted(BACKENDS)


def versions(backend: str) -> dict[str, str]:
    """Versions of the packages that change what `backend` compiles, for cache keys and reports.

    Raises:
        UnsupportedError: There is no such backend, or it is not installed.
    """
    row = _row(backend)
    _installed(backend, row)
    found = {name: _version(name, optional=bool(row.instead)) for name in row.distributions}
    return {name: version for name, version in found.items() if version is not None}


def dialect(backend: str, variant: str) -> Dialect | None:
    """The form of the quantized model that a variant is compiled from; None: it takes the exported one."""
    return _row(backend).dialects.get(variant)


def check(backend: str, variant: str, target: Target, cpu: Cpu | None = None) -> str | None:
    """Why `variant` cannot be compiled for `target` here, or None when it can. Imports no runtime.

    Args:
        backend: Name of a backend.
        variant: Precision.
        target: Machine to compile for.
        cpu: This machine's CPU; left out: looked up.
    """
    try:
        _implementation(backend, variant, target, cpu or describe())
    except UnsupportedError as error:
        return f"{error.message} ({error.hint})" if error.hint else error.message
    return None


def compile_variant(
    backend: str,
    onnx_folder: Path,
    variant: str,
    target: Target,
    output: Path,
    *,
    max_length: int,
    batch: int = 1,
    cpu: Cpu | None = None,
) -> CompiledVariant:
    """Compiles one variant into `output`, a folder that `runner.session.open_session` opens.

    When the target is this machine the artifact is opened once, so that `executed` and `fusions` come from
    the runtime and a precision that it would not run is found here.

    Args:
        backend: Name of a backend.
        onnx_folder: The exported model (see `contract.Request`).
        variant: Precision.
        target: Machine to compile for.
        output: Folder to write; made if it is not there.
        max_length: Tokens that inputs are cut to.
        batch: Examples that are answered at once.
        cpu: This machine's CPU; left out: looked up.

    Raises:
        UnsupportedError: Unknown backend or variant, a runtime that is not installed, a precision that the
            CPU does not have, a model that is quantized where the variant takes none (or the reverse), or
            that the runtime does not take.
        EdgepruneError: The exported model is not whole.
    """
    from edgeprune.backends.contract import CompiledVariant, Request, write_artifact
    from edgeprune.backends.fusions import find_fusions
    from edgeprune.runner.session import open_session
    from edgeprune.runner.variant import RunnerError

    cpu = cpu or describe()
    implementation = _implementation(backend, variant, target, cpu)
    _require_form(onnx_folder, backend, variant)
    output.mkdir(parents=True, exist_ok=True)
    request = Request(onnx_folder, variant, target, max_length, output, cpu, batch)
    try:
        compiled = implementation.compile(request)
    except ImportError as error:
        raise UnsupportedError(
            f"{backend} is installed and cannot be loaded: {error}",
            where=f"{backend}/{variant}",
            hint=f'pip install --force-reinstall "{_row(backend).install}"',
        ) from error
    written = write_artifact(request, backend, compiled, versions(backend))
    if not request.runs_here:
        return CompiledVariant(output, written, executed=None)
    try:
        session = open_session(output)
        executed = session.executed()
    except RunnerError as error:
        message = f"the compiled model cannot be loaded: {error}"
        hint = f"{backend} does not run this model: take the variant out of the target, or export otherwise"
        raise UnsupportedError(message, where=f"{backend}/{variant}", hint=hint) from error
    try:
        fusions = find_fusions(executed.operators, onnx_folder / "model.onnx", session.model_path)
    except Exception as error:  # nothing that is only looked at may fail a compiled variant
        unknown = f"which operators {backend} fused is not known: {type(error).__name__}: {error}"
        return CompiledVariant(output, written, executed.summary, unknown=(unknown,))
    return CompiledVariant(output, written, executed.summary, fusions)


def _implementation(backend: str, variant: str, target: Target, cpu: Cpu) -> Backend:
    """The backend, after all cheap checks. Raises UnsupportedError with the first that fails."""
    row = _row(backend)
    if variant not in row.variants:
        raise UnsupportedError(
            f"backend {backend!r} has no variant {variant!r}",
            where=f"target {target.name}",
            hint=_suggest(variant, row.variants),
        )
    _installed(backend, row)
    module, _, name = row.implementation.partition(":")
    implementation: Backend = getattr(import_module(module), name)()
    refusal = implementation.refusal(variant, target, cpu)
    if refusal:
        raise UnsupportedError(refusal, where=f"{backend}/{variant}")
    return implementation


def _row(backend: str) -> Row:
    if backend not in BACKENDS:
        raise UnsupportedError(f"there is no backend {backend!r}", hint=_suggest(backend, tuple(BACKENDS)))
    return BACKENDS[backend]


def _require_form(folder: Path, backend: str, variant: str) -> None:
    """A quantized model for variants that are made from one, and for no other."""
    from edgeprune.backends.onnx_file import read_onnx
    from edgeprune.backends.symmetric_qdq import is_quantized

    wanted = dialect(backend, variant)
    if is_quantized(read_onnx(folder / "model.onnx", weights=False)) != (wanted is not None):
        problem = (
            f"takes a model of dialect {wanted}, and this one is not" if wanted else "takes no model that is"
        )
        raise UnsupportedError(f"{backend}/{variant} {problem} quantized", where=str(folder))


def _installed(backend: str, row: Row) -> None:
    if all(find_spec(name) is None for name in (row.package, *row.instead)):
        raise UnsupportedError(f"backend {backend!r} is not installed", hint=f'pip install "{row.install}"')


def _version(distribution: str, *, optional: bool) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        if optional:
            return None
        raise


def _suggest(word: str, known: tuple[str, ...]) -> str:
    near = get_close_matches(word, known, n=1)
    guess = f"did you mean {near[0]!r}? " if near else ""
    return f"{guess}It has: {', '.join(known)}"
