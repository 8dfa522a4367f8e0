"""Cards, comparisons and distances -> text for a terminal of some width. Nothing is printed here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

Card = dict[str, Any]


# --- metrics --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Column:
    """A column of the list of metrics: shown on terminals of at least ``from_width`` columns."""

    header: str
    text: Callable[[Card], str]
    from_width: int = 0
    most: int = 40  # wider texts are folded
    right: bool = False


_COLUMNS = [
    _Column("metric", lambda card: str(card["metric"])),
    _Column("better", lambda card: str(card["better"])),
    _Column("symmetric", lambda card: "yes" if card["symmetric"] else "no", 120),
    _Column("min size", lambda card: _min_size(card), right=True),
    _Column("weights", lambda card: _weights(card), right=True),
    _Column("licence", lambda card: str(card["licence"]) or "–", 160, 20),
    _Column("paper", lambda card: str(card["short_paper"]) or "–", 120, 24),
    _Column("parameters", lambda card: _parameters(card) or "–", 160, 30),
]
_GAP = 2


def catalogue_to_rich(cards: Sequence[Card], width: int) -> RenderableType:
    """Return the list of metrics, family by family, with the columns that fit into ``width``."""
    shown = [column for column in _COLUMNS if column.from_width <= width]
    widths = [
        min(column.most, max(map(len, [column.header, *map(column.text, cards)])))
        for column in shown
    ]
    room = width - sum(widths) - _GAP * len(widths)
    drawn = _bare_table()
    for column, column_width in zip(shown, widths, strict=True):
        drawn.add_column(
            column.header,
            justify="right" if column.right else "left",
            no_wrap=column.header == "metric",
            overflow="fold",
            width=column_width,
        )
        if column.header == "metric":
            drawn.add_column("what it is", width=max(room, 16), overflow="fold")
    for family, members in groupby(cards, key=lambda card: str(card["family"])):
        drawn.add_row(Text(family, style="bold"))
        for install, some in groupby(members, key=lambda card: card["install"]):
            for card in some:
                texts = [Text(column.text(card)) for column in shown]
                texts.insert(1, Text(str(card["title"])))
                drawn.add_row(*texts, style="dim" if install else "")
            if install:
                drawn.add_row("", Text(f"not installed; {install}", style="dim"))
        drawn.add_row()
    absent = sum(card["install"] is not None for card in cards)
    count = f"{len(cards)} metrics" if len(cards) != 1 else "1 metric"
    told = f"{count}, {absent} of them not installed" if absent else count
    missing = [column.header for column in _COLUMNS if column not in shown]
    more = f"{', '.join(missing)}: " if missing else "the whole card: "
    return Group(
        drawn, Text(told, style="dim"), Text(f"{more}pmbench show METRIC, or --json", style="dim")
    )
