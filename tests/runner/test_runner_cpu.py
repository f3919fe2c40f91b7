from __future__ import annotations

import pytest

from edgeprune.runner.cpu import describe, normalise_architecture, parse_cpuinfo, parse_sysctl, usable_cores

LAPTOP = "\n\n".join(
    f"processor\t: {logical}\nmodel name\t: Some CPU @ 2.60GHz\nphysical id\t: 0\n"
    f"core id\t\t: {logical // 2}\n"
    "flags\t\t: fpu sse avx avx2 avx512f avx512_vnni amx_bf16 amx_tile amx_int8 avx512_bf16"
    for logical in range(4)
)
RASPBERRY = (
    "\n\n".join(
        f"processor\t: {core}\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 asimdhp asimddp\n"
        "CPU implementer\t: 0x41\nCPU part\t: 0xd0b"
        for core in range(4)
    )
    + "\n\nHardware\t: BCM2835\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n"
)
BIG_LITTLE = "\n\n".join(
    f"processor : {core}\nFeatures : asimd\nCPU part : {part}"
    for core, part in enumerate(["0xd05", "0xd0b", "0xfff"])
)
MAC = """hw.physicalcpu: 8
hw.logicalcpu: 8
hw.memsize: 17179869184
hw.optional.AdvSIMD: 1
hw.optional.neon: 1
hw.optional.arm.FEAT_FP16: 1
hw.optional.arm.FEAT_DotProd: 1
hw.optional.arm.FEAT_I8MM: 0
hw.optional.arm.FEAT_BF16: 1
machdep.cpu.brand_string: Apple M1
"""


def test_hyperthreads_of_one_core_are_one_physical_core() -> None:
    cpu = parse_cpuinfo(LAPTOP, "x86_64", 1024)
    assert (cpu.physical_cores, cpu.logical_cores, cpu.memory_bytes) == (2, 4, 1024)
    assert cpu.model == "Some CPU @ 2.60GHz"
    assert cpu.features == ("amx_bf16", "amx_int8", "avx2", "avx512_bf16", "avx512_vnni", "avx512f")


def test_same_core_numbers_on_two_sockets_are_different_cores() -> None:
    sockets = LAPTOP + "\n\n" + LAPTOP.replace("physical id\t: 0", "physical id\t: 1")
    assert parse_cpuinfo(sockets, "x86_64").physical_cores == 4


def test_arm_features_get_our_names_and_the_board_names_itself() -> None:
    cpu = parse_cpuinfo(RASPBERRY, "aarch64")
    assert cpu.features == ("dotprod", "fp16", "neon")
    assert (cpu.physical_cores, cpu.logical_cores) == (4, 4)
    assert cpu.model == "Raspberry Pi 5 Model B Rev 1.0 (Cortex-A76)"


def test_cores_of_several_kinds_are_all_named_and_unknown_ones_by_number() -> None:
    assert parse_cpuinfo(BIG_LITTLE, "aarch64").model == "Cortex-A55 + Cortex-A76 + ARM part 0xfff"


def test_arm_flags_are_not_read_as_x86_ones() -> None:
    assert parse_cpuinfo(RASPBERRY, "x86_64").features == ()


def test_nothing_known_is_said_so() -> None:
    cpu = parse_cpuinfo("", "x86_64")
    assert (cpu.model, cpu.physical_cores, cpu.logical_cores, cpu.features) == ("unknown", 1, 1, ())


def test_mac() -> None:
    cpu = parse_sysctl(MAC, "aarch64")
    assert (cpu.model, cpu.physical_cores, cpu.memory_bytes) == ("Apple M1", 8, 16 * 2**30)
    assert cpu.features == ("bf16", "dotprod", "fp16", "neon")


@pytest.mark.parametrize(
    ("machine", "name"),
    [
        ("AMD64", "x86_64"),
        ("x86_64", "x86_64"),
        ("arm64", "aarch64"),
        ("aarch64", "aarch64"),
        ("riscv64", "riscv64"),
    ],
)
def test_architectures_have_one_name(machine: str, name: str) -> None:
    assert normalise_architecture(machine) == name


def test_this_machine() -> None:
    cpu = describe()
    assert 1 <= usable_cores(cpu) <= cpu.physical_cores <= cpu.logical_cores
    assert cpu.memory_bytes is None or cpu.memory_bytes > 2**20
