"""Records like those of a mask-learning stage: one with all of its parts, for any size and granularity."""

from __future__ import annotations

from typing import Any

import numpy as np
from hostile import ATTACK, attacked
from numpy.typing import NDArray
from sample import sample_report

from edgeprune.report.model import Report, StageRow

KINDS = ("query", "key", "value", "output", "up", "down")
_SLOPE = {"query": 1.7, "key": 1.3, "value": 0.4, "output": 0.6, "up": 0.9, "down": 0.2}
STEPS = 2106


def mask_record(
    layers: int = 6,
    hidden: int = 384,
    density: float = 0.1,
    kinds: tuple[str, ...] = KINDS,
    *,
    seed: int = 0,
    cells: int = 24,
) -> dict[str, Any]:
    """What SMP with densities by score leaves: early layers keep more, and some inputs matter more than others."""
    noise = np.random.default_rng(seed)
    depth = 1.6 - 1.2 * np.arange(layers) / max(1, layers - 1)
    shares = {kind: depth ** _SLOPE[kind] / np.mean(depth ** _SLOPE[kind]) for kind in kinds}
    matrices = [
        _matrix(
            layer,
            kind,
            hidden,
            min(1.0, density * shares[kind][layer] * noise.uniform(0.93, 1.07)),
            cells,
            noise,
        )
        for layer in range(layers)
        for kind in kinds
    ]
    prunable = sum(int(np.prod(row["shape"])) for row in matrices)
    kept = round(sum(row["density"] * np.prod(row["shape"]) for row in matrices))
    return {
        "quality": {"n": 872, "accuracy": 0.8853, "f1": 0.8881, "f1_average": "binary", "matthews": 0.7712},
        "method": "smp",
        "allocation": "score",
        "granularity": "weight",
        "distilled": True,
        "head": "trained",
        "density": {
            "target": density,
            "kept": kept / prunable,
            "kept_weights": kept,
            "prunable_weights": prunable,
            "encoder": kept / prunable,
        },
        "trained_parameters": prunable + 148_610,
        "new_parameters": prunable // 32 + 148_610,
        "encoder_parameters": prunable + 40_000,
        "steps": STEPS,
        "curve": [[step, 0.14 + 0.55 * np.exp(-step / 600) + 0.02 * noise.normal()] for step in range(50, STEPS, 50)],
        "trace": _trace(density),
        "matrices": matrices,
        "pack": {
            "bytes": prunable // 18 + 594_440,
            "mask_bytes": prunable // 18,
            "head_bytes": 594_440,
            "bits_per_weight": 0.431,
            "entropy_bound": 0.426,
        },
    }  # fmt: skip


def _matrix(
    layer: int, kind: str, hidden: int, density: float, cells: int, noise: np.random.Generator
) -> dict[str, Any]:
    outputs, inputs = {"up": (4 * hidden, hidden), "down": (hidden, 4 * hidden)}.get(kind, (hidden, hidden))
    side = 4 * cells  # scores of a smaller matrix: the same picture, counted up to the real size
    rows, columns = noise.gamma(3, 0.25, (side, 1)), noise.gamma(3, 0.25, (1, side))
    if kind in ("query", "key", "value"):
        rows = np.repeat(noise.gamma(2, 0.4, (12, 1)), side // 12 + 1, axis=0)[:side]
    scores = noise.normal(-0.4, 0.5, (side, side)) + 0.8 * rows * columns
    kept = scores >= np.quantile(scores, 1 - density)
    return {
        "name": f"bert.encoder.layer.{layer}.{kind}",
        "layer": layer,
        "kind": kind,
        "shape": [outputs, inputs],
        "density": float(kept.mean()),
        "scores": _histogram(scores, outputs * inputs // scores.size),
        "map": np.round(100 * kept.reshape(cells, 4, cells, 4).mean((1, 3))).astype(int).tolist(),
    }


def _histogram(scores: NDArray[np.float64], times: int) -> dict[str, Any]:
    counts, edges = np.histogram(scores, 40)
    return {"low": float(edges[0]), "high": float(edges[-1]), "counts": (counts * times).tolist()}


def _trace(density: float) -> dict[str, list[float]]:
    at = np.linspace(0, 1, 100)
    shown = density + (1 - density) * (1 - np.clip((at - 0.05) / 0.65, 0, 1)) ** 3
    return {
        "step": [int(step) for step in at * STEPS],
        "density": shown.tolist(),
        "regularizer": (400 * (1 - (1 - at) ** 3) * (0.5 - 0.12 * at)).tolist(),
    }


def head_record(layers: int = 12, heads: int = 12) -> dict[str, Any]:
    """Whole heads: one matrix a layer, as many scores as there are heads, a part of the encoder only."""
    noise = np.random.default_rng(1)
    matrices = []
    for layer in range(layers):
        scores = noise.normal(0, 1 / (1 + layer / 4), heads)
        kept = scores >= -0.1
        counts, edges = np.histogram(scores, 40)
        matrices.append(
            {
                "name": f"bert.encoder.layer.{layer}.attention.output.dense",
                "layer": layer,
                "kind": "output",
                "shape": [768, 768],
                "density": float(kept.mean()),
                "scores": {"low": edges[0], "high": edges[-1], "counts": counts.tolist()},
                "map": [[100 * int(item) for item in np.repeat(kept, 2)]] * 24,
            }
        )
    kept_share = float(np.mean([row["density"] for row in matrices]))
    return {
        "method": "movement",
        "allocation": "global",
        "granularity": "head",
        "distilled": False,
        "density": {"target": 0.5, "kept": kept_share, "kept_weights": round(kept_share * 28_311_552), "prunable_weights": 28_311_552, "encoder": 1 - (1 - kept_share) / 3},
        "trained_parameters": 85_000_144,
        "new_parameters": 71_000_000,
        "steps": STEPS,
        "curve": mask_record(2, 96)["curve"],
        "trace": {**_trace(0.5), "regularizer": [0.0] * 100},
        "matrices": matrices,
    }  # fmt: skip


def hostile_record(attack: str = ATTACK) -> dict[str, Any]:
    """A record whose every text ends with `attack`; its keys are those that are read."""
    return dict(attacked(mask_record(2, 96, cells=6), attack))


def mask_report(*records: dict[str, Any]) -> Report:
    """The sample report with one mask stage per record; without any, with the whole record of six layers."""
    report = sample_report()
    rows = [
        StageRow(
            id="learn_masks" if index == 0 else f"learn_masks-{index + 1}",
            stage="learn_masks",
            key=f"{index:064x}",
            cached=False,
            seconds=911.0,
            record=record,
            notes=["masks of the base model; its weights are unchanged"],
        )
        for index, record in enumerate(records or [mask_record()])
    ]
    return report.model_copy(update={"stages": [report.stages[0], *rows, *report.stages[2:]]})
