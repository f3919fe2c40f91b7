"""The label-word head: a classifier's logits are the MLM head's logits of one word per class.

    logits = decoder(LayerNorm(act(dense(h))))[ids of the label words],   h: hidden state at position 0

as SMP (Jiang et al. 2023) uses it: no mask token is put in, and nothing of the head needs training. The
decoder keeps only the rows, and bias entries, of the label words. The model stays the architecture's
ordinary sequence classifier: the parts sit where its own head's parts sat, and dropout in the head is off.

Shapes: B texts, L tokens, H hidden size, E width of the word embeddings (H but for ELECTRA), C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from edgeprune.errors import Problem, RecipeError, UnsupportedError
from edgeprune.structure.architectures import activation, architecture_of

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "LabelWordHead",
    "LabelWordTransform",
    "attach_label_words",
    "head_tensors",
    "label_word_ids",
    "label_words_of",
]


class LabelWordTransform(nn.Module):  # type: ignore[misc]
    """Dense layer, activation and LayerNorm of an MLM head, on the last dimension: [..., H] to [..., E].

    Attributes:
        label_words: Class name to word, in the order of class ids.
    """

    def __init__(
        self, dense: nn.Linear, act: nn.Module, norm: nn.LayerNorm, words: Mapping[str, str]
    ) -> None:
        super().__init__()
        self.dense, self.activation, self.norm = dense, act, norm
        self.label_words = dict(words)

    def forward(self, states: Tensor) -> Tensor:
        """The MLM head up to its decoder."""
        transformed: Tensor = self.norm(self.activation(self.dense(states)))
        return transformed


class FirstTokenTransform(LabelWordTransform):
    """The transform of position 0: [B, L, H] to [B, E]."""

    def forward(self, states: Tensor) -> Tensor:
        """Takes all hidden states."""
        return super().forward(states[:, 0])


class TwoSidedTransform(LabelWordTransform):
    """The transform x as (x, -x), [B, H] to [B, 2E]: what of it a ReLU removes can be put together again."""

    def forward(self, states: Tensor) -> Tensor:
        """Takes the first token's hidden state."""
        transformed = super().forward(states)
        return torch.cat([transformed, -transformed], dim=-1)


class TwoSidedDecoder(nn.Linear):  # type: ignore[misc]
    """The decoder after ReLU(x, -x): relu(x) - relu(-x) is x to the bit, since one of the two is 0."""

    def forward(self, states: Tensor) -> Tensor:
        """From [B, 2E] to logits [B, C]."""
        positive, negative = states.chunk(2, dim=-1)
        return super().forward(positive - negative)


class LabelWordHead(nn.Module):  # type: ignore[misc]
    """The whole head in one module: hidden states [B, L, H] to logits [B, C]."""

    def __init__(self, transform: FirstTokenTransform, decoder: nn.Linear) -> None:
        super().__init__()
        self.transform, self.decoder = transform, decoder

    def forward(self, states: Tensor) -> Tensor:
        """Takes all hidden states."""
        logits: Tensor = self.decoder(self.transform(states))
        return logits


def attach_label_words(model: Any, words: Mapping[str, str]) -> None:
    """Put a label-word head in place of a sequence classifier's own; its weights are yet to be filled in.

    Args:
        model: Changed in place.
        words: Class name to word, in the order of class ids.

    Raises:
        UnsupportedError: The table has no such architecture.
    """
    entry = architecture_of(model)
    mlm, places, config = entry.mlm, entry.label_words, model.config
    width = getattr(config, mlm.width)
    epsilon = mlm.epsilon if isinstance(mlm.epsilon, float) else getattr(config, mlm.epsilon)
    dense = nn.Linear(config.hidden_size, width)
    parts = (dense, activation(config, mlm), nn.LayerNorm(width, eps=epsilon), words)
    if places.style == "sequence":
        path = places.transform.rpartition(".")[0]
        model.set_submodule(path, LabelWordHead(FirstTokenTransform(*parts), nn.Linear(width, len(words))))
        return
    pooled = places.style == "pooler"
    model.set_submodule(places.transform, (FirstTokenTransform if pooled else TwoSidedTransform)(*parts))
    model.set_submodule(places.decoder, (nn.Linear if pooled else TwoSidedDecoder)(width, len(words)))
    model.dropout = nn.Identity()


