"""Other libraries' own bars and advice, kept off the terminal: ours say what matters."""

from __future__ import annotations

import logging

__all__ = ["quiet_libraries"]


def quiet_libraries() -> None:
    """Silence transformers' and datasets' progress bars and everything below an error.

    To be called before a model class is imported: with it transformers imports torchao, where that is
    installed, which warns of its kernels for GPUs while it is imported.
    """
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)
    import datasets
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
