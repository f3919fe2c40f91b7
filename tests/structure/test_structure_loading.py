"""What was saved is loaded, to the bit; what is not whole is refused; nothing in a folder is run."""

from __future__ import annotations

import json
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structure_kit as kit
import torch
from safetensors.torch import load_file, save_file

import edgeprune
from edgeprune.errors import EdgepruneError, UnsupportedError
from edgeprune.structure.loading import load, pretrained, save, structure_of

pytestmark = pytest.mark.thorough

EVERY_TYPE = pytest.mark.parametrize("model_type", kit.TYPES)
BOTH_HEADS = pytest.mark.parametrize("head", ["trained", "label-words"])
CLASSES = tuple(kit.WORDS)


def _model(model_type: str, head: str, folder: Path) -> Any:
    if head == "trained":
        return kit.classifier(model_type)
    checkpoint = kit.save_masked(model_type, folder)
    _, model, _ = pretrained(checkpoint, CLASSES, head="label-words", label_words=kit.WORDS)
    return model


def _saved(head: str, folder: Path) -> Path:
    model = _model("bert", head, folder / "checkpoint")
    save(model, folder / "saved", kit.tokenizer("bert"))
    return folder / "saved"


def _change(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


@EVERY_TYPE
@BOTH_HEADS
def test_what_was_saved_is_loaded_to_the_bit(model_type: str, head: str, tmp_path: Path) -> None:
    model = _model(model_type, head, tmp_path / "checkpoint")
    save(model, tmp_path / "saved", kit.tokenizer(model_type))
    before = torch.get_rng_state()
    loaded = load(tmp_path / "saved")
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(kit.logits(loaded, model_type), kit.logits(model, model_type))
    state, expected = loaded.state_dict(), model.state_dict()
    assert list(state) == list(expected)
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    assert type(loaded) is type(model)
    assert not any(module.training for module in loaded.modules())
    assert loaded.config.id2label == model.config.id2label
    assert structure_of(loaded) == structure_of(model)
    assert (tmp_path / "saved" / "tokenizer.json").is_file()


@BOTH_HEADS
def test_a_loaded_model_can_be_saved_again(head: str, tmp_path: Path) -> None:
    first = _saved(head, tmp_path)
    save(load(first), tmp_path / "second")
    for name in ("model.safetensors", "config.json", *(["structure.json"] if head == "label-words" else [])):
        assert (tmp_path / "second" / name).read_bytes() == (first / name).read_bytes()


def test_structure_json_says_what_the_config_cannot(tmp_path: Path) -> None:
    folder = _saved("label-words", tmp_path)
    assert json.loads((folder / "structure.json").read_text()) == {
        "format": "edgeprune.structure/1",
        "head": "label-words",
        "label_words": kit.WORDS,
        "pooling": "first",
    }
    save(kit.classifier("bert"), folder)
    assert not (folder / "structure.json").exists()
    assert structure_of(load(folder)).head == "trained"


def test_a_plain_classifier_of_another_architecture_is_loaded_too(tmp_path: Path) -> None:
    from transformers import AlbertConfig, AlbertForSequenceClassification

    sizes = {"hidden_size": 8, "embedding_size": 8, "num_attention_heads": 2, "intermediate_size": 8}
    model = kit.scrambled(AlbertForSequenceClassification(AlbertConfig(vocab_size=40, **sizes)))
    save(model, tmp_path)
    assert torch.equal(kit.logits(load(tmp_path), "bert"), kit.logits(model, "bert"))


def test_edgeprune_load_is_load(tmp_path: Path) -> None:
    folder = _saved("label-words", tmp_path)
    assert torch.equal(kit.logits(edgeprune.load(str(folder)), "bert"), kit.logits(load(folder), "bert"))


@BOTH_HEADS
def test_weights_may_lie_in_shards(head: str, tmp_path: Path) -> None:
    folder = _saved(head, tmp_path)
    expected = kit.logits(load(folder), "bert")
    weights = load_file(folder / "model.safetensors")
    names = sorted(weights)
    files = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(names)}
    for file in set(files.values()):
        part = {name: weights[name] for name in names if files[name] == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": files}))
    assert torch.equal(kit.logits(load(folder), "bert"), expected)
    (folder / files[names[0]]).rename(folder / "gone")
    with pytest.raises(EdgepruneError, match="weights cannot be read"):
        load(folder)
    index.write_text(json.dumps({"weight_map": {"a": "../gone"}}))
    with pytest.raises(EdgepruneError, match=r"names files outside its folder: \.\./gone"):
        load(folder)
    index.write_text("[]")
    with pytest.raises(EdgepruneError, match="no index of weights"):
        load(folder)


@BOTH_HEADS
def test_weights_of_half_precision_are_loaded_as_fp32(head: str, tmp_path: Path) -> None:
    folder = _saved(head, tmp_path)
    weights = {name: value.bfloat16() for name, value in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    _change(folder / "config.json", lambda config: config.update(dtype="bfloat16"))
    loaded = load(folder).state_dict()
    assert {value.dtype for value in loaded.values()} == {torch.float32}
    assert all(torch.equal(loaded[name], weights[name].float()) for name in weights)


@BOTH_HEADS
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("classifier.bias"), r"missing: classifier\.bias$"),
        (
            lambda w: w.pop("bert.encoder.layer.0.output.dense.weight"),
            r"missing: bert\.encoder\.layer\.0\.output\.dense\.weight$",
        ),
        (lambda w: w.update(odd=torch.zeros(1)), "without a place in the model: odd$"),
        (
            lambda w: w.update({"classifier.weight": torch.zeros(2, 16)}),
            r"of another shape: classifier\.weight$",
        ),
        (
            lambda w: [w.pop(name) for name in list(w) if "layer.2." in name],
            r"missing: bert\.encoder\.layer\.2\.attention.* and 12 more$",
        ),
    ],
)
def test_weights_that_are_not_the_models_are_refused(
    head: str, change: Callable[[dict[str, Any]], object], message: str, tmp_path: Path
) -> None:
    folder = _saved(head, tmp_path)
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EdgepruneError, match="weights are not those of the model") as caught:
        load(folder)
    assert re.search(message, caught.value.message)
    assert caught.value.where == str(folder)


