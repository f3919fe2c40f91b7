"""A teacher's answers to a training batch: read from the disk, or asked for anew in every step.

The disk is faster as soon as there is a second epoch, but hidden states are large: a state of 384 numbers
takes 768 bytes a token in FP16. Logits are 4 bytes a class and example, and so always fit.
"""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from edgeprune.durable import flush_tree
from edgeprune.errors import EdgepruneError
from edgeprune.tasks.encoding import by_length, collate
from edgeprune.training.fitting import Precision
from edgeprune.training.watching import State, Watch

if TYPE_CHECKING:
    import torch

    from edgeprune.tasks.encoding import Encoded

__all__ = ["Answers", "AskedTeacher", "Place", "StoredTeacher", "Teacher", "cache_bytes", "store_answers"]

Place = Literal["disk", "online"]

_FOLDER, _LOGITS = "teacher", "logits.npy"
_BATCH = 64
_HALF = np.dtype(np.float16)


@dataclass(frozen=True)
class Answers:
    """What a teacher says to a batch of B examples and T tokens.

    Attributes:
        logits: [B, classes], float32.
        states: By the states' names, [B, T, width]; what they hold at padding means nothing.
    """

    logits: torch.Tensor
    states: Mapping[str, torch.Tensor]


class Teacher(Protocol):
    """Where answers come from."""

    place: Place

    def bring(
        self, indices: Sequence[int], texts: Mapping[str, npt.NDArray[np.int64]]
    ) -> dict[str, torch.Tensor]:
        """See `Adaptation.bring`."""

    def answers(self, batch: Mapping[str, Any]) -> Answers:
        """To a batch that has what `bring` gave."""


class AskedTeacher:
    """Runs the teacher on the clean text of every batch.

    Args:
        model: The teacher; frozen and put into evaluation mode here.
        states: What is seen of it.
        precision: Of its matrix products.
    """

    place: Place = "online"

    def __init__(self, model: Any, states: Sequence[State], precision: Precision) -> None:
        self._model = model.eval().requires_grad_(False)
        self._watch = Watch(model, states)
        self._precision = precision

    def bring(
        self, indices: Sequence[int], texts: Mapping[str, npt.NDArray[np.int64]]
    ) -> dict[str, torch.Tensor]:
        """The clean text; word dropout may hide some of it from the student."""
        import torch

        return {"teacher_input_ids": torch.from_numpy(texts["input_ids"])}

    def answers(self, batch: Mapping[str, Any]) -> Answers:
        """Of a forward pass."""
        ids = batch["teacher_input_ids"]
        self._model.to(ids.device)  # the Trainer may have moved the student
        names = ("attention_mask", "token_type_ids")
        inputs = {"input_ids": ids} | {name: batch[name] for name in names if name in batch}
        return _ask(self._model, self._watch, inputs, self._precision)


class StoredTeacher:
    """Reads what `store_answers` wrote.

    Files are read at the places of a batch's examples, not mapped: pages of a mapped file count as memory of
    the process, and in the end all of the file would.

    Args:
        folder: Where it lies.
        lengths: Tokens of each example, [examples].
        states: What was stored.
    """

    place: Place = "disk"

    def __init__(self, folder: Path, lengths: npt.NDArray[np.int64], states: Sequence[State]) -> None:
        self._logits: npt.NDArray[np.float32] = np.load(folder / _LOGITS)
        self._folder, self._lengths, self._states = folder, lengths, states
        order, _ = by_length(lengths, _BATCH)
        ends = np.cumsum(lengths[order])
        self._starts = np.empty_like(lengths)
        self._starts[order] = ends - lengths[order]

    def bring(
        self, indices: Sequence[int], texts: Mapping[str, npt.NDArray[np.int64]]
    ) -> dict[str, torch.Tensor]:
        """The answers themselves."""
        import torch

        mask = texts["attention_mask"].astype(bool)
        states = {
            _brought(state): torch.from_numpy(self._read(state, indices, mask)) for state in self._states
        }
        return {"teacher": torch.from_numpy(self._logits[indices])} | states

    def answers(self, batch: Mapping[str, Any]) -> Answers:
        """Of what was brought."""
        return Answers(batch["teacher"], {state.name: batch[_brought(state)] for state in self._states})

    def _read(
        self, state: State, indices: Sequence[int], mask: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.float16]:
        """A state of a batch, [B, T, width], 0 at padding."""
        found = np.zeros((*mask.shape, state.width), _HALF)
        with _file(self._folder, state).open("rb", buffering=0) as file:
            for row, index in enumerate(indices):
                length = int(self._lengths[index])
                file.seek(int(self._starts[index]) * state.width * _HALF.itemsize)
                size = length * state.width * _HALF.itemsize
                got = file.read(size)
                if len(got) != size:
                    raise EdgepruneError("the teacher's stored states end too early", where=str(file.name))
                found[row, :length] = np.frombuffer(got, _HALF).reshape(length, state.width)
        return found


