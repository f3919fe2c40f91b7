"""`finetune`: the pre-trained encoder becomes the original: dense, FP32, trained for the task."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from edgeprune.recipe.schema import Share
from edgeprune.stages.contract import Outcome, Stage, Work
from edgeprune.stages.training_config import TrainingConfig

__all__ = ["FINETUNE", "FinetuneConfig"]


class FinetuneConfig(TrainingConfig):
    """How the original is trained."""

    learning_rate: float = Field(gt=0, lt=1, description="Peak rate of AdamW.")
    warmup: Share = Field(0.06, description="Share of all steps over which the rate rises.")
    schedule: Literal["linear", "cosine", "constant"] = Field(
        "linear", description="How the rate falls afterwards."
    )
    label_smoothing: Share = Field(0.0, description="Share of the target spread over all classes.")
    averaging: float = Field(
        0.0, ge=0, lt=1, description="Decay of a moving average of the weights, e.g. 0.998; 0: none."
    )


def apply(work: Work) -> Outcome:
    """Train, score on the validation examples, save as a Hugging Face folder."""
    import transformers

    from edgeprune.stages.quiet import quiet_libraries
    from edgeprune.stages.validating import validation_quality
    from edgeprune.structure.loading import pretrained, save
    from edgeprune.tasks.encoding import encode
    from edgeprune.tasks.examples import Examples
    from edgeprune.training.fitting import Settings, fit

    quiet_libraries()
    transformers.set_seed(work.seed)
    config: FinetuneConfig = work.config
    train = Examples.load(work.inputs["data"] / "train")
    tokenizer, model, notes = pretrained(
        work.assets["model"], train.classes, pooling=work.sections["model.pooling"]
    )
    encoded = encode(tokenizer, train, work.sections["model.max_length"])
    settings = Settings(**config.model_dump(), seed=work.seed)
    fitted = fit(
        model,
        encoded,
        train.labels,
        settings,
        tokenizer=tokenizer,
        scratch=work.scratch,
        progress=work.progress,
    )
    model = model.cpu().float()
    save(model, work.output, tokenizer)
    record = {
        "quality": validation_quality(work, model, tokenizer),
        "steps": fitted.steps,
        "curve": fitted.curve,
        "precision": config.precision,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "encoder": describe_encoder(model.config),
    }
    return Outcome(record=record, notes=notes + encoded.notes())


def describe_encoder(config: Any) -> str:
    """Architecture and size in words, from a Hugging Face config."""
    parts = [config.model_type]
    for name, words in (
        ("num_hidden_layers", "{} layers"),
        ("hidden_size", "hidden {}"),
        ("num_attention_heads", "{} heads"),
        ("intermediate_size", "FFN {}"),
    ):
        value = getattr(config, name, None)
        if value is not None:
            parts.append(words.format(value))
    return ", ".join(parts)


FINETUNE = Stage(
    name="finetune",
    summary="train the dense original for the task",
    config=FinetuneConfig,
    apply=apply,
    requires=("data",),
    provides=("model", "original"),
    assets=("model",),
    reads=("model.max_length", "model.pooling"),
    seeded=True,
    ensures=("model.safetensors", "config.json", "tokenizer.json"),
    code=(
        "stages.finetune", "stages.training_config", "stages.validating", "stages.quiet", "training",
        "structure", "tasks", "runner.cpu", "durable",
    ),
    libraries=("torch", "transformers", "accelerate", "tokenizers", "scikit-learn"),
    resolve=FinetuneConfig.resolved,
)  # fmt: skip
