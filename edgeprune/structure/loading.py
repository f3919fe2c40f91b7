"""Classifiers from folders and back: what the stages saved, and pre-trained encoders to start from.

A saved folder holds `config.json`, `model.safetensors`, perhaps a tokenizer and, when the model is not
what its config alone describes, `structure.json`. Loading reads local files only, runs no code from the
folder, unpickles nothing, and leaves no weight to chance: one that is missing or has no place is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from edgeprune.errors import EdgepruneError, UnsupportedError
from edgeprune.structure.architectures import ARCHITECTURES
from edgeprune.structure.description import Head, Pooling, Structure, read_structure, write_structure
from edgeprune.structure.weights import fill, read_tensors, require_finite, require_whole, tensor_names

__all__ = ["WantedHead", "choose_head", "has_mlm_head", "load", "pretrained", "save", "shape", "structure_of"]

WantedHead = Literal["auto", "trained", "label-words"]

_LOCAL = {"local_files_only": True, "trust_remote_code": False}
_ENCODER = "it must be a Hugging Face encoder with config.json, model.safetensors and tokenizer.json"
_SAVED = "it must be a folder that edgeprune or `save_pretrained` of a sequence classifier wrote"


def load(path: str | PathLike[str]) -> Any:
    """The classifier that a folder holds, in evaluation mode, FP32, on the CPU.

    Args:
        path: Folder that a stage, `save` or a Hugging Face classifier's `save_pretrained` wrote.

    Returns:
        A Hugging Face sequence classifier.

    Raises:
        UnsupportedError: The model's type, or the version of its `structure.json`, is not known here.
        EdgepruneError: Something is missing or damaged, or the weights are not those of the model.
    """
    folder = Path(path)
    structure = read_structure(folder)
    config = _read_config(folder)
    return (_load_plain(folder) if structure == Structure() else _rebuild(folder, config, structure)).eval()


def save(model: Any, folder: str | PathLike[str], tokenizer: Any = None) -> None:
    """Write a classifier so that `load` gives the same one back, to the bit.

    Args:
        model: A sequence classifier, also one with a label-word head.
        folder: Made if it is not there.
        tokenizer: Saved beside it.

    Raises:
        EdgepruneError: The folder cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(folder)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)
        write_structure(structure_of(model), folder)
    except OSError as error:
        raise EdgepruneError(f"the model cannot be saved: {error}", where=str(folder)) from error


def structure_of(model: Any) -> Structure:
    """What `structure.json` says of a model; read off its modules, so that it cannot lie."""
    from edgeprune.structure.heads import label_words_of
    from edgeprune.structure.narrowing import kept_hidden
    from edgeprune.structure.pooling import has_mean_pooling
    from edgeprune.structure.slicing import kept_layers

    words = label_words_of(model)
    pooling: Pooling = "mean" if has_mean_pooling(model) else "first"
    head: Head = "label-words" if words else "trained"
    return Structure(head, words, pooling, kept_layers(model), kept_hidden(model))


def pretrained(
    path: Path,
    class_names: Sequence[str],
    *,
    head: WantedHead = "trained",
    label_words: Mapping[str, str] | None = None,
    pooling: Pooling = "first",
) -> tuple[Any, Any, list[str]]:
    """Tokenizer and classifier from a pre-trained folder.

    Args:
        path: Hugging Face folder.
        class_names: In the order of class ids.
        head: See `choose_head`. A trained head is set at random, from PyTorch's global random state.
        label_words: Class name to word, for a label-word head.
        pooling: What a trained head sees. A label-word head sees the first token, as in pre-training.

    Returns:
        Tokenizer, model in evaluation mode, and notes: what was chosen, what its weights did not cover.
        `structure_of(model).head` says which head it has. No parameter is frozen here.

    Raises:
        UnsupportedError: The folder holds no encoder that can be loaded, lacks the MLM head that is asked
            for, was made by `save` from a changed model, or has weights that are NaN or infinite.
        RecipeError: The label words do not fit the classes or the tokenizer; keys below ``label_words``.
        EdgepruneError: The tokenizer cannot pad.
    """
    import transformers

    if read_structure(path) != Structure():
        raise UnsupportedError(
            "this is a model that edgeprune has changed already, not a pre-trained one",
            where=str(path),
            hint="start from the model that it was made from",
        )
    chosen, notes = choose_head(path, head, label_words)
    with _explained("the model cannot be loaded", path, _ENCODER):
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, **_LOCAL)
    if tokenizer.pad_token_id is None:
        raise EdgepruneError("the tokenizer has no padding token", where=str(path))
    if chosen == "label-words":
        if pooling != "first":
            notes.append("label words are read at the first token; there is no pooling")
        return tokenizer, _with_label_words(path, tokenizer, class_names, label_words or {}), notes
    model, info = _checkpoint(transformers.AutoModelForSequenceClassification, path, class_names)
    shape(model, Structure(pooling=pooling))
    return tokenizer, model, notes + _uncovered(model, info)


