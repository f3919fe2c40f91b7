"""Keys, defaults, examples and numbers in the guides are those of the code."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from guides import RECIPES, ROOT, TARGETS, blocks, rows, text

from edgeprune import backends, stages
from edgeprune.backends.contract import Backend
from edgeprune.measurement.statistics import tango_interval
from edgeprune.pipeline import running, validating
from edgeprune.recipe.document import read_document
from edgeprune.recipe.schema import RecipeShell, Section, Target
from edgeprune.runner import session
from edgeprune.runner.cpu import describe


def keys(model: type[Section], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Key path and default, as the guides write it, of every field of a schema."""
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        yield path, "required" if field.is_required() else shown(field.get_default(call_default_factory=True))
        kinds = list(leaves(field.annotation))
        many = "[]" if get_origin(field.annotation) is list else ""
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, Section):
                yield from keys(kind, f"{path}{many}.")


def leaves(annotation: Any) -> Iterator[Any]:
    """The plain types in a union or list."""
    if get_origin(annotation) in (Union, UnionType, list):
        for argument in get_args(annotation):
            yield from leaves(argument)
    elif get_origin(annotation) is Annotated:
        yield from leaves(get_args(annotation)[0])
    else:
        yield annotation


def shown(default: Any) -> str:
    if default is None:
        return "none"
    if isinstance(default, Section):
        return "as below"  # its own keys have rows
    return f"{default:g}" if isinstance(default, float) else str(default)


def documented_keys(name: str) -> dict[str, str]:
    """Key and default of every row of a guide's tables of keys."""
    return {row[0].strip("`"): row[1] for row in rows(name, "key")}


def test_every_key_of_a_recipe_is_documented_with_its_default() -> None:
    expected = dict(keys(RecipeShell)) | {"extends": "none"}
    for name, config in stages.recipe_stages().items():
        expected |= dict(keys(config, f"stages.{name}."))
    assert documented_keys("docs/write-a-recipe.md") == expected


def test_every_stage_of_a_recipe_has_its_heading() -> None:
    headings = re.findall(r"^### (\w+)$", text("docs/write-a-recipe.md"), re.MULTILINE)
    assert headings == list(stages.recipe_stages())


def test_every_key_of_a_target_is_documented_with_its_default() -> None:
    assert documented_keys("docs/add-a-target.md") == dict(keys(Target))


def test_every_variant_is_documented() -> None:
    documented = {
        row[0].strip("`"): tuple(re.findall(r"`([^`]+)`", row[1]))
        for row in rows("docs/add-a-target.md", "backend")
    }
    assert documented == {name: row.variants for name, row in backends.BACKENDS.items()}


@pytest.mark.parametrize("name", ["README.md", "docs/write-a-recipe.md"])
def test_recipes_in_the_guides_are_recipes(name: str, tmp_path: Path) -> None:
    """A block with a name is a whole recipe; any other has sections that fit in the place of quickstart's."""
    for path in RECIPES:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    quickstart = read_document(tmp_path / "quickstart.yaml").data
    example = tmp_path / "example.yaml"
    found = blocks(name, "yaml")
    assert found
    for body in found:
        example.write_text(body, encoding="utf-8")
        if "name" not in (sections := read_document(example).data):
            example.write_text(json.dumps(quickstart | sections), encoding="utf-8")
        validating.validate(example, (), tmp_path / "cache")


def test_targets_in_the_guide_are_targets(tmp_path: Path) -> None:
    for body in blocks("docs/add-a-target.md", "yaml"):
        (tmp_path / "example.yaml").write_text(body, encoding="utf-8")
        target = running.target("example.yaml", tmp_path)
        assert f"name: {target.name}" in body


