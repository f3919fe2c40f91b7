"""Makes a drawing by matplotlib at home on an HTML page: the page's colours and font, ids of its own."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

__all__ = ["COLOURS", "adopt"]

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "{http://www.w3.org/1999/xlink}href"
_LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")  # a hundredth of a pixel is fine enough

COLOURS = {
    "ink": "#010101",
    "muted": "#010102",
    "line": "#010103",
    "good": "#010104",
    "bad": "#010105",
    "open": "#010106",
    "surface": "#010107",
    "sunken": "#010108",
    "accent": "#010109",
    **{f"series-{number}": f"#0102{number:02}" for number in range(1, 7)},
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
        An ``<svg>`` element without size, metadata, fonts or style sheet. Of pictures, opacity alone counts.
    """
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(svg)
    for parent in root.iter():
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    for element in root.iter():
        _rename(element.attrib, uid)
        if "d" in element.attrib:
            element.attrib["d"] = _LONG_NUMBER.sub(
                lambda found: f"{float(found[0]):.2f}", element.attrib["d"]
            )
    for parent in list(root.iter()):
        for index, child in enumerate(parent):
            if child.tag == f"{{{_SVG}}}image":
                parent[index] = _tinted(child)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib |= {"role": "img", "aria-labelledby": f"{uid}-title {uid}-desc"}
    for tag, text in (("desc", description), ("title", title)):
        child = ElementTree.Element(f"{{{_SVG}}}{tag}", {"id": f"{uid}-{tag}"})
        child.text = text
        root.insert(0, child)
    return ElementTree.tostring(root, encoding="unicode")


def _tinted(image: ElementTree.Element) -> ElementTree.Element:
    """A picture's opacity, in the page's accent colour: the picture itself would be of one theme only."""
    group = ElementTree.Element(f"{{{_SVG}}}g", {"transform": image.attrib.pop("transform", "")})
    mask = {"id": f"{image.attrib['id']}-mask", "style": "mask-type: alpha"}
    ElementTree.SubElement(group, f"{{{_SVG}}}mask", mask).append(image)
    area = {name: image.attrib[name] for name in ("width", "height")}
    style = "fill: var(--accent); stroke: none"
    ElementTree.SubElement(group, f"{{{_SVG}}}rect", {**area, "style": style, "mask": f"url(#{mask['id']})"})
    return group


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
