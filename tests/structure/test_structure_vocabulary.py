"""A cut vocabulary: no new unknown words, unchanged texts, equal logits, files that load."""

from __future__ import annotations

import itertools
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import structure_kit as kit
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from edgeprune.errors import EdgepruneError, RecipeError, UnsupportedError
from edgeprune.structure.loading import load, save, structure_of
from edgeprune.structure.vocabulary import kept_vocabulary, slice_embeddings, used_tokens
from edgeprune.structure.wordpiece import read_wordpiece, slice_tokenizer, slice_tokenizer_folder

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CORPUS = [
    "the film is greatly great , a greatness of greatest films",
    "unfilmable , unwatchable and uninteresting stories of the uninterested",
    "naïve coöperation costs 3 € in 東京 and in 京都 ! e\u0301 \u0e19\u0e33\u0e49",
    "café-goers filmed 🎬 the filming # of a # story ##",
]
DATA = ["the film is great", "a great story !", "filming in 東京"]
OTHERS = ["unfilmable cafés", "greatest 京都 stories , naïve", "the filming of the uninterested"]
WORDPIECE_TYPES = ("bert", "distilbert", "electra", "mpnet")


# Tokenizers to cut


@cache
def trained() -> dict[str, Any]:
    """A BERT-like tokenizer.json, its post-processor a template, with two tokens beyond its vocabulary."""
    built = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    built.normalizer = normalizers.BertNormalizer(lowercase=True)
    built.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    built.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=400, min_frequency=1, special_tokens=list(SPECIAL), show_progress=False
    )
    built.train_from_iterator(CORPUS, trainer)
    built.add_tokens(["@user", "@link"])
    ends = [(name, built.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    built.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    built.enable_padding(pad_id=0, pad_token="[PAD]")
    content: dict[str, Any] = json.loads(built.to_str())
    return content


def handmade(vocabulary: list[str], pre_tokenizer: Any) -> dict[str, Any]:
    built = Tokenizer(models.WordPiece({token: i for i, token in enumerate(vocabulary)}, unk_token="[UNK]"))
    built.pre_tokenizer = pre_tokenizer
    content: dict[str, Any] = json.loads(built.to_str())
    return content


def fast(content: dict[str, Any]) -> Tokenizer:
    return Tokenizer.from_str(json.dumps(content))


def tokens(content: dict[str, Any], texts: list[str]) -> list[list[str]]:
    return [found.tokens for found in fast(content).encode_batch(texts)]


def count(content: dict[str, Any], texts: list[str]) -> dict[int, int]:
    return used_tokens(found.ids for found in fast(content).encode_batch(texts))


def cut(content: dict[str, Any], texts: list[str], **options: Any) -> dict[str, Any]:
    return slice_tokenizer(content, kept_vocabulary(content, count(content, texts), **options))


def unknown(content: dict[str, Any], texts: list[str]) -> list[list[tuple[int, int]]]:
    """Where each text has unknown words."""
    return [
        [place for token, place in zip(found.tokens, found.offsets, strict=True) if token == "[UNK]"]
        for found in fast(content).encode_batch(texts)
    ]


# Laws of what is kept

characters = sorted({letter for text in CORPUS for letter in text})
texts_of_known_characters = st.lists(
    st.text(alphabet=st.sampled_from(characters), max_size=30), min_size=1, max_size=5
)


def assert_nothing_new_is_unknown(texts: list[str], data: list[str]) -> None:
    sliced = cut(trained(), data)
    assert unknown(sliced, texts) == unknown(trained(), texts)
    assert tokens(sliced, data) == tokens(trained(), data)


@given(texts=texts_of_known_characters, data=st.lists(st.sampled_from([*CORPUS, *OTHERS]), max_size=2))
@settings(max_examples=30)
def test_no_text_gets_a_new_unknown_word_and_the_datas_texts_stay(texts: list[str], data: list[str]) -> None:
    assert_nothing_new_is_unknown(texts, data)


@pytest.mark.thorough
@given(texts=texts_of_known_characters, data=texts_of_known_characters)
@settings(max_examples=1500)
def test_no_text_gets_a_new_unknown_word_in_many_cases(texts: list[str], data: list[str]) -> None:
    assert_nothing_new_is_unknown(texts, data)


def vocabularies(letters: str) -> st.SearchStrategy[list[str]]:
    texts = st.text(alphabet=letters, min_size=1, max_size=4)
    pieces = st.builds(lambda mark, text: mark + text, st.sampled_from(["", "##"]), texts)
    return st.lists(pieces, min_size=1, max_size=16, unique=True)


def assert_every_word_stays_known(
    vocabulary: list[str], chosen: set[int], letters: str, longest: int, pre_tokenizer: Any
) -> None:
    """Whatever the vocabulary lacks: all words of up to `longest` letters, not a sample of them.

    A word that the whole vocabulary cannot spell may become one that can be spelled: cut after `xx`, "xxy"
    has no way on; with `xx` gone it is `x` and `##xy`.
    """
    whole = handmade(["[UNK]", *vocabulary], pre_tokenizer)
    words = ["".join(word) for n in range(1, longest + 1) for word in itertools.product(letters, repeat=n)]
    used = {number: 1 for number in chosen if number <= len(vocabulary)}
    sliced = slice_tokenizer(whole, kept_vocabulary(whole, used))
    (before,), (after,) = (unknown(each, [" ".join(words)]) for each in (whole, sliced))
    assert set(after) <= set(before)


some_of_16 = st.sets(st.integers(0, 16))


@given(vocabulary=vocabularies("xyz"), chosen=some_of_16)
@settings(max_examples=60)
def test_vocabularies_without_all_single_letters_keep_what_they_need(
    vocabulary: list[str], chosen: set[int]
) -> None:
    assert_every_word_stays_known(vocabulary, chosen, "xyz", 5, pre_tokenizers.BertPreTokenizer())


@pytest.mark.thorough
@given(vocabulary=vocabularies("xyz"), chosen=some_of_16)
@settings(max_examples=2000)
def test_vocabularies_without_all_single_letters_in_many_cases(
    vocabulary: list[str], chosen: set[int]
) -> None:
    assert_every_word_stays_known(vocabulary, chosen, "xyz", 6, pre_tokenizers.BertPreTokenizer())


@pytest.mark.thorough
@given(vocabulary=vocabularies("xy#"), chosen=some_of_16)
@settings(max_examples=2000)
def test_words_that_begin_like_pieces_for_their_inside_in_many_cases(
    vocabulary: list[str], chosen: set[int]
) -> None:
    assert_every_word_stays_known(vocabulary, chosen, "xy#", 6, pre_tokenizers.WhitespaceSplit())


def test_a_word_that_needs_a_piece_without_single_letters_keeps_it() -> None:
    """`z` alone cannot stand inside a word, so `##yz` stays though nothing uses it, and `##xy`, which is
    used, must not end inside it: `wx` stays too, or "wxyz" would be w + ##xy + nothing for z."""
    vocabulary = ["[UNK]", "w", "x", "y", "z", "##x", "##y", "wx", "##yz", "##xy", "ww", "##ww", "##w"]
    whole = handmade(vocabulary, pre_tokenizers.BertPreTokenizer())
    sliced = slice_tokenizer(whole, kept_vocabulary(whole, {vocabulary.index("##xy"): 1}))
    assert set(vocabulary) - set(sliced["model"]["vocab"]) == {"ww", "##ww"}
    assert tokens(sliced, ["wxyz wwxy"]) == [["wx", "##yz", "w", "##w", "##xy"]]


@pytest.mark.parametrize(
    ("pre_tokenizer", "kept"),
    [
        (pre_tokenizers.BertPreTokenizer(), False),
        (pre_tokenizers.Punctuation(), False),
        (pre_tokenizers.Sequence([pre_tokenizers.Digits(), pre_tokenizers.BertPreTokenizer()]), False),
        (pre_tokenizers.Punctuation(behavior="merged_with_next"), True),
        (pre_tokenizers.WhitespaceSplit(), True),
    ],
)
def test_a_piece_for_the_inside_of_words_may_begin_one_that_is_written_so(
    pre_tokenizer: Any, kept: bool
) -> None:
    """Split at spaces alone, the text "##xy" is a word, and the one that the token `##xy` spells."""
    whole = handmade(["[UNK]", "x", "y", "##x", "##y", "##xy", "xy"], pre_tokenizer)
    sliced = slice_tokenizer(whole, kept_vocabulary(whole, {}))
    assert ("##xy" in sliced["model"]["vocab"]) == kept
    assert "xy" not in sliced["model"]["vocab"]
    assert unknown(sliced, ["##xy xy #x"]) == unknown(whole, ["##xy xy #x"])


def test_only_used_special_added_and_single_character_tokens_are_kept() -> None:
    content, used = trained(), count(trained(), DATA)
    vocabulary = fast(content).get_vocab()
    singles = {token for token in vocabulary if len(token.removeprefix("##")) == 1}
    expected = {*SPECIAL, "@user", "@link", *singles, *(fast(content).id_to_token(i) for i in used)}
    kept = kept_vocabulary(content, used)
    assert kept == tuple(sorted(vocabulary[token] for token in expected))
    assert len(kept) < 0.5 * len(vocabulary)


def test_rare_tokens_go_and_named_ones_stay() -> None:
    content = trained()
    used = count(content, ["the film", "the great film", "the the"])
    vocabulary = fast(content).get_vocab()

    def words(**options: Any) -> set[str]:
        kept = set(kept_vocabulary(content, used, **options))
        return {word for word in ("the", "film", "great", "of") if vocabulary[word] in kept}

    assert words() == {"the", "film", "great"}
    assert words(min_count=2) == {"the", "film"}
    assert words(min_count=3, extra=["of"]) == {"the", "of"}
    rare = cut(content, DATA, min_count=3)
    assert unknown(rare, [*DATA, *OTHERS]) == unknown(content, [*DATA, *OTHERS])
    assert tokens(rare, DATA) != tokens(content, DATA)


@given(st.integers(0, 400), st.lists(st.sampled_from(DATA), max_size=4))
def test_a_size_is_filled_with_the_lowest_numbers(more: int, data: list[str]) -> None:
    content = trained()
    used = count(content, data)
    needed = kept_vocabulary(content, used)
    there = sorted(read_wordpiece(content).tokens.values())
    size = min(len(needed) + more, len(there))
    kept = kept_vocabulary(content, used, size=size)
    assert set(needed) <= set(kept)
    assert len(kept) == size
    added = sorted(set(kept) - set(needed))
    assert added == [number for number in there if number not in needed][: size - len(needed)]


def test_a_size_below_what_is_needed_says_so() -> None:
    content = trained()
    needed = len(kept_vocabulary(content, count(content, DATA)))
    with pytest.raises(RecipeError) as caught:
        kept_vocabulary(content, count(content, DATA), size=needed - 1)
    (problem,) = caught.value.problems
    assert problem.key == ("size",)
    assert f"{needed:,} are used" in problem.message


def test_reserved_rows_fill_no_size() -> None:
    letters = sorted({*"[UNK][unused017]abc"})
    singles = [form for letter in letters for form in (letter, f"##{letter}")]
    vocabulary = ["[unused0]", "[unused17]", "ab", *singles, "abc", "[UNK]"]
    content = handmade(vocabulary, pre_tokenizers.BertPreTokenizer())
    kept = kept_vocabulary(content, {}, size=len(singles) + 2)
    assert {vocabulary[number] for number in kept} == {"[UNK]", *singles, "ab"}


def test_counts_are_of_occurrences() -> None:
    assert used_tokens([[1, 5, 5], [], [5]]) == {1: 1, 5: 3}


def test_extra_tokens_that_there_are_not_are_named_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        kept_vocabulary(trained(), {}, extra=["film", "filmfest", "the film"])
    assert [problem.message for problem in caught.value.problems] == [
        "'filmfest' is not a token",
        "'the film' is not a token",
    ]


def test_data_of_another_tokenizer_is_refused() -> None:
    with pytest.raises(EdgepruneError, match="token number 9999"):
        kept_vocabulary(trained(), {9999: 1})


# tokenizer.json


def test_every_number_of_the_tokenizer_follows() -> None:
    content = trained()
    content["padding"]["pad_id"] = content["model"]["vocab"]["[MASK]"]
    kept = kept_vocabulary(content, count(content, DATA))
    before, sliced = json.dumps(content), slice_tokenizer(content, kept)
    assert json.dumps(content) == before, "the input is not changed"
    vocabulary = sliced["model"]["vocab"]
    names = [fast(content).id_to_token(number) for number in kept]
    assert list(vocabulary) == names[:-2]
    assert list(vocabulary.values()) == list(range(len(kept) - 2))
    numbers = {token["content"]: token["id"] for token in sliced["added_tokens"]}
    assert numbers == {name: names.index(name) for name in (*SPECIAL, "@user", "@link")}
    assert sliced["padding"]["pad_id"] == vocabulary["[MASK]"]
    specials = sliced["post_processor"]["special_tokens"]
    assert {name: part["ids"] for name, part in specials.items()} == {
        "[CLS]": [vocabulary["[CLS]"]],
        "[SEP]": [vocabulary["[SEP]"]],
    }
    assert fast(sliced).get_vocab() == {name: number for number, name in enumerate(names)}
    old, new = (fast(each).encode("@user great", "film @link") for each in (content, sliced))
    assert new.tokens == old.tokens
    assert [kept[number] for number in new.ids] == old.ids


@pytest.mark.parametrize("kind", [processors.BertProcessing, processors.RobertaProcessing])
def test_numbers_in_other_post_processors_follow(kind: Any) -> None:
    vocabulary = [
        "gone",
        "goner",
        "[UNK]",
        "e",
        "g",
        "n",
        "o",
        "r",
        "##e",
        "##n",
        "##o",
        "##r",
        "</s>",
        "<s>",
    ]
    built = fast(handmade(vocabulary, pre_tokenizers.BertPreTokenizer()))
    ends = kind(("</s>", 12), ("<s>", 13))
    built.post_processor = processors.Sequence([processors.ByteLevel(), ends])
    content = json.loads(built.to_str())
    sliced = slice_tokenizer(content, kept_vocabulary(content, {0: 1}, min_count=2))
    assert tokens(sliced, ["gone"]) == [["<s>", "g", "##o", "##n", "##e", "</s>"]]
    assert fast(sliced).encode("gone").ids == [11, 2, 8, 7, 6, 10]


def test_a_vocabulary_with_holes_is_closed() -> None:
    content = handmade(["[UNK]", "x", "y"], pre_tokenizers.BertPreTokenizer())
    content["model"]["vocab"]["y"] = 7
    kept = kept_vocabulary(content, {})
    assert kept == (0, 1, 7)
    assert slice_tokenizer(content, kept)["model"]["vocab"] == {"[UNK]": 0, "x": 1, "y": 2}


@pytest.mark.parametrize(("model_type", "kind"), [("roberta", "BPE"), ("xlm-roberta", "Unigram")])
def test_other_kinds_of_tokenizers_are_refused(model_type: str, kind: str) -> None:
    content = json.loads(kit.tokenizer(model_type).backend_tokenizer.to_str())
    for act in (lambda: kept_vocabulary(content, {}), lambda: slice_tokenizer(content, [0])):
        with pytest.raises(UnsupportedError, match=kind) as caught:
            act()
        assert caught.value.hint


def test_an_unknown_post_processor_is_refused() -> None:
    content = trained() | {"post_processor": {"type": "Novel"}}
    with pytest.raises(UnsupportedError, match="Novel"):
        kept_vocabulary(content, {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": None}, "no tokenizer"),
        ({"model": {"type": "WordPiece"}}, "no tokenizer"),
        ({"padding": {"pad_id": 9999}}, "a number without a token"),
        ({"added_tokens": [{"id": 3, "content": "[PAD]"}]}, "two numbers for one token"),
        ({"added_tokens": [{"id": 3, "content": "new"}]}, "two tokens of one number"),
    ],
)
def test_a_damaged_tokenizer_is_an_error(change: dict[str, Any], message: str) -> None:
    with pytest.raises(EdgepruneError, match=message):
        kept_vocabulary(trained() | change, {})


def test_kept_tokens_must_fit_the_tokenizer() -> None:
    content, everything = trained(), sorted(fast(trained()).get_vocab().values())
    for kept, message in [
        ([], "none"),
        ([1, 0], "1, 0"),
        (everything[1:], r"without \[PAD\]"),
        ([*everything, 9999], "no token number 9999"),
    ]:
        with pytest.raises(EdgepruneError, match=message):
            slice_tokenizer(content, kept)


# Folders


def wrapped() -> Any:
    """The trained tokenizer as Hugging Face's."""
    names = {f"{name.strip('[]').lower()}_token": name for name in SPECIAL}
    return transformers.BertTokenizerFast(tokenizer_object=fast(trained()), **names)


def saved(folder: Path) -> tuple[dict[str, Any], tuple[int, ...]]:
    """The folder's tokenizer.json and what the data keeps of it."""
    wrapped().save_pretrained(folder)
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    return content, kept_vocabulary(content, count(content, DATA))


@pytest.mark.parametrize("place", ["elsewhere", "before"])
def test_a_folder_loads_with_the_new_numbers_and_saves_again(place: str, tmp_path: Path) -> None:
    content, kept = saved(tmp_path / "before")
    slice_tokenizer_folder(tmp_path / "before", kept, tmp_path / place)
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path / place)
    loaded.save_pretrained(tmp_path / "again")
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "again")
    texts = [*DATA, *OTHERS, "@user [MASK] film"]
    for tokenizer in (loaded, again):
        assert tokenizer.is_fast
        assert len(tokenizer) == len(kept)
        assert tokenizer.pad_token_id == kept.index(wrapped().pad_token_id)
        assert tokenizer.mask_token_id == kept.index(wrapped().mask_token_id)
        ids = tokenizer(texts)["input_ids"]
        sliced = fast(slice_tokenizer(content, kept))
        sliced.no_padding()
        assert ids == [found.ids for found in sliced.encode_batch(texts)]
    before = wrapped()(DATA)["input_ids"]
    assert [[kept[number] for number in each] for each in loaded(DATA)["input_ids"]] == before


