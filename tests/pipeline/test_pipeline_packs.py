"""Packs and folders: the folder that comes out is the one that the stage saved; a shelf has one base."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import packs_kit
import pytest
import torch

from edgeprune.errors import AssetError, EdgepruneError, UnsupportedError, UsageError
from edgeprune.masking.pack import Pack
from edgeprune.masking.pack_file import join, split
from edgeprune.pipeline import packs
from edgeprune.structure.loading import load

CASES = [
    (model_type, head)
    for model_type in ("bert", "roberta", "distilbert", "electra", "mpnet")
    for head in ("trained", "label-words")
]


@pytest.fixture
def project(tmp_path: Path) -> packs_kit.Project:
    return packs_kit.make(tmp_path)


def _apply(project: packs_kit.Project, output: Path, base: str | None = None) -> None:
    packs.apply(project.pack, base or str(project.base), output, output.parent / "cache")


@pytest.mark.parametrize(("model_type", "head"), CASES, ids=["-".join(case) for case in CASES])
def test_every_architecture_and_head(tmp_path: Path, model_type: str, head: str) -> None:
    project = packs_kit.make(tmp_path, model_type, head=head)
    expected = packs_kit.logits(project.model, model_type)
    _apply(project, tmp_path / "out")
    assert torch.equal(packs_kit.logits(load(tmp_path / "out"), model_type), expected)
    shelf = packs.open_shelf(str(project.base), tmp_path / "cache")
    assert torch.equal(packs_kit.logits(shelf.task(Pack.load(project.pack)), model_type), expected)


def test_the_folder_is_the_one_that_was_folded(project: packs_kit.Project, tmp_path: Path) -> None:
    _apply(project, tmp_path / "out")
    config, expected = (
        json.loads((place / "config.json").read_text()) for place in (tmp_path / "out", project.folded)
    )
    assert config == expected
    written, folded = load(tmp_path / "out").state_dict(), load(project.folded).state_dict()
    assert written.keys() == folded.keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in folded.items())
    for file in project.base.iterdir():
        if file.name.startswith(("tokenizer", "vocab", "special_tokens")):
            assert (tmp_path / "out" / file.name).read_bytes() == file.read_bytes()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        "base",
        "folded-0",
        "out",
        "task-0.edgepack",
    ]


def test_a_head_that_the_base_has_is_not_stored(tmp_path: Path) -> None:
    pack = Pack.load(packs_kit.make(tmp_path, head="label-words").pack)
    borrowed = {item.tensor for item in pack.borrowed.values()}
    assert "cls.predictions.transform.dense.weight" in borrowed
    assert all(item.shape[0] == 3 for item in pack.head.values()), "only the rows of the label words"


def test_an_empty_folder_is_filled(project: packs_kit.Project, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    _apply(project, tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").is_file()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_there_is_not_overwritten(project: packs_kit.Project, tmp_path: Path, kind: str) -> None:
    output = tmp_path / "out"
    if kind == "folder":
        output.mkdir()
        (output / "notes.txt").write_text("mine")
    else:
        output.write_text("mine")
    with pytest.raises(UsageError, match="there already and not empty"):
        _apply(project, output)
    assert (output / "notes.txt" if kind == "folder" else output).read_text() == "mine"


def test_another_base_leaves_nothing_behind(project: packs_kit.Project, tmp_path: Path) -> None:
    other = tmp_path / "other"
    _apply(project, other)  # a folder with a tokenizer, whose encoder has zeros
    with pytest.raises(UsageError, match="made from another base") as refusal:
        _apply(project, tmp_path / "out", str(other))
    assert refusal.value.where == str(project.pack)
    assert not (tmp_path / "out").exists()


def test_a_base_that_is_not_there(project: packs_kit.Project, tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="there is no"):
        _apply(project, tmp_path / "out", str(tmp_path / "nothing"))


def test_a_base_as_a_source(
    project: packs_kit.Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEPRUNE_DATA", str(tmp_path))
    _apply(project, tmp_path / "one", f"file://{project.base}")
    _apply(project, tmp_path / "two", "$EDGEPRUNE_DATA/base")
    one, two = (tmp_path / name / "model.safetensors" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_tasks_on_a_shelf_share_the_base(tmp_path: Path) -> None:
    first = packs_kit.make(tmp_path, seed=0)
    second = packs_kit.make(tmp_path, seed=1)
    shelf = packs.open_shelf(str(first.base), tmp_path / "cache")
    models = [shelf.task(Pack.load(project.pack)) for project in (first, second)]
    for project, model in zip((first, second), models, strict=True):
        assert torch.equal(packs_kit.logits(model), packs_kit.logits(project.model))
    one, two = ({name: item.data_ptr() for name, item in model.named_parameters()} for model in models)
    apart = {name for name in one if one[name] != two[name]}
    head = {f"{part}.{kind}" for part in ("classifier", "bert.pooler.dense") for kind in ("weight", "bias")}
    assert apart == head
    assert not torch.equal(packs_kit.logits(models[0]), packs_kit.logits(models[1]))


def test_a_config_that_is_no_model_is_refused(project: packs_kit.Project, tmp_path: Path) -> None:
    header, body = split(project.pack.read_bytes())
    header["config"]["model_type"] = "no-such-model"
    pack = Pack.from_bytes(join(header, body))
    with pytest.raises(UnsupportedError, match="config cannot be used"):
        packs.open_shelf(str(project.base), tmp_path / "cache").task(pack)


def test_a_structure_that_is_not_known_is_refused(project: packs_kit.Project, tmp_path: Path) -> None:
    header, body = split(project.pack.read_bytes())
    header["structure"] = {"format": "edgeprune.structure/99"}
    pack = Pack.from_bytes(join(header, body))
    with pytest.raises(EdgepruneError, match="its format is"):
        packs.open_shelf(str(project.base), tmp_path / "cache").task(pack)


def _shown(path: Path) -> str:
    stream = io.StringIO()
    packs.show(path, stream)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def test_what_is_shown(project: packs_kit.Project) -> None:
    text = _shown(project.pack)
    pack, summary = packs.inspect(project.pack)
    assert text.splitlines()[0] == f"{project.pack}: the checksum is good"
    assert f"base           {pack.base_id}" in text
    assert "model          bert, classes poor, fine, mixed" in text
    assert "masks          18 tensors, 5,376 weights, " in text
    assert f"{summary.bits_per_weight:.4f}; bound without structure {summary.entropy_bound:.4f}" in text
    assert 'density        {"target": 0.3}' in text
    assert "run            tiny/0" in text
    rows = [line.split() for line in text.splitlines()[-4:]]
    assert [row[:3] for row in rows] == [
        ["0", "6", "1,792"],
        ["1", "6", "1,792"],
        ["2", "6", "1,792"],
        ["all", "18", "5,376"],
    ]
    assert [float(row[4]) for row in rows[:3]] == pytest.approx([50, 25, 16.7], abs=4)


def test_foreign_text_cannot_act_on_the_terminal(project: packs_kit.Project, tmp_path: Path) -> None:
    header, body = split(project.pack.read_bytes())
    header["classes"][0] = "\x1b[31m[bold]bad"
    header["provenance"]["\x1b]0;title"] = "\x07"
    path = tmp_path / "hostile.edgepack"
    path.write_bytes(join(header, body))
    text = _shown(path)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[31m[bold]bad" in text


def test_a_damaged_pack_is_not_shown(project: packs_kit.Project) -> None:
    data = bytearray(project.pack.read_bytes())
    data[len(data) // 2] ^= 1
    project.pack.write_bytes(data)
    with pytest.raises(EdgepruneError, match="the checksum at its end is not that of"):
        _shown(project.pack)


def test_a_bare_encoder_is_the_same_base(project: packs_kit.Project, tmp_path: Path) -> None:
    """A base is published with or without a head; a task with a trained head fits both."""
    import transformers

    bare = tmp_path / "bare"
    shutil.copytree(project.base, bare)
    transformers.AutoModel.from_pretrained(project.base, add_pooling_layer=False).save_pretrained(bare)
    pack = Pack.load(project.pack)
    assert packs.open_shelf(str(bare), tmp_path / "cache").base_id == pack.base_id
