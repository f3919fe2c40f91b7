"""Programs that are fed, are silent, talk much, or do not listen."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from edgeprune.devices.calling import call
from edgeprune.errors import DeviceError


def _call(program: str, given: object = b"", patience: float = 60.0) -> tuple[int, bytes, str]:
    answer = call([sys.executable, "-c", program], given, patience, "it")  # type: ignore[arg-type]
    return answer.code, answer.out, answer.err


def test_what_goes_in_and_comes_out() -> None:
    program = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read()[::-1]); sys.exit(3)"
    assert _call(program, iter([b"\0ab", b"cd"])) == (3, b"dcba\0", "")


def test_more_than_a_pipe_holds_both_ways() -> None:
    program = (
        "import sys; d = sys.stdin.buffer.read(); sys.stdout.buffer.write(d); sys.stderr.write('e' * len(d))"
    )
    code, out, err = _call(program, b"x" * 300_000)
    assert (code, len(out), len(err)) == (0, 300_000, 300_000)


def test_a_program_need_not_read() -> None:
    assert _call("import sys; sys.stdin.close(); sys.exit('no')", b"x" * 3_000_000) == (1, b"", "no\n")


def test_a_program_that_hangs_is_given_up() -> None:
    with pytest.raises(DeviceError, match=r"it did not finish within 0\.5 seconds"):
        _call("import time; time.sleep(60)", patience=0.5)


def test_what_breaks_while_it_is_fed_is_told() -> None:
    def pieces() -> Iterator[bytes]:
        yield b"x"
        raise KeyError("here")

    with pytest.raises(KeyError):
        _call("import sys; sys.stdin.read()", pieces())


def test_it_does_not_wait_for_what_went_to_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeprune.devices.calling._SECONDS_TO_DRAIN", 0.5)
    program = (
        "import subprocess, sys; print('done', flush=True);"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(5)'], stdin=subprocess.DEVNULL)"
    )
    assert _call(program)[:2] == (0, b"done\n")
