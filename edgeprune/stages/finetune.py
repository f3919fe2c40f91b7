"""`finetune`: the pre-trained encoder becomes the original: dense, FP32, trained for the task."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from pydantic import Field

from edgeprune.recipe.schema import Section, Share
from edgeprune.stages.contract import Outcome, Stage, Work

__all__ = ["FINETUNE", "FinetuneConfig"]


class FinetuneConfig(Section):
    """How the original is trained."""

    epochs: float = Field(gt=0, le=1000, description="Passes over the training data; may be a fraction.")
    learning_rate: float = Field(gt=0, lt=1, description="Peak rate of AdamW.")
    batch_size: int = Field(32, ge=1, le=65536, description="Examples a step.")
    weight_decay: float = Field(0.01, ge=0, description="Decoupled; not on biases and LayerNorm.")
    warmup: Share = Field(0.06, description="Share of all steps over which the rate rises.")
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    label_smoothing: Share = Field(0.0, description="Share of the target spread over all classes.")
    max_grad_norm: float = Field(1.0, gt=0)
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="`auto`: bf16 autocast where the processor has it. Weights are FP32 always."
    )
    word_dropout: Share = Field(
        0.0, description="Share of each training text's tokens that is hidden behind the mask token."
    )
    averaging: float = Field(
        0.0, ge=0, lt=1, description="Decay of a moving average of the weights, e.g. 0.998; 0: none."
    )
    checkpoint_steps: int = Field(500, ge=1, description="A killed run loses at most this many steps.")


def resolve(config: FinetuneConfig) -> FinetuneConfig:
    """`auto` replaced by this machine's precision: it decides the weights, so it belongs in the key."""
    from edgeprune.training.fitting import resolve_precision

    return config.model_copy(update={"precision": resolve_precision(config.precision)})


def apply(work: Work) -> Outcome:
    """Train, score on the validation examples, save as a Hugging Face folder."""
    import transformers

    from edgeprune.stages.quiet import quiet_libraries
    from edgeprune.structure.loading import pretrained, save
    from edgeprune.tasks.encoding import encode
    from edgeprune.tasks.examples import Examples
    from edgeprune.training.fitting import Settings, fit
    from edgeprune.training.predicting import quality_of

    quiet_libraries()
    transformers.set_seed(work.seed)
    config: FinetuneConfig = work.config
    max_length: int = work.sections["model.max_length"]
    train = Examples.load(work.inputs["data"] / "train")
    validation = Examples.load(work.inputs["data"] / "validation")
    tokenizer, model, notes = pretrained(
        work.assets["model"], train.classes, pooling=work.sections["model.pooling"]
    )
    encoded = encode(tokenizer, train, max_length)
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
    answered = encode(tokenizer, validation, max_length)
    save(model, work.output, tokenizer)
    record = {
        "quality": asdict(quality_of(model, validation, answered, pad_id=tokenizer.pad_token_id)),
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
    code=("stages.finetune", "stages.quiet", "training", "structure", "tasks", "runner.cpu", "durable"),
    libraries=("torch", "transformers", "accelerate", "tokenizers", "scikit-learn"),
    resolve=resolve,
)
