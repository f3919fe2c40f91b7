"""Fixed deployments, one on a board and one on an emulated device: input of the golden tests."""

from __future__ import annotations

from typing import Any

from sample import latency, original, points, quality

from edgeprune.report.deployment import (
    BundleRow,
    Deployment,
    DeploymentDevice,
    Disagreement,
    Sample,
)
from edgeprune.report.model import DeviceRow, Note, VariantRow


def board(*, emulated: bool = False) -> DeploymentDevice:
    name = "emulator" if emulated else "pi"
    return DeploymentDevice(
        name=name,
        address=name if emulated else "ssh://pi@raspberrypi/opt/models",
        row=DeviceRow(
            kind="emulator" if emulated else "ssh",
            cpu="neoverse-n1" if emulated else "Cortex-A76",
            architecture="aarch64",
            cores=4,
            threads=4,
            features=["asimd", "asimddp"],
            emulated=emulated,
        ),
        system="Debian GNU/Linux 12",
        python="3.11.2",
        runtime="onnxruntime 1.27.0",
        memory_bytes=8_200_000_000,
        conditions=[] if emulated else ["governor performance", "51.5 °C before, 63.2 °C after"],
    )


def variant(*, emulated: bool = False) -> VariantRow:
    return VariantRow(
        name="onnxruntime/int8-dynamic",
        backend="onnxruntime",
        precision="int8-dynamic",
        executed="int8, dynamic per channel",
        status="accepted",
        reason="accuracy −0.04 points [−0.71, +0.62], at most 1 may be lost",
        quality=quality(0.8638),
        difference_points=points(-0.04, -0.71, 0.62),
        agreement=1 - 3 / 2_562,
        latency=[] if emulated else latency((8.1, 15.2, 29.9), original=False, fp32=False),
        file_bytes=15_120_000,
        load_seconds=None if emulated else 0.61,
        peak_memory_bytes=None if emulated else 171_000_000,
    )


def disagreements() -> list[Disagreement]:
    return [
        Disagreement(
            row=row,
            texts=[text],
            label=label,
            original={"fresh": first, "rotten": 1 - first},
            device={"fresh": second, "rotten": 1 - second},
        )
        for row, text, label, first, second in (
            (17, "a film that is neither here nor there", "fresh", 0.512, 0.493),
            (1204, "It's clever, and it knows it a little too well.", "rotten", 0.47, 0.718),
            (2021, "not without charm", "fresh", 0.55, 0.471),
        )
    ]


def sample_deployment(*, emulated: bool = False, **changes: Any) -> Deployment:
    device = board(emulated=emulated)
    found = Deployment(
        recipe="reviews-half",
        run_id="20261122-150411-4be7c1f0",
        target="arm64-board",
        bundle=BundleRow(
            name="reviews-half-arm64-board",
            version="0a1b2c3d4e5f6071",
            total_bytes=16_900_000,
            sent_bytes=0 if emulated else 16_900_000,
            path="/opt/models/reviews-half-arm64-board/releases/0a1b2c3d4e5f6071",
            replaced=None if emulated else "99aabbccddeeff00",
        ),
        device=device,
        verdict="pass",
        reason="onnxruntime/int8-dynamic keeps to what was demanded, by the device's own answers",
        exit_code=0,
        metric="accuracy",
        max_drop=1.0,
        confidence=0.95,
        sampled=Sample(answered=2_562, available=2_562),
        variant=variant(emulated=emulated),
        original=original(measured=False),
        build_agreement=0.9996,
        disagreed=3,
        disagreements=disagreements(),
        started="2026-11-22T16:31:02+00:00",
        seconds=73.2,
        versions={"edgeprune": "0.1.0", "python": "3.11.2"},
        know=[
            Note(where="device emulator", text="emulated: latency was not measured")
            if emulated
            else Note(
                where="device pi", level="info", text="the version 99aabbccddeeff00 was kept for a rollback"
            )
        ],
        command=f"edgeprune deploy runs/reviews-half/latest --target arm64-board --device {device.name}",
    )
    return found.model_copy(update=changes)
