"""What is seen of a model, what a curriculum compares, what a stored teacher says: beside plain transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgeprune.errors import EdgepruneError, UnsupportedError
from edgeprune.structure.description import KeptLayer
from edgeprune.structure.pooling import attach_mean_pooling
from edgeprune.structure.slicing import slice_layers
from edgeprune.tasks.encoding import Encoded, collate
from edgeprune.training.curriculum import Losses, plan_curriculum
from edgeprune.training.distilling import Distilling
from edgeprune.training.teaching import AskedTeacher, StoredTeacher, cache_bytes, store_answers
from edgeprune.training.watching import Watch, hidden_state, vectors_of

LAYERS, HEADS, HIDDEN = 3, 4, 16


def classifier(model_type: str = "bert", seed: int = 0, **sizes: int) -> Any:
    import transformers

    named = {"num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "hidden_size": HIDDEN} | sizes
    config = transformers.AutoConfig.for_model(
        model_type, vocab_size=40, intermediate_size=24, max_position_embeddings=32, **named
    )
    if model_type == "distilbert":
        config.hidden_dim = 24
    torch.manual_seed(seed)
    return transformers.AutoModelForSequenceClassification.from_config(config).eval()


def encoded(count: int = 30, seed: int = 0) -> Encoded:
    random = np.random.default_rng(seed)
    ids = [random.integers(5, 40, size=random.integers(2, 10)).tolist() for _ in range(count)]
    return Encoded(ids, None, np.array([len(row) for row in ids]), 0, 16)


def batch_of(texts: Encoded, indices: list[int]) -> dict[str, Any]:
    return {name: torch.from_numpy(item) for name, item in collate(texts, indices, 0).items()}


@pytest.mark.parametrize("model_type", ["bert", "distilbert", "roberta", "electra", "mpnet"])
def test_watched_states_are_those_that_the_library_gives(model_type: str) -> None:
    model = classifier(model_type)
    states = [hidden_state(model, layer) for layer in range(LAYERS)]
    watch = Watch(model, states)
    with torch.no_grad():
        given = model(**batch_of(encoded(), [0, 1, 2]), output_hidden_states=True).hidden_states
    seen = watch.take()
    for layer, state in enumerate(states):
        assert state.width == HIDDEN
        assert torch.equal(seen[state.name], given[layer + 1])
    assert watch.take() == {}


def test_pooling_does_not_change_what_is_watched() -> None:
    model = classifier()
    watch = Watch(model, [hidden_state(model, LAYERS - 1)])
    inputs = batch_of(encoded(), [0, 1])
    with torch.no_grad():
        model(**inputs)
        plain = watch.take()
        attach_mean_pooling(model)
        model(**inputs)
    assert torch.equal(watch.take()["hidden.2"], plain["hidden.2"])


def test_vectors_are_those_of_all_heads() -> None:
    model = classifier()
    found = vectors_of(model, "value")
    assert list(found) == list(range(LAYERS))
    watch = Watch(model, list(found.values()))
    with torch.no_grad():
        model(**batch_of(encoded(), [0, 1]))
    seen = watch.take()
    watch.remove()
    with torch.no_grad():
        model(**batch_of(encoded(), [0, 1]))
    assert {name: item.shape[-1] for name, item in seen.items()} == {f"value.{n}": HIDDEN for n in range(3)}
    assert watch.take() == {}


def cut(model: Any, heads: dict[int, tuple[int, ...]]) -> Any:
    slice_layers(model, [KeptLayer(layer, kept, tuple(range(8))) for layer, kept in heads.items()])
    return model


def test_relations_are_of_the_last_layer_that_has_heads() -> None:
    student = cut(classifier(), {0: (0, 1, 2), 1: (1,), 2: ()})
    plan = plan_curriculum(student, classifier(), Losses(relations=1.0, relations_of="all"))
    assert [item.record() for item in plan.relations] == [
        {"student": f"{kind}.1", "teacher": f"{kind}.2", "heads": 4} for kind in ("query", "key", "value")
    ]
    assert [item.student.width for item in plan.relations] == [4, 4, 4]
    with pytest.raises(UnsupportedError, match="no attention heads"):
        plan_curriculum(cut(classifier(), {0: ()}), classifier(), Losses(relations=1.0))


def test_a_student_without_layers_has_no_hidden_states() -> None:
    student = cut(classifier(), {})
    with pytest.raises(UnsupportedError, match="no layers"):
        plan_curriculum(student, classifier(), Losses(hidden=1.0))
    assert plan_curriculum(student, classifier(), Losses(logits=1.0)).teacher_states == []


def test_only_what_is_compared_is_seen() -> None:
    student, teacher = cut(classifier(), {0: (0,), 2: (0, 1)}), classifier(num_hidden_layers=6)
    names = {}
    for layers in ("uniform", "last", "closest"):
        plan = plan_curriculum(student, teacher, Losses(hidden=1.0, layers=layers))
        names[layers] = ([s.name for s in plan.student_states], [s.name for s in plan.teacher_states])
    assert names == {
        "uniform": (["hidden.0", "hidden.1"], ["hidden.2", "hidden.5"]),
        "last": (["hidden.1"], ["hidden.5"]),
        "closest": (["hidden.0", "hidden.1"], ["hidden.2", "hidden.5"]),
    }
    assert not plan_curriculum(student, teacher, Losses(labels=1.0)).needs_teacher


def stored(folder: Path, teacher: Any, texts: Encoded, **changes: Any) -> StoredTeacher:
    states = [hidden_state(teacher, 0), hidden_state(teacher, 2), *vectors_of(teacher, "key").values()]
    settings = {"pad_id": 0, "precision": "fp32", "progress": lambda **words: None}
    return store_answers(teacher, states, texts, folder, **(settings | changes))


def test_what_is_stored_is_what_the_teacher_says(tmp_path: Path) -> None:
    teacher, texts = classifier(), encoded(150)
    disk = stored(tmp_path, teacher, texts)
    asked = AskedTeacher(teacher, disk._states, "fp32")
    for indices in ([0], [7, 3, 99, 3], list(range(150))[::-1]):
        arrays = collate(texts, indices, 0)
        batch = batch_of(texts, indices)
        read = disk.answers(batch | disk.bring(indices, arrays))
        said = asked.answers(batch | asked.bring(indices, arrays))
        torch.testing.assert_close(read.logits, said.logits, atol=1e-5, rtol=0)
        kept = batch["attention_mask"].bool()
        assert read.states.keys() == said.states.keys()
        for name, states in read.states.items():
            torch.testing.assert_close(states[kept].float(), said.states[name][kept], atol=5e-3, rtol=1e-3)
            assert not bool(states[~kept].any())


def test_the_disk_holds_what_was_estimated(tmp_path: Path) -> None:
    texts = encoded(20)
    disk = stored(tmp_path, classifier(), texts)
    files = list((tmp_path / "teacher").glob("*.f16"))
    assert len(files) == 5
    assert sum(file.stat().st_size for file in files) == cache_bytes(texts.lengths, disk._states)


def test_a_teacher_is_asked_once_and_never_half(tmp_path: Path) -> None:
    texts, said = encoded(20), []
    left = tmp_path / "teacher.partial"
    left.mkdir()
    (left / "hidden.0.f16").write_bytes(b"half of it")  # of a run that was killed
    stored(tmp_path, classifier(), texts, progress=lambda **words: said.append(words))
    stored(tmp_path, classifier(), texts, progress=lambda **words: said.append(words))
    assert len(said) == 1
    assert not left.exists()


def test_a_state_too_large_for_fp16(tmp_path: Path) -> None:
    teacher = classifier()
    with torch.no_grad():
        teacher.bert.encoder.layer[1].attention.self.key.weight.mul_(1e8)
    with pytest.raises(EdgepruneError, match=r"key\.1 does not fit into FP16") as caught:
        stored(tmp_path, teacher, encoded(20))
    assert "cache_budget_mb: 0" in caught.value.hint
    assert not (tmp_path / "teacher").exists()


def test_files_that_were_cut_off(tmp_path: Path) -> None:
    texts = encoded(20)
    disk = stored(tmp_path, classifier(), texts)
    (tmp_path / "teacher" / "hidden.0.f16").write_bytes(b"")
    with pytest.raises(EdgepruneError, match="end too early"):
        disk.bring([0], collate(texts, [0], 0))


def one_step(
    student: Any, plan: Any, teacher: Any, texts: Encoded, **settings: Any
) -> tuple[Distilling, Any]:
    adaptation = Distilling(student, plan, teacher, rate=1e-2, decay=0.1, **settings)
    indices = list(range(8))
    batch = batch_of(texts, indices) | adaptation.bring(indices, collate(texts, indices, 0))
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    adaptation.begin_step(0, 1)
    loss = adaptation.loss(student(**inputs).logits, batch | {"labels": torch.arange(8) % 2})
    adaptation.weights_updated(0, 1)
    return adaptation, loss


def test_the_loss_is_the_weighted_sum_of_its_parts() -> None:
    student, teacher = cut(classifier(seed=1), {0: (0, 3), 2: (1,)}), classifier()
    losses = Losses(logits=0.5, temperature=3.0, labels=0.25, hidden=2.0, relations=1.5, relations_of="all")
    plan = plan_curriculum(student, teacher, losses)
    asked = AskedTeacher(teacher, plan.teacher_states, "fp32")
    adaptation, loss = one_step(student, plan, asked, encoded())
    parts = {name: values[0] for name, values in adaptation.course.parts.items()}
    assert set(parts) == {"logits", "labels", "hidden", "relations"}
    weighted = sum(getattr(losses, name) * value for name, value in parts.items())
    assert float(loss.detach()) == pytest.approx(weighted, rel=1e-5)
    assert adaptation.course.step == [1]
    assert adaptation.course.maps == [(0, [(0, 1), (1, 2)])]


def test_a_student_that_is_its_teacher_has_nothing_to_learn() -> None:
    teacher = classifier()
    plan = plan_curriculum(
        teacher, teacher, Losses(logits=1.0, hidden=1.0, relations=1.0, relations_of="all")
    )
    asked = AskedTeacher(classifier(), plan.teacher_states, "fp32")
    _, loss = one_step(teacher, plan, asked, encoded())
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-6)


def test_closest_finds_the_layers_that_the_student_was_made_of() -> None:
    """Six layers teach by the third and the sixth; of four copies of a prefix, those two are found."""
    teacher = classifier(num_hidden_layers=6)
    student = cut(classifier(num_hidden_layers=6), dict.fromkeys(range(6), (0, 1, 2, 3)))
    plan = plan_curriculum(student, teacher, Losses(hidden=1.0, layers="closest"))
    asked = AskedTeacher(teacher, plan.teacher_states, "fp32")
    adaptation, _ = one_step(student, plan, asked, encoded())
    assert adaptation.course.maps == [(0, [(2, 2), (5, 5)])]


def test_a_narrow_student_learns_through_a_projection_that_goes_again() -> None:
    student, teacher = classifier(hidden_size=8, seed=1), classifier()
    before = set(student.state_dict())
    plan = plan_curriculum(student, teacher, Losses(hidden=1.0))
    asked = AskedTeacher(teacher, plan.teacher_states, "fp32")
    adaptation, loss = one_step(student, plan, asked, encoded(), kept=tuple(range(0, 16, 2)))
    (added,) = set(student.state_dict()) - before
    loss.backward()
    projection = dict(student.named_parameters())[added]
    assert projection.shape == (16, 8)
    assert projection.grad is not None
    groups = {group["name"]: group for group in adaptation.parameter_groups()}
    assert [item is projection for item in groups["projection"]["params"]] == [True]
    assert groups["projection"]["weight_decay"] == 0.0
    adaptation.detach()
    assert set(student.state_dict()) == before
    assert adaptation.trained == sum(item.numel() for item in student.parameters())


def test_every_parameter_is_in_one_group_and_only_matrices_decay() -> None:
    student = classifier()
    plan = plan_curriculum(student, student, Losses(labels=1.0))
    groups = Distilling(student, plan, None, rate=3e-4, decay=0.1).parameter_groups()
    listed = [id(item) for group in groups for item in group["params"]]
    assert sorted(listed) == sorted(id(item) for item in student.parameters())
    assert {group["lr"] for group in groups} == {3e-4}
    for group in groups:
        assert {item.dim() > 1 for item in group["params"]} == {group["weight_decay"] > 0}


def test_the_layer_map_and_the_trace_go_on_from_a_checkpoint(tmp_path: Path) -> None:
    teacher = classifier(num_hidden_layers=6)
    plan = plan_curriculum(classifier(seed=1), teacher, Losses(hidden=1.0, layers="closest"))
    asked = AskedTeacher(teacher, plan.teacher_states, "fp32")
    student = classifier(seed=1)
    first, _ = one_step(student, plan, asked, encoded())
    first.save(tmp_path)
    second = Distilling(classifier(seed=1), plan, asked, rate=1e-2, decay=0.1)
    second.load(tmp_path)
    assert second.course == first.course
    assert second._pairs == first._pairs
