"""What all charts share: how they look, where labels go, and how they become SVG.

Colours are the page's (``var(--ink)`` …), so that a chart is right in light, dark and print: Vega
writes colours as they are given, and so they reach the page's style sheet. What Vega says for
screen readers about every mark becomes a native tooltip; the image as a whole has one sentence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import altair as alt
import pandas as pd
import vl_convert

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


WIDTH, HEIGHT = 400, 280  # of a chart's frame, in pixels
LABEL = 12  # pixels between two labels
DIGITS = "~r"  # of ticks: as many as they need, without exponents
_LETTER = 6.2  # pixels, on average
_CONFIG: dict[str, Any] = {
    "background": "transparent",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--muted)", "titleColor": "var(--muted)", "gridColor": "var(--rule)",
        "domainColor": "var(--rule)", "tickColor": "var(--rule)", "labelFontSize": 11,
        "titleFontSize": 11, "titleFontWeight": "normal", "labelLimit": 240, "tickSize": 3,
    },
    "title": {"color": "var(--ink)", "fontSize": 11, "fontWeight": "normal", "offset": 6},
}  # fmt: skip

Layers = alt.LayerChart | alt.FacetChart  # what alt.layer is said to return


@dataclass(frozen=True)
class Figure:
    """A chart as it stands in a page; ``caption`` says how to read it."""

    title: str
    svg: str
    caption: str
    wide: bool = False


@dataclass(frozen=True)
class Axis:
    """One axis of a frame: what it is called, and from where to where it goes."""

    title: str
    low: float
    high: float
    log: bool = False

    @property
    def scale(self) -> alt.Scale:
        """The scale, which every layer of a chart must share."""
        return alt.Scale(
            type="log" if self.log else "linear", domain=[self.low, self.high], nice=False
        )

    @property
    def ticks(self) -> alt.Axis:
        """Ticks at the powers of ten, or about five of them."""
        if not self.log:
            return alt.Axis(tickCount=5, format=DIGITS)
        first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
        return alt.Axis(values=[10.0**k for k in range(first, last + 1)], format=f",{DIGITS}")

    def share(self, value: float) -> float:
        """Return where a value is between the ends: from 0 to 1."""
        low, high, at = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return (at - low) / (high - low)


def around(title: str, values: Iterable[float]) -> Axis:
    """Return an axis that holds all values, with a margin; none goes beyond 0 or 100 percent."""
    sound = [float(value) for value in values if not math.isnan(value)] or [0.0, 1.0]
    low, high = min(sound), max(sound)
    margin = 0.05 * (high - low) or 1.0
    first = max(low - margin, 0.0) if low >= 0 else low - margin
    last = min(high + margin, 100.0) if high <= 100 else high + margin
    return Axis(title, first, last)


def logarithmic(title: str, values: Iterable[float]) -> Axis:
    """Return a logarithmic axis that holds all values, which are above 0, with room to the right.

    At least one power of ten is on it.
    """
    result = list(values)
    low, high = min(result) / 1.6, max(result) * 3
    if math.ceil(math.log10(low)) > math.floor(math.log10(high)):
        high = 10.0 ** math.ceil(math.log10(low))
    return Axis(title, low, high, log=True)


def encodings(x: Axis, y: Axis) -> tuple[alt.X, alt.Y]:
    """Return the channels of the columns ``x`` and ``y``."""
    return (
        alt.X("x:Q", title=x.title, scale=x.scale, axis=x.ticks),
        upright(y, "y:Q"),
    )


def upright(y: Axis, column: str) -> alt.Y:
    """Return the channel of a vertical axis, its title lying above it."""
    ticks = y.ticks.copy()
    ticks.titleAngle, ticks.titleAlign, ticks.titleAnchor = 0, "left", "end"
    ticks.titleX, ticks.titleY, ticks.titleBaseline = -24, -10, "bottom"
    return alt.Y(column, title=y.title, scale=y.scale, axis=ticks)


def names(points: pd.DataFrame, x: Axis, y: Axis) -> Layers:
    """Return the names of points (columns metric, x, y), beside them and none over another.

    To the right and above a point, where a Pareto front has nothing; to the left where the frame
    ends. A name that would lie over another one moves up.
    """
    across, up = encodings(x, y)
    placed: list[tuple[float, float, float]] = []  # left, right, baseline
    layers = []
    for record in points.sort_values("y").to_dict("records"):
        name = str(record["metric"])
        px = x.share(float(record["x"])) * WIDTH
        py = (1 - y.share(float(record["y"]))) * HEIGHT
        long = _LETTER * len(name)
        leftwards = px + 7 + long > WIDTH + 50
        left = px - 7 - long if leftwards else px + 7
        base = py - 5
        while any(
            left < right and left + long > start and abs(base - line) < LABEL
            for start, right, line in placed
        ):
            base -= 2
        placed.append((left, left + long, base))
        layers.append(
            alt.Chart(pd.DataFrame([record]))
            .mark_text(
                align="right" if leftwards else "left",
                dx=-7 if leftwards else 7,
                dy=base - py,
                fontSize=11,
                color="var(--ink)",
                aria=False,
            )
            .encode(x=across, y=up, text="metric:N")
        )
    return alt.layer(*layers)


def apart(values: Sequence[float], gap: float) -> list[float]:
    """Return positions at least ``gap`` apart, in the order of ``values`` and near to them."""
    clusters: list[tuple[float, list[int]]] = []  # middle, members from low to high
    for i in sorted(range(len(values)), key=lambda i: values[i]):
        members = [i]
        middle = values[i]
        while clusters:
            below, before = clusters[-1]
            if middle - below >= gap * (len(members) + len(before)) / 2:
                break
            clusters.pop()
            members = before + members
            middle = sum(values[k] for k in members) / len(members)
        clusters.append((middle, members))
    placed = {
        k: middle + gap * (rank - (len(members) - 1) / 2)
        for middle, members in clusters
        for rank, k in enumerate(members)
    }
    return [placed[k] for k in range(len(values))]


def people_line(value: float, name: str, y: Axis) -> Layers:
    """Return a horizontal line at what people score, with its name."""
    base = alt.Chart(pd.DataFrame([{"y": value, "name": name}]))
    up = upright(y, "y:Q")
    line = base.mark_rule(color="var(--people)", aria=False).encode(y=up)
    text = base.mark_text(
        align="left", dx=4, dy=-6, fontSize=11, color="var(--people)", aria=False
    ).encode(x=alt.value(0), y=up, text="name:N")
    return alt.layer(line, text)


def framed(layers: Sequence[alt.Chart | Layers], width: int = WIDTH) -> Layers:
    """Return layers in one frame."""
    return alt.layer(*layers).properties(width=width, height=HEIGHT)


def drawn(chart: Layers | alt.HConcatChart, alternative: str) -> str:
    """Return a chart as SVG, with a sentence for those who do not see it."""
    spec = chart.configure(**_CONFIG).to_dict()
    return finished(vl_convert.vegalite_to_svg(spec), alternative)


def known(value: float, otherwise: float) -> float:
    """Return ``value``, or the other one where it is NaN."""
    return otherwise if math.isnan(value) else value
