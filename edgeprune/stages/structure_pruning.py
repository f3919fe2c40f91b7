"""What `prune_structure` does: importance, the choice within the budget, and the cut."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeprune.errors import Problem, RecipeError
from edgeprune.stages.contract import Outcome, Work
from edgeprune.stages.structure_record import describe_cost, describe_structure

if TYPE_CHECKING:
    from edgeprune.stages.prune_structure import PruneStructureConfig
    from edgeprune.structure.choosing import Choice
    from edgeprune.structure.costs import CostTable, Shape
    from edgeprune.structure.description import KeptLayer
    from edgeprune.structure.importance import FloatArray, Importance
    from edgeprune.tasks.encoding import Encoded
    from edgeprune.tasks.examples import Examples

__all__ = ["prune"]

_BATCH = 32


def prune(work: Work) -> Outcome:
    """Rank, choose, cut, score, save."""
    import transformers

    from edgeprune.stages.quiet import quiet_libraries
    from edgeprune.stages.validating import validation_quality
    from edgeprune.structure.costs import shape_of
    from edgeprune.structure.loading import load, save
    from edgeprune.structure.narrowing import hidden_width, slice_hidden
    from edgeprune.structure.slicing import dense_layers, kept_layers, slice_layers
    from edgeprune.tasks.encoding import encode
    from edgeprune.tasks.examples import Examples

    quiet_libraries()
    config: PruneStructureConfig = work.config
    source = work.inputs[config.weights or "model"]  # `resolve` has filled it in
    model = load(source)
    original = load(work.inputs["original"])
    shape, dense = shape_of(original), original.config
    del original
    tokenizer = transformers.AutoTokenizer.from_pretrained(source, local_files_only=True)
    max_length: int = work.sections["model.max_length"]
    tokens = model.get_input_embeddings().num_embeddings
    train = Examples.load(work.inputs["data"] / "train")
    encoded = encode(tokenizer, train, max_length)
    importance, hidden = _importance(work, model, train, encoded, tokenizer.pad_token_id)
    tables = _tables(work, shape, dense)
    choice = _choose(config, shape, importance, hidden, tables.costs)
    before = sum(item.numel() for item in model.parameters())
    layers = {layer.source for layer in kept_layers(model) or dense_layers(model)}
    slice_layers(model, choice.layers)
    if choice.hidden is not None and len(choice.hidden) < hidden_width(model):
        slice_hidden(model, choice.hidden)
    notes = _gone(kept_layers(model) or (), layers)
    vocabulary, said = _slice_vocabulary(config, model, source, encoded)
    save(model, work.output, tokenizer)
    if vocabulary:
        tokenizer = _cut_tokenizer(source, vocabulary, work.output)
    record = {
        "quality": validation_quality(work, model, tokenizer),
        "importance": config.importance,
        "weights": config.weights,
        "budget": config.budget.model_dump(mode="json", exclude_none=True, exclude={"latency": {"machine"}}),
        "alignment": config.alignment,
        **describe_structure(model, shape, choice, importance, max_length),
        "cost": describe_cost(choice, tables.costs.get(hidden_width(model)), tables.errors),
        "parameters": {"before": before, "after": sum(item.numel() for item in model.parameters())},
        "vocabulary": None if vocabulary is None else {"before": tokens, "after": len(vocabulary)},
    }
    return Outcome(record=record, notes=[*tables.notes, *notes, *said])


@dataclass(frozen=True)
class _Tables:
    """What units cost, by hidden width, in the budget's own unit.

    Attributes:
        costs: Empty for a budget in shares.
        errors: Of measured tables: by how much each misses a model that it was not made from, relative.
        notes: What was mended of a measurement.
    """

    costs: dict[int, CostTable] = field(default_factory=dict)
    errors: dict[int, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def _tables(work: Work, shape: Shape, dense: Any) -> _Tables:
    """Count, or measure on the target.

    Raises:
        RecipeError: A hidden width that is wider than the encoder.
    """
    from edgeprune.stages.latency_measuring import measured_costs
    from edgeprune.structure.costs import CostTable

    config: PruneStructureConfig = work.config
    widths = sorted({*(config.widths or ()), shape.hidden})
    if widths[-1] > shape.hidden:
        problem = f"{widths[-1]} is wider than the encoder, which has {shape.hidden}"
        raise RecipeError([Problem(("widths",), problem, f"at most {shape.hidden}")])
    tables, alignment = _Tables(), config.alignment or 1
    for width in widths if config.budget.cost else ():
        if config.budget.latency:
            measured = measured_costs(work, dense, width)
            tables.costs[width] = measured.table
            tables.errors[width] = measured.check_error
            tables.notes.extend(measured.notes)
        elif config.budget.flops:
            length = work.sections["model.max_length"]
            tables.costs[width] = CostTable.from_flops(shape.narrowed(width), alignment, length)
        else:
            tables.costs[width] = CostTable.from_parameters(shape.narrowed(width), alignment)
    return tables


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


def _calibration(work: Work, train: Examples, encoded: Encoded, pad_id: int) -> Iterator[dict[str, Any]]:
    """Labelled batches of the calibration examples, of similar lengths each."""
    import torch

    from edgeprune.tasks.encoding import collate

    wanted = work.config.calibration
    count = min(wanted.examples, len(train))
    drawn = np.random.default_rng(wanted.seed).permutation(len(train))[:count]
    by_length = drawn[np.argsort(encoded.lengths[drawn], kind="stable")]
    for begin in range(0, count, _BATCH):
        work.progress(step=begin, total=count, text="texts that importance is measured on")
        indices = by_length[begin : begin + _BATCH]
        batch = {n: torch.from_numpy(item) for n, item in collate(encoded, indices, pad_id).items()}
        yield batch | {"labels": torch.tensor([train.labels[index] for index in indices])}


def _choose(
    config: PruneStructureConfig,
    shape: Shape,
    importance: Importance,
    hidden: FloatArray | None,
    tables: dict[int, CostTable],
) -> Choice:
    """The structure.

    Raises:
        RecipeError: The budget cannot be met; the hint says what can.
    """
    from edgeprune.structure.choosing import by_cost, by_cost_and_width, by_share

    budget, alignment, drop = config.budget, config.alignment or 1, config.drop_layers
    kind = budget.cost
    if kind is None:
        try:
            whole_numbers = shape.layers * shape.heads, shape.layers * shape.rows
            return by_share(
                importance, budget.heads, budget.ffn, alignment, drop_layers=drop, of=whole_numbers
            )
        except RecipeError as error:
            raise RecipeError([problem.below(("budget",)) for problem in error.problems]) from error
    ratio = budget.latency.ratio if budget.latency else getattr(budget, kind)
    whole = tables[shape.hidden].dense(shape.layers)
    settings: dict[str, Any] = {
        "drop_layers": drop,
        "dense_cost": whole,
        "key": ("budget", "latency", "ratio") if budget.latency else ("budget", kind),
    }
    if hidden is not None and len(tables) > 1:
        return by_cost_and_width(importance, hidden, tables, ratio, alignment, **settings)
    return by_cost(importance, tables[shape.hidden], ratio, alignment, **settings)


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


def _slice_vocabulary(
    config: PruneStructureConfig, model: Any, source: Path, encoded: Encoded
) -> tuple[tuple[int, ...] | None, list[str]]:
    """Cut the word embeddings; returns the kept token ids, and notes."""
    from edgeprune.structure.vocabulary import kept_vocabulary, slice_embeddings, used_tokens

    wanted = config.vocabulary
    if wanted is None:
        return None, []
    content = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    try:
        kept = kept_vocabulary(
            content, used_tokens(encoded.input_ids), min_count=wanted.min_count, extra=wanted.extra
        )
    except RecipeError as error:
        raise RecipeError([problem.below(("vocabulary",)) for problem in error.problems]) from error
    before = model.get_input_embeddings().num_embeddings
    notes = slice_embeddings(model, kept)
    said = f"{len(kept):,} of {before:,} tokens stay; words whose token is gone are spelled with smaller ones"
    return kept, [said, *notes]


def _cut_tokenizer(source: Path, kept: tuple[int, ...], folder: Path) -> Any:
    import transformers

    from edgeprune.structure.wordpiece import slice_tokenizer_folder

    slice_tokenizer_folder(source, kept, folder)
    return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
