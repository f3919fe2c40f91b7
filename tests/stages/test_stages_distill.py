"""The stage on tiny students: what it writes is what it trained; zeros stay; the teacher is only read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import stages_kit as kit

from edgeprune import stages
from edgeprune.errors import EdgepruneError
from edgeprune.stages.contract import Work

pytestmark = pytest.mark.thorough

STAGE = stages.get("distill")
BODY: dict[str, Any] = {
    "epochs": 2,
    "learning_rate": 5e-3,
    "batch_size": 16,
    "precision": "fp32",
    "checkpoint_steps": 4,
}
EVERYTHING: dict[str, Any] = {
    "logits": {"weight": 0.5, "temperature": 3.0},
    "labels": {"weight": 0.5},
    "hidden": {"layers": "closest"},
    "relations": {"of": "all"},
}
STEPS = 12
STUDENTS = ["dense", "weight", "head+row", "cut", "narrow"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The kit's world, an original that knows the task, and students by name."""
    folder = tmp_path_factory.mktemp("world")
    found = kit.write_world(folder)
    trained = {"epochs": 8, "learning_rate": 1e-2, "batch_size": 16, "precision": "fp32"}
    job = kit.work(stages.get("finetune"), found, tmp_path_factory.mktemp("original"), trained)
    assert stages.get("finetune").apply(job).record["quality"]["accuracy"] > 0.7  # far from chance
    found["original"] = found["dense"] = job.output
    masks = {"density": 0.5, "epochs": 1, "batch_size": 16, "precision": "fp32"}
    for granularity in ("weight", "head+row"):
        body = masks | {"granularity": granularity}
        job = kit.work(stages.get("learn_masks"), found, tmp_path_factory.mktemp("masks"), body)
        stages.get("learn_masks").apply(job)
        found[granularity] = job.output
    _write_cut(found["original"], folder)
    return found | {name: folder / name for name in ("cut", "narrow", "still")}


def _write_cut(original: Path, folder: Path) -> None:
    """`cut`: a layer without heads after one with half of all; `narrow`: another encoder of 8 dimensions;
    `still`: the original without dropout."""
    import torch
    import transformers

    from edgeprune.structure.description import KeptLayer
    from edgeprune.structure.loading import load, save
    from edgeprune.structure.slicing import slice_layers

    tokenizer = transformers.AutoTokenizer.from_pretrained(original)
    model = load(original)
    slice_layers(model, [KeptLayer(0, (1,), tuple(range(0, kit.ROWS, 2))), KeptLayer(1, (), (3, 4, 9))])
    save(model, folder / "cut", tokenizer)
    still = load(original)
    still.config.hidden_dropout_prob = still.config.attention_probs_dropout_prob = 0.0
    save(still, folder / "still", tokenizer)
    config = transformers.AutoConfig.from_pretrained(original)
    config.hidden_size, config.num_hidden_layers = 8, 1
    torch.manual_seed(0)
    save(transformers.BertForSequenceClassification(config), folder / "narrow", tokenizer)


def job_of(
    world: dict[str, Path],
    folder: Path,
    student: str,
    body: dict[str, Any],
    progress: Callable[..., None] = lambda **numbers: None,
) -> Work:
    inputs = {"data": world["data"], "model": world[student], "original": world["original"]}
    return kit.work(
        STAGE, world, folder, body, inputs=inputs, sections={"model.max_length": 16}, progress=progress
    )


