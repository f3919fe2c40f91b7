"""The one way from texts to answers: what `predict` answers is what is evaluated, timed and served."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Sequence

import numpy as np

from .examples import Example
from .manifest import FILE, MODEL, Manifest, read_manifest
from .session import open_session
from .texts import Texts, softmax
from .variant import RunnerError, read_variant

__all__ = [
    "Answer",
    "Answerer",
    "Runs",
    "bundle_words",
    "open_answerer",
    "open_bundle",
    "positive",
]


class Runs(Protocol):
    """A model that is loaded."""

    def run(self, ids: np.ndarray, mask: np.ndarray, types: np.ndarray) -> np.ndarray:
        """Logits [batch, classes] of int64 [batch, length] inputs."""


@dataclass(frozen=True)
class Answer:
    """What a model says of one example.

    Attributes:
        index: The class with the largest logit.
        label: Its name.
        logits: float32 as they came from the model, one per class.
        scores: Name of each class to its share of 1.
    """

    index: int
    label: str
    logits: tuple[float, ...]
    scores: dict[str, float]

    def row(self) -> dict[str, Any]:
        """As it is written: label, score, and the scores of all classes."""
        return {"label": self.label, "score": self.scores[self.label], "scores": self.scores}


class Answerer:
    """A bundle that is loaded and ready. Not for several threads at once.

    Attributes:
        manifest: What the bundle says about itself.
        texts: Its tokenizer.
        session: Its model.
        threads: Threads that the runtime was told to use.
    """

    def __init__(self, manifest: Manifest, texts: Texts, session: Runs, threads: int) -> None:
        self.manifest = manifest
        self.texts = texts
        self.session = session
        self.threads = threads

    def answer(self, examples: Sequence[Example], length: int | None = None) -> list[Answer]:
        """Answers to some examples, in their order, computed as one batch.

        Args:
            examples: At least one.
            length: Tokens that all are padded to; left out: the longest example's.

        Raises:
            RunnerError: An example is longer than `length`, the runtime fails, or it answers something that
                is no number per class.
        """
        batch = self.texts.batch(examples, length)
        labels = self.manifest.labels
        try:
            logits = self.session.run(*batch)
        except RunnerError:
            raise
        except Exception as error:  # the runtimes have no common error type
            raise RunnerError(f"{self.manifest.backend} failed: {error}") from error
        if logits.shape != (len(examples), len(labels)):
            raise RunnerError(f"{self.manifest.backend} answered {logits.shape} for {len(labels)} classes")
        if not np.isfinite(logits).all():
            raise RunnerError(f"{self.manifest.backend} answered with something that is no number: {logits}")
        return [
            Answer(
                index=int(row.argmax()),
                label=labels[int(row.argmax())],
                logits=tuple(row.tolist()),
                scores=dict(zip(labels, shares.tolist())),
            )
            for row, shares in zip(logits, softmax(logits))
        ]


def open_bundle(folder: Path) -> Manifest:
    """What the bundle in `folder` says about itself.

    Raises:
        RunnerError: There is none, or its manifest is not in order.
    """
    if not (folder / FILE).is_file():
        raise RunnerError(f"{folder} is no bundle: it has no {FILE}; name a bundle with --bundle")
    return read_manifest(folder)


def open_answerer(folder: Path, threads: int | None = None) -> Answerer:
    """Loads the bundle in `folder`; whether its files are the right ones is for `selftest` to say.

    Args:
        folder: A bundle.
        threads: Threads to use; left out: what the model says, or else the physical cores.

    Raises:
        RunnerError: It is no bundle, its model is not the one that the manifest tells of, or the model cannot
            be used here.
    """
    manifest = open_bundle(folder)
    model = folder / MODEL
    variant = read_variant(model)
    told, found = (
        (manifest.variant, manifest.labels),
        (f"{variant.backend}/{variant.precision}", variant.labels),
    )
    if told != found:
        raise RunnerError(f"{folder} is not in order: its manifest tells of {told}, its model is {found}")
    if len(set(variant.labels)) < len(variant.labels):
        raise RunnerError(f"{folder} has two classes of the same name: {variant.labels}")
    session = open_session(model, threads)
    return Answerer(manifest, Texts(model, variant), session, session.threads)


def bundle_words(parser: argparse.ArgumentParser) -> None:
    """Declares the words that all commands have which answer: the bundle, and the threads."""
    above = Path(__file__).resolve().parent.parent
    parser.add_argument(
        "--bundle", type=Path, default=above, metavar="DIR", help="left out: the folder above the runner"
    )
    parser.add_argument("--threads", type=positive, metavar="N", help="left out: what the model says")


def positive(text: str) -> int:
    """A number of at least 1, for a command line.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)
