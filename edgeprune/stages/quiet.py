"""Other libraries' own bars and advice, kept off the terminal: ours say what matters."""

from __future__ import annotations

__all__ = ["quiet_libraries"]


def quiet_libraries() -> None:
    """Silence transformers' and datasets' progress bars and everything below an error."""
    import datasets
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
