"""The label-word head says what the MLM itself says at position 0, and is refused where it cannot be had."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import structure_kit as kit
import torch

from edgeprune.errors import EdgepruneError, RecipeError, UnsupportedError
from edgeprune.structure.architectures import head_parameters
from edgeprune.structure.heads import label_word_ids, label_words_of
from edgeprune.structure.loading import choose_head, has_mlm_head, pretrained, structure_of

pytestmark = pytest.mark.thorough

EVERY_TYPE = pytest.mark.parametrize("model_type", kit.TYPES)
CLASSES = tuple(kit.WORDS)


@EVERY_TYPE
def test_logits_are_the_mlms_own_at_position_0(model_type: str, tmp_path: Path) -> None:
    folder = kit.save_masked(model_type, tmp_path)
    tokenizer, model, notes = pretrained(folder, CLASSES, head="label-words", label_words=kit.WORDS)
    ids = label_word_ids(tokenizer, CLASSES, kit.WORDS)
    of_the_mlm = kit.logits(kit.masked(model_type), model_type)[:, 0, list(ids)]
    torch.testing.assert_close(kit.logits(model, model_type), of_the_mlm, atol=1e-6, rtol=0)
    assert of_the_mlm.std() > 0.01, "equal numbers would prove nothing"
    assert notes == []
    assert label_words_of(model) == kit.WORDS
    assert structure_of(model).head == "label-words"


@EVERY_TYPE
def test_it_is_the_architectures_ordinary_classifier(model_type: str, tmp_path: Path) -> None:
    folder = kit.save_masked(model_type, tmp_path)
    _, model, _ = pretrained(folder, CLASSES, head="label-words", label_words=kit.WORDS)
    assert type(model) is type(kit.classifier(model_type))
    assert list(model.config.id2label.values()) == list(CLASSES)
    answer = model(**kit.batch(model_type), labels=torch.tensor([0, 1, 2, 0, 1]))
    answer.loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    inside = [name for name, _ in model.named_parameters() if name in head_parameters(model)]
    assert len(inside) == 6  # dense, LayerNorm and decoder, each with its bias


@EVERY_TYPE
def test_dropout_is_off_in_the_head(model_type: str, tmp_path: Path) -> None:
    folder = kit.save_masked(model_type, tmp_path)
    _, model, _ = pretrained(folder, CLASSES, head="label-words", label_words=kit.WORDS)
    expected = kit.logits(model, model_type)
    model.train()
    model.base_model.eval()
    assert torch.equal(kit.logits(model, model_type), expected)


@EVERY_TYPE
def test_the_random_state_is_left_alone(model_type: str, tmp_path: Path) -> None:
    folder = kit.save_masked(model_type, tmp_path)
    before = torch.get_rng_state()
    pretrained(folder, CLASSES, head="label-words", label_words=kit.WORDS)
    assert torch.equal(torch.get_rng_state(), before)


@EVERY_TYPE
def test_an_mlm_head_is_seen_by_the_names_of_weights(model_type: str, tmp_path: Path) -> None:
    assert has_mlm_head(kit.save_masked(model_type, tmp_path / "mlm"))
    kit.classifier(model_type).save_pretrained(tmp_path / "classifier")
    assert not has_mlm_head(tmp_path / "classifier")
    kit.classifier(model_type).base_model.save_pretrained(tmp_path / "encoder")
    assert not has_mlm_head(tmp_path / "encoder")


def test_an_electra_discriminator_has_none(tmp_path: Path) -> None:
    from transformers import ElectraForPreTraining

    ElectraForPreTraining(kit.config("electra")).save_pretrained(tmp_path)
    assert not has_mlm_head(tmp_path)


def test_auto_takes_label_words_only_where_both_are_there(tmp_path: Path) -> None:
    masked = kit.save_masked("bert", tmp_path / "mlm")
    encoder = tmp_path / "encoder"
    kit.classifier("bert").base_model.save_pretrained(encoder)
    head, (note,) = choose_head(masked, "auto", kit.WORDS)
    assert head == "label-words"
    assert "terrible (poor), great (fine), the (mixed)" in note
    head, (note,) = choose_head(masked, "auto", None)
    assert (head, "no label words are given" in note) == ("trained", True)
    head, (note,) = choose_head(encoder, "auto", kit.WORDS)
    assert (head, "has no MLM head" in note) == ("trained", True)
    assert choose_head(masked, "trained", kit.WORDS) == ("trained", [])
    assert choose_head(masked, "label-words", kit.WORDS) == ("label-words", [])


def test_auto_trains_a_head_where_the_table_ends(tmp_path: Path) -> None:
    from transformers import AlbertConfig, AlbertForMaskedLM

    sizes = {"hidden_size": 8, "embedding_size": 8, "num_attention_heads": 2, "intermediate_size": 8}
    AlbertForMaskedLM(AlbertConfig(vocab_size=9, **sizes)).save_pretrained(tmp_path)
    assert not has_mlm_head(tmp_path)
    head, (note,) = choose_head(tmp_path, "auto", kit.WORDS)
    assert head == "trained"
    assert "'albert'" in note
    with pytest.raises(UnsupportedError, match="'albert'"):
        choose_head(tmp_path, "label-words", kit.WORDS)


def test_label_words_that_cannot_be_had_are_refused(tmp_path: Path) -> None:
    encoder = tmp_path / "encoder"
    kit.classifier("bert").base_model.save_pretrained(encoder)
    kit.tokenizer("bert").save_pretrained(encoder)
    with pytest.raises(UnsupportedError, match="the checkpoint has no MLM head") as caught:
        pretrained(encoder, CLASSES, head="label-words", label_words=kit.WORDS)
    assert "head: trained" in caught.value.hint
    with pytest.raises(UnsupportedError, match="no label words are given"):
        pretrained(kit.save_masked("bert", tmp_path / "mlm"), CLASSES, head="label-words")


def test_a_gap_in_the_checkpoint_is_an_error(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = kit.save_masked("bert", tmp_path)
    weights = load_file(folder / "model.safetensors")
    del weights["bert.encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EdgepruneError, match=r"missing: bert\.encoder\.layer\.1\.output\.dense\.weight"):
        pretrained(folder, CLASSES, head="label-words", label_words=kit.WORDS)


def test_a_tokenizer_with_more_tokens_than_the_decoder_has_rows_is_refused(tmp_path: Path) -> None:
    folder = kit.save_masked("bert", tmp_path)
    larger = shutil.copytree(folder, tmp_path / "larger")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    tokenizer.add_tokens(["splendid"])
    tokenizer.save_pretrained(larger)
    with pytest.raises(UnsupportedError, match="token 20 of the tokenizer; the MLM head has 20"):
        pretrained(larger, CLASSES, head="label-words", label_words=kit.WORDS | {"fine": "splendid"})


@pytest.mark.parametrize(
    ("model_type", "piece"), [("bert", "great"), ("roberta", "Ġgreat"), ("xlm-roberta", "▁great")]
)
def test_a_word_is_the_token_that_it_is_inside_a_text(model_type: str, piece: str) -> None:
    tokenizer = kit.tokenizer(model_type)
    (found,) = label_word_ids(tokenizer, ("fine",), {"fine": "great"})
    assert tokenizer.convert_ids_to_tokens(found) == piece
    assert found in tokenizer("the film is great")["input_ids"]


def test_the_order_is_that_of_the_classes() -> None:
    tokenizer = kit.tokenizer("bert")
    forwards = label_word_ids(tokenizer, CLASSES, kit.WORDS)
    reordered = {name: kit.WORDS[name] for name in reversed(CLASSES)}
    assert label_word_ids(tokenizer, CLASSES, reordered) == forwards
    assert label_word_ids(tokenizer, CLASSES[::-1], kit.WORDS) == forwards[::-1]


@pytest.mark.parametrize(
    ("model_type", "words", "message"),
    [
        ("bert", {"fine": "ungreat"}, r"'ungreat' is 2 tokens of the model \('un', '##great'\)"),
        ("bert", {"fine": "great film"}, r"'great film' is 2 tokens of the model \('great', 'film'\)"),
        ("roberta", {"fine": "ungreat"}, r"'ungreat' is \d tokens of the model \('Ġ"),
        ("bert", {"fine": "splendid"}, "'splendid' is not in the model's vocabulary"),
        ("bert", {"fine": "[MASK]"}, "is a special token of the model"),
        ("roberta", {"fine": " "}, "the word is empty"),
        ("bert", {"fine": ""}, "the word is empty"),
        ("bert", {"fine": "Terrible"}, "'Terrible' is the same token as 'terrible' of class 'poor'"),
        ("bert", {"odd": "film"}, "there is no class 'odd'"),
    ],
)
def test_a_word_that_does_not_fit_is_named(model_type: str, words: dict[str, str], message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        label_word_ids(kit.tokenizer(model_type), CLASSES, kit.WORDS | words)
    (problem,) = caught.value.problems
    assert problem.key == ("label_words", *words)
    assert problem.hint


def test_all_words_that_do_not_fit_are_named_at_once() -> None:
    words = {"fine": "splendid", "odd": "film", "mixed": "great film"}
    with pytest.raises(RecipeError) as caught:
        label_word_ids(kit.tokenizer("bert"), CLASSES, words)
    assert [problem.path for problem in caught.value.problems] == [
        "label_words",
        "label_words.odd",
        "label_words.fine",
        "label_words.mixed",
    ]
