"""The guides, the shipped files and the code say the same: files, links, commands, the architecture."""

from __future__ import annotations

import argparse
import re
import tomllib
from importlib import import_module
from pathlib import Path

import click
import pytest
from guides import NAMES, RECIPES, ROOT, TARGETS, all_code, anchors, blocks, prose, rows, stem, text

from edgeprune import errors, stages
from edgeprune.cli.commands import program
from edgeprune.pipeline import running
from edgeprune.pipeline.rundir import RunFolder
from edgeprune.recipe.document import read_document
from edgeprune.recipe.schema import Target
from edgeprune.report.model import SCHEMA
from edgeprune.runner.__main__ import COMMANDS
from edgeprune.stages.contract import Stage

ARCHITECTURE = "docs/architecture.md"


def test_there_are_shipped_files() -> None:
    assert RECIPES
    assert TARGETS


@pytest.mark.parametrize("path", RECIPES, ids=stem)
def test_a_shipped_recipe_is_planned_with_nothing_fetched(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGEPRUNE_DATA", raising=False)
    recipe = running.load(path)
    assert recipe.shell.name == path.stem
    plan = running.plan(recipe, tmp_path)
    ids = [node.id for node in plan.nodes]
    names = [re.sub(r"-\d+$", "", name) for name in ids[: 1 + len(recipe.stages)]]  # prune_structure-2
    assert names == ["prepare", *(entry.name for entry in recipe.stages)]
    for target in plan.targets:
        assert set(target.compiled.values()) <= set(ids)
    assert all(asset is None for asset in plan.assets.values())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", RECIPES, ids=stem)
def test_a_resolved_recipe_loads_to_itself(path: Path, tmp_path: Path) -> None:
    recipe = running.load(path)
    folder = RunFolder.create(tmp_path, recipe.shell.name)
    folder.write_recipe(recipe)
    assert running.load(folder.path / "recipe.yaml").resolved() == recipe.resolved()


@pytest.mark.parametrize("path", TARGETS, ids=stem)
def test_a_shipped_target_loads(path: Path) -> None:
    target = running.target(str(path))
    assert target.name == path.stem
    assert running.target(path.stem) == target
    assert Target.model_validate(target.model_dump(mode="json")) == target


@pytest.mark.parametrize("path", [*RECIPES, *TARGETS], ids=stem)
def test_a_shipped_file_is_mentioned(path: Path) -> None:
    assert path.relative_to(ROOT).as_posix() in text("README.md")


def test_mentioned_recipes_and_targets_exist() -> None:
    mentioned = set(re.findall(r"\b((?:recipes|targets)/\w+\.yaml)\b", "\n".join(map(text, NAMES))))
    assert mentioned >= {"recipes/quickstart.yaml", "targets/x86.yaml"}
    assert sorted(name for name in mentioned if not (ROOT / name).is_file()) == []


def test_descriptions_fit_a_line() -> None:
    for path in [*RECIPES, *TARGETS]:
        description = read_document(path).data["description"]
        assert len(description) <= 110, f"{path.name}: `edgeprune recipes` shows one line each"


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(name)):
        path, _, anchor = link.partition("#")
        file = (page.parent / path).resolve() if path else page
        if link.startswith("https://"):
            continue
        if not file.exists() or (anchor and anchor not in anchors(file.relative_to(ROOT).as_posix())):
            broken.append(link)
    assert broken == []


def test_every_guide_is_linked_from_the_readme() -> None:
    linked = set(re.findall(r"\]\((docs/[\w-]+\.md)\)", text("README.md")))
    assert linked == {name for name in NAMES if name.startswith("docs/")}


def test_commands_in_the_guides_are_those_of_the_program() -> None:
    spoken = set(re.findall(r"(?<![\w./-])edgeprune +([a-z][a-z-]*)", all_code()))
    assert spoken == set(program.commands)
    listed = [row[0].strip("`").split()[1] for row in rows("README.md", "command")]
    assert sorted(listed) == sorted(program.commands)


def test_options_in_the_guides_exist() -> None:
    verbs = list(program.commands.values())
    verbs += [verb for group in verbs if isinstance(group, click.Group) for verb in group.commands.values()]
    known = {option for verb in verbs for row in verb.params for option in row.opts}
    used = set(re.findall(r"(?<![\w-])(--[a-z][a-z-]*)", all_code()))
    others = {"--help", "--debug", "--no-deps", "--only-binary"}  # of every verb, of the program, of pip
    assert used - others <= known | _runner_options()


def _runner_options() -> set[str]:
    """What the commands of the program on devices take."""
    found: set[str] = set()
    for _, module in COMMANDS.values():
        parser = argparse.ArgumentParser()
        import_module(f"edgeprune.runner.{module}").configure(parser)
        found |= {option for action in parser._actions for option in action.option_strings}
    return found


def test_make_targets_in_the_guides_exist() -> None:
    made = set(re.findall(r"^([a-z-]+):(?!=)", text("Makefile"), re.MULTILINE))
    spoken = set(re.findall(r"(?<![\w-])make ([a-z-]+)", all_code()))
    assert {"quickstart", "test"} <= spoken
    assert sorted(spoken - made) == []


def test_the_rooms_are_the_packages() -> None:
    packages = {path.parent.name for path in (ROOT / "edgeprune").glob("*/__init__.py")}
    assert sorted(row[0].strip("`/") for row in rows(ARCHITECTURE, "room")) == sorted(packages)
    in_readme = set(re.findall(r"`edgeprune/(\w+)/`", text("README.md")))
    assert in_readme <= packages


def test_files_that_the_architecture_names_exist() -> None:
    named = set(re.findall(r"`((?:\w+/)*\w+\.py)`", text(ARCHITECTURE)))
    homes = (ROOT / "edgeprune", ROOT)
    assert sorted(name for name in named if not any((home / name).is_file() for home in homes)) == []


def test_the_layers_are_those_of_the_contract() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    (layers,) = [row["layers"] for row in contracts if row["type"] == "layers"]
    (drawn,) = blocks(ARCHITECTURE, "layers")
    assert drawn.splitlines() == layers


def test_the_stages_are_those_of_the_table() -> None:
    table = rows(ARCHITECTURE, "stage")
    assert [row[0].strip("`") for row in table] == list(stages.TABLE)
    for name, requires, provides in table:
        stage = stages.get(name.strip("`"))
        assert tuple(re.findall(r"`(\w+)`", requires)) == stage.requires
        assert tuple(re.findall(r"`(\w+)`", provides)) == stage.provides


def test_the_fields_of_a_stage_are_documented() -> None:
    said = {name for row in rows(ARCHITECTURE, "field") for name in re.findall(r"`(\w+)`", row[0])}
    assert said == set(Stage.__dataclass_fields__) - {"name", "summary", "config", "apply"}


def test_the_exit_codes_are_those_of_the_errors() -> None:
    table = rows(ARCHITECTURE, "code")
    codes = [(code.value, code.name) for code in errors.ExitCode]
    assert [(int(row[0]), row[1].strip("`")) for row in table] == codes
    raised = {name: int(row[0]) for row in table for name in re.findall(r"`(\w+)`", row[3])}
    kinds = [errors.EdgepruneError, *errors.EdgepruneError.__subclasses__()]
    assert raised == {kind.__name__: int(kind.exit_code) for kind in kinds}
    assert [int(row[0]) for row in rows("README.md", "code")] == [code for code, _ in codes]


def test_the_version_of_the_report_is_said() -> None:
    assert f"`{SCHEMA}`" in text(ARCHITECTURE)
