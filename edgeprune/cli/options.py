"""Options that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from edgeprune.assets.place import default_cache

__all__ = ["cache_option", "default_cache", "recipe_argument", "set_option"]

recipe_argument: Callable[[Any], Any] = click.argument(
    "recipe", type=click.Path(path_type=Path), metavar="RECIPE.yaml"
)
set_option: Callable[[Any], Any] = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one value, e.g. stages.finetune.epochs=1. May be given again.",
)
cache_option: Callable[[Any], Any] = click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    default=default_cache,
    help="Folder of fetched assets and artifacts.  [default: $EDGEPRUNE_CACHE or ~/.cache/edgeprune]",
)
