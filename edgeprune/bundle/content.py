"""What goes into a bundle, before it is one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["PYTHON", "Content", "Sample"]

PYTHON = "3.9"
"""Lowest version of Python that the runner takes."""


@dataclass(frozen=True)
class Sample:
    """One example, and the answer that it must get on the device too.

    Attributes:
        texts: The one or two texts, in the order of `Content.columns`.
        scores: Class name to its probability, 0..1.
    """

    texts: tuple[str, ...]
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Content:
    """Everything that a bundle is made of; the same content gives the same bytes.

    What is not described here is in `runner.manifest.Manifest` under the same name.

    Attributes:
        name: Of the bundle.
        target: Of the target.
        variant: ``backend/precision``.
        architecture: ``x86_64`` or ``aarch64``.
        requirements: As pip takes them.
        columns: Names of the one or two texts.
        labels: Class names.
        model: Name in the bundle's ``model`` folder to the file that it is copied from: `variant.json`, what
            that names, and `tokenizer.json`.
        samples: Examples with their answers; may be empty.
        tolerance: Largest difference of a sample's scores.
        cpu_features: Features that the model needs.
        wheels: The requirements as files, for a device without a network.
        python: Lowest version of Python.
        provenance: Where it comes from; JSON.
    """

    name: str
    target: str
    variant: str
    architecture: str
    requirements: tuple[str, ...]
    columns: tuple[str, ...]
    labels: tuple[str, ...]
    model: Mapping[str, Path]
    samples: tuple[Sample, ...]
    tolerance: float
    cpu_features: tuple[str, ...] = ()
    wheels: tuple[Path, ...] = ()
    python: str = PYTHON
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def backend(self) -> str:
        """The runtime that answers."""
        return self.variant.partition("/")[0]

    @property
    def answers(self) -> bool:
        """Whether the runner answers with this model; the bundle of another is for programs of the user's."""
        from edgeprune.runner.session import SESSIONS

        return self.backend in SESSIONS
