"""The stage on a tiny encoder: what it writes is what it trained, for every method; killed is resumed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import stages_kit as kit

from edgeprune import stages
from edgeprune.stages.contract import Work

pytestmark = pytest.mark.thorough

STAGE = stages.get("learn_masks")
BODY: dict[str, Any] = {
    "density": 0.3,
    "epochs": 2,
    "batch_size": 16,
    "precision": "fp32",
    "checkpoint_steps": 4,
    "score_learning_rate": 2e-2,
    "schedule": {"hold": 0.4},
}
STEPS = 12
TRACED = [1, 5, 9, 12]  # every fourth step, and the last
METHODS = ["smp", "movement", "movement-soft", "magnitude", "l0", "pst", "pins"]
SCORED = ["smp", "movement", "movement-soft", "l0"]


@dataclass(frozen=True)
class Made(kit.Made):
    """And the tensors that it wrote."""

    def tensors(self, name: str) -> dict[str, Any]:
        from safetensors.torch import load_file

        return load_file(self.folder / f"{name}.safetensors")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return kit.write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def made(world: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The stage applied to a body, each body once."""

    def job(model: str = "model", **changes: Any) -> Work:
        return kit.work(STAGE, world, tmp_path_factory.mktemp("made"), BODY | changes, model=model)

    return kit.each_once(STAGE, job, Made)


def base_of(world: dict[str, Path], model: str = "model") -> dict[str, Any]:
    """The pre-trained encoder's tensors by their names in the classifier."""
    from safetensors.torch import load_file

    tensors = load_file(world[model] / "model.safetensors")
    return {
        name if name.startswith(("bert.", "cls.")) else f"bert.{name}": item for name, item in tensors.items()
    }


@pytest.mark.parametrize("method", METHODS)
def test_what_is_written_is_what_was_learned(made: Any, method: str) -> None:
    result: Made = made(method=method)
    for name in STAGE.ensures:
        assert (result.folder / name).stat().st_size > 0
    masks, scores, model = (result.tensors(name) for name in ("masks", "scores", "model"))
    record = result.record
    assert set(masks) == set(scores) == {item["name"] for item in record["matrices"]}
    assert len(masks) == 6 * kit.LAYERS
    kept = total = 0
    for name, mask in masks.items():
        weight = model[f"{name}.weight"]
        assert mask.dtype.is_floating_point is False
        assert set(mask.unique().tolist()) <= {0, 1}
        assert mask.shape == weight.shape == scores[name].shape
        assert not bool(weight[mask == 0].any())
        kept, total = kept + int(mask.sum()), total + mask.numel()
    density = record["density"]
    assert density["kept_weights"] == kept
    assert density["prunable_weights"] == total == record["encoder_parameters"]
    assert density["kept"] == density["encoder"] == pytest.approx(kept / total)
    assert density["kept"] == pytest.approx(0.3, abs=1e-3)
    assert (record["method"], record["granularity"], record["steps"]) == (method, "weight", STEPS)


@pytest.mark.parametrize("method", METHODS)
def test_the_saved_model_answers_as_the_record_says(made: Any, world: dict[str, Path], method: str) -> None:
    import transformers

    from edgeprune.structure.loading import load
    from edgeprune.tasks.encoding import encode
    from edgeprune.tasks.examples import Examples
    from edgeprune.tasks.scoring import decode, score
    from edgeprune.training.predicting import logits_of

    result: Made = made(method=method)
    tokenizer = transformers.AutoTokenizer.from_pretrained(result.folder)
    examples = Examples.load(world["data"] / "validation")
    answers, _ = decode(logits_of(load(result.folder), encode(tokenizer, examples, 16), pad_id=0))
    found = score(answers, examples.labels, 2)
    assert result.record["quality"]["accuracy"] == found.accuracy
    assert result.record["quality"]["n"] == len(examples)


