"""Boards -> text: a terminal table, Markdown, JSON. Nothing is printed here."""

from __future__ import annotations

import io
import json
import math
from collections import defaultdict
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING

import pandas as pd
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from pmbench.board import Board, Cell, Row
from pmbench.protocols import Protocol
from pmbench.tables import bare_table

if TYPE_CHECKING:
    from pmbench.forecast import Forecast  # would import torch

_LONGEST_NAME = 13  # characters of a metric's name on one line of a terminal


_SHORT = {"hard_majority": "hard\nmaj.", "srcc": "SRCC", "krcc": "KRCC", "plcc": "PLCC"}


def to_rich(board: Board, width: int) -> RenderableType:
    """Return a board for a terminal of ``width`` columns.

    Where not everything fits, columns get their short names and only the macro score its interval;
    what still does not fit stands in further tables below.
    """
    heading = Text.assemble((board.dataset, "bold"), f"  {board.title}")
    for mark in board.marks:
        heading.append(f"\n{mark}", style="bold yellow")
    legend = Text("\n".join([*board.legend, *_signature(board)]), style="dim")
    families = {row.family for row in board.rows if board.grouped}
    for wide, names in (
        (True, [_name(row) for row in board.rows]),
        (True, [_broken(_name(row)) for row in board.rows]),
        (False, [_broken(_name(row)) for row in board.rows]),
    ):
        gap = 2 if wide else 1
        longest = max(len(n) for name in ["metric", *families, *names] for n in name.splitlines())
        columns = [_column(board, name, wide) for name in board.columns] + _facts(board, wide)
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


@dataclass(frozen=True)
class _Column:
    """A column as it is drawn: its header, and a text for each row."""

    key: str
    header: str
    texts: list[str]

    @property
    def width(self) -> int:
        return max(len(line) for text in [self.header, *self.texts] for line in text.split("\n"))


def _column(board: Board, name: str, wide: bool) -> _Column:
    interval = wide or name in ("macro", "pooled")
    texts = [_text(board, row.cells.get(name), interval, break_line=True) for row in board.rows]
    return _Column(name, _header(board, name, wide), texts)


def _signature(board: Board) -> list[str]:
    return [f"signature: {board.signature}"] if board.signature else []


def _facts(board: Board, wide: bool) -> list[_Column]:
    counts = _Column(
        "n", f"n\n{board.unit}" if wide else "\nn", [_count(row) for row in board.rows]
    )
    speeds = _Column("speed", "\nitems/s", [_speed(row) for row in board.rows])
    return [counts, speeds]


def _table(board: Board, names: list[str], columns: list[_Column], gap: int) -> Table:
    table = bare_table(gap)
    table.add_column("metric", no_wrap=True)
    for column in columns:
        table.add_column(Text(column.header), justify="right", no_wrap=True)
    best = _best(board)
    for i, row in enumerate(board.rows):
        if _begins_family(board, i):
            table.add_section()
            table.add_row(Text(row.family, style="bold cyan"))
        cells = [
            Text(
                column.texts[i],
                style="bold" if row.kind == "metric" and row.name in best[column.key] else "",
                justify="right",
            )
            for column in columns
        ]
        table.add_row(Text(names[i], style="" if row.kind == "metric" else "dim"), *cells)
    return table


def _broken(name: str) -> str:
    """Return a long name over two lines, broken at a hyphen or a blank: its row has two anyway."""
    if len(name) <= _LONGEST_NAME:
        return name
    if " [" in name:  # a published row
        return name.replace(" [", "\n[")
    cut = max(name.rfind("-", 0, _LONGEST_NAME), name.rfind(" ", 0, _LONGEST_NAME))
    return f"{name[: cut + 1]}\n{name[cut + 1 :]}" if cut > 0 else name


def to_markdown(board: Board) -> str:
    """Return a board as GitHub-flavoured Markdown."""
    headers = ["metric", *(_header(board, c, True).replace("\n", " ") for c in board.columns)]
    headers += [f"n {board.unit}", "items/s"]
    lines = [f"### {board.dataset}: {board.title}", ""]
    lines += [f"**{mark}**\n" for mark in board.marks]
    lines += [_line(headers), _line(["---"] + ["---:"] * (len(headers) - 1))]
    best = _best(board)
    for i, row in enumerate(board.rows):
        if _begins_family(board, i):
            lines.append(_line([f"***{row.family}***", *[""] * (len(headers) - 1)]))
        cells = []
        for column in board.columns:
            text = _text(board, row.cells.get(column), interval=column in ("macro", "pooled"))
            text = text.replace("*", r"\*")
            first = row.kind == "metric" and row.name in best[column]
            cells.append(f"**{text}**" if first else text)
        name = _name(row).replace("[", r"\[").replace("]", r"\]")
        lines.append(
            _line([name if row.kind == "metric" else f"*{name}*", *cells, _count(row), _speed(row)])
        )
    lines.append("")
    lines += ["- " + line.replace("*", r"\*") for line in board.legend]
    lines += [f"- `{line}`" for line in _signature(board)]
    return "\n".join(lines) + "\n"


def to_json(table: pd.DataFrame) -> str:
    """Return a tidy table as JSON: a list of records, null where there is no number."""
    records = table.astype(object).where(table.notna(), None).to_dict("records")
    return json.dumps(records, indent=1, ensure_ascii=False)


def _header(board: Board, column: str, wide: bool) -> str:
    if column in ("macro", "pooled"):
        return f"{board.statistic.title}\n{column}"
    return column if wide else board.headers.get(column, column)


