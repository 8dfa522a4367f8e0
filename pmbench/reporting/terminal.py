"""Boards -> a table for a terminal of any width."""

from __future__ import annotations

import io
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from pmbench.analysis.board import Board
from pmbench.reporting.columns import Column, columns_of, in_lines, name_of
from pmbench.reporting.tables import bare_table

_LONGEST_NAME = 13  # characters of a metric's name on one line of a narrow terminal
_NARROW = {"n": "\nn", "speed": "items\n/s"}


@dataclass(frozen=True)
class _Layout:
    """How much room a board takes."""

    intervals: bool  # of every score, not of the macro score alone
    names: bool  # in one line
    heads: bool  # whole, not short
    gap: int  # blanks between columns


_LAYOUTS = (  # the roomiest first
    _Layout(intervals=True, names=True, heads=True, gap=2),
    _Layout(intervals=True, names=False, heads=True, gap=2),
    _Layout(intervals=True, names=False, heads=False, gap=2),
    _Layout(intervals=False, names=True, heads=True, gap=2),
    _Layout(intervals=False, names=True, heads=False, gap=1),
    _Layout(intervals=False, names=False, heads=False, gap=1),
)


@dataclass(frozen=True)
class _Drawn:
    """A column as it is drawn: its header, and a text of one or two lines for each row."""

    header: str
    texts: list[str]
    styles: list[str]

    @property
    def width(self) -> int:
        return max(len(line) for text in [self.header, *self.texts] for line in text.split("\n"))


def to_rich(board: Board, width: int) -> RenderableType:
    """Return a board for a terminal of ``width`` columns.

    Where not everything fits, columns get their short names and only the macro score its interval,
    unless the board asks for all; what still does not fit stands in further tables below.
    """
    heading = Text.assemble((board.dataset, "bold"), f"  {board.title}")
    for mark in board.marks:
        heading.append(f"\n{mark}", style="bold yellow")
    signature = [f"signature: {board.signature}"] if board.signature else []
    legend = Text("\n".join([*board.legend, *signature]), style="dim")
    families = {row.family for row in board.rows if board.grouped}
    whole = columns_of(board)
    for layout in _LAYOUTS:
        gap, names = layout.gap, list(map(name_of, board.rows))
        if not layout.names:  # a row has two lines anyway
            names = ["\n".join(in_lines(name, _LONGEST_NAME)) for name in names]
        longest = max(len(n) for text in ["metric", *families, *names] for n in text.splitlines())
        columns = [_drawn(board, column, layout) for column in whole]
        if longest + sum(gap + column.width for column in columns) <= width:
            break
    parts: list[RenderableType] = []
    while columns:
        fitting, room = 0, width - longest
        while fitting < len(columns) and room >= gap + columns[fitting].width:
            room -= gap + columns[fitting].width
            fitting += 1
        shown, columns = columns[: max(fitting, 1)], columns[max(fitting, 1) :]
        parts += [Text(), _table(board, names, shown, gap)]
    return Group(heading, *parts, legend)


def to_plain(board: Board, width: int = 120) -> str:
    """Return a board as it looks on a terminal, without colours, for a file."""
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None, highlight=False)
    console.print(to_rich(board, width))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _drawn(board: Board, column: Column, layout: _Layout) -> _Drawn:
    """Return a column with two-line texts: intervals as far as there is room for them."""
    room = layout.intervals or column.key in ("macro", "pooled")
    with_intervals = room if board.intervals is None else board.intervals
    texts = ["\n".join(filter(None, [t.main, t.small(with_intervals)])) for t in column.texts]
    styles = ["bold" if t.best else "yellow" if t.off else "" for t in column.texts]
    return _Drawn(_header(board, column, whole=layout.heads), texts, styles)


def _header(board: Board, column: Column, whole: bool) -> str:
    if not whole and column.key in _NARROW:
        return _NARROW[column.key]
    if not whole and column.key in board.columns:
        parts = [board.headers.get(part, part) for part in column.key.split("+")]
        return f"{column.above}\n" * bool(column.above) + "+\n".join(parts)
    title = column.title.replace("+", "+\n")
    # the titles of facts stand level with those of scores
    lines = column.key not in board.columns or column.above
    return f"{column.above}\n{title}" if lines else title


def _table(board: Board, names: list[str], columns: list[_Drawn], gap: int) -> Table:
    table = bare_table(gap)
    table.add_column("metric", no_wrap=True)
    for column in columns:
        table.add_column(Text(column.header), justify="right", no_wrap=True)
    family = None
    for i, row in enumerate(board.rows):
        if not any(column.texts[i] for column in columns):
            continue  # people have no cost
        if board.grouped and row.family != family:
            table.add_section()
            table.add_row(Text(row.family, style="bold cyan"))
        family = row.family
        cells = [Text(c.texts[i], style=c.styles[i], justify="right") for c in columns]
        table.add_row(Text(names[i], style="" if row.kind == "metric" else "dim"), *cells)
    return table
