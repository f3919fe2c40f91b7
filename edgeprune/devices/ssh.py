"""A device behind SSH, through the user's own OpenSSH with the user's own settings.

~/.ssh/config counts: host names, ports, keys, ProxyJump, ControlMaster. Nothing here changes how host keys
are checked, and no password is ever asked for. `$EDGEPRUNE_SSH_CONFIG` names another settings file.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Sequence

from edgeprune.devices.addresses import Address
from edgeprune.devices.calling import call
from edgeprune.devices.contract import PATIENCE, Answer, Device
from edgeprune.errors import DeviceError, UnsupportedError

__all__ = ["SshDevice", "failure"]

_OPTIONS = (
    "BatchMode=yes",  # asks nothing: no passwords, no passphrases, no unknown host keys
    "ConnectTimeout=15",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
    "ClearAllForwardings=yes",  # a forwarding that is taken already would end the call
    "RemoteCommand=none",
    "LogLevel=ERROR",
)
_SSH_FAILED = 255
_NOT_FOUND = 127

# What OpenSSH says, what it means, what to do; the first that fits.
_MEANINGS = (
    (
        r"HOST IDENTIFICATION HAS CHANGED|Host key for .* has changed",
        "{host} is not the machine that it was: its host key has changed",
        "if it was set up anew, check its key there and run `ssh-keygen -R {known}`; if not, do not connect",
    ),
    (
        r"Host key verification failed|host key is known for",
        "the host key of {host} is not known here",
        "run `ssh {login}` once, compare the fingerprint with the device's, and accept it",
    ),
    (
        r"Permission denied|Too many authentication failures|no mutual signature",
        "{host} refuses to let us in",
        "`ssh {login} true` must work without a password: put a key into the agent, and its public half on "
        "the device with ssh-copy-id",
    ),
    (
        r"Could not resolve hostname",
        "there is no host {host}",
        "check the name, or use the address that the device shows",
    ),
    (
        r"Connection refused",
        "{host} answers, but nothing there speaks SSH at this port",
        "start its SSH server, or name the port: ssh://user@host:port",
    ),
    (
        r"timed out|[Nn]o route to host|[Uu]nreachable|Host is down",
        "{host} cannot be reached",
        "check that it is switched on and in this network: `ssh {login}`",
    ),
    (
        r"Bad configuration|Bad owner or permissions|[Cc]an't open user config",
        "OpenSSH cannot use its settings",
        "mend the file that it names",
    ),
    (
        r"[Cc]onnection (?:closed|reset)|closed by remote|not responding|[Bb]roken pipe|banner exchange|lost",
        "the connection to {host} broke off",
        "say the same again: it goes on from where it was",
    ),
)


class SshDevice(Device):
    """A machine behind SSH.

    Args:
        name: What the user calls it.
        address: Where it is.
        interpreter: The Python to use there, e.g. ``venv/bin/python``, absolute or below the home of the
            device's user; left out: ``python3``.
    """

    kind = "ssh"

    def __init__(self, name: str, address: Address, interpreter: str | None = None) -> None:
        super().__init__(name, str(address), address.root)
        self._place = address
        self._interpreter = interpreter or "python3"

    def python(
        self, words: Sequence[str], given: bytes | Iterable[bytes] = b"", patience: float = PATIENCE
    ) -> Answer:
        """See `Device.python`."""
        try:
            answer = call([*self._ssh(), self._remote(words)], given, patience, self.name)
        except FileNotFoundError as error:
            raise UnsupportedError(
                "there is no OpenSSH client on this machine", hint="install the package openssh-client"
            ) from error
        if answer.code == _SSH_FAILED or answer.code < 0:
            raise failure(self._place, answer)
        if answer.code == _NOT_FOUND:
            raise UnsupportedError(
                f"{self.name} has no {self._interpreter}: {_last_line(answer.err)}",
                hint="install Python 3.9 or newer there, or name another with "
                "`edgeprune device add NAME ADDRESS --python PATH`",
            )
        return answer

    def _ssh(self) -> list[str]:
        config = os.environ.get("EDGEPRUNE_SSH_CONFIG")
        words = ["ssh", *(["-F", config] if config else []), "-T"]
        words += [word for option in _OPTIONS for word in ("-o", option)]
        if self._place.port:
            words += ["-p", str(self._place.port)]
        if self._place.user:
            words += ["-l", self._place.user]
        return [*words, "--", self._place.host]

    def _remote(self, words: Sequence[str]) -> str:
        """One line for the shell there, in which every word is quoted. `exec`: no shell waits in between."""
        return f"exec {shlex.join([self._interpreter, *words])}"


def failure(place: Address, answer: Answer) -> DeviceError:
    """What it means that OpenSSH gave up, from what it said."""
    login = shlex.join(
        [
            *(["-p", str(place.port)] if place.port else []),
            f"{place.user}@{place.host}" if place.user else place.host,
        ]
    )
    known = shlex.quote(f"[{place.host}]:{place.port}" if place.port else place.host)
    said = _last_line(answer.err) or f"ssh ended with exit code {answer.code}"
    for pattern, meaning, hint in _MEANINGS:
        if re.search(pattern, answer.err):
            message = meaning.format(host=place.host)
            return DeviceError(f"{message} ({said})", hint=hint.format(login=login, known=known))
    return DeviceError(f"ssh to {place.host} failed: {said}", hint=f"try `ssh {login} true`")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
