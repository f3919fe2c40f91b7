"""A tiny classifier, and a run of mask learning on it that shows every hook in its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from edgeprune.masking.attached import Masking
from edgeprune.masking.granularity import Granularity
from edgeprune.masking.plan import METHODS, MaskPlan
from edgeprune.structure.architectures import head_parameters, linear_sites

HEADS, HEAD_SIZE, HIDDEN, ROWS, LAYERS, CLASSES = 4, 4, 16, 24, 2, 3
BLOCKS = {"block": [4, 3]}  # of 16 and 24: the second side leaves a partial block


def tiny_model(seed: int = 0) -> Any:
    """A random BERT classifier with weights large enough for its layers to matter."""
    import transformers

    torch.manual_seed(seed)
    model = transformers.BertForSequenceClassification(
        transformers.BertConfig(
            vocab_size=40,
            hidden_size=HIDDEN,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            intermediate_size=ROWS,
            max_position_embeddings=16,
            initializer_range=0.3,
            num_labels=CLASSES,
        )
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):  # the library starts them at 0, which would hide a bias left behind
                parameter.normal_(0.0, 0.3)
    return model.eval()


def plan(method: str, granularity: Any = "weight", **changes: Any) -> MaskPlan:
    """A plan with the method's own defaults, short enough for a test."""
    unit = Granularity.parse(granularity)
    settings: dict[str, Any] = {
        "density": unit.group[0] / unit.group[1] if unit.group else 0.3,
        "allocation": METHODS[method].allocations[0],
        "score_init": METHODS[method].score_init,
        "share_temperature": 1.0,
        "regularizer": METHODS[method].regularizer,
        "tau": 0.1,
        "shape": "cubic",
        "warmup": 0.1,
        "hold": 0.2,
        "rank": 4,
        "seed": 0,
    }
    return MaskPlan(method=method, granularity=unit, **(settings | changes))  # type: ignore[arg-type]


def attach(model: Any, plan: MaskPlan) -> Masking:
    return Masking(
        model,
        linear_sites(model),
        head_parameters(model),
        plan,
        heads=HEADS,
        embeddings=[name for name, _ in model.named_parameters() if ".embeddings." in name],
    )


def inputs(seed: int, count: int = 8) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, 40, (count, 6), generator=generator)
    mask = torch.ones_like(tokens)
    mask[: count // 2, 4:] = 0
    return {"input_ids": tokens, "attention_mask": mask}


def logits(model: Any) -> Tensor:
    """Answers to fixed inputs, [8, classes]; the model is left in the mode it was in."""
    was = model.training
    model.eval()
    with torch.no_grad():
        found: Tensor = model(**inputs(1234)).logits
    model.train(was)
    return found


def optimizer_of(masking: Masking) -> torch.optim.Optimizer:
    rates = {"scores": 2e-2, "head": 1e-3, "weights": 1e-3}
    groups = [
        {"params": items, "lr": rates[name], "name": name}
        for name, items in masking.trained().items()
        if items
    ]
    return torch.optim.AdamW(groups, weight_decay=0.0)


def train(
    masking: Masking,
    optimizer: torch.optim.Optimizer,
    *,
    total: int,
    first: int = 0,
    last: int | None = None,
    each: Callable[[int], None] = lambda step: None,
) -> None:
    """Steps `first` to `last` of a run of `total`, each a function of its number alone."""
    model = masking.model
    for step in range(first, total if last is None else last):
        torch.manual_seed(1000 + step)
        model.train()
        masking.begin_step(step, total)
        each(step)
        labels = torch.randint(0, CLASSES, (8,), generator=torch.Generator().manual_seed(step))
        loss = nn.functional.cross_entropy(model(**inputs(step)).logits, labels)
        penalty = masking.penalty()
        (loss if penalty is None else loss + penalty).backward()
        masking.gradients_ready(step, 1e-3)
        optimizer.step()
        optimizer.zero_grad()
        masking.weights_updated(step, total)
