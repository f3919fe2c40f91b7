"""Whether this machine has an NVIDIA GPU: asked of the driver itself, which is there wherever one works."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["compute_capability", "why_untimed"]

_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
# CUdevice_attribute, the two halves of a compute capability.
_MAJOR, _MINOR = 75, 76


def compute_capability(driver: str = _DRIVER) -> float | None:
    """Compute capability of the first GPU, e.g. 8.9; None: there is no driver, or it finds none.

    Args:
        driver: Name of the driver's library.
    """
    try:
        cuda = ctypes.CDLL(driver)
    except OSError:
        return None
    device = ctypes.c_int()
    if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), 0):
        return None
    halves = []
    for attribute in (_MAJOR, _MINOR):
        value = ctypes.c_int()
        if cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device):
            return None
        halves.append(value.value)
    return float(f"{halves[0]}.{halves[1]}")


def why_untimed() -> str:
    """Why nothing that is built for an NVIDIA GPU is timed on this machine."""
    return "no NVIDIA GPU" if compute_capability() is None else "the runner has no TensorRT session yet"
