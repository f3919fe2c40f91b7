"""A tiny task over a tiny base: an encoder `enc` with two layers, a pooler that the base has too, a classifier."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgeprune.masking.pack import Pack
from edgeprune.masking.separating import remainder, separate

WIDTH, INNER, CLASSES = 12, 20, ("bad", "good", "mixed")
CONFIG = {"model_type": "toy", "id2label": {"0": "bad", "1": "good", "2": "mixed"}}
PROVENANCE = {"method": "smp", "density": 0.25, "run": "toy/1"}


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)
        self.LayerNorm = nn.LayerNorm(WIDTH)

    def forward(self, states: Tensor) -> Tensor:
        return self.LayerNorm(states + self.down(torch.tanh(self.up(states))))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(30, WIDTH)
        self.layer = nn.ModuleList([Layer(), Layer()])
        self.pooler = nn.Linear(WIDTH, WIDTH)
        self.register_buffer("position_ids", torch.arange(5))

    def forward(self, ids: Tensor) -> Tensor:
        states = self.embeddings(ids)
        for layer in self.layer:
            states = layer(states)
        return torch.tanh(self.pooler(states[:, 0]))


class Task(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enc = Encoder()
        self.classifier = nn.Linear(WIDTH, len(CLASSES))

    def forward(self, ids: Tensor) -> Tensor:
        return self.classifier(self.enc(ids))


@dataclass
class Made:
    """A base as its file has it, masks on it, the folded model, and the pack."""

    base: dict[str, Tensor]
    masks: dict[str, Tensor]
    model: Task
    pack: Pack


def base_tensors(seed: int = 0) -> dict[str, Tensor]:
    """A bare encoder, as a checkpoint file has it."""
    torch.manual_seed(seed)
    return {name: tensor.clone() for name, tensor in Encoder().state_dict().items()}


def masks_of(seed: int, density: float = 0.25) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"up": (INNER, WIDTH), "down": (WIDTH, INNER)}
    return {
        f"enc.layer.{layer}.{kind}": torch.rand(shape, generator=generator) < density
        for layer in (0, 1)
        for kind, shape in shapes.items()
    }


def make(seed: int = 1, base: dict[str, Tensor] | None = None, **extra: object) -> Made:
    """A task with a head of its own; `extra` goes to `separate`."""
    base = base_tensors() if base is None else base
    masks = masks_of(seed)
    torch.manual_seed(seed)
    model = Task().eval()
    with torch.no_grad():
        model.enc.load_state_dict(base)
        for path, mask in masks.items():
            weight = model.get_submodule(path).weight
            weight.copy_(torch.where(mask, weight, torch.zeros(())))
    pack = separate(
        base,
        masks,
        remainder(base, masks, model.state_dict()),
        config=CONFIG,
        classes=CLASSES,
        provenance=PROVENANCE,
        **extra,
    )
    return Made(base, masks, model, pack)


def ids(seed: int = 0) -> Tensor:
    return torch.randint(0, 30, (3, 5), generator=torch.Generator().manual_seed(seed))
