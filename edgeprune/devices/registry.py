"""The user's devices by name: `devices.yaml` in `$EDGEPRUNE_CONFIG`, or else in ~/.config/edgeprune.

devices:
  pi: {address: ssh://pi@raspberrypi, python: venv/bin/python}
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import Any

from edgeprune.devices.addresses import Address, is_address, parse_address
from edgeprune.durable import write_text
from edgeprune.errors import UsageError

__all__ = ["Entry", "add", "entries", "find", "registry_file", "remove"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\Z")
_HEAD = "# Devices by name, for --device. Written by `edgeprune device add`; may be edited.\n"
_SECONDS_FOR_LOCK = 10.0


@dataclass(frozen=True)
class Entry:
    """A device that the user gave a name to.

    Attributes:
        name: What the user calls it.
        address: Where it is.
        interpreter: The Python to use there; None: `python3`, or for this machine the one that runs now.
    """

    name: str
    address: Address
    interpreter: str | None = None


def registry_file() -> Path:
    """Where the names are kept; need not be there."""
    chosen = os.environ.get("EDGEPRUNE_CONFIG")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return (Path(chosen).expanduser() if chosen else config / "edgeprune") / "devices.yaml"


def entries() -> list[Entry]:
    """All named devices, by name.

    Raises:
        UsageError: The file is not as it should be.
        RecipeError: It is not YAML.
    """
    return sorted(_read(registry_file()).values(), key=lambda entry: entry.name)


def find(text: str) -> Entry:
    """The device that a name or an address means; one that was given by its address is called by it.

    Raises:
        UsageError: There is no device of that name, or the address is none.
    """
    if is_address(text):
        address = parse_address(text)
        return Entry(str(address), address)
    known = _read(registry_file())
    if text in known:
        return known[text]
    close = get_close_matches(text, known, n=1)
    there = f"there are: {', '.join(sorted(known))}" if known else "none has a name yet"
    raise UsageError(
        f"there is no device {text!r}",
        hint=f"did you mean {close[0]!r}?"
        if close
        else f"{there}; `edgeprune device add NAME ssh://user@host` gives it one",
    )


def add(name: str, address: str, interpreter: str | None = None, *, replace: bool = False) -> Entry:
    """Gives a device a name.

    Args:
        name: What to call it.
        address: See `addresses.parse_address`.
        interpreter: The Python to use there.
        replace: Whether another device may lose the name.

    Raises:
        UsageError: The name is none, is taken, or the address is none.
    """
    if not _NAME.match(name) or is_address(name):
        hint = "letters, digits, '.', '_' and '-'; not local or emulator"
        raise UsageError(f"{name!r} cannot be the name of a device", hint=hint)
    entry = Entry(name, parse_address(address), interpreter)
    if interpreter is not None:
        if entry.address.kind == "emulator":
            raise UsageError("the emulator brings its own Python", hint="leave --python out")
        if not interpreter or interpreter.startswith("-") or not interpreter.isprintable():
            raise UsageError(f"{interpreter!r} is no path of a Python", hint="e.g. venv/bin/python")
    with _changing() as known:
        if name in known and known[name] != entry and not replace:
            message = f"{name!r} is {known[name].address} already"
            raise UsageError(message, hint="add --replace, or choose another name")
        known[name] = entry
    return entry


def remove(name: str) -> Entry:
    """Takes a device's name away; nothing changes on the device.

    Raises:
        UsageError: There is no device of that name.
    """
    with _changing() as known:
        if name not in known:
            find(name)
            raise UsageError(
                f"{name!r} is an address, not a name", hint="`edgeprune device list` shows names"
            )
        return known.pop(name)


@contextmanager
def _changing() -> Iterator[dict[str, Entry]]:
    """The named devices, written back at the end of the block; one process at a time."""
    from filelock import FileLock, Timeout

    path = registry_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock"), timeout=_SECONDS_FOR_LOCK):
            known = _read(path)
            yield known
            write_text(path, _HEAD + _text(known))
    except Timeout as error:
        raise UsageError(f"{path} is being changed by another process", hint="try again") from error
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", hint="set EDGEPRUNE_CONFIG"
        ) from error


def _text(known: dict[str, Entry]) -> str:
    from ruamel.yaml import YAML

    devices = {}
    for name, entry in sorted(known.items()):
        python = {"python": entry.interpreter} if entry.interpreter else {}
        devices[name] = {"address": str(entry.address), **python}
    stream = StringIO()
    YAML(typ="safe", pure=True).dump({"devices": devices}, stream)
    return stream.getvalue()


def _read(path: Path) -> dict[str, Entry]:
    from edgeprune.recipe.document import read_document

    if not path.exists():
        return {}
    document = read_document(path)
    devices = document.data.get("devices", {})
    if set(document.data) - {"devices"} or not isinstance(devices, dict):
        raise UsageError("a list of devices has one key, devices", where=str(path))
    return {
        str(name): _entry(str(name), value, document.place(("devices", name)))
        for name, value in devices.items()
    }


def _entry(name: str, value: Any, where: str) -> Entry:
    fields = value if isinstance(value, dict) else {"address": value}
    if set(fields) - {"address", "python"} or not all(isinstance(text, str) for text in fields.values()):
        hint = f"write {name}: {{address: ssh://user@host}}; python may be added"
        raise UsageError(f"device {name!r} is not understood: {value!r}", where=where, hint=hint)
    try:
        return Entry(name, parse_address(str(fields.get("address", ""))), fields.get("python"))
    except UsageError as error:
        raise UsageError(error.message, where=where, hint=error.hint) from error