def test_an_encoder_without_a_classifier_is_refused(tmp_path: Path) -> None:
    kit.classifier("bert").base_model.save_pretrained(tmp_path)
    with pytest.raises(EdgepruneError, match=r"missing: classifier\.bias, classifier\.weight"):
        load(tmp_path)


def test_a_label_word_model_without_its_structure_json_is_refused(tmp_path: Path) -> None:
    folder = _saved("label-words", tmp_path)
    (folder / "structure.json").unlink()
    with pytest.raises(EdgepruneError, match=r"without a place in the model: bert\.pooler\.norm"):
        load(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"format": "edgeprune.structure/2"}',
            r"format is 'edgeprune\.structure/2'; .*'edgeprune\.structure/1'",
        ),
        ("{}", "format is None"),
        ('{"format": "edgeprune.structure/1", "head": "trained", "kept": []}', "unknown keys: kept"),
        ('{"format": "edgeprune.structure/1", "head": "odd"}', "unknown head 'odd'"),
        ('{"format": "edgeprune.structure/1", "head": []}', r"unknown head \[\]"),
        ('{"format": "edgeprune.structure/1", "head": "label-words"}', "does not fit label_words"),
        ('{"format": "edgeprune.structure/1", "head": "trained", "label_words": {"a": "b"}}', "does not fit"),
        ('{"format": "edgeprune.structure/1", "head": "label-words", "label_words": [1]}', "not class names"),
        (
            '{"format": "edgeprune.structure/1", "head": "label-words", "label_words": {"poor": "terrible"}}',
            "label words for poor, config.json has the classes poor, fine, mixed",
        ),
        ("[]", r"it holds \[\], not an object"),
        ("{", "it cannot be read"),
        ("\x00", "it cannot be read"),
    ],
)
def test_a_structure_json_that_is_not_known_is_refused(text: str, message: str, tmp_path: Path) -> None:
    folder = _saved("label-words", tmp_path)
    (folder / "structure.json").write_text(text)
    with pytest.raises(EdgepruneError, match=message) as caught:
        load(folder)
    assert str(folder) in caught.value.where


@pytest.mark.parametrize("head", ["trained", "label-words"])
@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "nonesuch"},
        {"hidden_size": "many"},
        {"num_attention_heads": 5},
        {"num_attention_heads": 0},
        {"hidden_act": "nonesuch"},
        {"vocab_size": -1},
        {"id2label": [1, 2]},
    ],
)
def test_a_config_that_makes_no_sense_is_an_error_of_ours(
    head: str, change: dict[str, Any], tmp_path: Path
) -> None:
    folder = _saved(head, tmp_path)
    _change(folder / "config.json", lambda config: config.update(change))
    with pytest.raises(EdgepruneError) as caught:
        load(folder)
    assert str(folder) in caught.value.where