def choose_head(
    path: Path, wanted: WantedHead, label_words: Mapping[str, str] | None
) -> tuple[Head, list[str]]:
    """Which head a model gets.

    `trained` and `label-words` are taken at their word. `auto` takes the label words if the checkpoint
    has an MLM head and label words are given, else a trained head; a note says which, and why.

    Args:
        path: The pre-trained folder.
        wanted: What the recipe says.
        label_words: Class name to word; None or empty where the recipe gives none.

    Returns:
        The head, and notes.

    Raises:
        UnsupportedError: `label-words` is asked for and cannot be had.
        EdgepruneError: The folder's weights cannot be read.
    """
    if wanted == "trained":
        return "trained", []
    obstacle = _obstacle(path, label_words)
    if wanted == "auto":
        if obstacle:
            return "trained", [f"a classification head is trained, the MLM head is not used: {obstacle}"]
        words = ", ".join(f"{word} ({name})" for name, word in (label_words or {}).items())
        return "label-words", [f"the MLM head serves as the classifier, read at the label words {words}"]
    if obstacle:
        raise UnsupportedError(
            f"there can be no label-word head: {obstacle}",
            where=str(path),
            hint="use head: trained, or head: auto, which falls back to it",
        )
    return "label-words", []


def has_mlm_head(path: Path) -> bool:
    """Whether a checkpoint of a known architecture has an MLM head, by the names of its weights alone.

    Raises:
        UnsupportedError: The folder's config cannot be read.
        EdgepruneError: Its weights cannot be read.
    """
    entry = ARCHITECTURES.get(_read_config(path).model_type)
    return entry is not None and f"{entry.mlm.dense}.weight" in tensor_names(path)


def _obstacle(path: Path, label_words: Mapping[str, str] | None) -> str | None:
    """Why there can be no label-word head."""
    if not label_words:
        return "no label words are given"
    model_type = _read_config(path).model_type
    if model_type not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        return f"the MLM head of a model of type {model_type!r} is not known here (known: {known})"
    if not has_mlm_head(path):
        return "the checkpoint has no MLM head"
    return None


def _checkpoint(model_class: Any, path: Path, class_names: Sequence[str]) -> tuple[Any, Any]:
    """A pre-trained model with the task's classes, and what transformers says about its weights."""
    with _explained("the model cannot be loaded", path, _ENCODER):
        model, info = model_class.from_pretrained(
            path,
            num_labels=len(class_names),
            id2label=dict(enumerate(class_names)),
            label2id={name: index for index, name in enumerate(class_names)},
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **_LOCAL,
        )
    require_finite(model, path)
    return model, info


def _with_label_words(
    path: Path, tokenizer: Any, class_names: Sequence[str], label_words: Mapping[str, str]
) -> Any:
    """The sequence classifier with the encoder of an MLM and, as its head, that MLM's head."""
    import transformers

    from edgeprune.structure.heads import attach_label_words, head_tensors, label_word_ids

    ids = label_word_ids(tokenizer, class_names, label_words)
    masked, info = _checkpoint(transformers.AutoModelForMaskedLM, path, class_names)
    # Nothing here is for the task to train anew, so a gap is a damaged checkpoint.
    require_whole(path, info["missing_keys"], (), _shapes(info))
    encoder = {f"{masked.base_model_prefix}.{k}": v for k, v in masked.base_model.state_dict().items()}
    with _unfilled():
        model = _skeleton(masked.config)
        attach_label_words(model, {name: label_words[name] for name in class_names})
    fill(model, encoder | head_tensors(masked, ids), path)
    return model.eval()


