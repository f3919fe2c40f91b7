"""The program that answers on a device: numpy, tokenizers and one runtime, nothing else of edgeprune.

The folder works in place (``python -m edgeprune.runner``) and copied anywhere under any name
(``python path/to/folder``). Hence its rules: Python 3.9 syntax, relative imports, and a runtime is
imported only by the session that needs it.
"""
