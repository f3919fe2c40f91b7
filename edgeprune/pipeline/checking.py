"""What about a recipe is impossible, found before anything is run: its chain, its targets, its lengths."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from edgeprune import stages
from edgeprune.assets import Asset
from edgeprune.assets import check as check_source
from edgeprune.errors import Problem
from edgeprune.recipe.document import KeyPath
from edgeprune.recipe.loading import Recipe
from edgeprune.recipe.schema import Length, Target

__all__ = ["chain_problems", "length_problems", "target_problems"]

_POSITIONS_AFTER_PADDING = frozenset({"roberta", "xlm-roberta", "camembert", "mpnet"})


def chain_problems(recipe: Recipe) -> list[Problem]:
    """What is impossible in the order of the stages, and what in their bodies the schema cannot see."""
    have = set(stages.get("prepare").provides)
    problems: list[Problem] = []
    for entry in recipe.stages:
        stage = stages.get(entry.name)
        for kind in (kind for kind in stage.needs(entry.config) if kind not in have):
            makers = [row.name for row in map(stages.get, stages.TABLE) if kind in row.provides]
            hint = f"put one of these before it: {', '.join(makers)}"
            problems.append(
                Problem(entry.key, f"{stage.name!r} requires {kind!r}, which no earlier stage provides", hint)
            )
        problems += [problem.below(entry.key) for problem in stage.check(entry.config)]
        problems += _source_problems(stage.models(entry.config), entry.key)
        have |= set(stage.provides)
    wanted = [kind for kind in stages.get("compile").requires if kind not in have]
    if wanted and not problems:
        last = recipe.stages[-1].key
        problems.append(
            Problem(
                last[:-1],
                "the chain ends without an ONNX model to compile",
                "add `- export` as the last stage",
            )
        )
    return problems


def _source_problems(models: Mapping[str, Sequence[str]], place: KeyPath) -> list[Problem]:
    """Malformed addresses of models that a stage's body names."""
    found = [check_source(uri, "model", (*place, key)) for key, uris in models.items() for uri in uris]
    return [problem for problem in found if problem]


def target_problems(targets: Sequence[Target]) -> list[Problem]:
    """Targets of one name: their steps would have the same names, and one's numbers pass for the other's."""
    names = [target.name for target in targets]
    return [
        Problem(
            ("targets", index), f"an earlier target is named {name!r} too", "give one of them another `name`"
        )
        for index, name in enumerate(names)
        if name in names[:index]
    ]


def length_problems(recipe: Recipe, assets: Mapping[str, Asset | None]) -> list[Problem]:
    """Lengths that the encoder has no positions for, as far as its config is here and says so."""
    asset = assets.get("model")
    try:
        config = json.loads((asset.path / "config.json").read_text(encoding="utf-8")) if asset else {}
    except (OSError, ValueError):
        return []  # the stage that loads the model says what is wrong with it
    if not isinstance(config, dict):
        return []
    # RoBERTa and its kin number positions from the padding id on: two fewer tokens fit than there are rows.
    offset = 2 if config.get("model_type") in _POSITIONS_AFTER_PADDING else 0
    most = config.get("max_position_embeddings", 0) - offset
    if most <= 0:
        return []
    shell = recipe.shell
    wanted: list[tuple[KeyPath, Length]] = [(("model", "max_length"), shell.model.max_length)]
    for index, length in enumerate(shell.measurement.lengths):
        wanted.append((("measurement", "lengths", index), length))
    return [
        Problem(key, f"the encoder takes at most {most} tokens, not {length}", f"at most {most}")
        for key, length in wanted
        if length != "real" and length > most
    ]