def _uncovered(model: Any, info: Mapping[str, Any]) -> list[str]:
    """What a pre-trained encoder's weights did not cover; the task's own head is expected to be missing."""
    new = [name for name in info["missing_keys"] if name.startswith(model.base_model_prefix)]
    notes = (
        [f"weights that the pre-trained model lacks, set at random: {', '.join(sorted(new))}"] if new else []
    )
    if resized := _shapes(info):
        notes.append(f"weights of another shape than the task needs, set anew: {', '.join(sorted(resized))}")
    return notes


def _shapes(info: Mapping[str, Any]) -> list[str]:
    """Names of weights of another shape; older versions of transformers give (name, shape, shape)."""
    return [item if isinstance(item, str) else str(item[0]) for item in info["mismatched_keys"]]


def _read_config(folder: Path) -> Any:
    import transformers

    if not (folder / "config.json").is_file():
        raise EdgepruneError("there is no config.json", where=str(folder), hint=_SAVED)
    with _explained("the model's config.json cannot be used", folder, _SAVED):
        return transformers.AutoConfig.from_pretrained(folder, **_LOCAL)


def _load_plain(folder: Path) -> Any:
    """What config.json alone describes. transformers reads it, which knows every architecture's old names."""
    import transformers

    tensor_names(folder)  # says what is wrong with the weights' files better than transformers does
    with _explained("the model cannot be loaded", folder, _SAVED):
        model, info = transformers.AutoModelForSequenceClassification.from_pretrained(
            folder, **_LOCAL, use_safetensors=True, ignore_mismatched_sizes=True, output_loading_info=True
        )
    require_whole(folder, info["missing_keys"], info["unexpected_keys"], _shapes(info))
    return model


def _rebuild(folder: Path, config: Any, structure: Structure) -> Any:
    """What config.json and structure.json describe together."""
    classes = [config.id2label[index] for index in sorted(config.id2label)]
    if structure.label_words and list(structure.label_words) != classes:
        raise EdgepruneError(
            f"structure.json has label words for {', '.join(structure.label_words)}, config.json has the "
            f"classes {', '.join(map(str, classes))}",
            where=str(folder),
            hint="the two files are not of one model",
        )
    with _explained("the model cannot be built", folder, _SAVED), _unfilled():
        model = _skeleton(config)
        shape(model, structure)
    fill(model, read_tensors(folder), folder)
    return model


def shape(model: Any, structure: Structure) -> None:
    """Make an architecture's plain classifier what a `structure.json` says; new parts are not filled in.

    Raises:
        EdgepruneError: It names layers, heads, rows or dimensions that the architecture does not have.
        UnsupportedError: The table has no such architecture.
    """
    from edgeprune.structure.heads import attach_label_words
    from edgeprune.structure.narrowing import slice_hidden
    from edgeprune.structure.pooling import attach_mean_pooling
    from edgeprune.structure.slicing import slice_layers

    if structure.label_words:
        attach_label_words(model, structure.label_words)
    if structure.pooling == "mean":
        attach_mean_pooling(model)
    if structure.layers is not None:
        slice_layers(model, structure.layers)
    if structure.hidden is not None:
        slice_hidden(model, structure.hidden)


def _skeleton(config: Any) -> Any:
    """The architecture's sequence classifier, FP32."""
    import transformers

    return transformers.AutoModelForSequenceClassification.from_config(deepcopy(config)).float()


@contextmanager
def _unfilled() -> Iterator[None]:
    """New modules get no initial values: that is faster, and leaves the global random state alone."""
    from transformers.modeling_utils import no_init_weights

    with no_init_weights():
        yield


@contextmanager
def _explained(what: str, where: Path, hint: str) -> Iterator[None]:
    """Whatever other libraries raise on a folder that they cannot use, as our error."""
    try:
        yield
    except EdgepruneError:
        raise
    except Exception as error:  # what a bad folder raises is no contract; tokenizers raises bare Exceptions
        lines = str(error).splitlines() or [type(error).__name__]
        raise UnsupportedError(f"{what}: {lines[0][:300]}", where=str(where), hint=hint) from error
