"""The processor that the emulator imitates, as Linux on ARM would describe it in ``/proc/cpuinfo``."""

from __future__ import annotations

__all__ = ["MODEL", "cpuinfo"]

MODEL = "neoverse-n1"
"""As QEMU calls it: ARMv8.2 with FP16 and dot products, like the Cortex-A76 of small boards."""

# Its identification register, MIDR_EL1 0x414fd0c1, in the parts that Linux prints.
_IDENTITY = {
    "CPU implementer": "0x41",
    "CPU architecture": "8",
    "CPU variant": "0x4",
    "CPU part": "0xd0c",
    "CPU revision": "1",
}
# Bits of AT_HWCAP in order, by the names of Linux (arch/arm64/include/uapi/asm/hwcap.h).
_FEATURES = (
    *("fp", "asimd", "evtstrm", "aes", "pmull", "sha1", "sha2", "crc32", "atomics", "fphp", "asimdhp"),
    *("cpuid", "asimdrdm", "jscvt", "fcma", "lrcpc", "dcpop", "sha3", "sm3", "sm4", "asimddp", "sha512"),
    *("sve", "asimdfhm", "dit", "uscat", "ilrcpc", "flagm", "ssbs", "sb", "paca", "pacg"),
)


def cpuinfo(features: int, cores: int) -> str:
    """The text of ``/proc/cpuinfo``.

    Args:
        features: AT_HWCAP as a process there sees it.
        cores: How many there are.
    """
    names = " ".join(name for bit, name in enumerate(_FEATURES) if features >> bit & 1)
    identity = "".join(f"{key}\t: {value}\n" for key, value in _IDENTITY.items())
    core = f"BogoMIPS\t: 100.00\nFeatures\t: {names}\n{identity}\n"
    cpus = "".join(f"processor\t: {number}\n{core}" for number in range(cores))
    return f"{cpus}Model\t\t: emulated by QEMU\n"
