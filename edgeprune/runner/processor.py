"""The processor that this program runs on, which is not the machine's where it is emulated.

Beside `cpu`, not in it: what trainings depend on must not change with what only devices need.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

from .cpu import Cpu, describe

__all__ = ["describe_own", "parse_auxiliary_vector"]

AUXILIARY_VECTOR = Path("/proc/self/auxv")
# Key to bit to feature: AT_HWCAP and AT_HWCAP2 of Linux on 64-bit ARM.
ARM_BITS = {16: {1: "neon", 10: "fp16", 20: "dotprod", 22: "sve"}, 26: {13: "i8mm", 14: "bf16"}}


def describe_own() -> Cpu:
    """The processor as `cpu.describe` finds it, with the features that the system tells this program of.

    On ARM an emulator shows the host's `/proc/cpuinfo`, which has no feature of ARM in it.
    """
    cpu = describe()
    if cpu.architecture != "aarch64" or not AUXILIARY_VECTOR.exists():
        return cpu
    told = parse_auxiliary_vector(AUXILIARY_VECTOR.read_bytes())
    return replace(cpu, features=tuple(sorted(told | set(cpu.features))))


def parse_auxiliary_vector(content: bytes) -> set[str]:
    """Features of an ARM processor in Linux's `/proc/self/auxv`.

    Args:
        content: Pairs of machine words, a key and its value.
    """
    pair = struct.Struct("@LL")
    values = dict(pair.iter_unpack(content[: len(content) // pair.size * pair.size]))
    return {
        name
        for key, names in ARM_BITS.items()
        for bit, name in names.items()
        if values.get(key, 0) >> bit & 1
    }
