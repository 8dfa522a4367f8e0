"""Boards -> GitHub-flavoured Markdown."""

from __future__ import annotations

from pmbench.analysis.leaderboard_rows import Board
from pmbench.reporting.columns import Column, begins_family, columns_of, legend_of, name_of
from pmbench.reporting.tables import Row, StyledCell, Table, escape_markdown


def to_markdown(board: Board) -> str:
    """Return a board as GitHub-flavoured Markdown."""
    columns = columns_of(board)
    rows: list[Row] = []
    for i, row in enumerate(board.rows):
        if begins_family(board, i):
            rows.append([StyledCell(row.family, mark="***")])
        name = StyledCell(name_of(row), mark="" if row.kind == "metric" else "*")
        rows.append([name, *(_cell(board, column, i) for column in columns)])
    head = ["metric", *(column.header for column in columns)]
    align = "p" + "".join(column.align for column in columns)
    lines = [f"### {escape_markdown(board.dataset)}: {escape_markdown(board.title)}", ""]
    lines += [f"**{escape_markdown(mark)}**\n" for mark in board.warnings]
    lines += [Table(head, rows, align).to_markdown(), ""]
    lines += [f"- {escape_markdown(line)}" for line in legend_of(board, columns)]
    lines += [f"- `signature: {board.signature}`"] * bool(board.signature)
    return "\n".join(lines) + "\n"


def _cell(board: Board, column: Column, row: int) -> StyledCell:
    """Return a cell in one line; its interval in brackets, of all columns on request only."""
    text, of_macro = column.texts[row], column.key in ("macro", "pooled")
    small = text.small(of_macro if board.intervals is None else board.intervals)
    whole = f"{text.main} ({small})" if small else text.main
    return StyledCell(whole, mark="**" if text.best else "")
