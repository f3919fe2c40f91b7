"""Runs modules that came as text. This text and a call of `answer` are the program that is sent."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from types import ModuleType
from typing import Dict

__all__ = ["answer"]

PACKAGES = ("edgeprune_sent", "edgeprune_sent.on_device")


class _Sent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, sources: Dict[str, str]) -> None:
        self._sources = sources

    def find_spec(
        self, name: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in self._sources:
            return None
        return importlib.util.spec_from_loader(name, self, is_package=name in PACKAGES)

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        exec(compile(self._sources[name], f"<{name}>", "exec"), module.__dict__)


def answer(sources: Dict[str, str]) -> int:
    """Imports the modules and answers the request on standard input; returns the exit code.

    Args:
        sources: Full name of each module, below `PACKAGES`, to its text.
    """
    sys.path[:] = [entry for entry in sys.path if entry]  # not from wherever we were started
    sys.meta_path.insert(0, _Sent(sources))
    installer = importlib.import_module("edgeprune_sent.on_device.installer")
    return int(installer.main(sys.stdin.buffer, sys.stdout.buffer))
