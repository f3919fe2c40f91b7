"""Fitting a model to encoded examples with transformers' Trainer.

What is ours: the order of batches (a function of seed and epoch), sealed checkpoints, and plain
progress. A run that was killed and resumed gives the same weights, to the bit, as one that was not:
the sampler has no state, dropout's random state is in the checkpoint, and the loss curve is logged at
steps that divide the checkpoint interval.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgeprune.errors import EdgepruneError
from edgeprune.training.adapting import Adaptation
from edgeprune.training.attention import attention_kernels
from edgeprune.training.averaging import WeightAverage
from edgeprune.training.batching import LengthGroupedOrder
from edgeprune.training.checkpoints import newest_whole, seal
from edgeprune.training.feeding import Visits, batch_maker

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    from edgeprune.tasks.encoding import Encoded

__all__ = ["Fitted", "Precision", "Settings", "fit", "resolve_precision"]

Precision = Literal["fp32", "bf16"]

# Whatever else is in a batch is for the loss alone.
_MODEL_INPUTS = {"input_ids", "attention_mask", "token_type_ids", "labels"}


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes:
        epochs: Passes over the data; may be a fraction.
        batch_size: Examples a step.
        learning_rate: Peak rate of AdamW.
        weight_decay: Decoupled, on matrices only (biases and LayerNorm are left alone).
        warmup: Share of all steps over which the rate rises from 0.
        schedule: How the rate falls afterwards.
        label_smoothing: Share of the target spread over all classes.
        max_grad_norm: Gradients are scaled down to this norm.
        precision: `bf16` runs the matrix products under autocast; weights stay FP32.
        word_dropout: Share of each text's tokens that is hidden behind the mask token; 0: none.
        averaging: Decay of the moving average of the weights that is kept; 0: the last weights are.
        checkpoint_steps: Steps between checkpoints.
        seed: Of batches and dropout.
    """

    epochs: float
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup: float
    schedule: Literal["linear", "cosine", "constant"]
    label_smoothing: float
    max_grad_norm: float
    precision: Precision
    word_dropout: float
    averaging: float
    checkpoint_steps: int
    seed: int


@dataclass(frozen=True)
class Fitted:
    """What training was.

    Attributes:
        steps: Optimizer steps.
        curve: (step, mean loss since the point before), about ten points a checkpoint interval.
        resumed_from: Step of the checkpoint that this process went on from; 0 when it began anew.
    """

    steps: int
    curve: list[tuple[int, float]]
    resumed_from: int


def resolve_precision(wanted: Literal["auto", "fp32", "bf16"]) -> Precision:
    """What `auto` means here: bf16 where the processor multiplies it natively, else fp32."""
    if wanted != "auto":
        return wanted
    from edgeprune.runner.cpu import describe

    features = set(describe().features)
    return "bf16" if features & {"avx512_bf16", "amx_bf16", "bf16"} else "fp32"


def fit(
    model: torch.nn.Module,
    encoded: Encoded,
    labels: Sequence[int],
    settings: Settings,
    *,
    tokenizer: PreTrainedTokenizerBase,
    scratch: Path,
    progress: Callable[..., None],
    adaptation: Adaptation | None = None,
) -> Fitted:
    """Train a classification model in place.

    Args:
        model: Takes `input_ids`, `attention_mask`, (`token_type_ids`,) `labels`, gives `.loss`, `.logits`.
        encoded: Token ids of the n training examples.
        labels: Their class ids, [n].
        settings: How.
        tokenizer: Names the padding, mask and other special tokens.
        scratch: Folder of checkpoints; a whole one in it is gone on from.
        progress: Called with step, total and loss.
        adaptation: What else happens in a step.

    Raises:
        UnsupportedError: Word dropout is asked for and the tokenizer has no mask token.
        EdgepruneError: The loss is no finite number any more.
    """
    import transformers

    checkpoints = scratch / "checkpoints"
    start = newest_whole(checkpoints)
    adaptation = adaptation or Adaptation()
    make_batch = batch_maker(
        encoded,
        labels,
        tokenizer,
        adaptation.bring,
        word_dropout=settings.word_dropout,
        seed=settings.seed,
    )
    trainer = _trainer(model, make_batch, encoded, settings, checkpoints, adaptation)
    for callback in (transformers.PrinterCallback, transformers.ProgressCallback):
        trainer.remove_callback(callback)
    average = WeightAverage(model, settings.averaging) if settings.averaging else None
    if start:
        adaptation.load(start)
        if average:
            average.load(start)
    trainer.add_callback(_keeper(average, progress, adaptation))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*pin_memory.*|mtime may not be reliable.*")
        trainer.train(resume_from_checkpoint=str(start) if start else None)
    # accelerate has put autocast around the forward pass; what is saved has none, and is scored as it is.
    trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    if average:
        average.put()
    curve = [
        (int(entry["step"]), float(entry["loss"])) for entry in trainer.state.log_history if "loss" in entry
    ]
    return Fitted(trainer.state.global_step, curve, int(start.name.rpartition("-")[2]) if start else 0)