@pytest.mark.parametrize("method", METHODS)
def test_the_record_is_plain_and_whole(made: Any, method: str) -> None:
    record = made(method=method).record
    assert json.loads(json.dumps(record, allow_nan=False)) == json.loads(json.dumps(record))
    trace = record["trace"]
    assert trace["step"] == TRACED
    assert len(trace["density"]) == len(trace["regularizer"]) == len(TRACED)
    assert (max(trace["regularizer"]) > 0) is (method in ("smp", "movement-soft", "l0"))
    assert record["distilled"] is True
    assert record["trained_parameters"] > 0
    for matrix in record["matrices"]:
        assert ("scores" in matrix) is (method in SCORED)
        if method in SCORED:
            assert sum(matrix["scores"]["counts"]) == matrix["shape"][0] * matrix["shape"][1]
        cells = [cell for row in matrix["map"] for cell in row]
        assert 0 <= min(cells) <= max(cells) <= 100
        assert matrix["kind"] in ("query", "key", "value", "output", "up", "down")
    assert record["curve"]


@pytest.mark.parametrize("method", ["smp", "movement", "magnitude", "pst"])
def test_the_trace_shows_the_density_that_the_forward_pass_had(made: Any, method: str) -> None:
    """Cubic to 0.3 over the first 60 % of the run, flat from there."""
    density = made(method=method).record["trace"]["density"]
    for point, step in list(enumerate(TRACED))[1:]:  # the very first scores are all alike
        left = max(0.0, 1 - (step - 1) / STEPS / 0.6)
        assert density[point] == pytest.approx(0.3 + 0.7 * left**3, abs=0.01)


def test_smp_changes_nothing_of_the_base(made: Any, world: dict[str, Path]) -> None:
    import torch

    result: Made = made(method="smp")
    masks, model, base = result.tensors("masks"), result.tensors("model"), base_of(world)
    head = {"classifier.weight", "classifier.bias", "bert.pooler.dense.weight", "bert.pooler.dense.bias"}
    for name, item in model.items():
        if name in head:
            continue
        mask = masks.get(name.removesuffix(".weight"))
        assert torch.equal(item, base[name] if mask is None else base[name] * mask), name
    # The scores and the head; nothing of the encoder.
    prunable = result.record["density"]["prunable_weights"]
    assert result.record["trained_parameters"] == prunable + sum(model[name].numel() for name in head)


@pytest.mark.parametrize("method", ["movement", "movement-soft", "magnitude", "l0", "pins"])
def test_the_other_methods_train_weights_but_no_embeddings(
    made: Any, world: dict[str, Path], method: str
) -> None:
    import torch

    model, base = made(method=method).tensors("model"), base_of(world)
    unchanged = {name for name in base if torch.equal(model[name], base[name])}
    assert {name for name in base if ".embeddings." in name} <= unchanged
    assert not any(name.endswith(".weight") and ".layer." in name for name in unchanged)


@pytest.mark.parametrize(
    "granularity", ["2:4", {"block": [4, 4]}, "row", "head", "head+row"], ids=lambda value: str(value)
)
def test_every_granularity_is_written(made: Any, granularity: Any) -> None:
    import torch

    result: Made = made(method="smp", granularity=granularity, density=0.5)
    masks, model = result.tensors("masks"), result.tensors("model")
    weights = {name: mask for name, mask in masks.items() if not name.endswith(".bias")}
    density = result.record["density"]
    assert density["kept_weights"] == sum(int(mask.sum()) for mask in weights.values())
    assert density["kept"] == pytest.approx(0.5, abs=1e-9 if granularity == "2:4" else 0.02)
    whole = result.record["encoder_parameters"]
    assert density["encoder"] == pytest.approx(
        1 - (density["prunable_weights"] - density["kept_weights"]) / whole
    )
    for name, mask in masks.items():
        tensor = model[name if name.endswith(".bias") else f"{name}.weight"]
        assert mask.shape == tensor.shape
        assert not bool(tensor[mask == 0].any())
    structured = granularity in ("row", "head", "head+row")
    assert any(name.endswith(".bias") for name in masks) is structured
    if granularity == "2:4":
        assert all(set(mask.reshape(-1, 4).sum(1).tolist()) == {2} for mask in weights.values())
    if structured:
        for name in (name for name in masks if name.endswith(".bias")):
            assert torch.equal(masks[name], masks[name.removesuffix(".bias")].amax(1))


