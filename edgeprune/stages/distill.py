"""`distill`: a compressed model wins back accuracy, taught by the original."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from edgeprune.errors import EdgepruneError, Problem
from edgeprune.recipe.schema import Section, Share
from edgeprune.stages.contract import Outcome, Stage, Work

if TYPE_CHECKING:
    import torch

    from edgeprune.tasks.encoding import Encoded
    from edgeprune.training.curriculum import Curriculum, Losses
    from edgeprune.training.teaching import Teacher

__all__ = ["DISTILL", "DistillConfig"]

MASKS = "masks.safetensors"
_MEGABYTE = 1e6


class LogitsLoss(Section):
    """T² · KL(teacher || student)."""

    weight: float = Field(1.0, ge=0, description="Of this part in the sum; 0: left out.")
    temperature: float = Field(2.0, gt=0, le=100, description="T; softens both sides' logits.")


class LabelsLoss(Section):
    """Cross entropy under the labels."""

    weight: float = Field(0.0, ge=0, description="Of this part in the sum; 0: left out.")


class HiddenLoss(Section):
    """The share of the teacher's variance that the student's hidden states miss."""

    weight: float = Field(1.0, ge=0, description="Of this part in the sum; 0: left out.")
    layers: Literal["uniform", "last", "closest"] = Field(
        "uniform", description="Which layers are compared: all by depth, the last, or those that are closest."
    )


class RelationsLoss(Section):
    """KL of the relations between tokens, in the last layer that has attention heads."""

    weight: float = Field(1.0, ge=0, description="Of this part in the sum; 0: left out.")
    of: Literal["value", "query-key", "all"] = Field(
        "value", description="Vectors whose relations are compared; `query-key`: of both, each with its own."
    )


class DistillLosses(Section):
    """The parts of the loss."""

    logits: LogitsLoss = Field(
        default_factory=lambda: LogitsLoss.model_validate({}), description="What the teacher answers."
    )
    labels: LabelsLoss = Field(
        default_factory=lambda: LabelsLoss.model_validate({}), description="What the data say."
    )
    hidden: HiddenLoss | None = Field(
        default_factory=lambda: HiddenLoss.model_validate({}),
        description="Hidden states; `null`: not compared.",
    )
    relations: RelationsLoss | None = Field(None, description="Attention relations; `null`: not compared.")


class DistillConfig(Section):
    """How the student is trained."""

    epochs: float = Field(gt=0, le=1000, description="Passes over the training data; may be a fraction.")
    learning_rate: float = Field(2e-4, gt=0, lt=1, description="Peak rate of AdamW.")
    batch_size: int = Field(32, ge=1, le=65536, description="Examples a step.")
    teacher: Literal["original"] = Field("original", description="Who teaches: the fine-tuned dense model.")
    losses: DistillLosses = Field(
        default_factory=lambda: DistillLosses.model_validate({}), description="The parts of the loss."
    )
    cache_budget_mb: float = Field(
        2048.0, ge=0, description="Megabytes on disk that the teacher's hidden states may take."
    )
    weight_decay: float = Field(0.01, ge=0, description="Decoupled; not on biases and LayerNorm.")
    warmup: Share = Field(0.06, description="Share of all steps over which the rate rises.")
    schedule: Literal["linear", "cosine", "constant"] = Field(
        "linear", description="How the rate falls afterwards."
    )
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are scaled down to this norm.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="`auto`: bf16 autocast where the processor has it. Weights are FP32 always."
    )
    word_dropout: Share = Field(
        0.0, description="Share of each text's tokens that is hidden from the student, not from the teacher."
    )
    averaging: float = Field(
        0.0, ge=0, lt=1, description="Decay of a moving average of the weights, e.g. 0.998; 0: none."
    )
    checkpoint_steps: int = Field(500, ge=1, description="A killed run loses at most this many steps.")


def resolve(config: DistillConfig) -> DistillConfig:
    """`auto` replaced by this machine's precision: it decides the weights, so it belongs in the key."""
    from edgeprune.training.fitting import resolve_precision

    return config.model_copy(update={"precision": resolve_precision(config.precision)})


def check(config: DistillConfig) -> list[Problem]:
    """Nothing to learn from."""
    losses = config.losses
    parts = [part for part in (losses.logits, losses.labels, losses.hidden, losses.relations) if part]
    if any(part.weight for part in parts):
        return []
    message = "every part of the loss has weight 0: there is nothing to learn from"
    return [Problem(("losses",), message, "leave it out for logits and hidden states")]


