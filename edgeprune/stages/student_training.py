"""What `distill` does: wires student, teacher and losses to the data, trains, scores and saves."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.errors import EdgepruneError
from edgeprune.stages.contract import Outcome, Work
from edgeprune.stages.teachers import load_teacher, share_vocabulary, teacher_folder

if TYPE_CHECKING:
    import torch

    from edgeprune.stages.distill import DistillConfig, DistillLosses
    from edgeprune.tasks.encoding import Encoded
    from edgeprune.training.curriculum import Curriculum, Losses
    from edgeprune.training.distilling import Distilling
    from edgeprune.training.fitting import Settings
    from edgeprune.training.teaching import Teacher

__all__ = ["Taught", "distill", "plain_losses", "read_pruned", "teach"]

MASKS = "masks.safetensors"
_MEGABYTE = 1e6


@dataclass(frozen=True, eq=False)
class Taught:
    """A student right after its training.

    Attributes:
        adaptation: Still attached.
        record: Of the training, for the report.
        notes: What a reader of the report should know.
    """

    adaptation: Distilling
    record: dict[str, Any]
    notes: list[str]


def distill(work: Work) -> Outcome:
    """Train, score, save."""
    import transformers

    from edgeprune.stages.quiet import quiet_libraries
    from edgeprune.stages.validating import validation_quality
    from edgeprune.structure.loading import load, save
    from edgeprune.training.distilling import Distilling

    quiet_libraries()
    transformers.set_seed(work.seed)
    tokenizer = transformers.AutoTokenizer.from_pretrained(work.inputs["model"], local_files_only=True)
    student = load(work.inputs["model"])
    taught = teach(work, student, tokenizer, Distilling)
    taught.adaptation.detach()
    save(student, work.output, tokenizer)
    if (work.inputs["model"] / MASKS).is_file():
        shutil.copyfile(work.inputs["model"] / MASKS, work.output / MASKS)
    return Outcome(
        record={"quality": validation_quality(work, student, tokenizer), **taught.record}, notes=taught.notes
    )


def teach(work: Work, student: Any, tokenizer: Any, adapt: Callable[..., Distilling]) -> Taught:
    """Train a student in place, as the body of the stage says.

    Args:
        work: Its `config` is a `DistillConfig`; its inputs hold `data`, `model` and, where it teaches,
            `original`.
        student: What `model` holds; on the CPU in FP32 afterwards.
        tokenizer: The student's.
        adapt: Makes the adaptation; called as `Distilling` is.

    Raises:
        EdgepruneError: The teacher does not fit the student, or the masks are not the student's.
        UnsupportedError: There is nothing to compare for what is asked for.
    """
    from edgeprune.tasks.encoding import encode
    from edgeprune.tasks.examples import Examples
    from edgeprune.tasks.synthesizing import synthesize
    from edgeprune.training.curriculum import plan_curriculum
    from edgeprune.training.dropout import set_dropout
    from edgeprune.training.fitting import fit

    config: DistillConfig = work.config
    max_length: int = work.sections["model.max_length"]
    train = Examples.load(work.inputs["data"] / "train")
    own = len(train)
    if config.synthetic:
        made = config.synthetic
        train = train.joined(synthesize(train, made.count, work.seed, min_words=made.min_words))
    model, notes = load_teacher(teacher_folder(work), student, max_length)
    share_vocabulary(model, teacher_folder(work), tokenizer)
    encoded = encode(tokenizer, train, max_length)
    curriculum = plan_curriculum(student, model, plain_losses(config.losses))
    kept = _kept_dimensions(student, model) if config.teacher == "original" else None
    teacher, said = _teacher(work, model, curriculum, encoded, tokenizer.pad_token_id)
    del model  # what is on disk needs no second model in memory
    if config.dropout is not None:
        set_dropout(student, config.dropout)
    student.get_input_embeddings().requires_grad_(config.train_embeddings)
    parameters = sum(parameter.numel() for parameter in student.parameters())
    adaptation = adapt(
        student,
        curriculum,
        teacher,
        rate=config.learning_rate,
        decay=config.weight_decay,
        kept=kept,
        pruned=read_pruned(work.inputs["model"], student),
        seed=work.seed,
    )
    fitted = fit(
        student,
        encoded,
        train.labels,
        _settings(config, work.seed),
        tokenizer=tokenizer,
        scratch=work.scratch,
        progress=work.progress,
        adaptation=adaptation,
    )
    student.cpu().float()
    course = adaptation.course
    record = {
        "teacher": config.teacher,
        "losses": config.losses.model_dump(mode="json"),
        "texts": {"training": own, "synthetic": len(train) - own},
        "steps": fitted.steps,
        "curve": fitted.curve,
        "parts": {"step": course.step, **course.parts},
        "layer_map": [{"step": step, "pairs": pairs} for step, pairs in course.maps],
        "relations": [item.record() for item in curriculum.relations],
        "teacher_cache": teacher.place if teacher else "none",
        "precision": config.precision,
        "parameters": parameters,
        "trained_parameters": adaptation.trained,
    }
    return Taught(adaptation, record, [*notes, *said, *encoded.notes()])


def plain_losses(losses: DistillLosses) -> Losses:
    """The losses as `plan_curriculum` takes them; what is null has weight 0."""
    from edgeprune.training.curriculum import Losses

    hidden, relations = losses.hidden, losses.relations
    return Losses(
        logits=losses.logits.weight,
        temperature=losses.logits.temperature,
        labels=losses.labels.weight,
        hidden=hidden.weight if hidden else 0.0,
        layers=hidden.layers if hidden else "uniform",
        relations=relations.weight if relations else 0.0,
        relations_of=relations.of if relations else "value",
    )


def read_pruned(folder: Path, model: Any) -> dict[str, torch.Tensor]:
    """Parameter name to where the folder's masks prune it, true there; empty where the folder has none.

    Raises:
        EdgepruneError: The masks are not of this model.
    """
    if not (folder / MASKS).is_file():
        return {}
    from safetensors.torch import load_file

    parameters = dict(model.named_parameters())
    pruned = {}
    for name, mask in load_file(folder / MASKS).items():
        full = name if name.endswith(".bias") else f"{name}.weight"
        if full not in parameters or parameters[full].shape != mask.shape:
            raise EdgepruneError(
                f"there is a mask {list(mask.shape)} of {full}, which the model does not have in this shape",
                where=str(folder / MASKS),
                hint="a stage that cuts a model must not leave the masks of the uncut one",
            )
        pruned[full] = mask == 0
    return pruned


def _kept_dimensions(student: Any, teacher: Any) -> tuple[int, ...] | None:
    """Which of the teacher's hidden dimensions the student has; None where that is all, or not known."""
    from edgeprune.structure.loading import structure_of

    hidden = structure_of(student).hidden
    return hidden if structure_of(teacher).hidden is None else None


