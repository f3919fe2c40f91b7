"""Kernels that were compiled once are found again, however many shapes a step has."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from edgeprune.runner.cpu import describe
from edgeprune.training.kernels import KEPT, VARIABLE, keep_kernels

USUAL = 1024
SHAPES = 1200
PROGRAM = f"""
from edgeprune.training.kernels import keep_kernels
keep_kernels()
import torch
torch.set_num_threads(1)
for turn in range(2):
    print("turn", turn, flush=True)
    for rows in range(1, {SHAPES} + 1):
        torch.ones(rows, 8, dtype=torch.bfloat16) @ torch.ones(8, 8, dtype=torch.bfloat16)
"""


def _compiled(**environment: str) -> list[int]:
    """How many kernels each of two turns over the same shapes compiled."""
    surroundings = {name: value for name, value in os.environ.items() if name != VARIABLE}
    verbose = {"ONEDNN_VERBOSE": "profile_create"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=surroundings | verbose | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    _, first, second = done.stdout.split("turn ")
    return [turn.count("create:cache_miss") for turn in (first, second)]


native = pytest.mark.skipif(
    not {"avx512_bf16", "amx_bf16"} & set(describe().features), reason="bfloat16 is not multiplied natively"
)


@native
def test_no_kernel_is_compiled_twice() -> None:
    first, second = _compiled()
    assert first > USUAL
    assert second == 0


@native
def test_what_the_user_set_stays() -> None:
    first, second = _compiled(**{VARIABLE: str(USUAL)})
    assert first > USUAL
    assert second > 0


def test_the_variable_is_set_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {})
    keep_kernels()
    assert os.environ == {VARIABLE: str(KEPT)}
    os.environ[VARIABLE] = "7"
    keep_kernels()
    assert os.environ == {VARIABLE: "7"}