def _trainer(
    model: Any,
    batch: Callable[..., Any],
    encoded: Encoded,
    settings: Settings,
    checkpoints: Path,
    adaptation: Adaptation,
) -> Any:
    import torch
    import transformers

    order = LengthGroupedOrder(encoded.lengths.tolist(), settings.batch_size, settings.seed)

    class AdaptedTrainer(transformers.Trainer):  # type: ignore[misc]
        """The Trainer with our order of batches, and with an adaptation's groups and loss."""

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return order

        def create_optimizer(self) -> Any:
            groups = adaptation.parameter_groups()
            if groups is None:
                return super().create_optimizer()
            self.optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
            return self.optimizer

        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **rest: Any) -> Any:
            extra = {name: inputs.pop(name) for name in inputs.keys() - _MODEL_INPUTS}
            with attention_kernels(inputs["input_ids"], bf16=settings.precision == "bf16"):
                if type(adaptation).loss is Adaptation.loss:
                    return super().compute_loss(model, inputs, return_outputs, **rest)
                logits = model(**{name: item for name, item in inputs.items() if name != "labels"}).logits
            return adaptation.loss(logits, dict(inputs) | extra)

    # transformers tells accelerate of bf16 through this variable and never takes it back: an fp32 training
    # that comes after a bf16 one in the same process would be a bf16 one.
    os.environ["ACCELERATE_MIXED_PRECISION"] = "bf16" if settings.precision == "bf16" else "no"
    arguments = transformers.TrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        warmup_ratio=settings.warmup,
        lr_scheduler_type={"constant": "constant_with_warmup"}.get(settings.schedule, settings.schedule),
        label_smoothing_factor=settings.label_smoothing,
        max_grad_norm=settings.max_grad_norm,
        bf16=settings.precision == "bf16",
        use_cpu=not torch.cuda.is_available(),
        optim="adamw_torch_fused",
        seed=settings.seed,
        save_strategy="steps",
        save_steps=settings.checkpoint_steps,
        save_total_limit=2,  # the older one stays until the newer one is sealed
        logging_strategy="steps",
        logging_steps=_divisor(settings.checkpoint_steps, 10),
        logging_nan_inf_filter=False,  # a training that diverges is to end, not to look like one at loss 0
        eval_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
    visits = Visits(len(encoded))
    return AdaptedTrainer(model=model, args=arguments, train_dataset=visits, data_collator=batch)


def _divisor(interval: int, parts: int) -> int:
    """The smallest divisor of `interval` that cuts it into at most `parts` pieces.

    Logged losses are means since the last log; only when every checkpoint falls on a log is the curve
    of a resumed run that of an uninterrupted one.
    """
    return next(step for step in range(max(1, interval // parts), interval + 1) if interval % step == 0)


def _keeper(average: WeightAverage | None, progress: Callable[..., None], adaptation: Adaptation) -> Any:
    import transformers

    class Keeper(transformers.TrainerCallback):  # type: ignore[misc]
        """Calls the adaptation, averages weights, seals checkpoints, tells each step and the last loss."""

        loss: float | None = None

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **rest: Any) -> None:
            self.loss = (logs or {}).get("loss", self.loss)
            if self.loss is not None and not math.isfinite(self.loss):
                raise EdgepruneError(
                    f"the training diverged: at step {state.global_step} its loss is {self.loss}",
                    hint="train again with a smaller learning_rate",
                )

        def on_step_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            adaptation.begin_step(state.global_step, state.max_steps)

        def on_pre_optimizer_step(
            self, args: Any, state: Any, control: Any, optimizer: Any = None, **rest: Any
        ) -> None:
            adaptation.gradients_ready(state.global_step, optimizer.param_groups)

        def on_optimizer_step(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            adaptation.weights_updated(state.global_step, state.max_steps)

        def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            if average:
                average.update(state.global_step)
            progress(step=state.global_step, total=state.max_steps, loss=self.loss)

        def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            adaptation.save(checkpoint)
            if average:
                average.save(checkpoint)
            seal(checkpoint)

    return Keeper()
