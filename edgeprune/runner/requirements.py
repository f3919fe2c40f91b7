"""Whether what a bundle requires is installed here, without pip or packaging.

Versions and their order are those of the Python packaging specification (PEP 440), but for epochs, which
nothing has that a bundle needs: ``release [a|b|rc N] [.postN] [.devN] [+local]``.
"""

from __future__ import annotations

import re
from importlib import import_module, metadata
from typing import Callable, Iterable, List, NamedTuple, Tuple

from .variant import RunnerError

__all__ = ["Clause", "Version", "installed_version", "lacking", "meets", "parse_requirement", "parse_version"]

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(.*?)\s*\Z", re.DOTALL)
_CLAUSE = re.compile(r"(==|!=|<=|>=|~=|<|>)\s*([^\s,]+)\Z")
_VERSION = re.compile(
    r"v?(?P<release>\d+(?:\.\d+)*)"
    r"(?:[-_.]?(?P<stage>alpha|a|beta|b|preview|pre|c|rc)[-_.]?(?P<number>\d*))?"
    r"(?P<post>-\d+|[-_.]?(?:post|rev|r)[-_.]?\d*)?"
    r"(?P<dev>[-_.]?dev[-_.]?\d*)?"
    r"(?P<local>\+[a-z0-9]+(?:[-_.][a-z0-9]+)*)?\Z",
    re.IGNORECASE | re.ASCII,
)
_STAGES = {"alpha": "a", "a": "a", "beta": "b", "b": "b"}  # all others are release candidates
_BEFORE_ALL, _FINAL = ("", 0), ("z", 0)


class Version(NamedTuple):
    """A version; as a tuple it is in the order of the specification.

    Attributes:
        release: Its numbers, without zeros at the end.
        stage: Kind and number of a pre-release; above all of them for a final release, below all of them for
            a development release of one.
        post: Number of a post-release; -1 for none.
        dev: Number of a development release; infinite for none.
    """

    release: Tuple[int, ...]
    stage: Tuple[str, int]
    post: int
    dev: float

    @property
    def is_early(self) -> bool:
        """Whether it is a pre-release or a development release."""
        return self.stage != _FINAL or self.is_development

    @property
    def is_development(self) -> bool:
        """Whether it is a development release of another one."""
        return self.dev != float("inf")

    @property
    def first_attempt(self) -> Version:
        """The earliest development release of a final release or of a post-release."""
        return self._replace(stage=_BEFORE_ALL if self.post < 0 else self.stage, dev=0.0)


class Clause(NamedTuple):
    """One condition on a version, e.g. ``>=`` and ``1.20``."""

    operator: str
    text: str


def parse_version(text: str) -> Version:
    """Reads a version; what stands after ``+`` says who built it and does not count.

    Raises:
        RunnerError: It is none.
    """
    found = _VERSION.match(text.strip())
    if found is None:
        raise RunnerError(f"{text!r} is not a version")
    numbers = [int(part) for part in found["release"].split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    stage = _FINAL
    if found["stage"]:
        stage = (_STAGES.get(found["stage"].lower(), "rc"), int(found["number"] or 0))
    elif found["dev"] and not found["post"]:
        stage = _BEFORE_ALL
    post = _number(found["post"]) if found["post"] else -1
    dev = float(_number(found["dev"])) if found["dev"] else float("inf")
    return Version(tuple(numbers), stage, post, dev)


def parse_requirement(text: str) -> Tuple[str, List[Clause]]:
    """Name and conditions of a requirement such as ``onnxruntime>=1.20,<2``.

    Raises:
        RunnerError: It has something else: extras, markers or an address are not for a bundle.
    """
    found = _REQUIREMENT.match(text)
    clauses = []
    for part in found[2].split(",") if found and found[2] else []:
        clause = _CLAUSE.match(part.strip())
        if clause is None:
            found = None
            break
        clauses.append(Clause(clause[1], clause[2]))
        wild = clause[2].endswith(".*") and clause[1] in ("==", "!=")
        bare = clause[2][:-2] if wild else clause[2]
        if "+" in bare or (clause[1] == "~=" and len(_numbers(bare)) < 2):
            raise RunnerError(f"the requirement {text!r} cannot be read: {part.strip()!r}")
        parse_version(bare)
    if found is None:
        raise RunnerError(
            f"the requirement {text!r} cannot be read; a name and versions are, as in a>=1.2,<2"
        )
    return found[1], clauses


def meets(version: str, clauses: Iterable[Clause]) -> bool:
    """Whether a version fulfils all conditions; pre-releases count like others.

    Raises:
        RunnerError: It is no version.
    """
    return all(_RULES[clause.operator](version, clause.text) for clause in clauses)


def installed_version(name: str) -> str | None:
    """Version of an installed distribution, or of a module of that name; None where there is neither.

    Some boards come with a build of a runtime whose distribution has another name than its module.
    """
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
    try:
        found = getattr(import_module(name.replace("-", "_")), "__version__", None)
    except Exception:  # whatever keeps it from being imported, it is not here
        return None
    return None if found is None else str(found)


def lacking(
    requirements: Iterable[str], installed: Callable[[str], "str | None"] = installed_version
) -> List[str]:
    """What is not as required, one sentence each; empty: all is there.

    Args:
        requirements: As pip takes them.
        installed: Name to version; None where it is not installed.

    Raises:
        RunnerError: A requirement cannot be read.
    """
    found = []
    for requirement in requirements:
        name, clauses = parse_requirement(requirement)
        version = installed(name)
        if version is None:
            found.append(f"{name} is not installed: pip install '{requirement}'")
        elif not meets(version, clauses):
            found.append(f"{name} {version} is installed, but {requirement} is needed")
    return found


def _equal(version: str, wanted: str) -> bool:
    if not wanted.endswith(".*"):
        return parse_version(version) == parse_version(wanted)
    start = _numbers(wanted[:-2])
    return (_numbers(version) + [0] * len(start))[: len(start)] == start


def _compatible(version: str, wanted: str) -> bool:
    """At least `wanted`, with the same numbers but for its last one."""
    start = ".".join(str(number) for number in _numbers(wanted)[:-1])
    return parse_version(version) >= parse_version(wanted) and _equal(version, f"{start}.*")


def _before(version: str, wanted: str) -> bool:
    """Earlier; but 2.0rc1 is not before 2.0, as who excludes a release means its candidates too."""
    found, limit = parse_version(version), parse_version(wanted)
    return found < (limit if limit.is_early else limit.first_attempt)


def _after(version: str, wanted: str) -> bool:
    """Later; but 2.0.post1 is not after 2.0, nor is a build of it with a name of its own."""
    found, limit = parse_version(version), parse_version(wanted)
    corrects = limit.post < 0 <= found.post and not limit.is_development
    return found > limit and not (corrects and found[:2] == limit[:2])


_RULES: dict[str, Callable[[str, str], bool]] = {
    "==": _equal,
    "!=": lambda version, wanted: not _equal(version, wanted),
    ">=": lambda version, wanted: parse_version(version) >= parse_version(wanted),
    "<=": lambda version, wanted: parse_version(version) <= parse_version(wanted),
    "~=": _compatible,
    "<": _before,
    ">": _after,
}


def _numbers(version: str) -> List[int]:
    """The release of a version as it is written, zeros at the end too."""
    found = _VERSION.match(version.strip())
    if found is None:
        raise RunnerError(f"{version!r} is not a version")
    return [int(part) for part in found["release"].split(".")]


def _number(text: str) -> int:
    """The digits in ``.post2``; 0 where there are none."""
    return int("".join(filter(str.isdigit, text)) or 0)
