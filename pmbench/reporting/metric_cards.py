"""Cards of metrics -> text for a terminal: the list at any width, and one card whole."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pmbench.reporting.tables import GAP, bare_table, text_width

Card = dict[str, Any]


@dataclass(frozen=True)
class _Column:
    """A column of the list of metrics, on terminals of at least ``from_width`` columns."""

    name: str
    header: str
    text: Callable[[Card], str]
    from_width: int = 0
    most: int = 40  # wider texts are folded
    right: bool = False


_COLUMNS = [
    _Column("metric", "metric", lambda card: str(card["metric"])),
    _Column("title", "what it is", lambda card: str(card["title"])),
    _Column("direction", "", lambda card: "↑" if card["better"] == "higher" else "↓"),
    _Column("smallest side", "min", lambda card: _min_size(card), right=True),
    _Column("weights", "weights", lambda card: _weights(card), right=True),
    _Column("paper", "paper", lambda card: str(card["short_paper"]) or "–", 110, 24),
    _Column("symmetry", "symmetric", lambda card: "yes" if card["symmetric"] else "no", 160),
    _Column("licence", "licence", lambda card: str(card["licence"]) or "–", 160, 20),
    _Column("settings", "settings", lambda card: _settings(card) or "–", 160, 32),
]
_NARROWEST_TITLE = 16


def catalogue_to_rich(cards: Sequence[Card], width: int) -> RenderableType:
    """Return the list of metrics, family by family, with the columns that fit into ``width``."""
    columns = [column for column in _COLUMNS if column.from_width <= width]
    widths = {column.name: _width(column, cards) for column in columns if column.name != "title"}
    room = width - sum(widths.values()) - GAP * len(widths)
    widths["title"] = max(room, _NARROWEST_TITLE)
    table = bare_table()
    for column in columns:
        justify: Literal["left", "right"] = "right" if column.right else "left"
        table.add_column(column.header, justify=justify, overflow="fold", width=widths[column.name])
    for family, members in groupby(cards, key=lambda card: str(card["family"])):
        table.add_row(Text(family, style="bold"))
        for install, group in groupby(members, key=lambda card: card["install"]):
            for card in group:
                texts = [Text(column.text(card)) for column in columns]
                table.add_row(*texts, style="dim" if install else "")
            if install:
                table.add_row("", Text(f"not installed; {install}", style="dim"))
        table.add_row()
    return Group(table, Text("\n".join(_legend(cards, columns)), style="dim"))


def _width(column: _Column, cards: Sequence[Card]) -> int:
    return min(text_width(column.header, *map(column.text, cards)), column.most)


def _legend(cards: Sequence[Card], columns: Sequence[_Column]) -> list[str]:
    count = f"{len(cards)} metrics" if len(cards) != 1 else "1 metric"
    absent = sum(card["install"] is not None for card in cards)
    hidden = [column.name for column in _COLUMNS if column not in columns]
    return [
        f"{count}, {absent} of them not installed" if absent else count,
        "↓ smaller is more alike, ↑ larger is more alike",
        "min: smallest side in pixels; (×8): sides are multiples of 8",
        "weights: on this machine, or what is to be fetched; –: its package sees to them",
        f"{', '.join([*hidden, 'code and more'])}:",
        "pmbench show METRIC, or --json",
    ]


def _min_size(card: Card) -> str:
    multiple = card["multiple_of"]
    return f"{card['min_size']}" + (f" (×{multiple})" if multiple > 1 else "")


def _weights(card: Card) -> str:
    """Return whether a metric's weights are here, or how many megabytes would be fetched."""
    absent = [file for file in card["weights"] if file["place"] is None]
    if not card["weights"]:
        return "–" if card["extra"] else "none"
    if not absent:
        return "here"
    sizes = [file["megabytes"] for file in absent]
    if None in sizes:
        return "to fetch"
    return f"{sum(sizes):,.0f} MB" if sum(sizes) >= 1 else "under 1 MB"


def _settings(card: Card) -> str:
    return settings_text(card["parameters"])


def settings_text(settings: Mapping[str, Any]) -> str:
    """Return a metric's settings in a line, "" where it has none."""
    return ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in settings.items()
    )


def card_to_rich(card: Card) -> RenderableType:
    """Return one metric's whole card. Print it with ``soft_wrap``: URLs are longer than lines."""
    yes = {True: "yes", False: "no"}
    smallest = f"{card['min_size']} pixel" + "s" * (card["min_size"] > 1)
    if card["multiple_of"] > 1:
        smallest += f", in multiples of {card['multiple_of']}"
    lines = [
        ("family", card["family"]),
        ("paper", card["paper"]),
        ("code", card["code"]),
        ("licence", card["licence"] or "not stated"),
        ("better", card["better"]),
        ("symmetric", yes[card["symmetric"]]),
        ("differentiable", yes[card["differentiable"]]),
        ("map", yes[card["has_map"]]),
        ("smallest side", smallest),
        ("tolerance", f"{card['tolerance']:g}, relative, between machines"),
        ("version", card["version"]),
        ("settings", settings_text(card["parameters"])),
        ("install", card["install"]),
        ("parameters", None if card["numbers"] is None else f"{card['numbers']:,}"),
        ("signature", card["signature"]),
        ("not loaded", card["not_loaded"]),
        ("runs", _runs(card["runs"])),
    ]
    grid = _grid()
    for label, value in lines:
        if value not in (None, ""):
            grid.add_row(Text(label, style="dim"), Text(str(value)))
    parts: list[RenderableType] = [
        Text.assemble((card["metric"], "bold"), f"  {card['title']}"), Text(), grid
    ]  # fmt: skip
    for file in card["weights"]:
        parts += [Text(), Text.assemble(("weights ", "dim"), file["name"])]
        for label, value in [
            ("place", file["place"] or "not on this machine"),
            ("size", "" if file["megabytes"] is None else f"{file['megabytes']:,.4g} MB"),
            ("from", file["url"] or f"the package {file['package']}"),
            ("licence", file["licence"]),
        ]:
            if value:  # on one line, since places are copied whole
                parts.append(Text.assemble((f"  {label:<{LABEL - 2}}  ", "dim"), value))
    return Group(*parts)


def _runs(names: Sequence[str]) -> str:
    if not names:
        return ""
    return f"{', '.join(names)}; how to repeat one: pmbench show {shlex.quote(names[0])}"


LABEL = 14  # columns


def _grid() -> Table:
    grid = Table.grid(padding=(0, GAP))
    grid.add_column(no_wrap=True, min_width=LABEL)
    grid.add_column(overflow="fold")
    return grid
