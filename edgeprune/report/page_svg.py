"""Makes a drawing by matplotlib at home on an HTML page: the page's colours and font, ids of its own."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

__all__ = ["COLOURS", "adopt"]

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "{http://www.w3.org/1999/xlink}href"

COLOURS = {
    "ink": "#010101",
    "muted": "#010102",
    "line": "#010103",
    "good": "#010104",
    "bad": "#010105",
    "open": "#010106",
    "surface": "#010107",
}
"""Colours to draw with that become the page's variables; black is none of them, since SVG leaves it out."""


def adopt(svg: str, uid: str, title: str, description: str) -> str:
    """Takes a drawing whose colours are `COLOURS` and makes it part of a page.

    Args:
        svg: A whole SVG document.
        uid: Prefix of all its ids, unique on the page.
        title: What it shows, for those who do not see it.
        description: The same at more length.

    Returns:
        An ``<svg>`` element without size, metadata, fonts or style sheet.
    """
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(svg)
    for parent in root.iter():
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    for element in root.iter():
        _rename(element.attrib, uid)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib |= {"role": "img", "aria-labelledby": f"{uid}-title {uid}-desc"}
    for tag, text in (("desc", description), ("title", title)):
        child = ElementTree.Element(f"{{{_SVG}}}{tag}", {"id": f"{uid}-{tag}"})
        child.text = text
        root.insert(0, child)
    return ElementTree.tostring(root, encoding="unicode")


def _rename(attributes: dict[str, Any], uid: str) -> None:
    if "id" in attributes:
        attributes["id"] = f"{uid}-{attributes['id']}"
    if _XLINK in attributes:
        attributes["href"] = attributes.pop(_XLINK).replace("#", f"#{uid}-", 1)
    for name, value in attributes.items():
        changed = value.replace("url(#", f"url(#{uid}-")
        for variable, colour in COLOURS.items():
            changed = changed.replace(colour, f"var(--{variable})")
        attributes[name] = re.sub(r"font-family:[^;]*;?\s*", "", changed) if name == "style" else changed
