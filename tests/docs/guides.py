"""Reading the guides: their fenced blocks, code, tables and headings."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

__all__ = [
    "NAMES",
    "RECIPES",
    "ROOT",
    "TARGETS",
    "all_code",
    "anchors",
    "blocks",
    "prose",
    "rows",
    "stem",
    "text",
]

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
TARGETS = sorted((ROOT / "targets").glob("*.yaml"))
NAMES = ["README.md", "CHANGELOG.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def stem(path: Path) -> str:
    return path.stem


@cache
def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def prose(name: str) -> str:
    """A guide without its fenced blocks."""
    return _FENCE.sub("", text(name))


def blocks(name: str, language: str) -> list[str]:
    """The fenced blocks of a guide in one language."""
    return [body for found, body in _FENCE.findall(text(name)) if found == language]


def all_code() -> str:
    """Everything that the guides set as code, in fences (without comments) or in backticks."""
    fenced = [re.sub(r"#.*", "", body) for name in NAMES for _, body in _FENCE.findall(text(name))]
    return "\n".join([*fenced, *(span for name in NAMES for span in re.findall(r"`([^`\n]+)`", prose(name)))])


def rows(name: str, heading: str) -> list[list[str]]:
    """The rows, cells stripped, of all tables of a guide whose first column has this heading."""
    found: list[list[str]] = []
    for table in re.findall(r"(?:^\|.*\n)+", prose(name), re.MULTILINE):
        header, _, *body = [
            [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()
        ]
        found += body if header[0] == heading else []
    return found


def anchors(name: str) -> set[str]:
    """What a link may name in a guide: its headings, the way that GitHub writes them."""
    headings = re.findall(r"^#+ (.+)$", prose(name), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