def _begins_family(board: Board, i: int) -> bool:
    """Say whether the row ``i`` is the first of its family, and the family's name is due."""
    return board.grouped and (i == 0 or board.rows[i - 1].family != board.rows[i].family)


def _name(row: Row) -> str:
    return row.name + " †" * row.other_protocol


def _text(board: Board, cell: Cell | None, interval: bool, break_line: bool = False) -> str:
    return "" if cell is None else _number(cell, board.statistic.percent, interval, break_line)


def _number(cell: Cell, percent: bool, interval: bool, break_line: bool) -> str:
    if math.isnan(cell.value):
        return "n/a"
    scale, digits = (100, 1) if percent else (1, 3)
    text = f"{cell.value * scale:.{digits}f}" + "*" * cell.part
    if not interval or math.isnan(cell.low):
        return text
    between = "–" if cell.low >= 0 else " to "  # a dash would look like another minus
    drawn = f"{cell.low * scale:.{digits}f}{between}{cell.high * scale:.{digits}f}"
    return f"{text}\n{drawn}" if break_line else f"{text} ({drawn})"


def _count(row: Row) -> str:
    return "" if row.n is None else f"{row.n:,}"


def _speed(row: Row) -> str:
    return (
        "" if row.speed is None else f"{row.speed:,.0f}" if row.speed >= 10 else f"{row.speed:.2g}"
    )


def _best(board: Board) -> dict[str, set[str]]:
    """Return the best metrics of each column, where there are several on the same items."""
    metrics = [row for row in board.rows if row.kind == "metric" and not row.other_protocol]
    best: dict[str, set[str]] = defaultdict(set)
    for column in board.columns if len(metrics) > 1 else []:
        scored = [(row.name, row.cells[column]) for row in metrics if column in row.cells]
        scored = [(name, cell) for name, cell in scored if not math.isnan(cell.value)]
        scored = [(name, cell) for name, cell in scored if not cell.part] or scored
        most = max((cell.value for _, cell in scored), default=math.nan)
        best[column] = {name for name, cell in scored if cell.value == most}
    return best


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def to_plain(board: Board, width: int = 120) -> str:
    """Return a board as it looks on a terminal, without colours, for a file."""
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None, highlight=False)
    console.print(to_rich(board, width))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def scores_to_rich(table: pd.DataFrame, protocol: Protocol) -> RenderableType:
    """Return the scores of one set of distances: a row a sub-dataset, a column a statistic."""
    cells = {
        (str(r["name"] if r["kind"] == "human" else r["statistic"]), str(r["sub_dataset"])): r
        for r in table.to_dict("records")
    }
    main = protocol.statistics[0]
    columns = [(s.name, _SHORT.get(s.name, s.title), s.percent) for s in protocol.statistics]
    columns += [
        (h.name, h.name.replace("-", "\n").replace("majority", "maj."), main.percent)
        for h in protocol.humans
    ]
    drawn = bare_table(gap=1)
    drawn.add_column("sub-dataset", overflow="fold")  # a long name gives way to the numbers
    for _, title, _ in columns:
        drawn.add_column(title, justify="right", no_wrap=True)
    drawn.add_column("n", justify="right", no_wrap=True)
    for place in dict.fromkeys(str(name) for name in table["sub_dataset"]):
        row = []
        for key, _, percent in columns:
            record = cells[key, place]
            cell = Cell(float(record["value"]), float(record["low"]), float(record["high"]))
            row.append(_number(cell, percent, interval=key == main.name, break_line=False))
        drawn.add_row(Text(place), *row, f"{cells[main.name, place]['n']:,}")
    legend = [
        "in brackets: 95 % bootstrap interval",
        "SRCC, KRCC, PLCC: Spearman, Kendall, Pearson",
    ]
    legend += [f"{h.name}: {h.title}" for h in protocol.humans]
    legend += [
        f"{key}: {cells[key, 'macro']['note']}"
        for key, _, _ in columns
        if cells[key, "macro"]["note"]
    ]
    return Group(drawn, Text("\n".join(legend), style="dim"))


def forecast_to_rich(dataset: str, forecast: Forecast) -> RenderableType:
    """Return what an evaluation would take."""
    table = bare_table()
    table.add_column("metric")
    table.add_column("alone", justify="right")
    for name, seconds in forecast.seconds.items():
        table.add_row(name, _duration(seconds))
    table.add_row("all in one pass", _duration(forecast.together), style="bold")
    memory = f", {forecast.peak_memory_mb:,.0f} MB at its peak" if forecast.peak_memory_mb else ""
    again = forecast.computed - forecast.images
    passes = "each network passes over each image once" + f", over {again:,} again" * (again > 0)
    head = (
        f"{dataset}: {forecast.items:,} items, {forecast.images:,} different images in "
        f"{forecast.batches:,} batches; {passes}; "
        f"{forecast.pair_evaluations:,} distances{memory}"
    )
    probe = f"from a probe of {forecast.probe_items} items; reading and scoring not included"
    return Group(Text(head), Text(), table, Text(probe, style="dim"))


def listing_to_rich(table: pd.DataFrame) -> RenderableType:
    """Return a plain table, a column a field."""
    drawn = bare_table()
    for i, column in enumerate(table.columns):
        drawn.add_column(str(column).replace("_", " "), no_wrap=i == 0, overflow="fold")
    for row in table.itertuples(index=False):
        drawn.add_row(
            *(
                Text("" if pd.isna(v) else f"{v:,}" if isinstance(v, Integral) else str(v))
                for v in row
            )
        )
    return drawn if len(table) else Text("none")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