def _teacher(
    work: Work, model: Any, curriculum: Curriculum, encoded: Encoded, pad_id: int
) -> tuple[Teacher | None, list[str]]:
    """On disk where its states fit the budget, else beside the student; and a note of which it is."""
    from edgeprune.training.teaching import AskedTeacher, cache_bytes, store_answers

    config: DistillConfig = work.config
    if not curriculum.needs_teacher:
        return None, ["no teacher: the labels are all that is learned from"]
    states = curriculum.teacher_states
    size = cache_bytes(encoded.lengths, states) / _MEGABYTE
    precision: Any = config.precision  # `resolve` has replaced `auto`
    if size > config.cache_budget_mb:
        note = (
            f"the teacher's states would take {size:,.1f} MB, more than cache_budget_mb "
            f"({config.cache_budget_mb:,g}): it runs in every step"
        )
        return AskedTeacher(model, states, precision), [note]
    stored = store_answers(
        model,
        states,
        encoded,
        work.scratch,
        pad_id=pad_id,
        precision=precision,
        progress=work.progress,
    )
    return stored, [f"the teacher's states, {size:,.1f} MB, are stored in FP16"] if states else []


def _settings(config: DistillConfig, seed: int) -> Settings:
    from edgeprune.training.fitting import Settings

    own: dict[str, Any] = {"label_smoothing": 0.0, "seed": seed}
    named = {item.name: getattr(config, item.name) for item in fields(Settings) if item.name not in own}
    return Settings(**named, **own)
