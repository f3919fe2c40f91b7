"""edgeprune: a recipe, some targets, and for each target an artifact that was judged there.

Importing this package is cheap on purpose (no torch, no transformers): the command line must answer
`--help` at once, so every heavy library is imported inside the function that needs it.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
