"""Why a device does not do what it is asked."""

from __future__ import annotations

import errno

__all__ = ["UNREACHABLE", "UNSUPPORTED", "USAGE", "Refusal", "disk_full", "of_system"]

# Exit codes that the caller gives to a refusal; see the table in docs/architecture.md.
USAGE, UNREACHABLE, UNSUPPORTED = 2, 4, 5


class Refusal(Exception):  # noqa: N818  (an answer, not an error of this program)
    """The request cannot be done; the device serves what it served before.

    Attributes:
        answer: Plain data for the caller: `code`, `message`, `hint`.
    """

    def __init__(self, code: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.answer = {"code": code, "message": message, "hint": hint}


def disk_full(folder: object, missing: int | None = None) -> Refusal:
    """The disk of `folder` lacks `missing` bytes, or an unknown number of them."""
    said = f": {missing:,} bytes are missing" if missing else ""
    hint = "free some of it, and say the same again: it goes on from where it was"
    return Refusal(UNREACHABLE, f"the disk of {folder} is full{said}", hint)


def of_system(error: OSError) -> Refusal:
    """What the system refused, in its words."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full(error.filename or "the device")
    place = f"{error.filename}: " if error.filename else ""
    forbidden = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
    hint = "name a folder that the device's user may write to: ssh://user@host/path" if forbidden else ""
    return Refusal(UNREACHABLE, f"{place}{error.strerror or error}", hint)
