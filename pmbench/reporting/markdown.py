"""Boards -> GitHub-flavoured Markdown."""

from __future__ import annotations

from collections.abc import Iterable

from pmbench.analysis.board import Board
from pmbench.reporting.columns import Column, Text, begins_family, columns_of, legend_of, name_of
from pmbench.reporting.tables import escaped


def to_markdown(board: Board) -> str:
    """Return a board as GitHub-flavoured Markdown."""
    columns = columns_of(board)
    headers = ["metric", *(column.header.replace("\n", " ") for column in columns)]
    lines = [f"### {escaped(board.dataset)}: {escaped(board.title)}", ""]
    lines += [f"**{escaped(mark)}**\n" for mark in board.marks]
    lines += [_line(map(escaped, headers)), _line(["---"] + ["---:"] * len(columns))]
    for i, row in enumerate(board.rows):
        if begins_family(board, i):
            lines.append(_line([f"***{escaped(row.family)}***", *[""] * len(columns)]))
        name = escaped(name_of(row))
        cells = [_cell(board, column, column.texts[i]) for column in columns]
        lines.append(_line([name if row.kind == "metric" else f"*{name}*", *cells]))
    lines.append("")
    lines += [f"- {escaped(line)}" for line in legend_of(board, columns)]
    lines += [f"- `signature: {board.signature}`"] * bool(board.signature)
    return "\n".join(lines) + "\n"


def _cell(board: Board, column: Column, text: Text) -> str:
    """Return a cell in one line; its interval in brackets, of all columns on request only."""
    of_macro = column.key in ("macro", "pooled")
    small = text.small(of_macro if board.intervals is None else board.intervals)
    shown = escaped(f"{text.main} ({small})" if small else text.main)
    return f"**{shown}**" if text.best else shown


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
