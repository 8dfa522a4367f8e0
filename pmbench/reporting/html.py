"""Boards -> one HTML document that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from pmbench.analysis.leaderboard_rows import Board, Row
from pmbench.reporting.columns import (
    SCORES,
    Column,
    Text,
    begins_family,
    columns_of,
    legend_of,
    name_of,
)  # fmt: skip


@dataclass(frozen=True)
class _Head:
    """The head of one column."""

    short: str
    long: str  # "" where it is the short one


@dataclass(frozen=True)
class _Line:
    """A row as it is drawn; ``family`` where it is the first of one."""

    row: Row
    name: str
    texts: list[tuple[Text, str]]  # and what stands small below
    family: str


@dataclass(frozen=True)
class _Page:
    """What the template is given of one board."""

    board: Board
    groups: list[tuple[str, int]]  # title, columns
    heads: list[_Head]
    lines: list[_Line]
    legend: list[str]
    width: int


def to_html(boards: Sequence[Board], notes: Sequence[str] = ()) -> str:
    """Return boards, and notes about all of them, as a document with its styles inside."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("pmbench.reporting", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    template = environment.get_template("leaderboard.html")
    return template.render(pages=[_page(board) for board in boards], notes=notes)


def _page(board: Board) -> _Page:
    columns = columns_of(board)
    grouped = groupby(columns, key=lambda column: column.group)
    lines = [
        _Line(
            row,
            name_of(row),
            [(c.texts[i], c.texts[i].small(board.intervals is not False)) for c in columns],
            row.family if begins_family(board, i) else "",
        )
        for i, row in enumerate(board.rows)
    ]
    return _Page(
        board,
        groups=[(_group(board, group), len(list(members))) for group, members in grouped],
        heads=[_head(board, column) for column in columns],
        lines=lines,
        legend=legend_of(board, columns),
        width=1 + len(columns),
    )


def _group(board: Board, group: str) -> str:
    statistic = board.statistic
    return statistic.title + " (%)" * statistic.percent if group == SCORES else group


def _head(board: Board, column: Column) -> _Head:
    if column.key not in board.columns:
        return _Head(column.header if column.key != "n" else f"n {board.unit}", "")
    short = "+".join(board.headers.get(part, part) for part in column.key.split("+"))
    return _Head(short, column.key if short != column.key else "")
