"""A base folder, a folded model on it and the mask pack, made with the tiny models of tests/structure."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "structure"))


@dataclass(frozen=True)
class Project:
    """Folders and files below a temporary one.

    Attributes:
        base: Checkpoint with an MLM head and a tokenizer.
        folded: The task's model as a stage saves it.
        pack: The mask pack's file.
        model: The task's model.
    """

    base: Path
    folded: Path
    pack: Path
    model: Any


def make(folder: Path, model_type: str = "bert", *, head: str = "trained", seed: int = 0) -> Project:
    """A task on a base; bases in one folder are the same, tasks of different seeds are not."""
    import structure_kit
    import torch

    from edgeprune.masking.separating import remainder, separate
    from edgeprune.structure.architectures import linear_sites
    from edgeprune.structure.loading import pretrained, save
    from edgeprune.structure.weights import read_tensors

    base, folded, file = folder / "base", folder / f"folded-{seed}", folder / f"task-{seed}.edgepack"
    structure_kit.save_masked(model_type, base)
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    words = structure_kit.WORDS
    _, model, _ = pretrained(base, list(words), head=head, label_words=words)
    masks = {}
    with torch.no_grad():
        for site in linear_sites(model):
            weight = model.get_submodule(site.name).weight
            mask = torch.rand(weight.shape, generator=generator) < 0.5 / (1 + site.layer)
            weight.copy_(torch.where(mask, weight, torch.zeros(())))
            masks[site.name] = mask
    save(model, folded)
    tensors = read_tensors(base)
    structure = folded / "structure.json"
    pack = separate(
        tensors,
        masks,
        remainder(tensors, masks, model.state_dict()),
        config=json.loads((folded / "config.json").read_text()),
        classes=list(words),
        structure=json.loads(structure.read_text()) if structure.exists() else None,
        provenance={"method": "smp", "density": {"target": 0.3}, "run": f"tiny/{seed}"},
    )
    pack.save(file)
    return Project(base, folded, file, model.eval())


def logits(model: Any, model_type: str = "bert") -> Any:
    import structure_kit

    return structure_kit.logits(model, model_type)
