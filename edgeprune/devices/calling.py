"""Starts a program, feeds it, and waits for what it says, for as long as one wants to wait."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterable, Sequence
from typing import IO

from edgeprune.devices.contract import Answer
from edgeprune.errors import DeviceError

__all__ = ["call"]

_SECONDS_TO_DRAIN = 10.0


def call(command: Sequence[str], given: bytes | Iterable[bytes], patience: float, who: str) -> Answer:
    """Runs a program to its end.

    Its standard input is written in the calling thread, so that what `given` raises is raised here. The
    program is ended on any error.

    Args:
        command: The program and its words; no shell is involved.
        given: Its standard input. A program need not read all of it.
        patience: Seconds after which it is ended.
        who: What to call the device in errors.

    Raises:
        DeviceError: It took longer.
        FileNotFoundError: There is no such program.
    """
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    out, err = _Reader(process.stdout), _Reader(process.stderr)
    impatient = threading.Event()

    def give_up() -> None:
        impatient.set()
        process.kill()

    timer = threading.Timer(patience, give_up)
    timer.start()
    try:
        _write(process.stdin, [given] if isinstance(given, bytes) else given)
        process.wait()
    finally:
        timer.cancel()
        if process.poll() is None:
            process.kill()
            process.wait()
        said, complaint = out.finish(), err.finish()
    if impatient.is_set():
        raise DeviceError(
            f"{who} did not finish within {patience:g} seconds",
            hint="look whether it is busy or hangs; what was begun there is safe to begin again",
        )
    return Answer(process.returncode, said, complaint.decode("utf-8", "replace"))


def _write(stream: IO[bytes], pieces: Iterable[bytes]) -> None:
    try:
        with stream:
            for piece in pieces:
                stream.write(piece)
    except BrokenPipeError:
        pass  # it ended, or wants no more; its exit code and words say why


class _Reader:
    """Reads a stream to its end in a thread of its own."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._pieces: list[bytes] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._stream:
            for piece in iter(lambda: os.read(self._stream.fileno(), 1 << 16), b""):
                self._pieces.append(piece)

    def finish(self) -> bytes:
        """All that came. A program in the background may hold the stream open: it is not awaited."""
        self._thread.join(_SECONDS_TO_DRAIN)
        return b"".join(self._pieces)