def test_without_a_teacher(made: Any) -> None:
    result: Made = made(method="smp", distillation=None)
    assert result.record["distilled"] is False
    assert not (result.folder.parent / "scratch" / "teacher").exists()
    assert (made(method="smp").folder.parent / "scratch" / "teacher").exists()


class _KilledError(Exception):
    pass


@pytest.mark.parametrize("method", ["smp", "movement-soft", "l0", "pins"])  # each with a state of its own
def test_killed_and_resumed_is_the_run_that_was_not(
    made: Any, world: dict[str, Path], tmp_path: Path, method: str
) -> None:
    whole: Made = made(method=method)

    def die(**numbers: Any) -> None:
        if numbers.get("step") == 6:  # the last checkpoint is of step 4
            raise _KilledError

    body = BODY | {"method": method}
    with pytest.raises(_KilledError):
        STAGE.apply(kit.work(STAGE, world, tmp_path, body, progress=die))
    seen: list[int] = []
    job = kit.work(
        STAGE, world, tmp_path, body, progress=lambda **numbers: seen.append(int(numbers.get("step", 0)))
    )
    outcome = STAGE.apply(job)
    assert next(step for step in seen if step) == 5
    for name in ("model", "masks", "scores"):
        assert (job.output / f"{name}.safetensors").read_bytes() == (
            whole.folder / f"{name}.safetensors"
        ).read_bytes(), name
    assert outcome.record["trace"] == whole.record["trace"]
    assert outcome.record["curve"] == whole.record["curve"]


def test_a_label_word_head_stays_as_it_was(made: Any, world: dict[str, Path]) -> None:
    import torch

    words = {"bad": "poor", "good": "great"}
    result: Made = made("masked_lm", method="smp", label_words=words)
    assert result.record["head"] == "label-words"
    assert result.record["trained_parameters"] == result.record["density"]["prunable_weights"]
    base, model = base_of(world, "masked_lm"), result.tensors("model")
    held = {tuple(item.shape): item for name, item in base.items() if name.startswith("cls.")}
    heads = {name: item for name, item in model.items() if name.startswith(("bert.pooler", "classifier"))}
    transform = [item for item in heads.values() if tuple(item.shape) == (kit.HIDDEN, kit.HIDDEN)]
    assert len(transform) == 1
    assert torch.equal(transform[0], held[kit.HIDDEN, kit.HIDDEN])
    rows = [kit.WORDS.index(word) for word in words.values()]
    decoder = next(item for item in heads.values() if tuple(item.shape) == (2, kit.HIDDEN))
    assert torch.equal(decoder, base["bert.embeddings.word_embeddings.weight"][rows])


