"""Answers texts over HTTP: POST /predict and GET /health, to this machine alone unless --host says more."""

from __future__ import annotations

import argparse
import ipaddress
import signal
import socket
import sys
import threading
from typing import Any, Tuple

from .answering import bundle_words, open_answerer
from .endpoint import Endpoint
from .examples import InputError

__all__ = ["configure", "resolve", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the words of this command."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; left out: %(default)s")
    parser.add_argument("--port", type=_port, default=8080, help="left out: %(default)s; 0: any that is free")
    bundle_words(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the command until SIGTERM or Ctrl-C; answers that are under way are still given."""
    family, address = resolve(options.host, options.port)
    answerer = open_answerer(options.bundle, options.threads)
    try:
        endpoint = Endpoint(address, family, answerer)
    except OSError as error:
        raise InputError(f"{options.host}:{options.port} cannot be listened on: {error.strerror}") from error
    with endpoint:
        if not ipaddress.ip_address(address[0]).is_loopback:
            sys.stderr.write(
                f"warning: {address[0]} can be reached from other machines, without a password and without"
                " encryption\n"
            )
        for number in (signal.SIGTERM, signal.SIGINT):
            # Stopping waits for the loop that the signal has interrupted, hence a thread.
            signal.signal(number, lambda *_: threading.Thread(target=endpoint.stop).start())
        manifest = answerer.manifest
        sys.stderr.write(f"serving {manifest.name} ({manifest.variant}) at {endpoint.url}\n")
        sys.stderr.flush()
        endpoint.serve_forever()
    return 0


def resolve(host: str, port: int) -> Tuple[socket.AddressFamily, Tuple[Any, ...]]:
    """Family and address of a name.

    Raises:
        InputError: There is no machine of this name.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise InputError(f"--host {host!r} is no address of this machine: {error}") from error
    family, _, _, _, address = found[0]
    return family, address


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 0 to 65535")
    return int(text)
