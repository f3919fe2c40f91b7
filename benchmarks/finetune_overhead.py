"""What our training loop costs beside a plain transformers Trainer script, as a ratio.

Both train the same model from the same weights on the same batches in the same order, with the same
precision, optimizer and schedule, and save one checkpoint each at the end. They take turns in one
process, in alternating order, so that they share whatever the machine is doing meanwhile.

    python benchmarks/finetune_overhead.py [--steps 40] [--rounds 8] [--averaging 0.998]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune import assets
from edgeprune.cli.options import default_cache
from edgeprune.measurement.statistics import ratio_of_medians
from edgeprune.pipeline import running
from edgeprune.pipeline.planning import asset_sources
from edgeprune.runner.cpu import describe
from edgeprune.stages.quiet import quiet_libraries
from edgeprune.tasks.encoding import Encoded, encode
from edgeprune.tasks.preparing import prepare
from edgeprune.training.batching import length_grouped_order
from edgeprune.training.fitting import Settings, fit, resolve_precision

RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "quickstart.yaml"
RESULTS = Path(__file__).resolve().parent / "results" / "finetune_overhead.json"


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--steps", type=int, default=40, help="steps per turn")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--averaging", type=float, default=0.998, help="of the third row; 0 leaves it out")
    options = parser.parse_args()
    quiet_libraries()
    setup = _Setup(options.steps)
    contestants: dict[str, Callable[[Path], None]] = {
        "plain Trainer script": setup.plain,
        "edgeprune": lambda folder: setup.ours(folder, averaging=0.0),
    }
    if options.averaging:
        contestants["edgeprune, averaging"] = lambda folder: setup.ours(folder, averaging=options.averaging)
    seconds = _take_turns(contestants, options.rounds)
    _report(seconds, setup, options)


class _Setup:
    """The quickstart's model and training data, loaded once."""

    def __init__(self, steps: int) -> None:
        import transformers

        recipe = running.load(RECIPE)
        cache = default_cache()
        paths = {
            role: assets.resolve(sources, kind=kind, cache=cache, base=recipe.folder).path
            for role, (sources, kind) in asset_sources(recipe).items()
        }
        data = prepare(recipe.shell.task, paths["train"], None).train
        config = recipe.stages[0].config
        self.batch_size: int = config.batch_size  # type: ignore[attr-defined]
        self.steps = steps
        self.model_path = paths["model"]
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(self.model_path)
        whole = encode(self.tokenizer, data, recipe.shell.model.max_length)
        count = steps * self.batch_size
        self.encoded = Encoded(
            whole.input_ids[:count],
            whole.token_type_ids[:count] if whole.token_type_ids else None,
            whole.lengths[:count],
            0,
            whole.max_length,
        )
        self.labels = list(data.labels[:count])
        self.precision = resolve_precision("auto")

    def model(self) -> Any:
        import transformers

        transformers.set_seed(0)
        return transformers.AutoModelForSequenceClassification.from_pretrained(self.model_path, num_labels=2)

    def ours(self, folder: Path, *, averaging: float) -> None:
        """Our loop."""
        settings = Settings(
            epochs=1,
            batch_size=self.batch_size,
            learning_rate=1e-4,
            weight_decay=0.01,
            warmup=0.06,
            schedule="linear",
            label_smoothing=0.0,
            max_grad_norm=1.0,
            precision=self.precision,
            word_dropout=0.0,
            averaging=averaging,
            checkpoint_steps=self.steps,
            seed=0,
        )
        fit(
            self.model(),
            self.encoded,
            self.labels,
            settings,
            tokenizer=self.tokenizer,
            scratch=folder,
            progress=lambda **numbers: None,
        )

    def plain(self, folder: Path) -> None:
        """What a user would write: datasets, DataCollatorWithPadding, Trainer; batches in the given order."""
        import datasets
        import torch
        import transformers

        order = length_grouped_order(self.encoded.lengths.tolist(), self.batch_size, 0, 0)
        rows = datasets.Dataset.from_dict(
            {
                "input_ids": [self.encoded.input_ids[index] for index in order],
                "attention_mask": [[1] * len(self.encoded.input_ids[index]) for index in order],
                "label": [self.labels[index] for index in order],
            }
        )

        class InOrder(transformers.Trainer):  # type: ignore[misc]
            def _get_train_sampler(self, train_dataset: Any = None) -> Any:
                return torch.utils.data.SequentialSampler(rows)

        arguments = transformers.TrainingArguments(
            output_dir=str(folder),
            num_train_epochs=1,
            per_device_train_batch_size=self.batch_size,
            learning_rate=1e-4,
            weight_decay=0.01,
            warmup_ratio=0.06,
            bf16=self.precision == "bf16",
            use_cpu=True,
            save_strategy="steps",
            save_steps=self.steps,
            logging_steps=max(1, self.steps // 10),
            report_to=[],
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        trainer = InOrder(
            model=self.model(),
            args=arguments,
            train_dataset=rows,
            data_collator=transformers.DataCollatorWithPadding(self.tokenizer),
        )
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()


def _take_turns(contestants: dict[str, Callable[[Path], None]], rounds: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):  # the first round warms up and is thrown away
        names = list(contestants) if number % 2 else list(reversed(contestants))
        for name in names:
            with tempfile.TemporaryDirectory(prefix="edgeprune-bench-") as folder:
                begun = time.perf_counter()
                contestants[name](Path(folder))
                elapsed = time.perf_counter() - begun
            if number:
                seconds[name].append(elapsed)
    return seconds


def _report(seconds: dict[str, list[float]], setup: _Setup, options: argparse.Namespace) -> None:
    import torch

    machine = describe()
    print(f"{machine.model}, {torch.get_num_threads()} threads, {setup.precision}, batch {setup.batch_size},")
    print(f"{options.steps} steps a turn, {options.rounds} rounds, MiniLM-L6, up to 64 tokens\n")
    print(f"{'':24} {'ms/step':>8}  ratio of medians to plain, 95 % interval")
    rows = {}
    plain = np.array(next(iter(seconds.values())))[:, None]
    for name, values in seconds.items():
        ratio = ratio_of_medians(np.array(values)[:, None], plain, 0.95)
        step = 1000 * float(np.median(values)) / options.steps
        rows[name] = {"ms_per_step": step, "ratio": asdict(ratio), "seconds": values}
        print(f"{name:24} {step:8.1f}  {ratio.estimate:.3f} ({ratio.low:.3f} to {ratio.high:.3f})")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"cpu": machine.model, "options": vars(options), "rows": rows}, indent=1))
    print(f"\n{RESULTS}")


if __name__ == "__main__":
    main()
