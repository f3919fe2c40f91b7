"""The command line: one short file per verb, each one library call.

Only click is imported here; a verb imports what it needs when it runs, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with a code from `errors.ExitCode` (130 when interrupted)."""
    from edgeprune.cli.failing import exit_code_of

    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words  # may stand anywhere, so that it can be appended to a failed command
    words = [word for word in words if word != "--debug"]
    sys.exit(exit_code_of(words, debug=debug))
