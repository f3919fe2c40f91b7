"""Entry point: ``python -m edgeprune.runner COMMAND …`` or ``python path/to/this/folder COMMAND …``."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module, util
from pathlib import Path
from typing import Any, Sequence

# Command: what it does, and its module in this package, which has `configure(parser)` and
# `run(options) -> exit code`. Only the module of the command that is given is imported.
COMMANDS = {
    "predict": ("answer texts, one line of JSON each", "predict"),
    "evaluate": ("answer a file of examples and keep all answers", "evaluate"),
    "selftest": ("check this bundle, this machine, and sample answers", "selftest"),
    "bench": ("time answers from text to score", "bench"),
    "serve": ("answer over HTTP, to this machine alone", "serve"),
    "probe": ("load time and memory of a compiled model, in one line of JSON", "probe"),
}

# The exit codes of edgeprune for wrong input, and for what this machine cannot do.
USAGE, UNSUPPORTED = 2, 5
INTERRUPTED = 130
# Folder of packages that an installation made of a bundle's wheels.
SITE = "site"
# What the program needs beside Python; runtimes are asked for by those who need them.
NEEDED = ("numpy", "tokenizers")


def package_name() -> str:
    """The name under which this folder is imported; loads it as a package first if it was run as a folder.

    Python runs ``python path/to/folder`` without a package, so that relative imports inside would fail, and
    it puts the folder itself on the module path, where our file names could shadow other people's modules.
    A bundle that brought its packages has them beside the folder.
    """
    if __package__:
        return __package__
    folder = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if not entry or Path(entry).resolve() != folder]
    packages = folder.parent / SITE
    if packages.is_dir():
        sys.path.insert(0, str(packages))
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
    words = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog="runner", description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    package = package_name()
    examples, variant = (import_module(f"{package}.{name}") for name in ("examples", "variant"))
    try:
        module: Any = None
        for name, (summary, file) in COMMANDS.items():
            command = commands.add_parser(name, help=summary)
            if words[:1] == [name]:
                module = import_module(f"{package}.{file}")
                command.description = module.__doc__
                module.configure(command)
        return int(module.run(parser.parse_args(words))) if module else _refuse(parser, words)
    except examples.InputError as problem:
        return _said(str(problem), USAGE)
    except variant.RunnerError as problem:
        return _said(str(problem), UNSUPPORTED)
    except ModuleNotFoundError as problem:
        if problem.name not in NEEDED:
            raise
        return _said(f"{problem.name} is not installed here: pip install {problem.name}", UNSUPPORTED)
    except BrokenPipeError:
        # Who reads our output has enough of it. Python would complain once more when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED


def _refuse(parser: argparse.ArgumentParser, words: Sequence[str]) -> int:
    """Lets argparse say what is wrong with words that begin with no command, or give its help."""
    parser.parse_args(words)
    return USAGE


def _said(message: str, code: int) -> int:
    sys.stderr.write(f"error: {message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
