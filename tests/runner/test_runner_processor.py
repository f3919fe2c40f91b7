from __future__ import annotations

import struct
from pathlib import Path

import pytest

from edgeprune.runner import processor
from edgeprune.runner.cpu import Cpu, describe
from edgeprune.runner.processor import describe_own, parse_auxiliary_vector

HOST = Cpu("Some x86", "aarch64", 2, 2, None, ())


def test_arm_features_of_the_auxiliary_vector() -> None:
    capable = struct.pack("@LLLLLL", 16, 1 << 1 | 1 << 10 | 1 << 20, 26, 1 << 13 | 1 << 3, 0, 0)
    assert parse_auxiliary_vector(capable) == {"neon", "fp16", "dotprod", "i8mm"}
    assert parse_auxiliary_vector(struct.pack("@LL", 16, 1 << 22)) == {"sve"}
    assert parse_auxiliary_vector(b"cut") == set()


def test_an_emulated_processor_has_the_features_that_it_tells_programs_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "describe", lambda: HOST)
    monkeypatch.setattr(processor, "AUXILIARY_VECTOR", tmp_path / "auxv")
    assert describe_own() == HOST
    (tmp_path / "auxv").write_bytes(struct.pack("@LL", 16, 1 << 1 | 1 << 20))
    assert describe_own().features == ("dotprod", "neon")


def test_this_machine() -> None:
    assert set(describe_own().features) >= set(describe().features)
