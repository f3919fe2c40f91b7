"""These tests use the hand-made model of tests/runner and the small classifiers of tests/quantization."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "runner"))
sys.path.append(str(Path(__file__).parents[1] / "quantization"))