@pytest.fixture(scope="module")
def made(world: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The stage applied to a student and a body, each once."""

    def job(student: str, **changes: Any) -> Work:
        return job_of(world, tmp_path_factory.mktemp("made"), student, BODY | changes)

    return kit.each_once(STAGE, job)


def tensors(folder: Path, name: str = "model") -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / f"{name}.safetensors")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("student", STUDENTS)
def test_the_saved_model_answers_as_the_record_says(
    made: Any, world: dict[str, Path], student: str, precision: str
) -> None:
    import transformers

    import edgeprune
    from edgeprune.structure.loading import structure_of
    from edgeprune.tasks.encoding import encode
    from edgeprune.tasks.examples import Examples
    from edgeprune.training.predicting import quality_of

    result: kit.Made = made(student, precision=precision)
    for name in STAGE.ensures:
        assert (result.folder / name).stat().st_size > 0
    loaded = edgeprune.load(result.folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(result.folder)
    validation = Examples.load(world["data"] / "validation")
    found = quality_of(loaded, validation, encode(tokenizer, validation, 16), pad_id=tokenizer.pad_token_id)
    assert result.record["quality"] == asdict(found)
    assert structure_of(loaded) == structure_of(edgeprune.load(world[student]))
    before, after = tensors(world[student]), tensors(result.folder)
    assert {name: item.shape for name, item in before.items()} == {
        name: item.shape for name, item in after.items()
    }
    count = sum(item.numel() for item in loaded.parameters())
    assert result.record["parameters"] == result.record["trained_parameters"] == count


@pytest.mark.parametrize("student", STUDENTS)
def test_everything_is_trained_and_the_loss_falls(made: Any, world: dict[str, Path], student: str) -> None:
    import torch

    result: kit.Made = made(student)
    before, after = tensors(world[student]), tensors(result.folder)
    same = {name for name in before if torch.equal(before[name], after[name])}
    # Biases of keys have no gradient; what masks leave nothing of cannot change either.
    masked = {name for name in before if not bool(before[name].any())}
    assert {name for name in same if not name.endswith("key.bias")} <= masked
    if student != "dense":  # which begins as its teacher
        losses = [loss for _, loss in result.record["curve"]]
        assert sum(losses[-3:]) < sum(losses[:3])


@pytest.mark.parametrize("student", ["weight", "head+row"])
def test_what_is_masked_stays_masked(made: Any, world: dict[str, Path], student: str) -> None:
    result: kit.Made = made(student, weight_decay=0.1, averaging=0.9)
    assert (result.folder / "masks.safetensors").read_bytes() == (
        world[student] / "masks.safetensors"
    ).read_bytes()
    model, masks = tensors(result.folder), tensors(result.folder, "masks")
    assert any(name.endswith(".bias") for name in masks) is (student == "head+row")
    for name, mask in masks.items():
        tensor = model[name if name.endswith(".bias") else f"{name}.weight"]
        assert not bool(tensor[mask == 0].any()), name
        assert bool(tensor[mask == 1].any()) or not bool(mask.any()), name


def test_what_is_masked_is_zero_after_every_step(world: dict[str, Path], tmp_path: Path) -> None:
    """Read off the checkpoints, of which there is one a step."""
    seen = []

    def look(**numbers: Any) -> None:
        for path in (tmp_path / "scratch" / "checkpoints").glob("*/model.safetensors"):
            from safetensors.torch import load_file

            model, masks = load_file(path), tensors(world["weight"], "masks")
            seen.append(path.parent.name)
            assert not any(bool(model[f"{name}.weight"][mask == 0].any()) for name, mask in masks.items())

    body = BODY | {"checkpoint_steps": 1, "weight_decay": 0.1}
    STAGE.apply(job_of(world, tmp_path, "weight", body, progress=look))
    assert len(set(seen)) == STEPS - 1


def test_the_record_is_plain_and_whole(made: Any) -> None:
    record = made("cut", losses=EVERYTHING).record
    assert json.loads(json.dumps(record, allow_nan=False)) == json.loads(json.dumps(record))
    assert record["steps"] == STEPS
    parts = record["parts"]
    assert parts["step"] == list(range(1, STEPS + 1))
    assert set(parts) == {"step", "logits", "labels", "hidden", "relations"}
    for step, loss in record["curve"]:
        weighted = 0.5 * (parts["logits"][step - 1] + parts["labels"][step - 1])
        weighted += parts["hidden"][step - 1] + parts["relations"][step - 1]
        assert loss == pytest.approx(weighted, abs=1e-3)
    # The last layer has no heads: the one before it has the last relations.
    assert record["relations"] == [
        {"student": f"{kind}.0", "teacher": f"{kind}.1", "heads": 2} for kind in ("query", "key", "value")
    ]
    assert record["layer_map"][0]["step"] == 0
    assert all(pair[1] == 1 for entry in record["layer_map"] for pair in entry["pairs"])
    assert record["precision"] == "fp32"


@pytest.mark.parametrize("student", ["cut", "narrow"])
def test_a_stored_teacher_says_what_one_that_runs_says(made: Any, student: str) -> None:
    import torch

    disk, online = made(student), made(student, cache_budget_mb=0.0)
    assert (disk.record["teacher_cache"], online.record["teacher_cache"]) == ("disk", "online")
    assert any("stored in FP16" in note for note in disk.outcome.notes)
    assert any("runs in every step" in note for note in online.outcome.notes)
    for name, values in disk.record["parts"].items():
        assert values == pytest.approx(online.record["parts"][name], rel=2e-2, abs=1e-3)
    ours, theirs = tensors(disk.folder), tensors(online.folder)
    # AdamW moves every weight by its rate, however small a gradient: rounding may turn single signs.
    for name, item in ours.items():
        if not name.endswith("key.bias"):
            assert float((item - theirs[name]).abs().mean()) < 2e-3, name
    assert any(not torch.equal(item, theirs[name]) for name, item in ours.items())


def test_fp32_is_fp32_also_after_a_training_in_bf16(
    made: Any, world: dict[str, Path], tmp_path: Path
) -> None:
    """Its precision once came from the training before it in the same process."""
    short, whole = made("cut", precision="bf16"), made("cut")
    again = job_of(world, tmp_path, "cut", BODY)
    STAGE.apply(again)
    weights = [
        (folder / "model.safetensors").read_bytes() for folder in (short.folder, whole.folder, again.output)
    ]
    assert weights[2] == weights[1]
    assert weights[2] != weights[0]


def test_labels_alone_need_no_teacher(made: Any) -> None:
    losses = {"logits": {"weight": 0.0}, "labels": {"weight": 1.0}, "hidden": None}
    result: kit.Made = made("cut", losses=losses)
    assert result.record["teacher_cache"] == "none"
    assert set(result.record["parts"]) == {"step", "labels"}
    assert result.record["layer_map"] == []
    assert not (result.folder.parent / "scratch" / "teacher").exists()


def test_texts_made_of_training_texts_are_learned_from_like_those(
    made: Any, world: dict[str, Path], tmp_path: Path
) -> None:
    from edgeprune.tasks.examples import Examples
    from edgeprune.tasks.synthesizing import synthesize

    more = made("cut", synthetic={"count": 64})
    assert made("cut").record["texts"] == {"training": 96, "synthetic": 0}
    assert more.record["texts"] == {"training": 96, "synthetic": 64}
    assert more.record["steps"] == 20
    train = Examples.load(world["data"] / "train")
    train.joined(synthesize(train, 64, kit.SEED)).save(tmp_path / "data" / "train")
    Examples.load(world["data"] / "validation").save(tmp_path / "data" / "validation")
    same = job_of(world | {"data": tmp_path / "data"}, tmp_path / "same", "cut", BODY)
    STAGE.apply(same)
    assert (same.output / "model.safetensors").read_bytes() == (
        more.folder / "model.safetensors"
    ).read_bytes()


def test_word_embeddings_stay_where_they_are_not_trained(made: Any, world: dict[str, Path]) -> None:
    import torch

    result = made("cut", train_embeddings=False, weight_decay=0.1)
    before, after = tensors(world["cut"]), tensors(result.folder)
    (table,) = (name for name in before if name.endswith("word_embeddings.weight"))
    assert torch.equal(before[table], after[table])
    assert sum(torch.equal(item, after[name]) for name, item in before.items() if "LayerNorm" in name) == 0
    assert result.record["parameters"] - result.record["trained_parameters"] == before[table].numel()


def test_without_dropout_a_student_that_is_its_teacher_misses_nothing(made: Any) -> None:
    still = {"learning_rate": 1e-12, "cache_budget_mb": 0.0}
    missed = [
        made("dense", **still, **changes).record["parts"]["hidden"] for changes in ({}, {"dropout": 0.0})
    ]
    assert min(missed[0]) > 1e-3
    assert max(missed[1]) < 1e-6


def test_what_was_made_has_no_labels_to_learn() -> None:
    body = {"epochs": 1, "synthetic": {"count": 5}}
    assert STAGE.check(STAGE.config.model_validate(body)) == []
    labelled = STAGE.config.model_validate(body | {"losses": {"labels": {"weight": 0.5}}})
    (problem,) = STAGE.check(labelled)
    assert problem.key == ("synthetic",)
    assert "no labels" in problem.message


def test_words_are_hidden_from_the_student_alone(made: Any) -> None:
    """A student that is its teacher, without dropout, differs by hidden words alone."""
    still = {"learning_rate": 1e-12, "losses": {"relations": {}}}
    clean = made("still", **still, cache_budget_mb=0.0).record["parts"]
    online = made("still", **still, cache_budget_mb=0.0, word_dropout=0.5).record["parts"]
    stored = made("still", **still, word_dropout=0.5).record["parts"]
    for name in ("hidden", "relations"):
        assert max(clean[name]) < 1e-6
        assert min(online[name]) > 1e-2  # 0 if the teacher had been asked about the same hidden words
        assert online[name] == pytest.approx(stored[name], rel=1e-2)


def _digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


@pytest.mark.parametrize("budget", [0.0, 100.0])
def test_the_teacher_and_the_student_on_disk_never_change(
    world: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: float
) -> None:
    import torch

    from edgeprune.structure import loading

    before = _digest(world["original"]), _digest(world["cut"])
    loaded: list[Any] = []
    plain = loading.load

    def load(path: Any) -> Any:
        loaded.append(plain(path))
        return loaded[-1]

    monkeypatch.setattr(loading, "load", load)
    STAGE.apply(job_of(world, tmp_path, "cut", BODY | {"cache_budget_mb": budget, "losses": EVERYTHING}))
    assert (_digest(world["original"]), _digest(world["cut"])) == before
    _, teacher = loaded
    assert all(
        torch.equal(item, tensors(world["original"])[name]) for name, item in teacher.state_dict().items()
    )
    assert not teacher.training


class _KilledError(Exception):
    pass


@pytest.mark.parametrize(
    ("student", "changes"),
    [
        ("weight", {"averaging": 0.9}),
        ("cut", {"losses": EVERYTHING, "word_dropout": 0.2}),
        ("cut", {"losses": EVERYTHING, "cache_budget_mb": 0.0}),
        ("narrow", {}),
        ("cut", {"synthetic": {"count": 32}}),
    ],
    ids=["masked", "closest", "online", "projected", "synthetic"],
)
def test_killed_and_resumed_is_the_run_that_was_not(
    made: Any, world: dict[str, Path], tmp_path: Path, student: str, changes: dict[str, Any]
) -> None:
    whole: kit.Made = made(student, **changes)

    def die(**numbers: Any) -> None:
        if numbers.get("step") == 7:  # the last checkpoint is of step 4
            raise _KilledError

    with pytest.raises(_KilledError):
        STAGE.apply(job_of(world, tmp_path, student, BODY | changes, progress=die))
    seen: list[int] = []
    job = job_of(
        world,
        tmp_path,
        student,
        BODY | changes,
        progress=lambda **numbers: seen.append(int(numbers.get("step", 0))),
    )
    outcome = STAGE.apply(job)
    assert next(step for step in seen if step) == 5
    assert (job.output / "model.safetensors").read_bytes() == (
        whole.folder / "model.safetensors"
    ).read_bytes()
    assert outcome.record == whole.record


def test_masks_of_another_model_are_refused(world: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    shutil.copytree(world["cut"], tmp_path / "student")
    shutil.copyfile(world["weight"] / "masks.safetensors", tmp_path / "student" / "masks.safetensors")
    with pytest.raises(EdgepruneError, match="does not have in this shape"):
        STAGE.apply(job_of(world | {"odd": tmp_path / "student"}, tmp_path, "odd", BODY))


def test_a_teacher_with_other_classes_is_refused(world: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    shutil.copytree(world["cut"], tmp_path / "student")
    path = tmp_path / "student" / "config.json"
    config = json.loads(path.read_text())
    config["id2label"] = {"0": "good", "1": "bad"}
    config["label2id"] = {"good": 0, "bad": 1}
    path.write_text(json.dumps(config))
    with pytest.raises(EdgepruneError, match="classes are good, bad, not those of its teacher: bad, good"):
        STAGE.apply(job_of(world | {"odd": tmp_path / "student"}, tmp_path, "odd", BODY))


# A teacher that is not the original


def test_another_model_can_teach(world: dict[str, Path], tmp_path: Path) -> None:
    """A DistilBERT of another width, which knows no segments, over a BERT whose tokenizer numbers them."""
    import torch
    import transformers

    from edgeprune.structure.loading import load, save

    tokenizer = transformers.AutoTokenizer.from_pretrained(world["original"])
    original = load(world["original"]).config
    config = transformers.DistilBertConfig(
        vocab_size=original.vocab_size, dim=24, n_layers=1, n_heads=2, hidden_dim=8, max_position_embeddings=24,
        id2label={0: "BAD", 1: "GOOD"}, label2id={"BAD": 0, "GOOD": 1},
    )  # fmt: skip
    torch.manual_seed(1)
    save(transformers.DistilBertForSequenceClassification(config), tmp_path / "teacher", tokenizer)
    inputs = {"data": world["data"], "model": world["cut"]}
    for budget in (0.0, 100.0):  # asked in every step, and stored
        job = kit.work(
            STAGE,
            world,
            tmp_path / str(budget),
            BODY | {"epochs": 8, "teacher": "file://teacher", "cache_budget_mb": budget},
            inputs=inputs,
            assets={"teacher": tmp_path / "teacher"},
        )
        record = STAGE.apply(job).record
        assert record["teacher"] == "file://teacher"
        for part in ("logits", "hidden"):  # of 16 dimensions of a student and 24 of its teacher
            course = record["parts"][part]
            assert course[-1] < course[0], part


@pytest.mark.parametrize(
    ("theirs", "words"),
    [(["LABEL_0", "LABEL_1"], "have no names"), (["one", "two"], None), (["bad", "good", "other"], None)],
)
def test_classes_without_names_are_taken_in_order_and_noted(
    world: dict[str, Path], tmp_path: Path, theirs: list[str], words: str | None
) -> None:
    import transformers

    from edgeprune.stages.teachers import load_teacher
    from edgeprune.structure.loading import load, save

    student = load(world["original"])
    config = transformers.AutoConfig.from_pretrained(world["original"])
    config.id2label = dict(enumerate(theirs))
    config.label2id = {name: number for number, name in config.id2label.items()}
    save(transformers.BertForSequenceClassification(config), tmp_path)
    if words is None:
        with pytest.raises(EdgepruneError, match="not those of its teacher"):
            load_teacher(tmp_path, student, 16)
        return
    _, (note,) = load_teacher(tmp_path, student, 16)
    assert words in note
    with pytest.raises(EdgepruneError, match="reads at most 24 tokens"):
        load_teacher(tmp_path, student, 25)


# What a recipe may say


def test_defaults_are_logits_and_hidden_states() -> None:
    config = STAGE.resolve(STAGE.config.model_validate({"epochs": 1}))
    assert STAGE.check(config) == []
    assert config.precision in ("fp32", "bf16")
    assert STAGE.resolve(config) == config
    losses = config.losses
    assert (losses.logits.weight, losses.logits.temperature, losses.labels.weight) == (1.0, 2.0, 0.0)
    assert (losses.hidden.weight, losses.hidden.layers) == (1.0, "uniform")
    assert losses.relations is None


@pytest.mark.parametrize(
    "losses",
    [
        {"logits": {"weight": 0.0}, "hidden": None},
        {"logits": {"weight": 0.0}, "hidden": {"weight": 0.0}, "relations": {"weight": 0.0}},
    ],
)
def test_a_loss_without_parts_is_refused(losses: dict[str, Any]) -> None:
    (problem,) = STAGE.check(STAGE.config.model_validate(BODY | {"losses": losses}))
    assert problem.key == ("losses",)
    assert problem.message
    assert problem.hint


@pytest.mark.gpu
@pytest.mark.parametrize("budget", [0.0, 100.0])
def test_it_trains_on_a_cuda_device(made: Any, budget: float) -> None:
    """The Trainer moves the student there, and the teacher follows."""
    import torch

    assert torch.cuda.is_available()
    for student in ("head+row", "narrow"):
        record = made(student, cache_budget_mb=budget, losses=EVERYTHING).record
        assert record["steps"] == STEPS


def test_the_teacher_reads_the_tokens_of_a_cut_vocabulary(world: dict[str, Path], tmp_path: Path) -> None:
    """A student that differs from its teacher by a token alone has nothing to learn, and seems to know that."""
    from edgeprune.structure.loading import load, save
    from edgeprune.structure.vocabulary import slice_embeddings
    from edgeprune.structure.wordpiece import slice_tokenizer_folder

    kept = [number for number, word in enumerate(kit.WORDS) if word not in ("film", "dull")]
    student = load(world["original"])
    slice_embeddings(student, kept)
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"):
        setattr(student.config, name, 0.0)
    folder = tmp_path / "student"
    save(student, folder)
    slice_tokenizer_folder(world["original"], kept, folder)
    inputs = {"data": world["data"], "original": world["original"], "model": folder}
    for budget in (0.0, 100.0):  # beside the student, and on disk
        body = {"epochs": 1, "learning_rate": 1e-9, "precision": "fp32", "cache_budget_mb": budget}
        work = kit.work(stages.get("distill"), world, tmp_path / str(budget), body, inputs=inputs)
        record = stages.get("distill").apply(work).record
        assert max(record["parts"]["logits"]) < 1e-5, "with tokens of its own it would answer something else"
        assert record["parameters"] == sum(item.numel() for item in student.parameters())