def test_the_example_backend_fits_the_contract() -> None:
    compiler, row, runner = blocks("docs/add-a-target.md", "python")
    names: dict[str, Any] = {}
    exec(compiler, names)
    methods: list[Callable[..., Any]] = [Backend.refusal, Backend.compile]
    for method in methods:
        given = inspect.signature(getattr(names["Tinyrt"], method.__name__))
        assert list(given.parameters) == list(inspect.signature(method).parameters)
    assert names["Tinyrt"]().refusal("fp32", running.target("arm64"), describe()) is None
    assert "x86_64" in names["Tinyrt"]().refusal("fp32", running.target("x86"), describe())
    table = eval(f"{{{textwrap.dedent(row)}}}", {"Row": backends.Row})
    assert list(table) == ["tinyrt"]
    scope = {**vars(session)}
    exec(f"from __future__ import annotations\n{runner}", scope)
    assert not inspect.isabstract(scope["TinyrtSession"])


_TRY_THE_STAGE = """
import json, sys
from pathlib import Path
import numpy as np
from safetensors.numpy import load_file, save_file
from edgeprune import stages
from edgeprune.pipeline import running
from edgeprune.stages.contract import Work

folder = Path(sys.argv[1])
plan = running.plan(running.load(folder / "recipes" / "example.yaml"), folder / "cache")
source, output = folder / "in", folder / "out"
source.mkdir()
output.mkdir()
for name in ("config.json", "tokenizer.json", "artifact.json"):
    (source / name).write_text("{}")
NAME = "bert.encoder.layer.0.dense.weight"
before = np.random.default_rng(0).normal(size=(6, 10)).astype(np.float32)
save_file({NAME: before, "head.weight": before}, source / "model.safetensors")
stage, config = stages.get("sparsify"), plan.node("sparsify").config
outcome = stage.apply(Work(config, {"model": source}, {}, {}, 0, output, folder, lambda **numbers: None))
after = load_file(output / "model.safetensors")
kept = after[NAME] != 0
print(json.dumps({
    "nodes": [node.id for node in plan.nodes][:4],
    "inputs": dict(plan.node("export").inputs),
    "files": sorted(path.name for path in output.iterdir()),
    "ensured": all((output / name).is_file() for name in stage.ensures),
    "kept": int(kept.sum()),
    "largest are kept": bool(np.abs(before[kept]).min() > np.abs(before[~kept]).max()),
    "kept as they were": bool((after[NAME][kept] == before[kept]).all()),
    "head untouched": bool((after["head.weight"] == before).all()),
    "record": outcome.record,
    "notes": outcome.notes,
}))
"""


def test_the_example_stage_works(tmp_path: Path) -> None:
    """The guide's stage in a copy of the package: planned in a recipe, applied to a tiny folder."""
    module, row = blocks("docs/add-a-stage.md", "python")
    (use,) = blocks("docs/add-a-stage.md", "yaml")
    for source in [*ROOT.glob("edgeprune/**/*.py"), *RECIPES, *TARGETS]:
        copy = tmp_path / source.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
    (tmp_path / "edgeprune/stages/sparsify.py").write_text(module, encoding="utf-8")
    table = tmp_path / "edgeprune/stages/__init__.py"
    opened = "TABLE = {\n"
    assert opened in table.read_text(encoding="utf-8")
    table.write_text(table.read_text(encoding="utf-8").replace(opened, opened + row), encoding="utf-8")
    (tmp_path / "recipes/example.yaml").write_text(f"extends: quickstart.yaml\n{use}", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", _TRY_THE_STAGE, str(tmp_path)],
        cwd=tmp_path,  # comes first on the path, before the installed package
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "nodes": ["prepare", "finetune", "sparsify", "export"],
        "inputs": {"model": "sparsify", "data": "prepare"},
        "files": ["config.json", "model.safetensors", "tokenizer.json"],
        "ensured": True,
        "kept": 30,
        "largest are kept": True,
        "kept as they were": True,
        "head untouched": True,
        "record": {"density": 0.5, "matrices": 1},
        "notes": ["50.0% of the weights in 1 encoder matrices are kept"],
    }


def test_numbers_in_the_guide_to_reports_are_computed() -> None:
    table = rows("docs/read-a-report.md", "examples")
    assert table
    for n, gained, lost, said in table:
        low, high = tango_interval(int(gained), int(lost), int(n), 0.95)
        assert said == f"{100 * low:.2f} to {100 * high:.2f}".replace("-", "−")
