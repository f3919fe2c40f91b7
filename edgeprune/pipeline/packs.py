"""Mask packs and folders: show one, put one on its base, or keep many tasks on one base in memory."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from edgeprune import assets
from edgeprune.assets.contents import MODEL_FILES
from edgeprune.durable import flush, flush_tree
from edgeprune.errors import EdgepruneError, UnsupportedError, UsageError
from edgeprune.report.formatting import count, percent, plain, size
from edgeprune.structure.description import STRUCTURE_FILE

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgeprune.masking.pack import Pack
    from edgeprune.masking.pack_summary import PackSummary
    from edgeprune.masking.shelf import TaskShelf

__all__ = ["apply", "inspect", "open_shelf", "show"]

_WIDTH = 100
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
_CONFIG = "config.json"


def inspect(path: Path) -> tuple[Pack, PackSummary]:
    """A mask pack and what it weighs. Its checksum is checked and its masks are decoded.

    Raises:
        UsageError: There is no such file, or it is no mask pack.
        UnsupportedError: It is of another version.
        EdgepruneError: It is damaged.
    """
    from edgeprune.masking.pack import Pack

    with _named(path):
        pack = Pack.load(path)
        return pack, pack.summary()


def show(path: Path, stream: TextIO) -> None:
    """Write what `inspect` finds, for people. Raises as it does."""
    from rich.console import Console

    pack, summary = inspect(path)
    console = Console(file=stream)
    if not console.is_terminal:
        console = Console(file=stream, width=_WIDTH)
    for piece in _pieces(path, pack, summary):
        console.print(piece)


def apply(path: Path, base: str, output: Path, cache: Path) -> None:
    """Write the task's model as an ordinary Hugging Face folder: the base, with zeros, and the head.

    Args:
        path: The mask pack.
        base: Folder of the base model, or a source of it as a recipe writes it.
        output: The folder to write; must not be there, or be empty.
        cache: Folder of fetched assets.

    Raises:
        UsageError: The output is there already, there is no such pack, or it was made from another base.
        AssetError: The base cannot be had.
        UnsupportedError: The pack is of another version.
        EdgepruneError: The pack or the base is damaged, or the folder cannot be written.
    """
    from edgeprune.masking import separating
    from edgeprune.masking.pack import Pack
    from edgeprune.structure.weights import read_tensors

    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(
            "the output is there already and not empty", where=str(output), hint="name a new folder"
        )
    pack = Pack.load(path)
    folder = _base_folder(base, cache)
    with _named(path):
        tensors = separating.apply(pack, read_tensors(folder))
    try:
        _write(output, folder, pack, tensors)
    except OSError as error:
        raise EdgepruneError(f"the model cannot be written: {error}", where=str(output)) from error


def open_shelf(base: str, cache: Path) -> TaskShelf:
    """One base in memory, for the tasks of many packs: `.task(pack)` gives a classifier on it.

    Args:
        base: Folder of the base model, or a source of it as a recipe writes it.
        cache: Folder of fetched assets.

    Raises:
        AssetError: The base cannot be had.
        UnsupportedError: Its architecture has no sequence classifier in transformers.
        EdgepruneError: Its weights cannot be read.
    """
    from edgeprune.masking.shelf import TaskShelf
    from edgeprune.structure.weights import read_tensors

    folder = _base_folder(base, cache)
    return TaskShelf(read_tensors(folder), _encoder_name(folder), _skeleton)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """What goes wrong inside is said of this file, unless it names another."""
    try:
        yield
    except EdgepruneError as error:
        error.where = error.where or str(path)
        raise


def _base_folder(base: str, cache: Path) -> Path:
    """A folder is a source too: it is then checked in the same way, and missing in the same words."""
    is_source = "://" in base or base.startswith("$")
    source = base if is_source else f"file://{Path(base).expanduser().absolute()}"
    return assets.resolve([source], kind="model", cache=cache, base=Path.cwd()).path


def _write(output: Path, base: Path, pack: Pack, tensors: Mapping[str, Any]) -> None:
    """Fill the output folder, whole or not at all."""
    from safetensors.torch import save_file

    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as scratch:
        filled = Path(scratch) / output.name
        filled.mkdir()
        for file in _tokenizer_files(base):
            shutil.copyfile(file, filled / file.name)
        _write_description(filled, pack)
        whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
        save_file(whole, filled / "model.safetensors", metadata={"format": "pt"})
        flush_tree(filled)
        filled.replace(output)  # over an empty folder, too
        flush(output.parent)


def _tokenizer_files(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.iterdir()):
        is_model = any(fnmatchcase(file.name, pattern) for pattern in (*_WEIGHTS, _CONFIG))
        if not is_model and any(fnmatchcase(file.name, pattern) for pattern in MODEL_FILES):
            yield file


def _write_description(folder: Path, pack: Pack) -> None:
    files = {_CONFIG: pack.config, STRUCTURE_FILE: pack.structure}
    for name, values in files.items():
        if values:
            text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
            (folder / name).write_text(text, encoding="utf-8")


def _encoder_name(folder: Path) -> str:
    """What a sequence classifier of a base's architecture calls its encoder."""
    import transformers

    config = _config(folder)
    try:
        model_class = transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)]
    except KeyError as error:
        raise UnsupportedError(
            f"a model of type {config.model_type!r} has no sequence classifier", where=str(folder)
        ) from error
    return str(model_class.base_model_prefix)


