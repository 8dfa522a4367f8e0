"""Vega's SVG -> SVG that stands in a page: it follows the page's colours, and speaks.

Vega writes colours as they are given, so ``var(--ink)`` reaches the page's style sheet. What it
says for screen readers about every mark becomes a native tooltip; the picture as a whole has one
sentence instead.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_HREF = f"{{{_XLINK}}}href"
TOP = "https://site.invalid/"  # Vega completes addresses without a host by one of its own
_LONG = re.compile(r"(\d\.\d\d)\d+")
# attributes of which two decimals are enough; names, links and texts stay as they are
_GEOMETRY = (
    "d", "transform", "points", "x", "y", "x1", "x2", "y1", "y2", "dx", "dy", "cx", "cy", "r",
    "width", "height", "viewBox", "stroke-width", "stroke-dasharray",
)  # fmt: skip
_DROPPED = ("font-family", "class", "pointer-events", "xmlns:xlink", "version")


def finished(svg: str, alternative: str) -> str:
    """Return a chart as an element for a page, with ``alternative`` for those who do not see it.

    Links that begin with ``TOP`` lead into the site. They are no stops of the Tab key: the table
    has the same ones.
    """
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    root = ElementTree.fromstring(svg)
    _tidy(root)
    root.set("role", "img")
    root.set("aria-label", alternative)
    root.set("style", f"--natural:{root.attrib.pop('width')}px")
    root.attrib.pop("height")
    return ElementTree.tostring(root, encoding="unicode")


def _tidy(element: ElementTree.Element) -> None:
    for child in list(element):
        if _is_empty(child):
            element.remove(child)
            continue
        _tidy(child)
    is_mark = element.get("role") == "graphics-symbol" and element.tag == f"{{{_SVG}}}path"
    said = element.get("aria-label")
    if is_mark and said:
        title = ElementTree.Element(f"{{{_SVG}}}title")
        title.text = said
        element.insert(0, title)
    for name in element.attrib.keys() & _GEOMETRY:
        element.set(name, _LONG.sub(r"\1", element.attrib[name]))
    for name in [*element.attrib]:
        if name.startswith("aria-") or name == "role" or name in _DROPPED:
            del element.attrib[name]
    if _HREF in element.attrib:
        element.set("href", element.attrib.pop(_HREF).removeprefix(TOP))
        element.set("tabindex", "-1")


def _is_empty(element: ElementTree.Element) -> bool:
    """Say whether Vega drew it for the sake of order only: a frame without size or paint."""
    if element.tag != f"{{{_SVG}}}path":
        return False
    return element.get("d") in ("", "M0,0h0v0h0Z") or element.get("display") == "none"
