"""The benchmarks are programs, not a package: their folder is put on the path, as Python does for a program."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path += [str(TESTS.parent / "benchmarks"), str(TESTS / "recipes")]
