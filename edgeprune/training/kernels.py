"""How many of the processor's compiled matrix kernels PyTorch keeps.

In bfloat16 the matrix library compiles a kernel for every shape, and keeps the last 1,024. A cut encoder
has other shapes in every layer, batches of texts have as many lengths as there are, and each product has two
more in the backward pass: several thousand shapes, so that a good part of a step went into compiling kernels
that had been compiled before. docs/lab-notes.md has the times.
"""

from __future__ import annotations

import os

__all__ = ["KEPT", "VARIABLE", "keep_kernels"]

VARIABLE = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
KEPT = 32_768
"""Enough for twelve ragged layers at 64 lengths; memory is taken only by kernels that are made."""


def keep_kernels() -> None:
    """Have PyTorch keep all of them, in this process and its children.

    To be called before anything is computed: the library reads the variable once. What the user has set
    stays.
    """
    os.environ.setdefault(VARIABLE, str(KEPT))
