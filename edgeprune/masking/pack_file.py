"""The container of a mask pack: a JSON header and byte strings, with a version and a checksum.

    bytes 0-7       "EDGEPACK"
    bytes 8-11      version, 1
    bytes 12-15     length of the header
    header          JSON, UTF-8; says how long each byte string is
    byte strings    one after another
    last 32 bytes   SHA-256 of all before

Numbers are little endian. Nothing in it is code.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from edgeprune.durable import flush
from edgeprune.errors import EdgepruneError, UnsupportedError, UsageError

__all__ = ["SUFFIX", "join", "read", "split", "write"]

SUFFIX = ".edgepack"

_MAGIC = b"EDGEPACK"
_VERSION = 1
_START = len(_MAGIC) + 8
_DIGEST = 32
_AGAIN = "copy the file again, or make it again"


def join(header: dict[str, Any], body: bytes) -> bytes:
    """A whole file from its header and its byte strings.

    Raises:
        ValueError: The header holds what JSON has no word for.
    """
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    start = _MAGIC + _VERSION.to_bytes(4, "little") + len(text).to_bytes(4, "little")
    whole = start + text + body
    return whole + hashlib.sha256(whole).digest()


def split(data: bytes, where: str = "") -> tuple[dict[str, Any], bytes]:
    """Header and byte strings of a whole file.

    Args:
        data: The file's bytes.
        where: What to call it in errors.

    Raises:
        UsageError: It is no mask pack.
        UnsupportedError: It is of another version.
        EdgepruneError: It is damaged.
    """
    if not data.startswith(_MAGIC):
        raise UsageError("this is no mask pack", where=where, hint=f"mask packs end in {SUFFIX}")
    version = int.from_bytes(data[8:12], "little")
    if len(data) >= _START and version != _VERSION:
        raise UnsupportedError(
            f"the mask pack is of version {version}; this edgeprune reads version {_VERSION}",
            where=where,
            hint="a newer edgeprune may have written it",
        )
    end = len(data) - _DIGEST
    if end < _START or hashlib.sha256(data[:end]).digest() != data[end:]:
        raise EdgepruneError(
            f"the mask pack is damaged: the checksum at its end is not that of its {len(data):,} bytes",
            where=where,
            hint=_AGAIN,
        )
    length = int.from_bytes(data[12:16], "little")
    if _START + length > end:
        raise EdgepruneError(
            f"the mask pack is damaged: a header of {length:,} bytes", where=where, hint=_AGAIN
        )
    try:
        header = json.loads(data[_START : _START + length].decode())
    except (ValueError, RecursionError) as error:
        raise EdgepruneError(
            f"the mask pack is damaged: its header is no JSON: {error}", where=where, hint=_AGAIN
        ) from error
    if not isinstance(header, dict):
        raise EdgepruneError("the mask pack is damaged: its header is no object", where=where, hint=_AGAIN)
    return header, data[_START + length : end]


def write(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees all of it or none.

    Raises:
        EdgepruneError: It cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(data)
        flush(partial)
        partial.replace(path)
    except OSError as error:
        raise EdgepruneError(f"the mask pack cannot be written: {error.strerror}", where=str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


def read(path: Path) -> bytes:
    """A file's bytes.

    Raises:
        UsageError: There is none, or it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"the mask pack cannot be read: {error.strerror}",
            where=str(path),
            hint=f"a run that learns masks over a frozen base leaves task{SUFFIX} in its artifact",
        ) from error
