"""What is compared: a compiled model of ours or of a peer, and how it was made; and how ours are made."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

from grid_running import say
from peers_int8_sources import Case

from edgeprune import backends, stages
from edgeprune.errors import EdgepruneError, UsageError
from edgeprune.recipe.schema import Target
from edgeprune.runner.cpu import Cpu
from edgeprune.stages.compile import for_target
from edgeprune.stages.contract import Outcome, Work
from edgeprune.stages.quantize import QuantizeConfig

__all__ = ["Entrant", "attempt", "exported", "ours"]


@dataclass(frozen=True)
class Entrant:
    """One compiled model.

    Attributes:
        name: For the table.
        side: Whose quantizer made it.
        folder: What `runner.session.open_session` opens; None: it could not be made.
        how: Settings, or what the stage recorded.
        problem: Why it could not be made; empty when it could.
    """

    name: str
    side: Literal["ours", "peer"]
    folder: Path | None
    how: Any = None
    problem: str = ""


def attempt(name: str, side: Literal["ours", "peer"], folder: Path, make: Callable[[Path], Any]) -> Entrant:
    """Make one; what goes wrong is its problem, and the others go on.

    Args:
        name: For the table.
        side: Whose it is.
        folder: To fill; made.
        make: Fills a folder and says how.
    """
    say(f"{name}: being made")
    folder.mkdir(parents=True)
    try:
        with redirect_stdout(sys.stderr):  # quantizers talk and draw bars
            return Entrant(name, side, folder, make(folder))
    except EdgepruneError as error:
        return Entrant(name, side, None, problem=error.message)
    except Exception as error:  # peers have no common error type, and one that fails is a result
        first = str(error).strip().split("\n", 1)[0]
        return Entrant(name, side, None, problem=f"{type(error).__name__}: {first}")


def exported(case: Case, folder: Path) -> Path:
    """The case's model as ONNX, by the stage `export`: what ours and all peers start from."""
    body = next(
        (entry.config for entry in case.recipe.stages if entry.name == "export"),
        stages.get("export").config(),
    )
    _apply("export", body, {"model": case.model, "data": case.data}, case, folder)
    return folder


def ours(
    case: Case, onnx: Path, body: QuantizeConfig, target: Target, cpu: Cpu, folder: Path
) -> list[Entrant]:
    """Every variant of a target through `compile`, and through `quantize` before where it is one in INT8.

    Args:
        case: The model and its examples.
        onnx: What `exported` gave.
        body: Of `quantize`.
        target: Whose variants.
        cpu: This machine's.
        folder: Where the artifacts go.
    """
    inputs = {"onnx": onnx, "data": case.data, "model": case.model, "original": case.model}
    stage = stages.get("quantize")
    lacking = [kind for kind in stage.needs(body) if kind not in inputs]
    if lacking:
        raise UsageError(
            f"this quantize needs {', '.join(lacking)}, which a benchmark has not", hint="use --set"
        )
    pairs = [(entry.backend, variant) for entry in target.backends for variant in entry.variants]
    quantized = folder / "quantized"
    wanted = {kind: inputs[kind] for kind in stage.needs(body)}
    made = Entrant("quantize", "ours", None, problem="no variant needs it")
    if any(backends.dialect(*pair) for pair in pairs):
        made = attempt(
            "quantize", "ours", quantized, lambda at: _apply("quantize", body, wanted, case, at).record
        )
    inputs["quantized"] = quantized

    def compile_variant(backend: str, variant: str) -> Callable[[Path], Any]:
        def make(output: Path) -> Any:
            if reason := backends.check(backend, variant, target, cpu):
                raise EdgepruneError(reason)
            compiled = for_target(target, backend, variant, list(cpu.features))
            if compiled.dialect and made.problem:
                raise EdgepruneError(f"quantize: {made.problem}")
            found = _apply("compile", compiled, inputs, case, output).record
            return {"compile": found, "quantize": made.how} if compiled.dialect else {"compile": found}

        return make

    return [
        attempt(f"{one}/{variant}", "ours", folder / f"{one}-{variant}", compile_variant(one, variant))
        for one, variant in pairs
    ]


def _apply(name: str, body: Any, inputs: Mapping[str, Path], case: Case, output: Path) -> Outcome:
    """A stage as the pipeline would call it."""
    stage = stages.get(name)
    scratch = output.with_name(f"{output.name}-scratch")
    for folder in (output, scratch):
        folder.mkdir(parents=True, exist_ok=True)
    shell = case.recipe.shell
    return stage.apply(
        Work(
            config=body,
            inputs=inputs,
            assets={},
            sections={path: attrgetter(path)(shell) for path in stage.reads},
            seed=shell.seed,
            output=output,
            scratch=scratch,
            progress=lambda **_: None,
        )
    )
