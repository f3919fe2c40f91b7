"""The sample report with every free text turned against the renderers."""

from __future__ import annotations

from typing import Any

from sample import sample_report

from edgeprune.report.model import Report

ATTACK = "</code><script>alert('x')</script><img src=x onerror=\"y\">|*[red]&\x1b[31m\n# $x$ \u202e"
CLOSED = {"format", "verdict", "status", "metric", "f1_average", "level", "length", "started"}


def hostile_report(attack: str = ATTACK) -> Report:
    """Every text but the closed vocabularies has `attack` at its end; labels and keys too."""
    return Report.model_validate(_turn(sample_report().model_dump(mode="json"), attack, ""))


def _turn(value: Any, attack: str, field: str) -> Any:
    if isinstance(value, str):
        return value if field in CLOSED else value + attack
    if isinstance(value, list):
        return [_turn(item, attack, field) for item in value]
    if isinstance(value, dict):
        keys_are_foreign = field in {
            "train_per_label",
            "validation_per_label",
            "record",
            "versions",
            "operators",
        }
        return {
            key + attack if keys_are_foreign else key: _turn(item, attack, key) for key, item in value.items()
        }
    return value


def attacked(value: Any, attack: str = ATTACK) -> Any:
    """Plain data with `attack` at the end of every text; keys stay."""
    if isinstance(value, str):
        return value + attack
    if isinstance(value, list):
        return [attacked(item, attack) for item in value]
    return {key: attacked(item, attack) for key, item in value.items()} if isinstance(value, dict) else value
