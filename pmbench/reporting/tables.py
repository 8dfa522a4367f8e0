"""Tables of text: one type, which writes itself for a terminal and as Markdown."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

import rich.table
from rich import box
from rich.text import Text

GAP = 2  # blanks between columns


@dataclass(frozen=True)
class StyledCell:
    """A text, its style on a terminal (of rich), and what stands around it in Markdown."""

    text: str
    style: str = ""
    mark: str = ""  # *, **, *** or `


Row = Sequence[str | StyledCell]


@dataclass(frozen=True)
class Table:
    """A head, and rows of cells; a row may be shorter than the head.

    ``align`` has letters as LaTeX has them, the last of which is for all further columns: p stands
    to the left and is folded; l and r, to the left and the right, are cut off where room is short.
    """

    head: Sequence[str]
    rows: Sequence[Row]
    align: str = "pr"
    bold: Collection[int] = ()  # rows
    max_widths: Mapping[int, int] = field(default_factory=dict)  # characters, by column

    @property
    def columns(self) -> list[tuple[str, str]]:
        """The title and the letter of each column."""
        align = self.align.ljust(len(self.head), self.align[-1])
        return list(zip(self.head, align, strict=True))

    def fits(self, width: int, gap: int = GAP) -> bool:
        """Return whether it fits into ``width`` characters, ``gap`` of them between columns."""
        rows = [[_styled(cell).text for cell in row] for row in [self.head, *self.rows]]
        widths = [text_width(*column) for column in zip_longest(*rows, fillvalue="")]
        return sum(widths) + gap * (len(widths) - 1) <= width

    def to_rich(self, gap: int = GAP) -> rich.table.Table:
        """Return it for a terminal, with ``gap`` blanks between columns."""
        table = bare_table(gap)
        for i, (title, letter) in enumerate(self.columns):
            table.add_column(
                Text(title),
                justify="right" if letter == "r" else "left",
                overflow="fold" if letter == "p" else "ellipsis",
                no_wrap=letter != "p",
                max_width=self.max_widths.get(i),
            )
        for i, row in enumerate(self.rows):
            cells = [Text(cell.text, cell.style) for cell in map(_styled, row)]
            table.add_row(*cells, style="bold" if i in self.bold else "")
        return table

    def to_markdown(self) -> str:
        """Return it as GitHub-flavoured Markdown, a line a row."""
        rule = ["---:" if letter == "r" else "---" for _, letter in self.columns]
        lines = [[_markdown(StyledCell(title)) for title in self.head], rule]
        for i, row in enumerate(self.rows):
            cells = [_markdown(_styled(cell), bold=i in self.bold) for cell in row]
            lines.append(cells + [""] * (len(rule) - len(cells)))
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _styled(cell: str | StyledCell) -> StyledCell:
    return StyledCell(cell) if isinstance(cell, str) else cell


def _markdown(cell: StyledCell, bold: bool = False) -> str:
    text, mark = cell.text.replace("\n", " "), cell.mark or "**" * bold
    text = text.replace("|", "¦") if mark == "`" else escape_markdown(text)
    return f"{mark}{text}{mark}" if text else ""


def escape_markdown(text: str, code: bool = False) -> str:
    """Return a text of which Markdown makes nothing else: no emphasis, links, tables, HTML, lists.

    With ``code`` what stands between backticks stays code.
    """
    if not code:
        return re.sub(r"([\\`*_\[\]<>|~&])", r"\\\1", text)
    parts = text.split("`")
    return "`".join(part if i % 2 else escape_markdown(part) for i, part in enumerate(parts))


def text_width(*texts: str) -> int:
    """Return the number of characters of the longest line of some texts."""
    return max(len(line) for text in texts for line in text.split("\n"))


def split_columns(widths: Sequence[int], width: int, gap: int = GAP) -> list[list[int]]:
    """Return the columns of each of several tables: as many as fit into ``width``, at least one.

    ``widths`` are the columns' own, in characters; ``gap`` blanks stand before each.
    """
    tables: list[list[int]] = []
    room = 0
    for i, needed in enumerate(widths):
        if not tables or gap + needed > room:
            tables.append([])
            room = width
        tables[-1].append(i)
        room -= gap + needed
    return tables


def bare_table(gap: int = GAP) -> rich.table.Table:
    """Return an empty table of rich without lines but the one below its head."""
    return rich.table.Table(
        box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, gap - 1, 0, 0)
    )
