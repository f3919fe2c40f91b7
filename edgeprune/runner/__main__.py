"""Entry point: ``python -m edgeprune.runner COMMAND …`` or ``python path/to/this/folder COMMAND …``."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module, util
from pathlib import Path
from typing import Any, Sequence

# Command: its module in this package, which has `configure(parser)` and `run(options) -> exit code`.
COMMANDS = {"probe": "probe"}

UNSUPPORTED = 5  # the exit code that edgeprune gives to "this machine cannot do what is asked"


def package_name() -> str:
    """The name under which this folder is imported; loads it as a package first if it was run as a folder.

    Python runs ``python path/to/folder`` without a package, so that relative imports inside would fail, and
    it puts the folder itself on the module path, where our file names could shadow other people's modules.
    """
    if __package__:
        return __package__
    folder = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if not entry or Path(entry).resolve() != folder]
    name = "edgeprune_runner"
    init, places = folder / "__init__.py", [str(folder)]
    spec = util.spec_from_file_location(name, init, submodule_search_locations=places)
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder} cannot be loaded as a package")
    package = util.module_from_spec(spec)
    sys.modules[name] = package
    spec.loader.exec_module(package)
    return name


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code.

    Args:
        arguments: Words after the program's name; left out: those of this process.
    """
    package = package_name()
    parser = argparse.ArgumentParser(prog="runner", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    modules: dict[str, Any] = {}
    for name, module in COMMANDS.items():
        modules[name] = import_module(f"{package}.{module}")
        modules[name].configure(commands.add_parser(name, help=modules[name].__doc__.splitlines()[0]))
    options = parser.parse_args(arguments)
    error = import_module(f"{package}.variant").RunnerError
    try:
        return int(modules[options.command].run(options))
    except error as problem:
        sys.stderr.write(f"error: {problem}\n")
        return UNSUPPORTED


if __name__ == "__main__":
    sys.exit(main())
