"""What `prune_structure` does: importance, the cut that the budget allows, and what it made of the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeprune.stages.contract import Outcome, Work
from edgeprune.stages.structure_balance import Asked
from edgeprune.stages.structure_budget import allowed, cut
from edgeprune.stages.structure_depth import fewer_layers, without
from edgeprune.stages.structure_record import describe_cost, describe_structure
from edgeprune.stages.structure_vocabulary import cut_tokenizer, slice_vocabulary

if TYPE_CHECKING:
    from edgeprune.stages.prune_structure import PruneStructureConfig
    from edgeprune.structure.description import KeptLayer
    from edgeprune.structure.importance import FloatArray, Importance
    from edgeprune.tasks.encoding import Encoded
    from edgeprune.tasks.examples import Examples

__all__ = ["prune"]

_BATCH = 32
_COMPARED = 512
"""Texts that structures are compared on, at most."""


def prune(work: Work) -> Outcome:
    """Cut what the budget leaves no room for, then tokens; score, save."""
    import transformers

    from edgeprune.stages.quiet import quiet_libraries
    from edgeprune.stages.validating import validation_quality
    from edgeprune.structure.loading import load, save
    from edgeprune.tasks.encoding import encode
    from edgeprune.tasks.examples import Examples

    quiet_libraries()
    config: PruneStructureConfig = work.config
    source = work.inputs[config.weights or "model"]  # `resolve` has filled it in
    model = load(source)
    tokenizer = transformers.AutoTokenizer.from_pretrained(source, local_files_only=True)
    tokens = model.get_input_embeddings().num_embeddings
    before = sum(item.numel() for item in model.parameters())
    train = Examples.load(work.inputs["data"] / "train")
    encoded = encode(tokenizer, train, work.sections["model.max_length"])
    units, notes = (
        _cut_units(work, model, train, encoded, tokenizer.pad_token_id) if config.budget else ({}, [])
    )
    vocabulary = None
    if config.vocabulary:
        vocabulary, said = slice_vocabulary(
            config.vocabulary, model, source, tokenizer, encoded, work.progress
        )
        notes += said
    save(model, work.output, tokenizer)
    if vocabulary:
        tokenizer = cut_tokenizer(source, vocabulary, work.output)
    record = {
        "quality": validation_quality(work, model, tokenizer),
        "weights": config.weights,
        **units,
        "parameters": {"before": before, "after": sum(item.numel() for item in model.parameters())},
        "vocabulary": None if vocabulary is None else {"before": tokens, "after": len(vocabulary)},
    }
    return Outcome(record=record, notes=notes)


def _cut_units(
    work: Work, model: Any, train: Examples, encoded: Encoded, pad_id: int
) -> tuple[dict[str, Any], list[str]]:
    """Rank, choose, cut the model in place; returns the part of the record that is about it, and notes."""
    from edgeprune.structure.costs import shape_of
    from edgeprune.structure.loading import load
    from edgeprune.structure.narrowing import hidden_width
    from edgeprune.structure.slicing import dense_layers, kept_layers

    config: PruneStructureConfig = work.config
    original = load(work.inputs["original"])
    importance, hidden = _importance(work, model, train, encoded, pad_id)

    @cache
    def asked() -> Asked:
        return Asked(model, _calibration(work, train, encoded, pad_id, _COMPARED))

    depth = fewer_layers(model, config.layers, asked(), work.progress) if config.layers else None
    left = without(importance, depth) if depth else importance
    found = allowed(work, original, model, left, hidden, asked)
    layers = {layer.source for layer in kept_layers(model) or dense_layers(model)}
    cut(model, found.choice)
    length: int = work.sections["model.max_length"]
    record = {
        "importance": config.importance,
        "budget": config.given_budget.model_dump(
            mode="json", exclude_none=True, exclude={"latency": {"machine"}}
        ),
        "alignment": config.alignment,
        **describe_structure(model, shape_of(original), found.choice, importance, length),
        "cost": describe_cost(found.choice, found.costs.get(hidden_width(model)), found.errors, found.met),
        "balance": asdict(found.balance) if found.balance else None,
        "depth": asdict(depth) if depth else None,
    }
    return record, [*found.notes, *_gone(kept_layers(model) or (), layers)]


def _importance(
    work: Work, model: Any, train: Examples, encoded: Encoded, pad_id: int
) -> tuple[Importance, FloatArray | None]:
    """Of heads and rows and, where it is Taylor's, of hidden dimensions."""
    from safetensors.torch import load_file

    from edgeprune.structure import importance as measures

    config: PruneStructureConfig = work.config
    if config.importance == "taylor":
        batches = _calibration(work, train, encoded, pad_id)
        return measures.measure_taylor(model, batches)
    if config.importance == "magnitude":
        return measures.by_magnitude(model), None
    masks = load_file(work.inputs["masks"] / "masks.safetensors")
    if config.importance == "masks":
        return measures.by_survivors(model, masks), None
    return measures.by_scores(model, masks, load_file(work.inputs["masks"] / "scores.safetensors")), None


def _calibration(
    work: Work, train: Examples, encoded: Encoded, pad_id: int, most: int | None = None
) -> Iterator[dict[str, Any]]:
    """Labelled batches of the calibration examples, of similar lengths each; of the first `most` of them."""
    import torch

    from edgeprune.tasks.encoding import collate

    wanted = work.config.calibration
    count = min(wanted.examples, len(train), most or len(train))
    drawn = np.random.default_rng(wanted.seed).permutation(len(train))[:count]
    by_length = drawn[np.argsort(encoded.lengths[drawn], kind="stable")]
    for begin in range(0, count, _BATCH):
        work.progress(step=begin, total=count, text="texts that importance is measured on")
        indices = by_length[begin : begin + _BATCH]
        batch = {n: torch.from_numpy(item) for n, item in collate(encoded, indices, pad_id).items()}
        yield batch | {"labels": torch.tensor([train.labels[index] for index in indices])}


def _gone(kept: Sequence[KeptLayer], before: set[int]) -> list[str]:
    """What the reader should know: layers that this cut removed, sub-layers that are empty."""
    there = {layer.source for layer in kept}
    gone = [str(number) for number in sorted(before - there)]
    notes = [f"layers that went as a whole: {', '.join(gone)}"] if gone else []
    for what in ("heads", "rows"):
        empty = [str(layer.source) for layer in kept if not getattr(layer, what)]
        if empty:
            words = {"heads": "attention heads", "rows": "FFN rows"}[what]
            notes.append(f"layers without {words} (their output bias stays): {', '.join(empty)}")
    return notes
