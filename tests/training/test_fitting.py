"""The loop: resumed equals uninterrupted, to the bit; only whole checkpoints are gone on from."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from edgeprune.errors import EdgepruneError, UnsupportedError
from edgeprune.tasks.encoding import Encoded
from edgeprune.training.augmenting import hide_tokens
from edgeprune.training.batching import LengthGroupedOrder
from edgeprune.training.checkpoints import newest_whole, seal
from edgeprune.training.fitting import Settings, fit


def _encoded(count: int = 60) -> tuple[Encoded, list[int]]:
    random = np.random.default_rng(0)
    rows = [[2, *random.integers(5, 90, size=random.integers(3, 12)).tolist(), 3] for _ in range(count)]
    labels = [int(sum(row) % 2) for row in rows]
    lengths = np.array([len(row) for row in rows])
    return Encoded(rows, [[0] * len(row) for row in rows], lengths, 0, 16), labels


def _settings(**changes: object) -> Settings:
    values: dict[str, object] = {
        "epochs": 2,
        "batch_size": 8,
        "learning_rate": 1e-3,
        "weight_decay": 0.01,
        "warmup": 0.1,
        "schedule": "linear",
        "label_smoothing": 0.0,
        "max_grad_norm": 1.0,
        "precision": "fp32",
        "averaging": 0.9,
        "word_dropout": 0.2,
        "checkpoint_steps": 4,
        "seed": 3,
    }
    return Settings(**(values | changes))  # type: ignore[arg-type]


def _model():
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=100,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    return BertForSequenceClassification(config)


def _digest(model) -> str:
    state = model.state_dict()
    return hashlib.sha256(b"".join(state[name].numpy().tobytes() for name in sorted(state))).hexdigest()


class _Tokenizer:
    """What `fit` asks of a tokenizer."""

    pad_token_id = 0
    mask_token_id: int | None = 4
    all_special_ids = (0, 2, 3, 4)


class _KilledError(Exception):
    pass


def _killer(step: int):
    def progress(**numbers: object) -> None:
        if numbers["step"] == step:
            raise _KilledError

    return progress


def _quiet(**numbers: object) -> None:
    return None


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    import transformers

    encoded, labels = _encoded()
    transformers.set_seed(3)
    model = _model()
    folder = tmp_path_factory.mktemp("whole")
    fitted = fit(model, encoded, labels, _settings(), tokenizer=_Tokenizer(), scratch=folder, progress=_quiet)
    return _digest(model), fitted


@pytest.mark.parametrize(
    "step", [3, 8, *(pytest.param(step, marks=pytest.mark.thorough) for step in (4, 7, 11, 15, 16))]
)
def test_resumed_equals_uninterrupted(uninterrupted, tmp_path: Path, step: int) -> None:
    import transformers

    encoded, labels = _encoded()
    transformers.set_seed(3)
    with pytest.raises(_KilledError):
        fit(
            _model(),
            encoded,
            labels,
            _settings(),
            tokenizer=_Tokenizer(),
            scratch=tmp_path,
            progress=_killer(step),
        )
    transformers.set_seed(99)  # what a new process's random state is must not matter
    model = _model()
    fitted = fit(
        model, encoded, labels, _settings(), tokenizer=_Tokenizer(), scratch=tmp_path, progress=_quiet
    )
    digest, whole = uninterrupted
    assert _digest(model) == digest
    assert fitted.curve == whole.curve
    assert fitted.steps == whole.steps == 16
    # a step is told before its checkpoint is written, so a kill at step 8 leaves that of step 4
    assert fitted.resumed_from == (step - 1) // 4 * 4


def test_a_finished_training_is_not_repeated(uninterrupted, tmp_path: Path) -> None:
    import transformers

    encoded, labels = _encoded()
    transformers.set_seed(3)
    fit(_model(), encoded, labels, _settings(), tokenizer=_Tokenizer(), scratch=tmp_path, progress=_quiet)
    steps: list[object] = []
    model = _model()
    again = fit(
        model,
        encoded,
        labels,
        _settings(),
        tokenizer=_Tokenizer(),
        scratch=tmp_path,
        progress=lambda **numbers: steps.append(numbers["step"]),
    )
    assert steps == []
    assert again.resumed_from == 16
    assert again.curve == uninterrupted[1].curve
    assert _digest(model) == uninterrupted[0]


def test_average_is_the_formula(tmp_path: Path) -> None:
    import torch

    from edgeprune.training.averaging import WeightAverage

    layer = torch.nn.Linear(3, 2)
    average = WeightAverage(layer, 0.9)
    expected = layer.weight.detach().numpy().copy()
    for step in range(1, 21):
        with torch.no_grad():
            layer.weight.add_(step)
        average.update(step)
        if step % 4 == 0:
            decay = min(0.9, (1 + step) / (10 + step)) ** 4
            expected = decay * expected + (1 - decay) * layer.weight.detach().numpy()
        if step == 10:  # saved and loaded in between
            average.save(tmp_path)
            average.load(tmp_path)
    average.put()
    np.testing.assert_allclose(layer.weight.detach().numpy(), expected, rtol=1e-5)


def test_without_averaging_the_last_weights_stay(uninterrupted, tmp_path: Path) -> None:
    import transformers

    encoded, labels = _encoded()
    transformers.set_seed(3)
    model = _model()
    fit(
        model,
        encoded,
        labels,
        _settings(averaging=0.0),
        tokenizer=_Tokenizer(),
        scratch=tmp_path,
        progress=_quiet,
    )
    from safetensors.torch import load_file

    last = load_file(tmp_path / "checkpoints" / "checkpoint-16" / "model.safetensors")
    state = model.state_dict()
    assert all(bool((state[name] == last[name]).all()) for name in last)
    assert _digest(model) != uninterrupted[0]


def test_other_seed_gives_other_weights(uninterrupted, tmp_path: Path) -> None:
    import transformers

    encoded, labels = _encoded()
    transformers.set_seed(3)
    model = _model()
    fit(model, encoded, labels, _settings(seed=4), tokenizer=_Tokenizer(), scratch=tmp_path, progress=_quiet)
    assert _digest(model) != uninterrupted[0]


def test_what_was_trained_in_bf16_answers_in_fp32(tmp_path: Path) -> None:
    """Its answers right after training are those of its saved weights, not those of autocast."""
    import torch
    from transformers import BertForSequenceClassification

    encoded, labels = _encoded()
    model = _model()
    fit(
        model,
        encoded,
        labels,
        _settings(precision="bf16", epochs=1),
        tokenizer=_Tokenizer(),
        scratch=tmp_path / "scratch",
        progress=_quiet,
    )
    model.save_pretrained(tmp_path / "saved")
    loaded = BertForSequenceClassification.from_pretrained(tmp_path / "saved")
    ids = torch.tensor([[2, 5, 6, 7, 3], [2, 9, 8, 50, 3]])
    with torch.no_grad():
        answers = model.eval()(input_ids=ids).logits
        assert answers.dtype == torch.float32
        assert torch.equal(answers, loaded.eval()(input_ids=ids).logits)


def test_hidden_tokens_are_the_asked_share_and_never_special() -> None:
    ids = np.random.default_rng(1).integers(0, 90, size=(200, 50))
    hidden = hide_tokens(ids, 0.2, mask_id=4, special_ids=(0, 2, 3), seed=(1, 2))
    changed = hidden != ids
    assert set(hidden[changed]) == {4}
    assert not np.isin(ids[changed], (0, 2, 3)).any()
    share = changed.sum() / (~np.isin(ids, (0, 2, 3, 4))).sum()
    assert 0.18 < share < 0.22  # 5 standard deviations of 9,600 draws
    np.testing.assert_array_equal(
        hidden, hide_tokens(ids, 0.2, mask_id=4, special_ids=(0, 2, 3), seed=(1, 2))
    )
    assert (hidden != hide_tokens(ids, 0.2, mask_id=4, special_ids=(0, 2, 3), seed=(1, 3))).any()


def test_word_dropout_without_a_mask_token_is_refused(tmp_path: Path) -> None:
    encoded, labels = _encoded()
    tokenizer = _Tokenizer()
    tokenizer.mask_token_id = None
    with pytest.raises(UnsupportedError, match="no mask token"):
        fit(_model(), encoded, labels, _settings(), tokenizer=tokenizer, scratch=tmp_path, progress=_quiet)


def test_a_training_that_diverges_ends_at_the_next_log(tmp_path: Path) -> None:
    import torch

    model = _model()
    with torch.no_grad():
        model.classifier.bias[0] = float("nan")
    with pytest.raises(EdgepruneError, match="the training diverged: at step 1 its loss is nan") as caught:
        fit(model, *_encoded(), _settings(), tokenizer=_Tokenizer(), scratch=tmp_path, progress=_quiet)
    assert "learning_rate" in caught.value.hint
    assert newest_whole(tmp_path / "checkpoints") is None


def test_every_epoch_visits_every_example_once_in_another_order() -> None:
    lengths = np.random.default_rng(0).integers(3, 40, size=103).tolist()
    order = LengthGroupedOrder(lengths, 8, seed=5)
    epochs = []
    for epoch in range(3):
        order.set_epoch(epoch)
        epochs.append(list(order))
        assert sorted(epochs[-1]) == list(range(103 * epoch, 103 * (epoch + 1)))
    assert [visit % 103 for visit in epochs[0]] != [visit % 103 for visit in epochs[1]]
    longest = max(lengths)
    assert any(lengths[index] == longest for index in epochs[0][:8]), (
        "the longest example is in the first batch"
    )


def test_only_sealed_checkpoints_count(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"x" * step)
    seal(tmp_path / "checkpoint-5")
    seal(tmp_path / "checkpoint-10")
    assert newest_whole(tmp_path) == tmp_path / "checkpoint-10"
    assert not (tmp_path / "checkpoint-15").exists(), "half a checkpoint is thrown away"
    (tmp_path / "checkpoint-10" / "model.safetensors").write_bytes(b"x")
    assert newest_whole(tmp_path) == tmp_path / "checkpoint-5"


def test_no_checkpoints(tmp_path: Path) -> None:
    assert newest_whole(tmp_path / "nowhere") is None


@pytest.mark.parametrize(("precision", "plain"), [("bf16", True), ("fp32", False)])
def test_short_texts_in_bfloat16_are_trained_with_plain_attention(
    tmp_path: Path, precision: str, plain: bool
) -> None:
    import torch

    model = _model()
    seen: list[bool] = []
    model.register_forward_pre_hook(lambda *_: seen.append(torch.backends.cuda.flash_sdp_enabled()))
    encoded, labels = _encoded(16)
    settings = _settings(precision=precision, epochs=1)
    fit(model, encoded, labels, settings, tokenizer=_Tokenizer(), scratch=tmp_path, progress=lambda **_: None)  # type: ignore[arg-type]
    assert seen == [not plain] * 2
