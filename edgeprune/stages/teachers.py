"""The model that teaches: the original, or another classifier that knows the same classes and tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeprune.errors import EdgepruneError
from edgeprune.stages.contract import Work

__all__ = ["load_teacher", "share_vocabulary", "teacher_folder"]

_SAME_TASK = "both must be of the same task"


def teacher_folder(work: Work) -> Path:
    """Where the teacher lies: an asset where the recipe names one, else the original."""
    return work.assets.get("teacher") or work.inputs["original"]


def load_teacher(folder: Path, student: Any, max_length: int) -> tuple[Any, list[str]]:
    """The teacher, and what the reader should know of it.

    Args:
        folder: A saved classifier.
        student: The classifier that it is to teach.
        max_length: Tokens of the longest text.

    Raises:
        EdgepruneError: Its classes are not the student's in the same order, or its texts are shorter.
    """
    from edgeprune.structure.loading import load

    teacher = load(folder)
    positions = getattr(teacher.config, "max_position_embeddings", max_length)
    if positions < max_length:
        raise EdgepruneError(
            f"the teacher reads at most {positions} tokens, the recipe's model.max_length is {max_length}",
            where=str(folder),
            hint="shorten model.max_length, or take another teacher",
        )
    return teacher, _compared(_classes(student), _classes(teacher), folder)


def _classes(model: Any) -> list[str]:
    names: dict[int, str] = model.config.id2label
    return [names[index] for index in sorted(names)]


def _compared(ours: list[str], theirs: list[str], folder: Path) -> list[str]:
    """A teacher whose classes stand in another order would teach wrong answers without any error."""
    if len(ours) == len(theirs):
        if [name.casefold() for name in ours] == [name.casefold() for name in theirs]:
            return []
        if theirs == [f"LABEL_{index}" for index in range(len(theirs))]:  # transformers' word for no name
            return [f"the teacher's classes have no names; they are taken to be {', '.join(ours)}, in order"]
    raise EdgepruneError(
        f"the model's classes are {', '.join(ours)}, not those of its teacher: {', '.join(theirs)}",
        where=str(folder),
        hint=_SAME_TASK,
    )


def share_vocabulary(teacher: Any, folder: Path, tokenizer: Any) -> None:
    """Cut the teacher's embeddings to the student's tokens, where the two differ.

    Args:
        teacher: Its word embeddings are sliced in place.
        folder: Where it lies, with its tokenizer.
        tokenizer: The student's.

    Raises:
        EdgepruneError: The student has tokens that the teacher does not know.
    """
    import transformers

    from edgeprune.structure.vocabulary import slice_embeddings

    ours = tokenizer.get_vocab()
    theirs = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True).get_vocab()
    if ours == theirs:
        return
    unknown = sorted(set(ours) - set(theirs))
    if unknown:
        raise EdgepruneError(
            f"{len(unknown)} of the model's tokens are not its teacher's, {unknown[0]!r} among them",
            where=str(folder),
            hint="both must come from pre-trained models with the same tokenizer",
        )
    slice_embeddings(teacher, [theirs[token] for token in sorted(ours, key=ours.__getitem__)])
