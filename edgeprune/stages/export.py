"""`export`: the current model as ONNX, with dynamic batch and length, proven against PyTorch."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from edgeprune.errors import EdgepruneError
from edgeprune.recipe.schema import Section
from edgeprune.stages.contract import Outcome, Stage, Work

__all__ = ["EXPORT", "OPSET", "ExportConfig", "copy_companions", "write_onnx"]

OPSET = 18


class ExportConfig(Section):
    """How the model is exported."""

    opset: int = Field(OPSET, ge=14, le=23, description="ONNX operator set.")
    tolerance: float = Field(1e-4, gt=0, description="Largest allowed difference of a logit from PyTorch's.")
    check_examples: int = Field(64, ge=4, description="Validation examples that the check runs on.")


def apply(work: Work) -> Outcome:
    """Export with optimum, then compare logits with PyTorch's at several batch sizes and lengths."""
    from edgeprune.stages.quiet import quiet_libraries
    from edgeprune.structure.loading import load

    quiet_libraries()
    config: ExportConfig = work.config
    source = work.inputs["model"]
    model = load(source)
    write_onnx(model, work.output, config.opset)
    copy_companions(source, work.output)
    worst, checked = _compare(model, work, config)
    if not worst <= config.tolerance:
        raise EdgepruneError(
            f"the exported model's logits are off PyTorch's by {worst:.2g}; allowed: {config.tolerance:g}",
            where=str(checked),
            hint="the model computes no numbers: its training diverged, or its weights are damaged"
            if np.isnan(worst)
            else "raise stages.export.tolerance if that is acceptable, or try another opset",
        )
    size = (work.output / "model.onnx").stat().st_size
    return Outcome(record={"max_logit_difference": worst, "checked_batches": checked, "file_bytes": size})


def copy_companions(source: Path, folder: Path) -> None:
    """What an ONNX file is of little use without: tokenizer and config, as far as they are there."""
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "config.json"):
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


def write_onnx(model: Any, output: Path, opset: int = OPSET) -> None:
    """A live classifier through optimum's exporter: `model.onnx`, and its `config.json`.

    Args:
        model: In evaluation mode.
        output: Folder; made if it is not there.
        opset: ONNX operator set.
    """
    import logging
    import warnings

    from optimum.exporters.onnx import onnx_export_from_model

    logging.getLogger("optimum").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracer advice about code that is not ours
        onnx_export_from_model(
            model, output=output, task="text-classification", opset=opset, do_validation=False
        )


def _compare(model: Any, work: Work, config: ExportConfig) -> tuple[float, list[str]]:
    """Largest logit difference between ONNX Runtime and PyTorch, and the batches it was taken over."""
    import onnxruntime
    import torch
    import transformers

    from edgeprune.tasks.encoding import collate, encode
    from edgeprune.tasks.examples import Examples

    tokenizer = transformers.AutoTokenizer.from_pretrained(work.inputs["model"], local_files_only=True)
    max_length: int = work.sections["model.max_length"]
    validation = Examples.load(work.inputs["data"] / "validation")
    count = min(config.check_examples, len(validation))
    encoded = encode(tokenizer, validation.select(range(count)), max_length)
    session = onnxruntime.InferenceSession(work.output / "model.onnx", providers=["CPUExecutionProvider"])
    names = {entry.name for entry in session.get_inputs()}
    worst, shapes = 0.0, []
    starts = np.cumsum([0, 1, 2, 5, 8])  # batches of 1, 2, 5, 8 and the rest, each padded to its own longest
    for begin, end in zip(starts, [*starts[1:], count], strict=True):
        indices = list(range(int(begin), min(int(end), count)))
        if not indices:
            continue
        arrays = collate(encoded, indices, tokenizer.pad_token_id)
        (logits,) = session.run(["logits"], {name: array for name, array in arrays.items() if name in names})
        with torch.inference_mode():
            expected = model(
                **{name: torch.from_numpy(array) for name, array in arrays.items()}
            ).logits.numpy()
        difference = float(np.abs(logits - expected).max())
        worst = difference if np.isnan(difference) else max(worst, difference)
        shapes.append("x".join(map(str, arrays["input_ids"].shape)))
        if np.isnan(worst):
            break
    return worst, shapes


EXPORT = Stage(
    name="export",
    summary="write the current model as ONNX and check it against PyTorch",
    config=ExportConfig,
    apply=apply,
    requires=("model", "data"),
    provides=("onnx",),
    reads=("model.max_length",),
    ensures=("model.onnx", "tokenizer.json", "config.json"),
    code=("stages.export", "stages.quiet", "structure", "tasks"),
    libraries=("torch", "transformers", "optimum", "optimum-onnx", "onnx", "onnxruntime"),
)
