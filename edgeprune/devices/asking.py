"""Asks a device something: sends the program that answers and the request, and reads the answer.

The command line on the device holds nothing but a fixed program and a number. Names, paths and texts go over
standard input, so that no shell ever sees one, quoted or not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from edgeprune import runner
from edgeprune.devices.contract import PATIENCE, Answer, Device
from edgeprune.errors import DeviceError, EdgepruneError, UnsupportedError, UsageError
from edgeprune.runner.on_device import arriving, installer

__all__ = ["BOOT", "Reply", "ask"]

# Reads the program and runs it. Free of what any shell, csh too, does not leave alone between single quotes.
BOOT = (
    'import sys; sys.version_info < (3, 9) and sys.exit("edgeprune: Python " + sys.version.split()[0]); '
    'exec(compile(sys.stdin.buffer.read(int(sys.argv[1])), "<edgeprune>", "exec"))'
)

_MODULES = ("__init__", "cpu", "machine", "manifest", "processor", "requirements", "selftest", "variant")
_PACKAGE = "edgeprune_sent"
_ERRORS: dict[int, type[EdgepruneError]] = {2: UsageError, 4: DeviceError, 5: UnsupportedError}


@dataclass(frozen=True)
class Reply:
    """What a device answered.

    Attributes:
        document: The answer itself.
        rest: Raw bytes behind it.
        code: Exit code of the program there.
        err: What it said on standard error.
    """

    document: dict[str, Any]
    rest: bytes
    code: int
    err: str


def ask(
    device: Device,
    command: str,
    request: dict[str, Any],
    given: bytes | Iterable[bytes] = b"",
    patience: float = PATIENCE,
) -> Reply:
    """Has a device do one of `runner.on_device.installer.COMMANDS`.

    Args:
        device: Who is asked.
        command: What to do.
        request: Plain data that the command wants; `root` is added.
        given: Raw bytes that belong to the request.
        patience: Seconds after which it is given up.

    Raises:
        UsageError: It asks for something that the device does not have.
        DeviceError: The device cannot be reached, or cannot do it now.
        UnsupportedError: It can never do it, or has no Python 3.9.
    """
    program = _program()
    line = json.dumps({"command": command, "root": device.root, **request}).encode("ascii") + b"\n"
    answer = device.python(["-c", BOOT, str(len(program))], _joined(program + line, given), patience)
    _, mark, rest = answer.out.partition(installer.MARK)
    text, end, rest = rest.partition(b"\n")
    if not mark or not end:
        raise _no_answer(device, answer)
    document: dict[str, Any] = json.loads(text)
    refused = document.get("refused")
    if refused:
        kind = _ERRORS.get(refused["code"], DeviceError)
        raise kind(refused["message"], where=device.name, hint=refused["hint"])
    return Reply(document, rest, answer.code, answer.err)


@cache
def _program() -> bytes:
    """Source text of all that answers on a device; see `runner.on_device.arriving`."""
    folder = Path(next(iter(runner.__path__)))
    paths = {
        _PACKAGE if name == "__init__" else f"{_PACKAGE}.{name}": folder / f"{name}.py" for name in _MODULES
    }
    inner = f"{_PACKAGE}.on_device"
    for path in sorted((folder / "on_device").glob("*.py")):
        paths[inner if path.stem == "__init__" else f"{inner}.{path.stem}"] = path
    sources = {name: path.read_text(encoding="utf-8") for name, path in paths.items()}
    start = Path(arriving.__file__).read_text(encoding="utf-8")
    # In ASCII, whatever encoding the Python there assumes for its source.
    return f"{start}\n\nsys.exit(answer({sources!a}))\n".encode()


def _joined(head: bytes, given: bytes | Iterable[bytes]) -> Iterator[bytes]:
    yield head
    if isinstance(given, bytes):
        yield given
    else:
        yield from given


def _no_answer(device: Device, answer: Answer) -> EdgepruneError:
    old = re.search(r"edgeprune: Python ([0-9.]+)", answer.err)
    if old:
        return UnsupportedError(
            f"Python {old[1]} is too old: 3.9 or newer is needed",
            where=device.name,
            hint="name a newer one with `edgeprune device add NAME ADDRESS --python PATH`",
        )
    lines = [line.strip() for line in answer.err.splitlines() if line.strip()]
    said = lines[-1] if lines else "it said nothing"
    if answer.code == 0 or answer.code < 0:
        message = f"it ended without an answer: {said}"
        return DeviceError(message, where=device.name, hint="say the same again")
    return UnsupportedError(
        f"its Python ended with exit code {answer.code}: {said}",
        where=device.name,
        hint="Python 3.9 or newer must start there with this command: python3 -c 'print(1)'",
    )