def _skeleton(pack: Pack) -> Any:
    """The empty classifier of a pack: parameters on the meta device, buffers filled."""
    import transformers
    from accelerate import init_empty_weights

    from edgeprune.structure.description import read_structure
    from edgeprune.structure.loading import shape

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _write_description(folder, pack)
        config, structure = _config(folder), read_structure(folder)
    with init_empty_weights(include_buffers=False):
        model = transformers.AutoModelForSequenceClassification.from_config(config).float()
        shape(model, structure)
    return model


def _config(folder: Path) -> Any:
    import transformers

    try:
        return transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnsupportedError(
            f"the model's config cannot be used: {str(error).splitlines()[0]}", where=str(folder)
        ) from error


def _pieces(path: Path, pack: Pack, summary: PackSummary) -> Iterator[RenderableType]:
    """Facts, then densities by layer, as things that a rich console prints."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    yield Text(f"{plain(str(path))}: the checksum is good", style="bold")
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column()
    facts.add_column(overflow="fold")
    for name, value in _facts(pack, summary):
        facts.add_row(Text(name), Text(value))
    yield facts
    layers = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in ("layer", "tensors", "weights", "kept", "density"):
        layers.add_column(name, justify="left" if name == "layer" else "right")
    for row in _layer_rows(summary):
        layers.add_row(*(Text(cell) for cell in row))
    yield Text()
    yield layers


def _facts(pack: Pack, summary: PackSummary) -> Iterator[tuple[str, str]]:
    yield "base", plain(pack.base_id)
    yield "model", plain(f"{pack.model_type}, classes {', '.join(pack.classes)}")
    yield (
        "masks",
        f"{len(pack.shapes)} tensors, {count(summary.weights)} weights, {percent(summary.density)} kept",
    )
    yield (
        "bits a weight",
        f"{summary.bits_per_weight:.4f}; bound without structure {summary.entropy_bound:.4f}"
        f" (density of all), {summary.entropy_bound_per_matrix:.4f} (density of each matrix)",
    )
    yield (
        "size",
        f"{size(summary.bytes)}: masks {size(summary.mask_bytes)}, head {size(summary.head_bytes)}",
    )
    kinds = sorted({item.encoding for item in pack.head.values()})
    yield "head", f"{len(pack.head)} tensors ({', '.join(kinds) or 'none'}), {len(pack.borrowed)} borrowed"
    for name, value in pack.provenance.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield plain(name), plain(text)


def _layer_rows(summary: PackSummary) -> Iterator[tuple[str, ...]]:
    numbers = dict.fromkeys(item.layer for item in summary.matrices)
    for layer in [*numbers, "all"]:
        matrices = [item for item in summary.matrices if layer in (item.layer, "all")]
        weights, kept = sum(item.weights for item in matrices), sum(item.kept for item in matrices)
        yield (
            "-" if layer is None else str(layer),
            str(len(matrices)),
            count(weights),
            count(kept),
            percent(kept / weights if weights else 1.0),
        )