def test_what_is_missing_in_a_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(EdgepruneError, match=r"there is no config\.json") as caught:
        load(tmp_path / "nowhere")
    assert caught.value.hint
    folder = _saved("trained", tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(EdgepruneError, match="weights cannot be read"):
        load(folder)
    weights.unlink()
    with pytest.raises(EdgepruneError, match=r"there is no model\.safetensors") as caught:
        load(folder)
    assert "pickled" in caught.value.hint
    (folder / "config.json").write_text("{")
    with pytest.raises(UnsupportedError, match=r"config\.json cannot be used"):
        load(folder)


class _Trap:
    """Unpickling it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("read", [load, lambda folder: pretrained(folder, CLASSES)])
def test_nothing_is_unpickled(read: Callable[[Path], object], tmp_path: Path) -> None:
    folder = _saved("trained", tmp_path)
    (folder / "model.safetensors").unlink()
    for name in ("pytorch_model.bin", "model.bin", "structure.pkl"):
        (folder / name).write_bytes(pickle.dumps(_Trap(tmp_path / "sprung")))
    with pytest.raises(EdgepruneError, match="safetensors"):
        read(folder)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("read", [load, lambda folder: pretrained(folder, CLASSES)])
@pytest.mark.parametrize("model_type", ["bert", "odd"])
def test_no_code_of_the_folder_is_run(
    read: Callable[[Path], object], model_type: str, tmp_path: Path
) -> None:
    folder = _saved("trained", tmp_path)
    (folder / "odd.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'sprung')!r})\n")
    remote = {"AutoConfig": "odd.Config", "AutoModelForSequenceClassification": "odd.Model"}
    _change(folder / "config.json", lambda config: config.update(auto_map=remote, model_type=model_type))
    if model_type == "bert":
        read(folder)
    else:
        with pytest.raises(UnsupportedError):
            read(folder)
    assert not (tmp_path / "sprung").exists()


def test_a_folder_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgepruneError, match="cannot be saved"):
        save(kit.classifier("bert"), tmp_path / "file")


def test_a_trained_head_is_set_as_transformers_sets_it(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    kit.classifier("bert").base_model.save_pretrained(tmp_path)
    kit.tokenizer("bert").save_pretrained(tmp_path)
    torch.manual_seed(7)
    expected = AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=3)
    torch.manual_seed(7)
    tokenizer, model, notes = pretrained(tmp_path, CLASSES)
    assert torch.equal(kit.logits(model, "bert"), kit.logits(expected, "bert"))
    assert model.config.label2id == {"poor": 0, "fine": 1, "mixed": 2}
    assert tokenizer("great")["input_ids"] == kit.tokenizer("bert")("great")["input_ids"]
    assert notes == []


def test_what_a_pretrained_folder_does_not_cover_is_noted(tmp_path: Path) -> None:
    kit.classifier("bert", num_labels=2).save_pretrained(tmp_path)
    kit.tokenizer("bert").save_pretrained(tmp_path)
    _change(tmp_path / "config.json", lambda config: config.update(num_hidden_layers=4))
    _, _, notes = pretrained(tmp_path, ("a", "b", "c", "d"))
    (lacking, resized) = notes
    assert lacking.startswith(
        "weights that the pre-trained model lacks, set at random: bert.encoder.layer.3."
    )
    assert resized == (
        "weights of another shape than the task needs, set anew: classifier.bias, classifier.weight"
    )


def test_a_changed_model_is_no_pretrained_one(tmp_path: Path) -> None:
    folder = _saved("label-words", tmp_path)
    with pytest.raises(UnsupportedError, match="changed already"):
        pretrained(folder, CLASSES)


def test_a_tokenizer_that_cannot_pad_is_refused(tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    folder = _saved("trained", tmp_path)
    PreTrainedTokenizerFast(tokenizer_object=kit.tokenizer("bert").backend_tokenizer).save_pretrained(folder)
    (folder / "special_tokens_map.json").write_text("{}")
    with pytest.raises(EdgepruneError, match="no padding token"):
        pretrained(folder, CLASSES)
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(UnsupportedError, match="cannot be loaded"):
        pretrained(folder, CLASSES)


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
@BOTH_HEADS
def test_weights_that_are_no_numbers_are_refused(head: str, bad: float, tmp_path: Path) -> None:
    folder = kit.save_masked("bert", tmp_path)
    path = next(folder.glob("*.safetensors"))
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith("layer.1.output.dense.weight"))
    tensors[name][1, 2] = bad
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(UnsupportedError, match=r"1 of \d+ values of the weight bert\.\S+ are NaN") as caught:
        pretrained(folder, CLASSES, head=head, label_words=kit.WORDS)  # type: ignore[arg-type]
    assert caught.value.where == str(folder)
    assert "another source" in caught.value.hint