def apply(work: Work) -> Outcome:
    """Train under the teacher, score on the validation examples, save as it came, with its masks."""
    import transformers

    from edgeprune.stages.quiet import quiet_libraries
    from edgeprune.structure.loading import load, save
    from edgeprune.tasks.encoding import encode
    from edgeprune.tasks.examples import Examples
    from edgeprune.training.curriculum import plan_curriculum
    from edgeprune.training.distilling import Distilling
    from edgeprune.training.fitting import fit
    from edgeprune.training.predicting import quality_of

    quiet_libraries()
    transformers.set_seed(work.seed)
    config: DistillConfig = work.config
    max_length: int = work.sections["model.max_length"]
    train = Examples.load(work.inputs["data"] / "train")
    tokenizer = transformers.AutoTokenizer.from_pretrained(work.inputs["model"], local_files_only=True)
    student, original = load(work.inputs["model"]), load(work.inputs["original"])
    _require_same_classes(student, original)
    _share_vocabulary(original, work.inputs["original"], tokenizer)
    encoded = encode(tokenizer, train, max_length)
    curriculum = plan_curriculum(student, original, plain_losses(config.losses))
    kept = _kept_dimensions(student, original)
    teacher, notes = _teacher(work, original, curriculum, encoded, tokenizer.pad_token_id)
    del original  # what is on disk needs no second model in memory
    adaptation = Distilling(
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
    adaptation.detach()
    student = student.cpu().float()
    save(student, work.output, tokenizer)
    if (work.inputs["model"] / MASKS).is_file():
        shutil.copyfile(work.inputs["model"] / MASKS, work.output / MASKS)
    validation = Examples.load(work.inputs["data"] / "validation")
    answered = encode(tokenizer, validation, max_length)
    course = adaptation.course
    record = {
        "quality": asdict(quality_of(student, validation, answered, pad_id=tokenizer.pad_token_id)),
        "steps": fitted.steps,
        "curve": fitted.curve,
        "parts": {"step": course.step, **course.parts},
        "layer_map": [{"step": step, "pairs": pairs} for step, pairs in course.maps],
        "relations": [item.record() for item in curriculum.relations],
        "teacher_cache": teacher.place if teacher else "none",
        "precision": config.precision,
        "parameters": sum(parameter.numel() for parameter in student.parameters()),
        "trained_parameters": adaptation.trained,
    }
    return Outcome(record=record, notes=notes + encoded.notes())


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


def _require_same_classes(student: Any, teacher: Any) -> None:
    """A teacher whose classes stand in another order would teach wrong answers without any error."""
    ours, theirs = (dict(sorted(model.config.id2label.items())) for model in (student, teacher))
    if ours != theirs:
        raise EdgepruneError(
            f"the model's classes are {', '.join(ours.values())}, not those of its teacher: "
            f"{', '.join(theirs.values())}",
            hint="both must be of the same task",
        )


def _share_vocabulary(teacher: Any, folder: Path, tokenizer: Any) -> None:
    """Cut the teacher's embeddings to the student's tokens, where the student's vocabulary was cut.

    Raises:
        EdgepruneError: The student has tokens that the teacher does not know.
    """
    import transformers

    from edgeprune.structure.vocabulary import slice_embeddings

    ours = tokenizer.get_vocab()
    theirs = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True).get_vocab()
    if ours == theirs:
        return
    unknown = sorted(set(ours) - set(theirs))
    if unknown:
        raise EdgepruneError(
            f"{len(unknown)} of the model's tokens are not its teacher's, {unknown[0]!r} among them",
            where=str(folder),
            hint="both must come from the same pre-trained model",
        )
    slice_embeddings(teacher, [theirs[token] for token in sorted(ours, key=ours.__getitem__)])


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


def _settings(config: DistillConfig, seed: int) -> Any:
    from edgeprune.training.fitting import Settings

    own = ("teacher", "losses", "cache_budget_mb")
    return Settings(**config.model_dump(exclude=set(own)), label_smoothing=0.0, seed=seed)


DISTILL = Stage(
    name="distill",
    summary="let the original teach a compressed model",
    config=DistillConfig,
    apply=apply,
    requires=("data", "model", "original"),
    provides=("model",),
    reads=("model.max_length",),
    seeded=True,
    ensures=("model.safetensors", "config.json", "tokenizer.json"),
    code=(
        "stages.distill", "stages.quiet", "training", "structure", "distillation", "tasks", "runner.cpu",
        "durable",
    ),
    libraries=("torch", "transformers", "accelerate", "tokenizers", "scikit-learn", "numpy"),
    resolve=resolve,
    check=check,
)  # fmt: skip
