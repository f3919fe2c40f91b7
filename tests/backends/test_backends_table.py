from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from types import MappingProxyType

import pytest

from edgeprune import backends
from edgeprune.errors import UnsupportedError
from edgeprune.recipe.schema import Target
from edgeprune.runner.cpu import Cpu


def make_target(kind: str = "local", architecture: str = "x86_64") -> Target:
    return Target.model_validate(
        {
            "name": "a-target",
            "description": "For tests.",
            "architecture": architecture,
            "device": {"kind": kind, "threads": 1},
            "backends": [{"backend": "onnxruntime", "variants": ["fp32"]}],
            "speeds_up": ["head"],
        }
    )


def make_cpu(*features: str, architecture: str = "x86_64") -> Cpu:
    return Cpu("Some CPU", architecture, 2, 2, None, features)


def test_every_row_can_be_had_here() -> None:
    """But TensorRT's and FP16, whose needs have tests of their own."""
    cpu = make_cpu("avx512_bf16", "amx_int8")
    for name in set(backends.names()) - {"tensorrt"}:
        for variant in set(backends.BACKENDS[name].variants) - {"fp16"}:
            assert backends.check(name, variant, make_target(), cpu) is None


def test_unknown_names_get_a_suggestion_and_the_list() -> None:
    assert backends.check("onnxrutime", "fp32", make_target()) == (
        "there is no backend 'onnxrutime' (did you mean 'onnxruntime'? It has: onnxruntime, openvino, tensorrt)"
    )
    assert backends.check("onnxruntime", "int8-dynamc", make_target()) == (
        "backend 'onnxruntime' has no variant 'int8-dynamc' "
        "(did you mean 'int8-dynamic'? It has: fp32, fp16, int8-dynamic, int8-static-u8s8, int8-static-s8s8, "
        "fp32-ort, int8-dynamic-ort, int8-static-u8s8-ort, int8-static-s8s8-ort)"
    )
    assert "did you mean" not in str(backends.check("onnxruntime", "xyz", make_target()))


def test_a_runtime_that_is_not_installed_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = replace(backends.BACKENDS["openvino"], package="no_such_runtime")
    monkeypatch.setattr(backends, "BACKENDS", MappingProxyType({"openvino": missing}))
    assert backends.check("openvino", "fp32", make_target()) == (
        "backend 'openvino' is not installed (pip install \"edgeprune[openvino]\")"
    )
    with pytest.raises(UnsupportedError, match="not installed"):
        backends.versions("openvino")


@pytest.mark.parametrize(
    ("kind", "architecture", "features", "refused"),
    [
        ("local", "x86_64", (), "this CPU (Some CPU) has neither of amx_bf16 and avx512_bf16"),
        ("local", "x86_64", ("avx512_bf16",), None),
        ("local", "x86_64", ("amx_bf16",), None),
        ("none", "x86_64", (), None),  # another machine: not known, so not refused
        ("none", "aarch64", ("bf16",), "bf16 is for x86_64 CPUs here, and target 'a-target' is aarch64"),
    ],
)
def test_bf16_needs_the_cpu(
    kind: str, architecture: str, features: tuple[str, ...], refused: str | None
) -> None:
    target = make_target(kind, architecture)
    assert backends.check("openvino", "bf16", target, make_cpu(*features)) == refused
    assert backends.check("openvino", "fp32", target, make_cpu(*features)) is None


@pytest.mark.parametrize(
    ("kind", "features", "refused"),
    [
        ("local", ("avx512_vnni",), "this CPU (Some CPU) has no amx_int8"),
        ("local", ("amx_int8",), None),
        ("none", (), None),
    ],
)
def test_sparse_weights_need_amx(kind: str, features: tuple[str, ...], refused: str | None) -> None:
    assert backends.check("openvino", "int8-sparse", make_target(kind), make_cpu(*features)) == refused


def test_fp16_of_onnxruntime_is_for_arm() -> None:
    for kind in ("local", "none"):
        refused = backends.check("onnxruntime", "fp16", make_target(kind), make_cpu())
        assert refused == (
            "FP16 is for aarch64 CPUs here, and target 'a-target' is x86_64, where onnxruntime computes it in "
            "FP32 and converts between"
        )
        assert backends.check("onnxruntime", "fp16", make_target(kind, "aarch64"), make_cpu()) is None


def test_versions_are_those_that_are_installed() -> None:
    import onnxruntime

    assert backends.versions("onnxruntime")["onnxruntime"] == onnxruntime.__version__


def test_the_table_and_a_check_import_no_runtime() -> None:
    code = (
        "import sys; from edgeprune import backends; from edgeprune.recipe.schema import Target\n"
        f"target = Target.model_validate_json({make_target().model_dump_json()!r})\n"
        "[backends.check(name, 'fp32', target) for name in backends.names()]\n"
        "runtimes = {'onnx', 'onnxruntime', 'openvino', 'tensorrt_rtx_bindings', 'tensorrt', 'torch', 'numpy'}\n"
        "print(sorted(runtimes & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