def cache_bytes(lengths: npt.NDArray[np.int64], states: Sequence[State]) -> int:
    """Size on disk of states of all tokens.

    Args:
        lengths: Tokens of each example, [examples].
        states: What is to be stored.
    """
    return int(lengths.sum()) * sum(state.width for state in states) * _HALF.itemsize


def store_answers(
    teacher: Any,
    states: Sequence[State],
    encoded: Encoded,
    scratch: Path,
    *,
    pad_id: int,
    precision: Precision,
    progress: Callable[..., None],
) -> StoredTeacher:
    """Ask a teacher about every example once, or find that this was done before.

    Args:
        teacher: The model; not asked where the answers lie there already.
        states: What is stored beside the logits: a file each, tokens in the order of their examples' lengths.
        encoded: The n training examples.
        scratch: Where a folder for them is made; whole or absent.
        pad_id: Token id that fills short rows.
        precision: Of the teacher's matrix products.
        progress: Called with a text.

    Raises:
        EdgepruneError: They cannot be written, or a state does not fit into FP16.
    """
    folder = scratch / _FOLDER
    if not folder.is_dir():
        progress(text="the teacher's answers to the training texts")
        partial = folder.with_name(f"{_FOLDER}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir(parents=True)
            _write(teacher, states, encoded, partial, pad_id, precision)
            flush_tree(partial)
            partial.replace(folder)
        except OSError as error:
            raise EdgepruneError(
                f"the teacher's answers cannot be stored: {error}",
                where=str(partial),
                hint="with cache_budget_mb: 0 the teacher runs beside the student, and needs no disk",
            ) from error
    return StoredTeacher(folder, encoded.lengths, states)


def _write(
    model: Any, states: Sequence[State], encoded: Encoded, folder: Path, pad_id: int, precision: Precision
) -> None:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.eval().to(device)
    watch = Watch(model, states)
    order, batches = by_length(encoded.lengths, _BATCH)
    parts = []
    for indices in batches:
        arrays = collate(encoded, indices, pad_id)
        inputs = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        answers = _ask(model, watch, inputs, precision)
        parts.append(answers.logits.cpu().numpy())
        kept = inputs["attention_mask"].bool()
        for state in states:
            tokens = answers.states[state.name][kept].to(torch.float16).cpu().numpy()
            if not np.isfinite(tokens).all():
                raise EdgepruneError(
                    f"the teacher's {state.name} does not fit into FP16",
                    hint="with cache_budget_mb: 0 the teacher runs beside the student, in its own precision",
                )
            with _file(folder, state).open("ab") as file:
                file.write(tokens.tobytes())
    watch.remove()
    found = np.concatenate(parts)
    logits = np.empty_like(found)
    logits[order] = found
    np.save(folder / _LOGITS, logits)


def _ask(model: Any, watch: Watch, inputs: Mapping[str, torch.Tensor], precision: Precision) -> Answers:
    import torch

    device = inputs["input_ids"].device.type
    # A student's tokenizer may number segments that its teacher has no embeddings of.
    known = inspect.signature(model.forward).parameters
    autocast = torch.autocast(device, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()
    # Not inference mode: the student's loss keeps these tensors for its backward pass.
    with torch.no_grad(), autocast:
        logits = model(**{name: item for name, item in inputs.items() if name in known}).logits.float()
    return Answers(logits, watch.take())


def _brought(state: State) -> str:
    """A stored state's name in a batch."""
    return f"teacher_{state.name}"


def _file(folder: Path, state: State) -> Path:
    return folder / f"{state.name}.f16"
