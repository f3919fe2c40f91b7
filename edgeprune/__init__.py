"""edgeprune: a recipe, some targets, and for each target an artifact that was judged there.

Importing this package is cheap on purpose (no torch, no transformers): the command line must answer
`--help` at once, so every heavy library is imported inside the function that needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["__version__", "load"]

__version__ = "0.1.0"


def load(path: str | PathLike[str]) -> Any:
    """The classifier that a stage saved in a folder, ready to answer.

    Args:
        path: Folder with `config.json` and `model.safetensors`, e.g. of an artifact.

    Returns:
        A Hugging Face sequence classifier in evaluation mode.

    Raises:
        EdgepruneError: It cannot be loaded; says what is missing or does not fit.
    """
    from edgeprune.structure.loading import load as load_folder

    return load_folder(path)