def test_the_files_beside_it_follow(tmp_path: Path) -> None:
    content, kept = saved(tmp_path)
    (tmp_path / "added_tokens.json").write_text(json.dumps({"@user": len(content["model"]["vocab"])}))
    target = tmp_path / "target"
    slice_tokenizer_folder(tmp_path, kept, target)
    settings = json.loads((target / "tokenizer_config.json").read_text(encoding="utf-8"))
    named = {token["content"]: int(number) for number, token in settings["added_tokens_decoder"].items()}
    vocabulary = (target / "vocab.txt").read_text(encoding="utf-8").splitlines()
    assert {name: vocabulary.index(name) for name in SPECIAL}.items() <= named.items()
    assert len(vocabulary) == len(kept) - 2
    assert json.loads((target / "added_tokens.json").read_text()) == {"@user": len(kept) - 2}
    before = json.loads((tmp_path / "special_tokens_map.json").read_text(encoding="utf-8"))
    assert json.loads((target / "special_tokens_map.json").read_text(encoding="utf-8")) == before


def test_folders_that_cannot_be_cut_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"no tokenizer\.json"):
        slice_tokenizer_folder(tmp_path, [0], tmp_path)
    _, kept = saved(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["added_tokens_decoder"]["9999"] = settings["added_tokens_decoder"]["0"]
    path.write_text(json.dumps(settings))
    with pytest.raises(EdgepruneError, match="9999") as caught:
        slice_tokenizer_folder(tmp_path, kept, tmp_path / "target")
    assert caught.value.where == str(path)
    assert not (tmp_path / "target").exists()
    path.write_text("{")
    with pytest.raises(EdgepruneError, match="cannot be read"):
        slice_tokenizer_folder(tmp_path, kept, tmp_path / "target")


# Models


def numbers_kept() -> tuple[int, ...]:
    return kept_vocabulary(trained(), count(trained(), DATA))


def classifier(model_type: str) -> Any:
    return kit.classifier(model_type, vocab_size=len(fast(trained()).get_vocab()))


def logits(model: Any, content: dict[str, Any]) -> torch.Tensor:
    """Of the data's texts, as one padded batch."""
    found = fast(content).encode_batch(DATA)
    with torch.no_grad():
        answers: torch.Tensor = model(
            input_ids=torch.tensor([each.ids for each in found]),
            attention_mask=torch.tensor([each.attention_mask for each in found]),
        ).logits
    return answers


@pytest.mark.parametrize("model_type", WORDPIECE_TYPES)
def test_the_datas_logits_are_the_same_to_the_bit_and_after_loading(model_type: str, tmp_path: Path) -> None:
    model, kept = classifier(model_type), numbers_kept()
    before, size = logits(model, trained()), model.num_parameters()
    width = model.get_input_embeddings().embedding_dim
    slice_embeddings(model, kept)
    sliced = slice_tokenizer(trained(), kept)
    assert torch.equal(logits(model, sliced), before)
    assert before.std() > 0.01, "equal numbers would prove nothing"
    assert size - model.num_parameters() == (len(fast(trained()).get_vocab()) - len(kept)) * width
    save(model, tmp_path)
    assert not (tmp_path / "structure.json").exists()
    loaded = load(tmp_path)
    assert loaded.config.vocab_size == len(kept)
    assert torch.equal(logits(loaded, sliced), before)


@pytest.mark.parametrize("model_type", WORDPIECE_TYPES)
def test_a_label_word_head_keeps_its_own_rows(model_type: str, tmp_path: Path) -> None:
    from edgeprune.structure.heads import attach_label_words

    model, kept = classifier(model_type), numbers_kept()
    attach_label_words(model, dict.fromkeys(kit.WORDS, "unfilmable"))
    kit.scrambled(model)
    before = logits(model, trained())
    slice_embeddings(model, kept)
    save(model, tmp_path)
    for each in (model, load(tmp_path)):
        assert torch.equal(logits(each, slice_tokenizer(trained(), kept)), before)
        assert structure_of(each).head == "label-words"


def test_a_model_that_counts_positions_from_padding_agrees_where_that_number_stays() -> None:
    """RoBERTa's encoder with a WordPiece vocabulary, as some languages have it; padding is token 0."""
    model, kept = classifier("roberta"), numbers_kept()
    model.base_model.embeddings.padding_idx = model.config.pad_token_id = 0
    model.get_input_embeddings().padding_idx = 0
    before = logits(model, trained())
    slice_embeddings(model, kept)
    assert torch.equal(logits(model, slice_tokenizer(trained(), kept)), before)


def test_a_model_that_counts_positions_from_padding_is_refused_where_that_number_moves() -> None:
    model = classifier("mpnet")
    model.config.pad_token_id = 1
    with pytest.raises(UnsupportedError, match="positions") as caught:
        slice_embeddings(model, [1, 2, 3, 4, 5])
    assert "0 to 1" in caught.value.hint


def test_the_rows_keep_their_dtype_and_whether_they_are_trained() -> None:
    model = classifier("bert").bfloat16()
    table = model.get_input_embeddings()
    table.weight.requires_grad_(False)
    rows = table.weight[[0, 3, 9]].clone()
    slice_embeddings(model, [0, 3, 9])
    assert model.get_input_embeddings() is table
    assert table.weight.dtype == torch.bfloat16
    assert not table.weight.requires_grad
    assert torch.equal(table.weight, rows)
    assert table.num_embeddings == 3


def test_the_configs_numbers_follow_and_lost_ones_are_told() -> None:
    model = classifier("bert")
    model.config.pad_token_id = model.get_input_embeddings().padding_idx = 4
    model.config.sep_token_id, model.config.eos_token_id = 6, 5
    notes = slice_embeddings(model, [1, 4, 6])
    found = model.config
    assert (found.vocab_size, found.pad_token_id, found.sep_token_id, found.eos_token_id) == (3, 1, 2, None)
    assert model.get_input_embeddings().padding_idx == 1
    assert notes == ["eos_token_id was token 5, which is cut out; the config has none now"]


def test_tables_that_cannot_be_cut_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="token 9999"):
        slice_embeddings(classifier("bert"), [0, 9999])
    with pytest.raises(EdgepruneError, match="token 0 is padding"):
        slice_embeddings(classifier("bert"), [1, 2])
    with pytest.raises(UnsupportedError, match="MLM head"):
        slice_embeddings(kit.masked("bert"), [0, 1])
    model = classifier("bert")
    model.set_input_embeddings(torch.nn.EmbeddingBag(10, 3))
    with pytest.raises(UnsupportedError, match="EmbeddingBag"):
        slice_embeddings(model, [0, 1])
