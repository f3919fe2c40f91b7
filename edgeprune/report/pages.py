"""What all pages share: each is one file that opens from disk without a network; foreign text is escaped."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from edgeprune.report import ablations, content, formatting, tables, throughputs

__all__ = ["fill"]


def fill(template: str, **values: Any) -> str:
    """A page from a template of this room and what it shows. The same values give the same bytes."""
    environment = Environment(
        loader=PackageLoader("edgeprune.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "plain": formatting.plain,
        "content_heading": content.metric_heading,
        "capital": _capital,
        "breakable": _breakable,
    }
    return environment.get_template(template).render(
        content=content,
        tables=tables,
        ablations=ablations,
        throughputs=throughputs,
        format=formatting,
        **values,
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _breakable(name: str) -> Markup:
    """A name that may be broken after its slashes."""
    return Markup("/<wbr>").join(escape(part) for part in name.split("/"))
