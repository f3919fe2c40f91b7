"""Rules of the house that no linter checks."""

from __future__ import annotations

import subprocess
import sys
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import grimp
import pytest

from edgeprune import stages

PACKAGE = Path(__file__).resolve().parents[1] / "edgeprune"
SOURCES = sorted(PACKAGE.rglob("*.py"))
LONGEST_FILE = 400
HEAVY = (
    "datasets",
    "jinja2",
    "matplotlib",
    "numpy",
    "onnxruntime",
    "openvino",
    "pydantic",
    "rich",
    "torch",
    "transformers",
)


def test_no_file_is_too_long_to_read() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {str(path): lines for path, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_files_have_telling_names() -> None:
    assert [path for path in SOURCES if path.stem in ("utils", "util", "helpers", "misc", "common")] == []


def test_the_command_line_starts_without_heavy_libraries() -> None:
    program = f"import sys, edgeprune.cli.commands; print(*sorted(set(sys.modules) & set({HEAVY!r})))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@cache
def _imports() -> grimp.ImportGraph:
    # Imports for type checkers alone decide no result.
    return grimp.build_graph("edgeprune", exclude_type_checking_imports=True, cache_dir=None)


def _decides_no_result(module: str) -> bool:
    """Errors decide nothing; a recipe's values are in the key themselves, the contract is in every key."""
    name = module.removeprefix("edgeprune.")
    return name in ("edgeprune", "errors", "stages.contract", "recipe") or name.startswith("recipe.")


# Bodies for which a stage's row differs (see `Stage.varies`), and what the others do not reach.
BODIES: dict[str, list[tuple[dict[str, Any], tuple[str, ...]]]] = {
    "quantize": [({"mode": "qat"}, ()), ({"mode": "ptq"}, ("stages.quantize_training", "stages.distill"))]
}


@pytest.mark.parametrize(
    ("name", "body", "unreached"),
    [(name, *case) for name in stages.TABLE for case in BODIES.get(name, [(None, ())])],
)
def test_a_stage_declares_all_code_that_decides_its_result(
    name: str, body: dict[str, Any] | None, unreached: tuple[str, ...]
) -> None:
    """What is not declared is not in the cache key: a change there would leave stale artifacts in use."""
    module = stages.TABLE[name].partition(":")[0]
    stage = stages.get(name)
    if body is not None:
        stage = stage.of(stage.config.model_validate(body))
    declared = [f"edgeprune.{part}" for part in stage.code]
    graph = deepcopy(_imports())
    for other in unreached:
        graph.remove_module(f"edgeprune.{other}")
    used = {module, *graph.find_upstream_modules(module)}
    undeclared = {
        other
        for other in used
        if not _decides_no_result(other)
        and not any(other == part or other.startswith(f"{part}.") for part in declared)
    }
    assert sorted(undeclared) == []


@pytest.mark.parametrize("name", list(stages.TABLE))
def test_a_stage_declares_code_that_exists(name: str) -> None:
    for part in stages.get(name).code:
        path = PACKAGE / part.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").is_file(), f"{name} declares {part}"


def test_tests_have_names_of_their_own() -> None:
    """Without packages in tests/, two modules of one name cannot be collected together."""
    names = [path.name for path in Path(__file__).parent.rglob("*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))