def label_words_of(model: nn.Module) -> dict[str, str]:
    """The label words of a model's head in the order of class ids; empty when it has another head."""
    found = [module.label_words for module in model.modules() if isinstance(module, LabelWordTransform)]
    return dict(found[0]) if found else {}


def head_tensors(masked: Any, ids: Sequence[int]) -> dict[str, Tensor]:
    """The weights of a label-word head, under their names in the sequence classifier.

    Args:
        masked: A `*ForMaskedLM` model.
        ids: Token of each class's word, in the order of class ids.

    Raises:
        UnsupportedError: The table has no such architecture, or a token lies outside the decoder.
    """
    entry = architecture_of(masked)
    decoder = masked.get_submodule(entry.mlm.decoder)
    if max(ids) >= decoder.weight.shape[0]:
        raise UnsupportedError(
            f"a label word is token {max(ids)} of the tokenizer; the MLM head has {decoder.weight.shape[0]}",
            hint="the tokenizer is not the one that this model was trained with",
        )
    rows = torch.tensor(list(ids))
    parts: dict[str, Mapping[str, Tensor]] = {
        f"{entry.label_words.transform}.dense": masked.get_submodule(entry.mlm.dense).state_dict(),
        f"{entry.label_words.transform}.norm": masked.get_submodule(entry.mlm.norm).state_dict(),
        entry.label_words.decoder: {"weight": decoder.weight[rows], "bias": decoder.bias[rows]},
    }
    return {f"{path}.{name}": value.detach() for path, part in parts.items() for name, value in part.items()}


def label_word_ids(tokenizer: Any, class_names: Sequence[str], words: Mapping[str, str]) -> tuple[int, ...]:
    """The token of each class's word, in the order of `class_names`.

    A word is looked up as it stands inside a text, after a space. Byte-level and SentencePiece tokenizers
    (RoBERTa, XLM-RoBERTa) have another token for a word at the very beginning; it is the rarer one, and
    not the one that the MLM head learned to predict in a sentence.

    Args:
        tokenizer: Of the checkpoint.
        class_names: In the order of class ids.
        words: Class name to word.

    Raises:
        RecipeError: A class has no word, or a word no class; a word is not exactly one token; two classes
            share a token. All of them at once, with keys below ``label_words``.
    """
    problems = list(_misnamed(class_names, words))
    ids: dict[str, int] = {}
    for name in class_names:
        if name not in words:
            continue
        pieces = tokenizer.tokenize(f" {words[name]}")
        found = tokenizer.convert_tokens_to_ids(pieces)
        problem = _unfit(tokenizer, words[name], pieces, found)
        twin = next((other for other, taken in ids.items() if [taken] == found), None)
        if problem is None and twin is not None:
            problem = f"{words[name]!r} is the same token as {words[twin]!r} of class {twin!r}"
        if problem is not None:
            hint = "choose a common word that the model's tokenizer keeps whole"
            problems.append(Problem(("label_words", name), problem, hint))
        else:
            ids[name] = found[0]
    if problems:
        raise RecipeError(problems)
    return tuple(ids[name] for name in class_names)


def _misnamed(class_names: Sequence[str], words: Mapping[str, str]) -> Iterator[Problem]:
    for name in class_names:
        if name not in words:
            yield Problem(("label_words",), f"class {name!r} has no label word", "every class needs one")
    for name in words:
        if name not in class_names:
            known = ", ".join(class_names)
            yield Problem(("label_words", name), f"there is no class {name!r}", f"the classes are: {known}")


def _unfit(tokenizer: Any, word: str, pieces: Sequence[str], ids: Sequence[int]) -> str | None:
    """Why a word cannot be a label word; None when it can."""
    if not word.strip():
        return "the word is empty"
    if len(pieces) != 1:
        shown = ", ".join(map(repr, pieces))
        return f"{word!r} is {len(pieces)} tokens of the model ({shown}); a label word must be one"
    if ids[0] == tokenizer.unk_token_id:
        return f"{word!r} is not in the model's vocabulary"
    if ids[0] in tokenizer.all_special_ids:
        return f"{word!r} is a special token of the model, not a word"
    return None
