"""Records like those of `prune_structure` and `distill`: for any number of layers, with something of everything."""

from __future__ import annotations

from typing import Any

import numpy as np
from hostile import ATTACK, attacked
from sample import sample_report

from edgeprune.report.model import Report, StageRow

STEPS = 640
QUALITY = {"n": 872, "accuracy": 0.8417, "f1": 0.8461, "f1_average": "binary", "matthews": 0.6843}
HEADS, ROWS, LENGTH = 12, 1536, 128


def structure_record(depth: int = 6, /, **changes: Any) -> dict[str, Any]:
    """Late layers keep less, the last but one is gone, and the last is there without heads."""
    rows = [_layer(number, depth) for number in range(depth)]
    heads, ffn = (sum(map(count, rows)) for count in (lambda row: len(row["heads"]), lambda row: row["rows"]))
    return {
        "quality": QUALITY,
        "importance": "taylor",
        "weights": "original",
        "budget": {
            "latency": {"target": "x86-server", "ratio": 0.45, "variant": "openvino/fp32", "length": 64, "batch": 1, "cpu": "a CPU"}
        },
        "alignment": 16,
        "layers": rows,
        "hidden": {"before": 384, "after": 256},
        "heads": {"before": HEADS * depth, "after": heads},
        "rows": {"before": ROWS * depth, "after": ffn},
        "encoder_parameters": {"before": 1_774_464 * depth, "after": 65_792 * heads + 513 * ffn},
        "flops": {"length": LENGTH, "before": 478_150_656 * depth, "after": 18_000_000 * heads + 131_072 * ffn},
        "importance_kept": 0.9312,
        "balance": {"factor": 8.0, "tried": [{"factor": 1.0, "lost": 0.31}, {"factor": 8.0, "lost": 0.12}]},
        "depth": {"kept": [0, 1, 2, 3, 5], "gone": [[4, 0.0123]]},
        "cost": {
            "unit": "ms",
            "ratio": 0.4417,
            "errors": {"384": 0.012, "256": -0.0313},
            "fixed": 0.11,
            "layer": 0.02,
            "attention": [0.01 * number for number in range(HEADS + 1)],
            "ffn": {str(width): width / 5000 for width in range(0, ROWS + 1, 16)},
        },
        "parameters": {"before": 22_713_602, "after": 9_402_114},
        "vocabulary": {"before": 30_522, "after": 9_871},
    } | changes  # fmt: skip


def _layer(number: int, layers: int) -> dict[str, Any]:
    there = number != layers - 2
    last = number == layers - 1
    share = (1 - number / layers) ** 1.5 if there else 0.0
    heads = (
        []
        if last or not there
        else [head for head in range(HEADS) if (7 * head + number) % HEADS < HEADS * share]
    )
    return {
        "layer": number,
        "there": there,
        "heads": heads,
        "all_heads": HEADS,
        "rows": round(ROWS * share / 16) * 16,
        "all_rows": ROWS,
        "head_importance_kept": (len(heads) / HEADS) ** 0.5,
        "row_importance_kept": share**0.5,
    }


def distill_record(**changes: Any) -> dict[str, Any]:
    """Logits, hidden states matched anew on the way, and relations; the teacher on the disk."""
    noise = np.random.default_rng(0)
    steps = np.linspace(STEPS / 100, STEPS, 100).astype(int).tolist()
    fall = np.exp(-np.asarray(steps) / 150)
    parts = {
        "relations": 0.05 + 0.3 * fall,
        "logits": 0.03 + 0.4 * fall,
        "hidden": 0.2 + 0.5 * fall,
    }
    return {
        "quality": QUALITY | {"accuracy": 0.8922},
        "teacher": "original",
        "losses": {
            "logits": {"weight": 1.0, "temperature": 2.0},
            "labels": {"weight": 0.0},
            "hidden": {"weight": 0.5, "layers": "closest"},
            "relations": {"weight": 1.0, "of": "value"},
        },
        "texts": {"training": 1024, "synthetic": 4096},
        "steps": STEPS,
        "curve": [[step, 0.28 + 1.2 * float(np.exp(-step / 150)) + 0.01 * noise.normal()] for step in range(10, STEPS, 10)],
        "parts": {"step": steps, **{name: values.tolist() for name, values in parts.items()}},
        "layer_map": [
            {"step": 0, "pairs": [[0, 0], [1, 1], [2, 2], [3, 3], [4, 5]]},
            {"step": 24, "pairs": [[0, 0], [1, 1], [2, 3], [3, 4], [4, 5]]},
        ],
        "relations": [{"student": "value.3", "teacher": "value.5", "heads": 12}],
        "teacher_cache": "disk",
        "precision": "bf16",
        "parameters": 9_402_114,
        "trained_parameters": 9_402_114,
    } | changes  # fmt: skip


def hostile_structure(attack: str = ATTACK) -> dict[str, Any]:
    """Every text ends with `attack`; keys are those that are read."""
    return dict(attacked(structure_record(), attack))


def hostile_distill(attack: str = ATTACK) -> dict[str, Any]:
    """The same of a distillation, with a part of the loss whose name is an attack too."""
    parts = distill_record()["parts"]
    return dict(attacked(distill_record(parts=parts | {f"$x${attack}": parts["hidden"]}), attack))


def structure_report(*records: dict[str, Any]) -> Report:
    """The sample report with a stage per record; without any, with a whole cut and a whole distillation."""
    report = sample_report()
    rows: list[StageRow] = []
    for record in records or (structure_record(), distill_record()):
        stage = "distill" if "curve" in record else "prune_structure"
        before = sum(row.stage == stage for row in rows)
        rows.append(
            StageRow(
                id=stage if not before else f"{stage}-{before + 1}",
                stage=stage,
                key=f"{len(rows):064x}",
                cached=False,
                seconds=311.0,
                record=record,
                notes=["of the sample"],
            )
        )
    return report.model_copy(update={"stages": [report.stages[0], *rows, *report.stages[3:]]})
