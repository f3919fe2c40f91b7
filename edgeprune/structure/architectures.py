"""The name table: where each architecture keeps its encoder's matrices, its task head and its MLM head.

Checked against transformers 4.57. Everything else in edgeprune asks this table; a new architecture is
one entry. Paths are dotted module names. Kinds of encoder matrices, in the order of the forward pass:

    query, key, value   [heads · head size, hidden]     one row block per attention head
    output              [hidden, heads · head size]     one column block per attention head
    up                  [FFN rows, hidden]              first FFN matrix
    down                [hidden, FFN rows]              second FFN matrix
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, get_args

from edgeprune.errors import UnsupportedError

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "Kind",
    "LabelWordPlaces",
    "LinearSite",
    "MaskedLMHead",
    "activation",
    "architecture_of",
    "encoder_layers",
    "head_parameters",
    "heads_per_layer",
    "linear_sites",
    "num_heads",
]

Kind = Literal["query", "key", "value", "output", "up", "down"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class LinearSite:
    """One matrix of the encoder.

    Attributes:
        name: Path of its `nn.Linear` from the root of the model that was asked about.
        layer: Number of its layer, from 0.
        kind: Its part in the layer.
    """

    name: str
    layer: int
    kind: Kind


@dataclass(frozen=True)
class MaskedLMHead:
    """The parts of the `*ForMaskedLM` class's head, by path from its root.

    logits = decoder(norm(act(dense(h)))), in every architecture. The decoder's matrix is tied to the word
    embeddings; its bias is the head's own.

    Attributes:
        dense: `nn.Linear` from the hidden size to the width of the word embeddings.
        norm: LayerNorm of that width.
        decoder: `nn.Linear` with one row, and one bias, per token of the vocabulary.
        width: Config attribute that holds the width of the word embeddings.
        activation: Config attribute that names the activation; None: always GELU.
        epsilon: Of the LayerNorm: a config attribute, or the number itself.
    """

    dense: str
    norm: str
    decoder: str
    width: str = "hidden_size"
    activation: str | None = None
    epsilon: str | float = "layer_norm_eps"


@dataclass(frozen=True)
class LabelWordPlaces:
    """Where the parts of a label-word head (see `structure.heads`) sit in the sequence classifier.

    Attributes:
        style: What the classifier's forward pass does around them. `sequence`: one module gets all hidden
            states. `pooler`: a pooler gets all hidden states, then dropout, then the last matrix. `relu`: a
            module gets the first token's state, then a fixed ReLU, then dropout, then the last matrix.
        transform: Path of dense, activation and LayerNorm.
        decoder: Path of the matrix with one row per class.
    """

    style: Literal["sequence", "pooler", "relu"]
    transform: str
    decoder: str


@dataclass(frozen=True)
class Architecture:
    """One entry of the table.

    Attributes:
        layers: Path of the list of layers, from the base model.
        linears: Kind to path of its `nn.Linear`, from a layer.
        attention: Path of the module that splits hidden states into heads, from a layer.
        heads: That module's attribute with the number of heads.
        attention_width: Its attribute with heads · head size.
        attention_norm: Path of the LayerNorm after the attention's output, from a layer.
        ffn_norm: Path of the LayerNorm after the FFN's output, from a layer.
        head: Paths of the modules of the sequence classifier's task head, from its root.
        label_words: Where a label-word head sits in it.
        mlm: The parts of the MLM head.
        position_bias: Path of an embedding [buckets, heads] that all layers add to their attention scores,
            from the base model; empty where there is none. A layer with fewer heads reads those of its own.
    """

    layers: str
    linears: Mapping[Kind, str]
    attention: str
    heads: str
    attention_width: str
    attention_norm: str
    ffn_norm: str
    head: tuple[str, ...]
    label_words: LabelWordPlaces
    mlm: MaskedLMHead
    position_bias: str = ""


_BERT = Architecture(
    layers="encoder.layer",
    linears=MappingProxyType(
        {
            "query": "attention.self.query",
            "key": "attention.self.key",
            "value": "attention.self.value",
            "output": "attention.output.dense",
            "up": "intermediate.dense",
            "down": "output.dense",
        }
    ),
    attention="attention.self",
    heads="num_attention_heads",
    attention_width="all_head_size",
    attention_norm="attention.output.LayerNorm",
    ffn_norm="output.LayerNorm",
    head=("bert.pooler", "classifier"),
    label_words=LabelWordPlaces("pooler", transform="bert.pooler", decoder="classifier"),
    mlm=MaskedLMHead(
        dense="cls.predictions.transform.dense",
        norm="cls.predictions.transform.LayerNorm",
        decoder="cls.predictions.decoder",
        activation="hidden_act",
    ),
)

_SEQUENCE_HEAD = LabelWordPlaces("sequence", transform="classifier.transform", decoder="classifier.decoder")

_ROBERTA = replace(
    _BERT,
    head=("classifier",),
    label_words=_SEQUENCE_HEAD,
    mlm=MaskedLMHead(dense="lm_head.dense", norm="lm_head.layer_norm", decoder="lm_head.decoder"),
)

_ELECTRA = replace(
    _ROBERTA,
    # Only generators have it; the discriminators that are usually fine-tuned do not.
    mlm=MaskedLMHead(
        dense="generator_predictions.dense",
        norm="generator_predictions.LayerNorm",
        decoder="generator_lm_head",
        width="embedding_size",
    ),
)

_DISTILBERT = Architecture(
    layers="transformer.layer",
    linears=MappingProxyType(
        {
            "query": "attention.q_lin",
            "key": "attention.k_lin",
            "value": "attention.v_lin",
            "output": "attention.out_lin",
            "up": "ffn.lin1",
            "down": "ffn.lin2",
        }
    ),
    attention="attention",
    heads="n_heads",
    attention_width="dim",
    attention_norm="sa_layer_norm",
    ffn_norm="output_layer_norm",
    head=("pre_classifier", "classifier"),
    label_words=LabelWordPlaces("relu", transform="pre_classifier", decoder="classifier"),
    mlm=MaskedLMHead(
        dense="vocab_transform",
        norm="vocab_layer_norm",
        decoder="vocab_projector",
        activation="activation",
        epsilon=1e-12,
    ),
)

_MPNET = Architecture(
    layers="encoder.layer",
    linears=MappingProxyType(
        {
            "query": "attention.attn.q",
            "key": "attention.attn.k",
            "value": "attention.attn.v",
            "output": "attention.attn.o",
            "up": "intermediate.dense",
            "down": "output.dense",
        }
    ),
    attention="attention.attn",
    heads="num_attention_heads",
    attention_width="all_head_size",
    attention_norm="attention.LayerNorm",
    ffn_norm="output.LayerNorm",
    head=("classifier",),
    label_words=_SEQUENCE_HEAD,
    mlm=MaskedLMHead(dense="lm_head.dense", norm="lm_head.layer_norm", decoder="lm_head.decoder"),
    position_bias="encoder.relative_attention_bias",
)

ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "bert": _BERT,
        "distilbert": _DISTILBERT,
        "electra": _ELECTRA,
        "mpnet": _MPNET,
        "roberta": _ROBERTA,
        "xlm-roberta": _ROBERTA,
    }
)
"""`model_type` of a config to its entry."""


def architecture_of(model: Any) -> Architecture:
    """The entry for a Hugging Face model.

    Raises:
        UnsupportedError: There is none; the hint says which there are.
    """
    model_type = getattr(getattr(model, "config", None), "model_type", "")
    try:
        return ARCHITECTURES[model_type]
    except KeyError:
        raise UnsupportedError(
            f"where a model of type {model_type!r} keeps its encoder's matrices and its head is not known",
            where=type(model).__name__,
            hint=f"known types: {', '.join(ARCHITECTURES)}; "
            "another one is one entry in edgeprune/structure/architectures.py",
        ) from None


def linear_sites(model: Any) -> tuple[LinearSite, ...]:
    """Every matrix of the encoder's layers: what may be pruned.

    Args:
        model: A Hugging Face model with or without a head, e.g. a sequence classifier.

    Returns:
        Layer by layer, and in each layer in the order query, key, value, output, up, down. What a sub-layer
        without heads or rows has left is no matrix, and is not among them.

    Raises:
        UnsupportedError: The table has no such architecture, or the model's modules are not those that it
            names.
    """
    entry = architecture_of(model)
    prefix = _base_prefix(model)
    sites = [
        LinearSite(f"{prefix}{entry.layers}.{number}.{entry.linears[kind]}", number, kind)
        for number, layer in enumerate(encoder_layers(model))
        for kind in KINDS
        if not _is_empty(layer, entry, kind)
    ]
    for site in sites:
        _require_linear(model, site.name)
    return tuple(sites)


def head_parameters(model: Any) -> tuple[str, ...]:
    """Names of a sequence classifier's parameters that belong to its task head (pooler and classifier).

    Raises:
        UnsupportedError: The table has no such architecture.
    """
    entry = architecture_of(model)
    prefixes = tuple(f"{path}." for path in entry.head)
    return tuple(name for name, _ in model.named_parameters() if name.startswith(prefixes))


def num_heads(model: Any) -> int:
    """Attention heads of each layer as the config says; a sliced model may have fewer (`heads_per_layer`).

    Raises:
        UnsupportedError: The table has no such architecture.
    """
    architecture_of(model)
    return int(model.config.num_attention_heads)


def heads_per_layer(model: Any) -> tuple[int, ...]:
    """Attention heads that each layer has now.

    Raises:
        UnsupportedError: The table has no such architecture, or the model's modules are not those that it
            names.
    """
    entry = architecture_of(model)
    layers = encoder_layers(model)
    return tuple(int(getattr(_module(layer, entry.attention), entry.heads)) for layer in layers)


def encoder_layers(model: Any) -> Any:
    """The encoder's list of layers, an `nn.ModuleList`.

    Raises:
        UnsupportedError: The table has no such architecture, or the model's modules are not those that it
            names.
    """
    return _module(model, f"{_base_prefix(model)}{architecture_of(model).layers}")


def activation(config: Any, head: MaskedLMHead) -> Any:
    """A new module with the activation of the architecture's MLM head."""
    from transformers.activations import ACT2FN

    return ACT2FN[getattr(config, head.activation) if head.activation else "gelu"]


def _is_empty(layer: Any, entry: Architecture, kind: Kind) -> bool:
    """Whether a matrix went with the last head, or the last FFN row, of its sub-layer."""
    from edgeprune.structure.emptied import NoAttention, OutputBias

    if kind in ("up", "down"):
        return isinstance(_module(layer, entry.linears["down"]), OutputBias)
    return isinstance(_module(layer, entry.attention), NoAttention)


def _base_prefix(model: Any) -> str:
    """Path of the base model with a dot, or nothing when `model` is the base model itself."""
    return "" if model.base_model is model else f"{model.base_model_prefix}."


def _module(root: Any, path: str) -> Any:
    try:
        return root.get_submodule(path)
    except AttributeError as error:
        raise UnsupportedError(
            f"the model has no {path}: {error}",
            where=type(root).__name__,
            hint="the table in edgeprune/structure/architectures.py was checked against transformers 4.57",
        ) from error


def _require_linear(model: Any, path: str) -> None:
    from torch import nn

    module = _module(model, path)
    if not isinstance(module, nn.Linear):
        raise UnsupportedError(
            f"{path} is {type(module).__name__}, not nn.Linear, and cannot be masked or sliced",
            where=type(model).__name__,
        )
