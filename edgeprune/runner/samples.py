"""`sample.jsonl`: texts, and the scores that they must get on a device too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import List, Mapping, Sequence, Tuple

from .examples import Example, InputError, numbered_lines, opened_input, parse_example, parse_json
from .variant import RunnerError

__all__ = ["Sample", "compare", "read_samples"]


@dataclass(frozen=True)
class Sample:
    """One example.

    Attributes:
        texts: One text or two.
        scores: Name of each class to its score.
    """

    texts: Example
    scores: Mapping[str, float]


def read_samples(path: Path, columns: Sequence[str], labels: Sequence[str]) -> List[Sample]:
    """All samples of a bundle.

    Raises:
        RunnerError: There is no file, no line in it, or a line that is not ``{"texts": […], "scores": {…}}``
            with a score for every class.
    """
    found = []
    try:
        with opened_input(str(path)) as stream:
            for number, line in numbered_lines(stream):
                try:
                    found.append(_parse(line, columns, labels))
                except InputError as error:
                    raise InputError(f"line {number} {error}") from error
    except InputError as error:
        raise RunnerError(f"{path.name} is not in order: {error}") from error
    if not found:
        raise RunnerError(f"{path.name} is not in order: there is no sample in it")
    return found


def compare(
    samples: Sequence[Sample], answers: Sequence[Mapping[str, float]], tolerance: float
) -> Tuple[float, List[str]]:
    """How far answers are from what they should be.

    Args:
        samples: What they should be.
        answers: Scores that each sample got.
        tolerance: Largest difference of a score that is as it should be.

    Returns:
        The largest difference of all, and one sentence for each sample with a score too far off.
    """
    largest, wrong = 0.0, []
    for number, (sample, scores) in enumerate(zip(samples, answers), start=1):
        label = max(sample.scores, key=lambda name: abs(scores[name] - sample.scores[name]))
        difference = abs(scores[label] - sample.scores[label])
        largest = max(largest, difference)
        if not difference <= tolerance:
            wrong.append(
                f"sample {number} gets {scores[label]:.4f} for {label!r} instead of"
                f" {sample.scores[label]:.4f} (tolerance {tolerance:g})"
            )
    return largest, wrong


def _parse(line: str, columns: Sequence[str], labels: Sequence[str]) -> Sample:
    value = parse_json(line)
    if not isinstance(value, dict) or not isinstance(value.get("texts"), list):
        raise InputError("has no list of texts")
    scores = value.get("scores")
    if not isinstance(scores, dict) or set(scores) != set(labels):
        raise InputError(f"has no scores for exactly the classes {', '.join(labels)}")
    if not all(isinstance(score, (int, float)) for score in scores.values()):
        raise InputError("has a score that is no number")
    return Sample(parse_example(value["texts"], columns), scores)