def test_the_pack_sized_count_of_new_parameters(made: Any) -> None:
    """Masks at a bit a weight, and what else differs from the base: SMP the head, movement its kept weights."""
    smp, movement = made(method="smp").record, made(method="movement").record
    prunable = smp["density"]["prunable_weights"]
    head = kit.HIDDEN * kit.HIDDEN + kit.HIDDEN + 2 * kit.HIDDEN + 2
    assert smp["new_parameters"] == -(-prunable // 32) + head
    # Weights that are left, biases (a key's has no gradient but weight decay is not on it), LayerNorms, head.
    layer = 5 * kit.HIDDEN + kit.ROWS + 4 * kit.HIDDEN
    changed = movement["density"]["kept_weights"] + kit.LAYERS * layer + head
    assert movement["new_parameters"] == pytest.approx(
        -(-prunable // 32) + changed, abs=kit.LAYERS * kit.HIDDEN
    )


@pytest.mark.parametrize("storage", ["exact", "float16", "int8-rows"])
def test_the_pack_gives_the_saved_model_back(made: Any, world: dict[str, Path], storage: str) -> None:
    import torch

    import edgeprune
    from edgeprune.masking import separating
    from edgeprune.masking.pack import Pack
    from edgeprune.structure.weights import read_tensors

    result, exact = made(method="smp", head_storage=storage), made(method="smp")
    pack = Pack.load(result.folder / "task.edgepack")
    tensors = separating.apply(pack, read_tensors(world["model"]))
    saved = edgeprune.load(result.folder).state_dict()
    assert set(tensors) <= set(saved)
    assert all(torch.equal(item, saved[name]) for name, item in tensors.items())
    head, whole = (made.record["pack"]["head_bytes"] for made in (result, exact))
    assert {"exact": whole == head, "float16": 2 * head == whole, "int8-rows": 2 * head < whole}[storage]
    masks = result.tensors("masks")
    assert all(torch.equal(masks[name], item) for name, item in exact.tensors("masks").items())


# What a recipe may say


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({"method": "pst", "granularity": "row"}, ("granularity",)),
        ({"method": "pins", "granularity": {"block": [2, 2]}}, ("granularity",)),
        ({"granularity": "rows"}, ("granularity",)),
        ({"granularity": "2:4", "density": 0.3}, ("density",)),
        ({"method": "l0", "allocation": "uniform"}, ("allocation",)),
        ({"method": "magnitude", "allocation": "score"}, ("allocation",)),
        ({"schedule": {"warmup": 0.7, "hold": 0.7}}, ("schedule",)),
        ({"head": "label-words"}, ("head",)),
        ({"method": "movement", "head_storage": "float16"}, ("head_storage",)),
    ],
)
def test_what_a_method_cannot_do(body: dict[str, Any], key: tuple[str, ...]) -> None:
    problems = STAGE.check(STAGE.config.model_validate(BODY | body))
    assert [problem.key for problem in problems] == [key]
    assert all(problem.message and problem.hint for problem in problems)


@pytest.mark.parametrize("method", METHODS)
def test_defaults_are_a_methods_own(method: str) -> None:
    from edgeprune.masking.plan import METHODS as PUBLISHED

    body = {"density": 0.1, "epochs": 1, "method": method, "precision": "fp32"}
    config = STAGE.resolve(STAGE.config.model_validate(body))
    assert STAGE.check(config) == []
    published = PUBLISHED[method]
    assert config.allocation == published.allocations[0]
    assert config.score_init == published.score_init
    assert config.regularizer == published.regularizer
    assert (config.score_learning_rate or 0.0) == published.score_rate
    assert (config.learning_rate or 0.0) == published.weight_rate
    assert STAGE.resolve(config) == config


@pytest.mark.parametrize(
    ("granularity", "pattern"),
    [("weight", "weight"), ("2:4", "2:4"), ("head+row", "head+row"), ({"block": [4, 4]}, "block")],
)
def test_the_pattern_is_the_word_that_targets_use(granularity: Any, pattern: str) -> None:
    body = BODY | {"granularity": granularity, "density": 0.5}
    config = STAGE.config.model_validate(body)
    assert STAGE.check(config) == []
    assert STAGE.pattern(config) == pattern


@pytest.mark.gpu
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_on_a_cuda_device(made: Any, method: str) -> None:
    """The Trainer moves the model there; what is saved meets its density all the same."""
    import torch

    assert torch.cuda.is_available()
    record = made(method=method).record
    assert record["density"]["kept"] == pytest.approx(BODY["density"], abs=2e-3)
    assert record["steps"] == STEPS
