"""What this machine's CPU is, in names that are the same on every system."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Mapping

__all__ = ["Cpu", "describe", "normalise_architecture", "parse_cpuinfo", "parse_sysctl", "usable_cores"]

X86_FEATURES = {
    "avx2": "avx2",
    "avx512f": "avx512f",
    "avx512_vnni": "avx512_vnni",
    "avx_vnni": "avx_vnni",
    "avx512_bf16": "avx512_bf16",
    "amx_int8": "amx_int8",
    "amx_bf16": "amx_bf16",
}
ARM_FEATURES = {
    "asimd": "neon",
    "asimdhp": "fp16",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
    "sve": "sve",
    "bf16": "bf16",
}
SYSCTL_FEATURES = {
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512f": "avx512f",
    "hw.optional.avx512vnni": "avx512_vnni",
    "hw.optional.neon": "neon",
    "hw.optional.AdvSIMD": "neon",
    "hw.optional.arm.FEAT_FP16": "fp16",
    "hw.optional.arm.FEAT_DotProd": "dotprod",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.arm.FEAT_BF16": "bf16",
}
ARCHITECTURES = {"amd64": "x86_64", "x64": "x86_64", "arm64": "aarch64"}

# Linux on ARM gives a core's part number, not its name (implementer 0x41, ARM's own designs).
ARM_PARTS = {
    "0xd03": "Cortex-A53",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd40": "Neoverse-V1",
    "0xd41": "Cortex-A78",
    "0xd42": "Cortex-A78AE",
    "0xd49": "Neoverse-N2",
    "0xd4f": "Neoverse-V2",
}


@dataclass(frozen=True)
class Cpu:
    """One machine's CPU.

    Attributes:
        model: Name as its maker gives it; ``unknown`` where the system does not say.
        architecture: ``x86_64``, ``aarch64``, or what the system calls it.
        physical_cores: Cores; on ARM every logical core counts as one.
        logical_cores: Hardware threads.
        memory_bytes: RAM of the machine; None where the system does not say.
        features: Instruction sets that matter for low precision, sorted; names as in the tables above.
    """

    model: str
    architecture: str
    physical_cores: int
    logical_cores: int
    memory_bytes: int | None
    features: tuple[str, ...]

    @property
    def saturates_int8(self) -> bool:
        """Whether it adds UINT8 × INT8 products in saturating 16 bits: x86 without VNNI."""
        return self.architecture == "x86_64" and not {"avx512_vnni", "avx_vnni"} & set(self.features)


def normalise_architecture(machine: str) -> str:
    """One name per architecture, whatever the system calls it (``AMD64``, ``arm64``)."""
    return ARCHITECTURES.get(machine.lower(), machine.lower())


def parse_cpuinfo(text: str, architecture: str, memory_bytes: int | None = None) -> Cpu:
    """Reads the text of Linux's ``/proc/cpuinfo``.

    Args:
        text: The file's content: blocks of ``key : value`` lines, one block per logical core.
        architecture: Normalised; the file itself does not say it.
        memory_bytes: RAM, which the file does not say either.
    """
    blocks = [block for block in _blocks(text) if "processor" in block]
    rest = {key: value for block in _blocks(text) for key, value in block.items() if "processor" not in block}
    flags = {flag for block in blocks for key in ("flags", "Features") for flag in block.get(key, "").split()}
    names = ARM_FEATURES if architecture == "aarch64" else X86_FEATURES
    cores = {
        (block.get("physical id"), block["core id"]) if "core id" in block else index
        for index, block in enumerate(blocks)
    }
    return Cpu(
        model=_model_name(blocks, rest),
        architecture=architecture,
        physical_cores=max(1, len(cores)),
        logical_cores=max(1, len(blocks)),
        memory_bytes=memory_bytes,
        features=tuple(sorted(name for flag, name in names.items() if flag in flags)),
    )


def parse_sysctl(text: str, architecture: str) -> Cpu:
    """Reads the text of macOS's ``sysctl -a`` (``key: value`` lines)."""
    values = {key: value for key, value in (_pair(line) for line in text.splitlines()) if value}
    return Cpu(
        model=values.get("machdep.cpu.brand_string", "unknown"),
        architecture=architecture,
        physical_cores=int(values.get("hw.physicalcpu", "1")),
        logical_cores=int(values.get("hw.logicalcpu", "1")),
        memory_bytes=int(values["hw.memsize"]) if "hw.memsize" in values else None,
        features=tuple(sorted({name for key, name in SYSCTL_FEATURES.items() if values.get(key) == "1"})),
    )


def describe() -> Cpu:
    """This machine's CPU. Systems other than Linux and macOS get no features: unknown is not claimed."""
    architecture = normalise_architecture(platform.machine())
    system = platform.system()
    if system == "Linux":
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        return parse_cpuinfo(text, architecture, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    if system == "Darwin":
        found = subprocess.run(["/usr/sbin/sysctl", "-a"], capture_output=True, text=True, check=True)
        return parse_sysctl(found.stdout, architecture)
    cores = os.cpu_count() or 1
    return Cpu(platform.processor() or "unknown", architecture, cores, cores, None, ())


def usable_cores(cpu: Cpu) -> int:
    """Physical cores that this process may use: fewer than the machine has where it is confined to some."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, min(cpu.physical_cores, len(os.sched_getaffinity(0))))
    return cpu.physical_cores


def _blocks(text: str) -> Iterator[dict[str, str]]:
    for block in text.split("\n\n"):
        pairs = dict(_pair(line) for line in block.splitlines() if ":" in line)
        if pairs:
            yield pairs


def _pair(line: str) -> tuple[str, str]:
    key, _, value = line.partition(":")
    return key.strip(), value.strip()


def _model_name(blocks: list[dict[str, str]], rest: Mapping[str, str]) -> str:
    """x86 names the model in every block; ARM boards name themselves at the end and their cores by number."""
    named = [block["model name"] for block in blocks if block.get("model name")]
    if named:
        return named[0]
    parts = dict.fromkeys(block["CPU part"] for block in blocks if "CPU part" in block)
    cores = " + ".join(ARM_PARTS.get(part, f"ARM part {part}") for part in parts)
    board = rest.get("Model", "")
    return f"{board} ({cores})" if board and cores else board or cores or "unknown"
