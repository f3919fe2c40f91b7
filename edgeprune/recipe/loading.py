"""Recipes and targets from files: found, composed, checked as a whole.

The schema of each stage's body comes from the caller (`stage_configs`), because stages lie above this
room, and so does the check of asset addresses; `pipeline.running.load` passes both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from edgeprune.errors import Problem, RecipeError, UsageError
from edgeprune.recipe.checking import check, suggest
from edgeprune.recipe.composing import compose
from edgeprune.recipe.document import Document, KeyPath
from edgeprune.recipe.schema import RecipeShell, Section, Target

__all__ = [
    "Recipe",
    "StageEntry",
    "load_recipe",
    "load_target",
    "recipe_schema",
    "shipped",
    "shipped_folder",
    "target_schema",
]


@dataclass(frozen=True)
class StageEntry:
    """One item of a recipe's `stages`.

    Attributes:
        name: The stage's name in the table of stages.
        config: Its checked body.
        key: Key path of the body, for messages.
    """

    name: str
    config: Section
    key: KeyPath


@dataclass(frozen=True)
class Recipe:
    """A checked recipe: its sections, its stages, and where each of its values was written."""

    shell: RecipeShell
    stages: tuple[StageEntry, ...]
    document: Document

    @property
    def path(self) -> Path:
        """The file that the user named."""
        return self.document.path

    @property
    def folder(self) -> Path:
        """What relative `file://` sources and target paths are relative to."""
        return self.document.path.resolve().parent

    def resolved(self) -> dict[str, Any]:
        """Plain data of the whole recipe, defaults written out: what `recipe.yaml` of a run holds."""
        data = self.shell.model_dump(mode="json")
        data["stages"] = [{entry.name: entry.config.model_dump(mode="json")} for entry in self.stages]
        return data

    def error(self, problems: Sequence[Problem]) -> RecipeError:
        """An error that shows each problem at its line in the recipe."""
        return RecipeError(self.document.locate(problems))


SourceCheck = Callable[[str, Literal["model", "dataset"], KeyPath], Problem | None]


def load_recipe(
    path: Path,
    stage_configs: Mapping[str, type[Section]],
    overrides: Sequence[str] = (),
    *,
    check_source: SourceCheck = lambda uri, kind, key: None,
) -> Recipe:
    """Read and check a recipe.

    Args:
        path: The YAML file.
        stage_configs: Name of each stage that a recipe may list, and the schema of its body.
        check_source: What is wrong with an asset's address: (uri, kind of asset, key) to a problem.
        overrides: ``--set`` texts.

    Raises:
        UsageError: A file is missing or an override is malformed.
        RecipeError: Every problem of the recipe, each with its place.
    """
    document = compose(path, overrides)
    shell, problems = check(RecipeShell, document.data)
    stages, stage_problems = _check_stages(document.data.get("stages"), stage_configs)
    problems = [*problems, *stage_problems, *_check_sources(document.data, check_source)]
    if problems or shell is None:
        raise RecipeError(document.locate(problems))
    return Recipe(shell=shell, stages=tuple(stages), document=document)


def _check_stages(
    items: Any, stage_configs: Mapping[str, type[Section]]
) -> tuple[list[StageEntry], list[Problem]]:
    entries: list[StageEntry] = []
    problems: list[Problem] = []
    if not isinstance(items, list):
        return [], []  # the shell's own check has said so
    for index, item in enumerate(items):
        key: KeyPath = ("stages", index)
        if isinstance(item, str):
            item = {item: {}}  # `- export` is `- export: {}`
        if not isinstance(item, dict) or len(item) != 1:
            hint = "one stage per item: `- name: {…}`"
            problems.append(Problem(key, "a stage is a mapping with exactly one key, its name", hint))
            continue
        ((name, body),) = item.items()
        if name not in stage_configs:
            hint = suggest(str(name), list(stage_configs))
            problems.append(Problem((*key, name), f"there is no stage {name!r}", hint))
            continue
        config, found = check(stage_configs[name], {} if body is None else body, (*key, name))
        problems += found
        if config is not None:
            entries.append(StageEntry(name=name, config=config, key=(*key, name)))
    return entries, problems


_SOURCES: tuple[tuple[str, str, Literal["model", "dataset"]], ...] = (
    ("model", "source", "model"),
    ("task", "train", "dataset"),
    ("task", "validation", "dataset"),
)


def _check_sources(data: Mapping[str, Any], check_source: SourceCheck) -> list[Problem]:
    """Malformed asset addresses are found here, not after an hour of training."""
    problems: list[Problem] = []
    for section, name, kind in _SOURCES:
        body = data.get(section)
        value = body.get(name) if isinstance(body, dict) else None
        listed = isinstance(value, list)
        uris: list[Any] = value if isinstance(value, list) else [value]
        for index, uri in enumerate(uris):
            key: KeyPath = (section, name, index) if listed else (section, name)
            problem = check_source(uri, kind, key) if isinstance(uri, str) else None
            problems += [problem] if problem else []
    return problems


def shipped_folder(kind: str) -> Path:
    """The folder of recipes or targets that came with edgeprune: in the checkout, or in the wheel."""
    package = Path(__file__).resolve().parent.parent
    checkout = package.parent / kind
    return checkout if checkout.is_dir() else package / "shipped" / kind


def shipped(kind: str) -> list[Path]:
    """All files of a kind (`recipes` or `targets`): those here first, then those that came with edgeprune."""
    found: dict[str, Path] = {}
    for folder in (Path.cwd() / kind, shipped_folder(kind)):
        for path in sorted(folder.glob("*.yaml")):
            found.setdefault(path.stem, path)
    return list(found.values())


def load_target(
    name: str, folder: Path | None = None, known: Mapping[str, Sequence[str]] | None = None
) -> Target:
    """A target by name (`targets/<name>.yaml` here or as shipped) or by the path of its file.

    Args:
        name: Name, or a path that ends in `.yaml`; relative paths are relative to `folder`.
        folder: The folder of the recipe that names the target.
        known: Backends and their variants; given, a target that names others is an error.

    Raises:
        UsageError: There is no such target.
        RecipeError: Every problem of the target's file.
    """
    path = _find_target(name, folder or Path.cwd())
    document = compose(path)
    target, problems = check(Target, document.data)
    if target is not None and known is not None:
        problems += _unknown_variants(target, known)
    if problems or target is None:
        raise RecipeError(document.locate(problems))
    return target


def _unknown_variants(target: Target, known: Mapping[str, Sequence[str]]) -> list[Problem]:
    """A mistyped variant is a mistake to mend, not a precision that this machine lacks."""
    problems = []
    for index, entry in enumerate(target.backends):
        key: KeyPath = ("backends", index)
        if entry.backend not in known:
            hint = suggest(entry.backend, list(known))
            problems.append(Problem((*key, "backend"), f"there is no backend {entry.backend!r}", hint))
            continue
        for position, variant in enumerate(entry.variants):
            if variant not in known[entry.backend]:
                message = f"backend {entry.backend!r} has no variant {variant!r}"
                hint = suggest(variant, list(known[entry.backend]))
                problems.append(Problem((*key, "variants", position), message, hint))
    return problems


def _find_target(name: str, folder: Path) -> Path:
    if name.endswith((".yaml", ".yml")):
        path = Path(name) if Path(name).is_absolute() else folder / name
        if not path.is_file():
            raise UsageError(f"there is no target file {path}")
        return path
    known = {
        path.stem: path
        for path in reversed([*sorted(folder.parent.glob("targets/*.yaml")), *shipped("targets")])
    }
    if name not in known:
        raise UsageError(f"there is no target {name!r}", hint=suggest(name, list(known)))
    return known[name]


def recipe_schema(stage_configs: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    """JSON Schema of a recipe, stages included, for editors."""
    schema = RecipeShell.model_json_schema()
    definitions = schema.setdefault("$defs", {})
    choices: list[dict[str, Any]] = []
    for name, config in stage_configs.items():
        body = config.model_json_schema(ref_template="#/$defs/{model}")
        definitions.update(body.pop("$defs", {}))
        choices.append(
            {"type": "object", "additionalProperties": False, "required": [name], "properties": {name: body}}
        )
    choices.append({"type": "string", "enum": list(stage_configs)})
    schema["properties"]["stages"]["items"] = {"anyOf": choices}
    schema["properties"]["extends"] = {"type": "string", "description": "Recipe that this one changes."}
    # A recipe that extends another may leave any section to it.
    schema["if"] = {"required": ["extends"]}
    schema["else"] = {"required": schema.pop("required")}
    schema["title"] = "edgeprune recipe"
    return schema


def target_schema() -> dict[str, Any]:
    """JSON Schema of a target, for editors."""
    schema = Target.model_json_schema()
    schema["title"] = "edgeprune target"
    return schema
