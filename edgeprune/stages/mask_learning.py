"""What `learn_masks` does: wires masks, teacher and training to the data, and saves what came out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeprune.stages.contract import Outcome, Work
from edgeprune.stages.mask_record import describe_masks, save_masks, save_pack

if TYPE_CHECKING:
    from edgeprune.masking.attached import Masking
    from edgeprune.masking.plan import MaskPlan
    from edgeprune.stages.learn_masks import LearnMasksConfig
    from edgeprune.structure.architectures import LinearSite
    from edgeprune.tasks.encoding import Encoded
    from edgeprune.tasks.examples import Examples
    from edgeprune.training.fitting import Fitted
    from edgeprune.training.masked import Trace
    from edgeprune.training.self_teaching import SelfTeacher
    from edgeprune.training.teaching import Teacher

__all__ = ["learn"]

# PST is to train less than this share of the encoder, however narrow its matrices are.
PST_SHARE = 0.03
# Training examples that PINS scores its checkpoints on, and does not train on.
_HELD_OUT_SHARE, _HELD_OUT_MOST = 0.02, 1000


def learn(work: Work) -> Outcome:
    """Attach, train, fold, score, save."""
    import transformers

    from edgeprune.masking.base_model import in_task_names
    from edgeprune.stages.quiet import quiet_libraries
    from edgeprune.stages.validating import validation_quality
    from edgeprune.structure.architectures import linear_sites
    from edgeprune.structure.loading import pretrained, save
    from edgeprune.structure.weights import read_tensors
    from edgeprune.tasks.examples import Examples

    quiet_libraries()
    transformers.set_seed(work.seed)
    config: LearnMasksConfig = work.config
    train = Examples.load(work.inputs["data"] / "train")
    tokenizer, model, notes = pretrained(
        work.assets["model"],
        train.classes,
        head=config.head,
        label_words=config.label_words,
        pooling=work.sections["model.pooling"],
    )
    sites = linear_sites(model)
    masking = _attach(model, sites, config, work.seed)
    trained = sum(item.numel() for items in masking.trained().values() for item in items)
    fitted, trace = _train(work, masking, train, tokenizer, notes)
    model.cpu()
    matrices = masking.fold()
    base = in_task_names(read_tensors(work.assets["model"]), model.base_model_prefix)
    save(model, work.output, tokenizer)
    save_masks(matrices, work.output)
    record = describe_masks(config, masking, matrices, sites, base)
    if config.method == "smp":  # the only one whose weights are the base's own
        provenance = {"method": config.method, "density": record["density"]["kept"], "seed": work.seed}
        record["pack"] = save_pack(
            model, matrices, base, train.classes, provenance, work.output, config.head_storage
        )
        if config.head_storage != "exact":
            save(model, work.output, tokenizer)  # with the head that the pack holds
    record |= {
        "quality": validation_quality(work, model, tokenizer),
        "trained_parameters": trained,
        "steps": fitted.steps,
        "curve": fitted.curve,
        "trace": asdict(trace),
    }
    return Outcome(record=record, notes=notes)


def _attach(model: Any, sites: Sequence[LinearSite], config: LearnMasksConfig, seed: int) -> Masking:
    from edgeprune.masking.attached import Masking
    from edgeprune.structure.architectures import head_parameters, num_heads
    from edgeprune.structure.loading import structure_of

    shapes = [tuple(model.get_submodule(site.name).weight.shape) for site in sites]
    # The MLM head is the pre-trained model's own: it stays as frozen as the encoder.
    head = () if structure_of(model).head == "label-words" else head_parameters(model)
    embeddings = [name for name, _ in model.named_parameters() if ".embeddings." in name]
    plan = _plan(config, seed, shapes)
    return Masking(model, sites, head, plan, heads=num_heads(model), embeddings=embeddings)


def _train(
    work: Work, masking: Masking, train: Examples, tokenizer: Any, notes: list[str]
) -> tuple[Fitted, Trace]:
    """Train in place; what the reader should know is added to the notes."""
    from edgeprune.masking.sensitivity import WINDOW
    from edgeprune.tasks.encoding import encode
    from edgeprune.training.fitting import fit
    from edgeprune.training.masked import MaskedTraining, Rates

    config: LearnMasksConfig = work.config
    max_length: int = work.sections["model.max_length"]
    self_teacher = None
    if config.method == "pins":
        train, held_out = _hold_out(train, work.seed)
        notes.append(f"{len(held_out):,} training examples are held out to score checkpoints on")
        self_teacher = _self_teacher(work, masking.model, tokenizer, held_out)
    encoded = encode(tokenizer, train, max_length)
    notes.extend(encoded.notes())
    distillation = config.distillation
    taught = distillation is not None and distillation.weight > 0 and self_teacher is None
    adaptation = MaskedTraining(
        masking,
        Rates(
            scores=config.score_learning_rate or 0.0,
            head=config.head_learning_rate or 0.0,
            weights=config.learning_rate or 0.0,
            decay=config.weight_decay,
        ),
        temperature=distillation.temperature if distillation else 2.0,
        weight=distillation.weight if distillation else 0.0,
        teacher=_teacher(work, encoded, tokenizer.pad_token_id) if taught else None,
        self_teacher=self_teacher,
    )
    fitted = fit(
        masking.model,
        encoded,
        train.labels,
        _settings(config, work.seed),
        tokenizer=tokenizer,
        scratch=work.scratch,
        progress=work.progress,
        adaptation=adaptation,
    )
    if config.method == "pins" and fitted.steps < 2 * WINDOW:
        notes.append(
            f"{fitted.steps} steps are fewer than PINS needs to rank weights: what it kept is arbitrary"
        )
    return fitted, adaptation.trace


def _plan(config: LearnMasksConfig, seed: int, shapes: Sequence[tuple[int, int]]) -> MaskPlan:
    from edgeprune.masking.granularity import Granularity
    from edgeprune.masking.plan import MaskPlan
    from edgeprune.stages.learn_masks import plain_granularity

    return MaskPlan(
        method=config.method,
        density=config.density,
        granularity=Granularity.parse(plain_granularity(config)),
        allocation=config.allocation or "uniform",
        score_init=config.score_init or 0.0,
        share_temperature=config.share_temperature,
        regularizer=config.regularizer or 0.0,
        tau=config.tau,
        shape=config.schedule.shape,
        warmup=config.schedule.warmup,
        hold=config.schedule.hold,
        rank=config.rank or pst_rank(shapes),
        seed=seed,
    )


def pst_rank(shapes: Sequence[tuple[int, int]], most: int = 8) -> int:
    """The rank of PST: 8 as published, or the largest that keeps its parameters under 3 % of the encoder's.

    Every matrix of m by n gets U, A [m, r], V, B [r, n], R [m] and C [n]: (2r + 1)(m + n) parameters.
    """
    budget = PST_SHARE * sum(rows * columns for rows, columns in shapes)
    sides = sum(rows + columns for rows, columns in shapes)
    return next((rank for rank in range(most, 1, -1) if (2 * rank + 1) * sides < budget), 1)


def _settings(config: LearnMasksConfig, seed: int) -> Any:
    from edgeprune.training.fitting import Settings

    return Settings(
        epochs=config.epochs,
        batch_size=config.batch_size,
        learning_rate=config.head_learning_rate or 0.0,  # every parameter group brings its own
        weight_decay=config.weight_decay,
        warmup=config.warmup,
        schedule=config.learning_schedule,
        label_smoothing=0.0,
        max_grad_norm=config.max_grad_norm,
        precision=config.precision,  # type: ignore[arg-type]  # `resolve` has replaced `auto`
        word_dropout=config.word_dropout,
        averaging=0.0,
        checkpoint_steps=config.checkpoint_steps,
        seed=seed,
    )


def _teacher(work: Work, encoded: Encoded, pad_id: int) -> Teacher:
    """The original, asked once about the training texts as they are; what it says lies on disk."""
    from edgeprune.structure.loading import load
    from edgeprune.training.teaching import store_answers

    return store_answers(
        load(work.inputs["original"]),
        (),
        encoded,
        work.scratch,
        pad_id=pad_id,
        precision=work.config.precision,
        progress=work.progress,
    )


def _hold_out(train: Examples, seed: int) -> tuple[Examples, Examples]:
    """(to train on, to score checkpoints on)."""
    order = np.random.default_rng(seed).permutation(len(train))
    count = max(1, min(int(len(train) * _HELD_OUT_SHARE), _HELD_OUT_MOST))
    return train.select(sorted(order[count:].tolist())), train.select(sorted(order[:count].tolist()))


def _self_teacher(work: Work, model: Any, tokenizer: Any, held_out: Examples) -> SelfTeacher:
    from edgeprune.structure.loading import load
    from edgeprune.tasks.encoding import encode
    from edgeprune.training.predicting import quality_of
    from edgeprune.training.self_teaching import SelfTeacher

    encoded = encode(tokenizer, held_out, work.sections["model.max_length"])

    def accuracy(student: Any) -> float:
        return quality_of(student, held_out, encoded, pad_id=tokenizer.pad_token_id).accuracy

    return SelfTeacher(model, load(work.inputs["original"]), accuracy)
