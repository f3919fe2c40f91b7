"""How a user says which device is meant: ``local``, ``ssh://user@host:port/folder``, ``emulator``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgeprune.errors import UsageError

__all__ = ["ROOT", "Address", "is_address", "parse_address"]

ROOT = ".local/share/edgeprune"  # below the home of the device's user

_KINDS = ("local", "emulator")
# What OpenSSH is given stands where it could be read as an option, or be expanded by the user's settings.
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*\Z")
_HOST = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]*|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:%[A-Za-z0-9._-]+)?)\Z")
_FORM = "ssh://[user@]host[:port][/folder]"


@dataclass(frozen=True)
class Address:
    """Where a device is.

    Attributes:
        kind: ``local``, ``ssh`` or ``emulator``.
        root: Folder that everything is installed below; absolute, or below the home of the device's user.
        host: Name, IP address, or what ~/.ssh/config calls it; empty where it is not behind SSH.
        user: Who to log in as; empty: as OpenSSH decides.
        port: None: as OpenSSH decides.
    """

    kind: str
    root: str = ROOT
    host: str = ""
    user: str = ""
    port: int | None = None

    def __str__(self) -> str:
        folder = "" if self.root == ROOT else self.root
        if self.kind != "ssh":
            return f"{self.kind}://{folder}" if folder else self.kind
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.user}@" if self.user else ""
        port = f":{self.port}" if self.port else ""
        return f"ssh://{user}{host}{port}{folder}"


def is_address(text: str) -> bool:
    """Whether it has the form of an address; otherwise it is the name of a device."""
    return text in _KINDS or "://" in text


def parse_address(text: str) -> Address:
    """Reads an address.

    Raises:
        UsageError: It is none, or it has a password, a host that could be read as an option, or a folder
            that is not absolute.
    """
    kind, found, rest = text.partition("://")
    if text in _KINDS:
        return Address(text)
    if found and kind == "local":
        return Address("local", _folder(rest, text))
    if not found or kind != "ssh":
        hint = f"an address is local, local:///folder, emulator or {_FORM}"
        raise UsageError(f"{text!r} is not the address of a device", hint=hint)
    place, slash, folder = rest.partition("/")
    user, at, host = place.rpartition("@")
    if ":" in user:
        hint = "log in with a key: ssh-copy-id, or a key in the agent"
        raise UsageError("an address must not hold a password", hint=hint)
    if at and not _USER.match(user):
        raise UsageError(f"{text!r} has a user's name that is none: {user!r}", hint=f"write {_FORM}")
    host, port = _host_and_port(host, text)
    root = _folder(f"/{folder}", text) if slash and folder else ROOT
    return Address("ssh", root, host, user, port)


def _host_and_port(place: str, text: str) -> tuple[str, int | None]:
    found = re.match(r"(?:\[([^][]*)\]|([^][:]*))(?::(.*))?\Z", place, re.DOTALL)
    host = (found[1] or found[2] or "") if found else ""
    if found is None or not _HOST.match(host) or (found[2] and ":" in host):
        raise UsageError(f"{text!r} has no host that can be used: {place!r}", hint=f"write {_FORM}")
    if found[3] is None:
        return host, None
    if not re.match(r"[0-9]{1,5}\Z", found[3]) or not 0 < int(found[3]) < 65536:
        raise UsageError(f"{text!r} has no port that can be used: {found[3]!r}", hint="a port is 1 to 65535")
    return host, int(found[3])


def _folder(path: str, text: str) -> str:
    if not path.startswith("/") or any(ord(sign) < 32 for sign in path) or ".." in path.split("/"):
        hint = "write an absolute path without '..'; left out: a folder in the user's home"
        raise UsageError(f"{text!r} has no folder that can be used: {path!r}", hint=hint)
    return path.rstrip("/") or "/"
