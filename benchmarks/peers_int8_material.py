"""What peers get of a case: the exported model, and texts as its inputs to calibrate and judge with."""

from __future__ import annotations

from pathlib import Path

from peers_int8_peers import Feed, Material
from peers_int8_sources import Case, examples_of

from edgeprune.backends.contract import Request
from edgeprune.recipe.schema import Target
from edgeprune.runner.cpu import describe
from edgeprune.stages.quantize import QuantizeConfig
from edgeprune.tasks.examples import Examples

__all__ = ["material_of"]


def material_of(
    case: Case, onnx: Path, body: QuantizeConfig, target: Target, folder: Path, *, control: bool = False
) -> Material:
    """The same for every peer.

    Args:
        case: The model and its examples.
        onnx: What `peers_int8_entrants.exported` gave.
        body: Of `quantize`; says which texts it is calibrated on.
        target: Where it is to run.
        folder: Where peers work.
        control: Whether NNCF's accuracy control takes part.
    """
    observed, judged = examples_of(case.data, body)
    length = case.recipe.shell.model.max_length
    return Material(
        request=Request(onnx, "", target, length, folder, describe()),
        calibration=_feeds(case, onnx, observed),
        judged=_feeds(case, onnx, judged) if control else [],
        labels=judged.labels if control else [],
        folder=folder,
        accuracy_control=control,
    )


def _feeds(case: Case, onnx: Path, examples: Examples) -> list[Feed]:
    """Each text by itself, as the exported model's inputs."""
    import transformers

    from edgeprune.backends.onnx_file import input_names, read_onnx
    from edgeprune.tasks.encoding import collate, encode

    tokenizer = transformers.AutoTokenizer.from_pretrained(case.model, local_files_only=True)
    encoded = encode(tokenizer, examples, case.recipe.shell.model.max_length)
    names = input_names(read_onnx(onnx / "model.onnx", weights=False))
    texts = (collate(encoded, [index], tokenizer.pad_token_id) for index in range(len(encoded)))
    return [{name: arrays[name] for name in names} for arrays in texts]
