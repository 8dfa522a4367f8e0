"""Boards -> a table for a terminal of any width."""

from __future__ import annotations

import io
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.text import Text

from pmbench.analysis.leaderboard_rows import Board
from pmbench.reporting.columns import Column, columns_of, in_lines, name_of
from pmbench.reporting.tables import Row, StyledCell, Table, split_columns, text_width

# characters of a name on one line of a narrow terminal: of a metric, and in papers
_LONGEST_NAME, _LONGEST_LABEL = 13, 18
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
class _Column:
    """A column in a layout: its header, and a text of one or two lines for each row."""

    header: str
    cells: list[StyledCell]
    align: str

    @property
    def width(self) -> int:
        return text_width(self.header, *(cell.text for cell in self.cells))


def to_rich(board: Board, width: int) -> RenderableType:
    """Return a board for a terminal of ``width`` columns.

    Where not everything fits, columns get their short names and only the macro score its interval,
    unless the board asks for all; what still does not fit stands in further tables below.
    """
    heading = Text.assemble((board.dataset, "bold"), f"  {board.title}")
    for mark in board.warnings:
        heading.append(f"\n{mark}", style="bold yellow")
    signature = [f"signature: {board.signature}"] if board.signature else []
    legend = Text("\n".join([*board.legend, *signature]), style="dim")
    families = {row.family for row in board.rows if board.grouped}
    whole = columns_of(board)
    for layout in _LAYOUTS:
        gap, names = layout.gap, list(map(name_of, board.rows))
        if not layout.names:  # a row has two lines anyway
            longest = _LONGEST_NAME if board.measured else _LONGEST_LABEL
            names = ["\n".join(in_lines(name, longest)) for name in names]
        room = text_width("metric", *families, *names)
        columns = [_column(board, column, layout) for column in whole]
        widths = [column.width for column in columns]
        if room + sum(gap + needed for needed in widths) <= width:
            break
    parts: list[RenderableType] = []
    for group in split_columns(widths, width - room, gap):
        parts += [Text(), _table(board, names, [columns[i] for i in group]).to_rich(gap)]
    return Group(heading, *parts, legend)


def to_plain(board: Board, width: int = 120) -> str:
    """Return a board as it looks on a terminal, without colours, for a file."""
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None, highlight=False)
    console.print(to_rich(board, width))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _column(board: Board, column: Column, layout: _Layout) -> _Column:
    """Return a column with two-line texts: intervals as far as there is room for them."""
    room = layout.intervals or column.key in ("macro", "pooled")
    intervals = room if board.intervals is None else board.intervals
    cells = []
    for text in column.texts:
        style = "bold" if text.best else "yellow" if text.off else ""
        lines = filter(None, [text.main, text.small(intervals)])
        cells.append(StyledCell("\n".join(lines), style))
    return _Column(_header(board, column, whole=layout.heads), cells, column.align)


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


def _table(board: Board, names: list[str], columns: list[_Column]) -> Table:
    rows: list[Row] = []
    family = None
    for i, row in enumerate(board.rows):
        cells = [column.cells[i] for column in columns]
        if not any(cell.text for cell in cells):
            continue  # people have no cost
        if board.grouped and row.family != family:
            rows += [[]] * bool(rows) + [[StyledCell(row.family, "bold cyan")]]
        family = row.family
        rows.append([StyledCell(names[i], "" if row.kind == "metric" else "dim"), *cells])
    align = "l" + "".join(column.align for column in columns)
    return Table(["metric", *(column.header for column in columns)], rows, align)
