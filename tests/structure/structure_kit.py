"""Tiny models of every architecture in the table, with weights that hide no mistake, and their tokenizers."""

from __future__ import annotations

import logging
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HIDDEN, HEADS, FFN, LAYERS, EMBEDDING = 16, 4, 24, 3, 8
TEXTS = ["the film is great", "a dull story , not great", "terrible", "the the the", "good and bad"]
WORDS = {"poor": "terrible", "fine": "great", "mixed": "the"}
"""Class names with their label words."""
SPECIAL = {
    "wordpiece": ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    "bpe": ("<s>", "<pad>", "</s>", "<unk>", "<mask>"),
}
TYPES = ("bert", "distilbert", "electra", "mpnet", "roberta", "xlm-roberta")


def config(model_type: str, **changes: Any) -> Any:
    """A tiny config; no two sizes are equal, so that a transposed or swapped matrix shows."""
    sizes: dict[str, Any] = {
        "vocab_size": len(tokenizer(model_type)),
        "pad_token_id": tokenizer(model_type).pad_token_id,
        "max_position_embeddings": 40,
    }
    if model_type == "distilbert":
        sizes |= {"dim": HIDDEN, "n_layers": LAYERS, "n_heads": HEADS, "hidden_dim": FFN}
    else:
        sizes |= {
            "hidden_size": HIDDEN,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "intermediate_size": FFN,
        }
    if model_type == "electra":
        sizes["embedding_size"] = EMBEDDING
    return transformers.AutoConfig.for_model(model_type, **(sizes | changes))


def classifier(model_type: str, **changes: Any) -> Any:
    """A sequence classifier of three classes."""
    labels = dict(enumerate(WORDS))
    return scrambled(
        transformers.AutoModelForSequenceClassification.from_config(
            config(model_type, id2label=labels, label2id={name: i for i, name in labels.items()}, **changes)
        )
    )


def masked(model_type: str) -> Any:
    """A `*ForMaskedLM` model."""
    return scrambled(transformers.AutoModelForMaskedLM.from_config(config(model_type)))


def scrambled(model: Any, seed: int = 0) -> Any:
    """The model with all parameters random, biases and LayerNorms too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model.eval()


def save_masked(model_type: str, folder: Path) -> Path:
    """A checkpoint with an MLM head, as one is downloaded."""
    masked(model_type).save_pretrained(folder)
    tokenizer(model_type).save_pretrained(folder)
    return folder


def batch(model_type: str) -> dict[str, torch.Tensor]:
    """The texts as a padded batch."""
    encoded = tokenizer(model_type)(TEXTS, padding=True, return_tensors="pt")
    return {name: encoded[name] for name in ("input_ids", "attention_mask")}


def logits(model: Any, model_type: str) -> torch.Tensor:
    """[texts, classes]; [texts, tokens, vocabulary] of an MLM."""
    with torch.no_grad():
        found: torch.Tensor = model(**batch(model_type)).logits
    return found


@cache
def tokenizer(model_type: str) -> Any:
    """WordPiece as BERT's, byte-level BPE as RoBERTa's, or words after a ▁ as XLM-RoBERTa's."""
    if model_type == "roberta":
        return _byte_level()
    return _metaspace() if model_type == "xlm-roberta" else _word_piece()


def _words() -> list[str]:
    return sorted({word for text in TEXTS for word in text.split()})


def _word_piece() -> Any:
    vocabulary = {token: i for i, token in enumerate([*SPECIAL["wordpiece"], *_words(), "un", "##great"])}
    built = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    built.normalizer = normalizers.BertNormalizer()
    built.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    built.decoder = decoders.WordPiece()
    ends = [(name, vocabulary[name]) for name in ("[SEP]", "[CLS]")]
    built.post_processor = processors.BertProcessing(*ends)
    return transformers.BertTokenizerFast(tokenizer_object=built)


def _byte_level() -> Any:
    built = Tokenizer(models.BPE(unk_token="<unk>"))
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        min_frequency=1,
        special_tokens=list(SPECIAL["bpe"]),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    built.train_from_iterator([*TEXTS, *(f"a {word}" for word in _words())], trainer)
    ends = [(name, built.token_to_id(name)) for name in ("</s>", "<s>")]
    built.post_processor = processors.RobertaProcessing(*ends, add_prefix_space=False)
    return transformers.RobertaTokenizerFast(tokenizer_object=built)


def _metaspace() -> Any:
    pieces = [*SPECIAL["bpe"], *(f"▁{word}" for word in _words()), *"abcdefghijklmnopqrstuvwxyz▁,"]
    built = Tokenizer(models.Unigram([(piece, -float(i)) for i, piece in enumerate(pieces)], unk_id=3))
    built.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    built.decoder = decoders.Metaspace()
    built.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return transformers.XLMRobertaTokenizerFast(tokenizer_object=built)


def assert_exports_alike(model: Any, model_type: str, folder: Path) -> None:
    """ONNX Runtime gives PyTorch's logits, for one text and for a padded batch."""
    import onnxruntime
    from optimum.exporters.onnx import onnx_export_from_model

    logging.getLogger("optimum").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        onnx_export_from_model(
            model, output=folder, task="text-classification", opset=18, do_validation=False
        )
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    inputs = {name: values.numpy() for name, values in batch(model_type).items()}
    inputs["token_type_ids"] = np.zeros_like(inputs["input_ids"])
    names = {entry.name for entry in session.get_inputs()}
    for rows in (slice(0, 1), slice(1, 5)):
        (answers,) = session.run(["logits"], {name: inputs[name][rows] for name in names})
        np.testing.assert_allclose(answers, logits(model, model_type)[rows], atol=1e-5)
