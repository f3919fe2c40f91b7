"""The stage on a tiny encoder: what it saves is what the budget says, and what the record says of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import stages_kit as kit
import torch
import transformers
from safetensors.torch import load_file, save_file

import edgeprune
from edgeprune import stages
from edgeprune.errors import RecipeError
from edgeprune.recipe.schema import Target
from edgeprune.runner.cpu import describe
from edgeprune.stages.contract import Outcome
from edgeprune.stages.structure_vocabulary import by_answers, spelled
from edgeprune.structure.architectures import heads_per_layer, linear_sites
from edgeprune.structure.costs import flops, parameters, shape_of
from edgeprune.structure.loading import load, structure_of
from edgeprune.structure.wordpiece import read_wordpiece
from edgeprune.tasks.encoding import encode
from edgeprune.tasks.examples import Examples
from edgeprune.training.predicting import quality_of

STAGE = stages.get("prune_structure")
Apply = Callable[..., tuple[Path, Outcome]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return kit.write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def apply(world: dict[str, Path], tmp_path: Path) -> Apply:
    def done(body: dict[str, Any], name: str = "made", **inputs: Path) -> tuple[Path, Outcome]:
        dense = world["original"]
        given = {"data": world["data"], "original": dense, "model": dense, **inputs}
        body = {"alignment": 4, "calibration": {"examples": 32}} | body
        work = kit.work(STAGE, world, tmp_path / name, body, inputs=given)
        return work.output, STAGE.apply(work)

    return done


def counts(folder: Path) -> list[tuple[int, int]]:
    return [(len(layer.heads), len(layer.rows)) for layer in structure_of(load(folder)).layers or ()]


def test_shares_are_met_over_all_layers(apply: Apply) -> None:
    folder, outcome = apply({"budget": {"heads": 0.5, "ffn": 0.25}})
    left = counts(folder)
    assert sum(heads for heads, _ in left) == 2
    assert sum(rows for _, rows in left) == 16
    assert all(rows % 4 == 0 for _, rows in left)
    assert outcome.record["heads"] == {"before": 4, "after": 2}
    assert outcome.record["rows"] == {"before": 64, "after": 16}
    assert [row["rows"] for row in outcome.record["layers"] if row["there"]] == [rows for _, rows in left]


def test_the_loaded_folder_scores_as_the_record_says(apply: Apply, world: dict[str, Path]) -> None:
    import transformers

    folder, outcome = apply({"budget": {"ffn": 0.5}})
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    validation = Examples.load(world["data"] / "validation")
    found = quality_of(
        edgeprune.load(folder), validation, encode(tokenizer, validation, 16), pad_id=tokenizer.pad_token_id
    )
    assert outcome.record["quality"] == asdict(found)


@pytest.mark.parametrize("kind", ["parameters", "flops"])
def test_a_budget_of_costs_is_met_by_what_is_saved(kind: str, apply: Apply, world: dict[str, Path]) -> None:
    folder, outcome = apply({"budget": {kind: 0.4}})
    model = load(folder)
    shape = shape_of(load(world["original"]))
    named = model.base_model.encoder.named_parameters()
    counted = sum(item.numel() for name, item in named if "LayerNorm" not in name)
    assert outcome.record["encoder_parameters"]["after"] == counted
    dense = [(shape.heads, shape.rows)] * shape.layers
    ratio = {
        "parameters": counted / parameters(shape, dense),
        "flops": flops(shape, counts(folder), 16) / flops(shape, dense, 16),
    }[kind]
    assert 0.25 < ratio <= 0.4
    assert outcome.record["cost"]["ratio"] == pytest.approx(ratio)


def _like_original(world: dict[str, Path], name: str, model: Any) -> Path:
    folder = world["original"].with_name(name)
    shutil.copytree(world["original"], folder, dirs_exist_ok=True)
    model.save_pretrained(folder)
    return folder


def test_the_most_important_units_stay(apply: Apply, world: dict[str, Path]) -> None:
    """One head's output and one row's output are made to matter most; magnitude sees it."""
    model = load(world["original"])
    with torch.no_grad():
        layer = model.base_model.encoder.layer[1]
        layer.attention.output.dense.weight[:, : kit.HIDDEN // kit.HEADS] *= 100
        layer.output.dense.weight[:, 8:12] *= 100
    loud = _like_original(world, "loud", model)
    folder, outcome = apply({"budget": {"heads": 0.25, "ffn": 0.0625}, "importance": "magnitude"}, model=loud)
    (layer_left,) = structure_of(load(folder)).layers or ()
    assert (layer_left.source, layer_left.heads, layer_left.rows) == (1, (0,), (8, 9, 10, 11))
    assert "layers that went as a whole: 0" in outcome.notes


def _masks(world: dict[str, Path], folder: Path) -> Path:
    """An artifact of `learn_masks` that keeps head 1 of layer 0 and rows 4 to 7 of layer 1."""
    folder.mkdir()
    model = load(world["original"])
    masks = {
        site.name: torch.zeros_like(model.get_submodule(site.name).weight) for site in linear_sites(model)
    }
    size = kit.HIDDEN // kit.HEADS
    masks["bert.encoder.layer.0.attention.self.value"][size:] = 1
    masks["bert.encoder.layer.1.output.dense"][:, 4:8] = 1
    save_file({name: mask.to(torch.uint8) for name, mask in masks.items()}, folder / "masks.safetensors")
    save_file(masks, folder / "scores.safetensors")
    return folder


@pytest.mark.parametrize("importance", ["masks", "scores"])
def test_learned_masks_decide(importance: str, apply: Apply, world: dict[str, Path], tmp_path: Path) -> None:
    body = {"budget": {"heads": 0.25, "ffn": 0.0625}, "importance": importance}
    folder, _ = apply(body, masks=_masks(world, tmp_path / "masks"))
    first, second = structure_of(load(folder)).layers or ()
    assert (first.source, first.heads, first.rows) == (0, (1,), ())
    assert (second.source, second.heads, second.rows) == (1, (), (4, 5, 6, 7))


def test_the_weights_are_those_that_are_asked_for(apply: Apply, world: dict[str, Path]) -> None:
    model = load(world["original"])
    with torch.no_grad():
        model.classifier.bias += 1
    other = world["original"].with_name("other")
    if not other.exists():
        import shutil

        shutil.copytree(world["original"], other)
        model.save_pretrained(other)
    body = {"budget": {"ffn": 0.5}, "importance": "magnitude"}
    masks = {"importance": "masks", "budget": {"heads": 0.25, "ffn": 0.0625}}
    asked: list[dict[str, Any]] = [{"weights": "original"}, {"weights": "model"}, {}, masks]
    learned = _masks(world, world["original"].with_name("masks"))
    folders = [
        apply(body | changes, str(number), model=other, masks=learned)[0]
        for number, changes in enumerate(asked)
    ]
    biases = [load_file(folder / "model.safetensors")["classifier.bias"] for folder in folders]
    assert torch.equal(biases[0] + 1, biases[1])
    assert torch.equal(biases[2], biases[1]), "left out, it is the model of the stage before"
    assert torch.equal(biases[3], biases[0]), "and the original where masks rank"


def test_cut_again_it_goes_on_from_there(apply: Apply) -> None:
    first, _ = apply({"budget": {"heads": 0.5, "ffn": 0.5}}, "first")
    second, outcome = apply({"budget": {"parameters": 0.3}}, "second", model=first)
    kept = structure_of(load(second)).layers or ()
    before = {layer.source: layer for layer in structure_of(load(first)).layers or ()}
    assert all(set(layer.rows) <= set(before[layer.source].rows) for layer in kept)
    assert all(set(layer.heads) <= set(before[layer.source].heads) for layer in kept)
    assert outcome.record["cost"]["ratio"] <= 0.3, "of the dense model, not of the one that was cut"


def test_a_narrower_width_and_fewer_tokens(apply: Apply) -> None:
    body = {"budget": {"parameters": 0.2}, "widths": [8], "vocabulary": {"extra": ["film"]}}
    folder, outcome = apply(body)
    model = load(folder)
    assert outcome.record["hidden"]["after"] in (8, 16)
    assert model.get_input_embeddings().num_embeddings == outcome.record["vocabulary"]["after"]
    assert outcome.record["parameters"]["after"] == sum(item.numel() for item in model.parameters())
    assert sum(heads_per_layer(model)) == outcome.record["heads"]["after"]


def test_without_a_budget_only_tokens_go(apply: Apply, world: dict[str, Path], tmp_path: Path) -> None:
    """As if the shares that were met before had been asked for again."""
    shares = {"heads": 0.5, "ffn": 0.5}
    before, _ = apply({"budget": shares}, "before", model=_with_letters(world, tmp_path))
    again, _ = apply({"budget": shares, "vocabulary": {}}, "again", model=before)
    alone, outcome = apply({"vocabulary": {}}, "alone", model=before)
    tensors, wanted = (load_file(folder / "model.safetensors") for folder in (alone, again))
    assert tensors.keys() == wanted.keys()
    assert all(torch.equal(item, wanted[name]) for name, item in tensors.items())
    assert counts(alone) == counts(before)
    assert outcome.record["vocabulary"] == {"before": len(kit.WORDS) + 8, "after": len(kit.WORDS) + 5}
    assert not {"budget", "importance", "layers"} & outcome.record.keys(), "nothing was ranked or chosen"


def _with_letters(world: dict[str, Path], folder: Path) -> Path:
    """The original with tokens that no text uses, and the letters that spell them."""
    import transformers

    model = load(world["original"])
    words = [*kit.WORDS, "f", *(f"##{letter}" for letter in "itog"), "fit", "fog", "##tig"]
    model.resize_token_embeddings(len(words), mean_resizing=False)
    made = _like_original(world, "spelled", model)
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(made)
    return made


@pytest.mark.parametrize(("by", "stays"), [("frequency", "fit"), ("answers", "fog")])
def test_of_tokens_that_no_text_uses_those_stay_that_the_recipe_says(
    by: str, stays: str, apply: Apply, world: dict[str, Path], tmp_path: Path
) -> None:
    """Only the word `fog` changes an answer; `fit` and `##tig` are as good as nothing, and so are all letters."""
    folder = _with_letters(world, tmp_path)
    model = load(folder)
    table = model.get_input_embeddings().weight
    with torch.no_grad():
        table[len(kit.WORDS) :] = 0.0
        table[len(kit.WORDS) + 6] = 50 * table[kit.WORDS.index("great")]
    model.save_pretrained(folder)
    made, outcome = apply({"vocabulary": {"size": len(kit.WORDS) + 6, "by": by}}, model=folder)
    tokens = set(transformers.AutoTokenizer.from_pretrained(made, local_files_only=True).get_vocab())
    assert {"fit", "fog", "##tig"} & tokens == {stays}
    assert outcome.record["vocabulary"]["after"] == len(kit.WORDS) + 6


def test_the_order_of_tokens_is_that_of_their_answers_asked_one_by_one(
    world: dict[str, Path], tmp_path: Path
) -> None:
    folder = _with_letters(world, tmp_path)
    model, tokenizer = load(folder).eval(), transformers.AutoTokenizer.from_pretrained(folder)
    numbers, content = tokenizer.get_vocab(), json.loads((folder / "tokenizer.json").read_text())

    def answer(*tokens: str) -> torch.Tensor:
        ids = torch.tensor([[numbers[token] for token in ("[CLS]", *tokens, "[SEP]")]])
        with torch.no_grad():
            scores: torch.Tensor = model(input_ids=ids).logits.double().softmax(-1)[0]
        return scores

    spellings = {"fit": ("f", "##i", "##t"), "fog": ("f", "##o", "##g"), "##tig": ("##t", "##i", "##g")}
    costs = {}
    for token, parts in spellings.items():
        whole, apart = answer(token), answer(*parts)
        costs[numbers[token]] = float((whole * (whole / apart).log()).sum()) / (1 + numbers[token])
    needed = set(numbers.values()) - costs.keys()
    found = by_answers(model, content, needed, tokenizer, lambda **_: None)
    assert found == sorted(costs, key=lambda number: -costs[number])
    assert by_answers(model, content, numbers.values(), tokenizer, lambda **_: None) == []


def test_what_cannot_be_spelled_is_an_error(world: dict[str, Path], tmp_path: Path) -> None:
    pieces = read_wordpiece(json.loads((_with_letters(world, tmp_path) / "tokenizer.json").read_text()))
    numbers = pieces.tokens
    assert spelled("fit", pieces, set(numbers.values())) == [numbers["fit"]]
    with pytest.raises(ValueError, match="from character 1"):
        spelled("fit", pieces, {numbers["f"], numbers["##t"]})


@pytest.mark.parametrize("budget", [{"heads": 0.5, "ffn": 0.25}, {"ffn": 0.25}, {"parameters": 0.3}])
def test_fewer_layers_are_those_that_the_answers_need(
    budget: dict[str, Any], apply: Apply, world: dict[str, Path]
) -> None:
    """The second layer is made to add nothing to what passes through."""
    model = load(world["original"])
    with torch.no_grad():
        layer = model.base_model.encoder.layer[1]
        for dense in (layer.attention.output.dense, layer.output.dense):
            dense.weight.zero_()
            dense.bias.zero_()
    idle = _like_original(world, "idle", model)
    folder, outcome = apply({"budget": budget, "layers": 1}, model=idle)
    assert [layer.source for layer in structure_of(load(folder)).layers or ()] == [0]
    depth = outcome.record["depth"]
    assert (depth["kept"], depth["gone"][0][0]) == ((0,), 1)
    assert depth["gone"][0][1] < 0.01
    assert any("layers that went as a whole: 1" in note for note in outcome.notes)


@pytest.mark.parametrize(
    ("body", "path", "hint"),
    [
        ({"budget": {"heads": 0.0, "ffn": 0.01}}, "budget", "smallest"),
        ({"budget": {"parameters": 0.0001}}, "budget.parameters", "smallest ratio"),
        ({"budget": {"flops": 0.5}, "widths": [17]}, "widths", "at most 16"),
        ({"budget": {"ffn": 0.5}, "vocabulary": {"extra": ["nonsense"]}}, "vocabulary.extra", ""),
        ({"budget": {"ffn": 0.5}, "layers": 3}, "layers", "leave it out"),
        ({"budget": {"ffn": 0.75}, "layers": 1}, "budget.ffn", "below 0.5"),
    ],
)
def test_what_cannot_be_met_says_what_can(body: dict[str, Any], path: str, hint: str, apply: Apply) -> None:
    with pytest.raises(RecipeError) as caught:
        apply(body)
    (problem,) = caught.value.problems
    assert problem.path.startswith(path)
    assert hint in problem.hint


# Before anything is run.


def _config(body: dict[str, Any]) -> Any:
    return STAGE.config.model_validate(body)


@pytest.mark.parametrize(
    "budget",
    [
        {},
        {"heads": 0.5, "flops": 0.5},
        {"parameters": 0.5, "flops": 0.5},
        {"parameters": 1.0},
        {"heads": 1.5},
    ],
)
def test_a_budget_is_of_one_kind(budget: dict[str, Any]) -> None:
    from pydantic import ValidationError

    with pytest.raises(ValidationError):
        _config({"budget": budget})


def test_it_requires_what_it_ranks_and_cuts() -> None:
    assert STAGE.needs(_config({"budget": {"ffn": 0.5}})) == ("data", "original", "model")
    assert STAGE.needs(_config({"budget": {"ffn": 0.5}, "weights": "original"})) == ("data", "original")
    assert STAGE.needs(_config({"budget": {"ffn": 0.5}, "importance": "scores"}))[2:] == ("masks",)
    assert STAGE.needs(_config({"budget": {"ffn": 0.5}, "weights": "model"}))[2:] == ("model",)


def test_what_nothing_decides_on_is_refused() -> None:
    assert STAGE.check(_config({"budget": {"heads": 0.0, "ffn": 0.0}}))
    assert STAGE.check(_config({"budget": {"ffn": 0.5}, "widths": [8]}))
    assert STAGE.check(_config({"budget": {"flops": 0.5}, "widths": [8], "importance": "magnitude"}))
    assert not STAGE.check(_config({"budget": {"flops": 0.5}, "widths": [8]}))
    assert STAGE.check(_config({"budget": {"flops": 0.5}, "layers": 1, "drop_layers": False}))


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        ({}, [""]),
        ({"vocabulary": {}}, []),
        ({"vocabulary": {}, "weights": "original"}, []),
        ({"vocabulary": {}, "layers": 1, "importance": "scores"}, ["importance", "layers"]),
        ({"vocabulary": {"by": "answers"}}, ["vocabulary.by"]),
        ({"vocabulary": {"by": "answers", "size": 9}}, []),
    ],
)
def test_without_a_budget_there_is_something_to_cut_and_nothing_to_choose(
    body: dict[str, Any], paths: list[str]
) -> None:
    assert [problem.path for problem in STAGE.check(_config(body))] == paths


def _target(name: str, architecture: str, alignment: int) -> Target:
    return Target.model_validate(
        {
            "name": name,
            "description": name,
            "architecture": architecture,
            "device": {"kind": "local"},
            "backends": [{"backend": "onnxruntime", "variants": ["fp32", "int8-dynamic"]}],
            "speeds_up": ["head", "row", "layer"],
            "alignment": alignment,
        }
    )


def test_targets_decide_alignment_and_what_is_timed() -> None:
    machine = describe()
    here = _target("here", machine.architecture, 8)
    elsewhere = _target("there", "aarch64" if machine.architecture == "x86_64" else "x86_64", 32)
    assert STAGE.fit(_config({"budget": {"ffn": 0.5}}), [here, elsewhere]).alignment == 32
    assert STAGE.fit(_config({"budget": {"ffn": 0.5}, "alignment": 4}), [here]).alignment == 4
    timed = _config({"budget": {"latency": {"target": "here", "ratio": 0.5}}})
    latency = STAGE.fit(timed, [here, elsewhere]).budget.latency
    assert (latency.variant, latency.cpu) == ("onnxruntime/fp32", machine.model)
    assert latency.machine.backends[0].variants == ["fp32"]
    for change, words in (
        ({"target": "nowhere"}, "no target of this recipe"),
        ({"target": "there"}, "cannot be measured on this machine"),
        ({"target": "here", "variant": "openvino/bf16"}, "no variant"),
    ):
        body = {"budget": {"latency": {"target": "here", "ratio": 0.5} | change}}
        with pytest.raises(RecipeError, match=words):
            STAGE.fit(_config(body), [here, elsewhere])
