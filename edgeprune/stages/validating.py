"""How well a stage's model answers the validation examples: what every record of a model begins with."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from edgeprune.stages.contract import Work

__all__ = ["validation_quality"]


def validation_quality(work: Work, model: Any, tokenizer: Any) -> dict[str, Any]:
    """Scores (see `tasks.scoring.Scores`) of a model with its own tokenizer, in the model's precision.

    Args:
        work: Of a stage that requires `data` and reads `model.max_length`.
        model: A Hugging Face classifier; left in evaluation mode.
        tokenizer: The one that belongs to it.
    """
    from edgeprune.tasks.encoding import encode
    from edgeprune.tasks.examples import Examples
    from edgeprune.training.predicting import quality_of

    examples = Examples.load(work.inputs["data"] / "validation")
    encoded = encode(tokenizer, examples, work.sections["model.max_length"])
    return asdict(quality_of(model, examples, encoded, pad_id=tokenizer.pad_token_id))
