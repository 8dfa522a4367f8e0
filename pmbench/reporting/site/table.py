"""A board -> the page's table: the texts that every drawing has, and what sorts them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from pmbench.analysis.leaderboard_rows import Cell, Row
from pmbench.reporting.columns import Column, Text, columns_of
from pmbench.reporting.site.sections import FRESH, MAJORITY, Section, counted, page_of

_MEANING = {
    "rank": "the range of ranks",
    "speed": "items a second, the metric alone",
    "ms": "milliseconds for a pair, the metric alone",
    "parameters": "parameters of its networks and filters",
}
_ELSEWHERE = ("memory", "weights")  # on the metric's page, where there is room


@dataclass(frozen=True)
class Head:
    """The head of a column."""

    key: str
    title: str
    meaning: str
    rising: bool  # sorted from the lowest at first


@dataclass(frozen=True)
class Strip:
    """An interval as an image: where its ends and its value are, in percent of the width."""

    low: float
    at: float
    high: float


@dataclass(frozen=True)
class Line:
    """One row: a cell for each head, and the number that it is sorted by ("" stands last)."""

    name: str
    address: str  # of its page; "" where it has none
    kind: str  # "metric" | "human" | "published"
    family: str
    beside: bool  # it belongs to the row above
    may_be_best: bool
    other_setup: bool
    cells: list[tuple[Text, str]]
    strip: Strip | None


@dataclass(frozen=True)
class Table:
    """The leaderboard of one section, as its page shows it."""

    title: str  # of the scores
    overall: str  # the key of the column that counts
    heads: list[Head]
    people: list[Line]
    metrics: list[Line]
    published: list[Line]  # of what was not measured
    left_out: int  # published rows that have a score in none of the columns
    count: str  # of metrics, in words
    may_be_best: bool  # some row is marked so
    families: list[str]
    marks: list[float]  # where the strips have lines for people, in percent of the width


def table_of(section: Section) -> Table:
    """Return the table of a section."""
    board = section.board
    columns = [
        column
        for column in columns_of(replace(board, cost=True))
        if column.key not in _ELSEWHERE
        and "+" not in column.key  # several sub-datasets at once, as one paper reports
        and any(text.main for text in column.texts)
    ]
    scale = _Scale.of(section)
    best = section.metrics[0].name if section.metrics else ""
    above = {row.name: row.kind for row in board.rows}
    lines: dict[str, list[Line]] = {"human": [], "metric": [], "published": []}
    left_out = 0
    for i, row in enumerate(board.rows):
        cells = [(column.texts[i], _order(column.key, row)) for column in columns]
        if row.kind == "published" and not any(text.main for text, _ in cells):
            left_out += 1
            continue
        # what papers report stands with the row that it belongs to
        lines[above.get(row.beside, row.kind)].append(_line(row, cells, scale, row.name == best))
    people = [section.people[name] for name in (FRESH, MAJORITY) if name in section.people]
    return Table(
        title=board.statistic.title,
        overall=board.overall,
        heads=[_head(section, column) for column in columns],
        people=lines["human"],
        metrics=lines["metric"],
        published=lines["published"],
        left_out=left_out,
        count=_count(section),
        may_be_best=any(line.may_be_best for line in lines["metric"]),
        families=sorted({r.family for r in board.rows if r.kind == "metric"}, key=str.casefold),
        marks=[scale.at(v) for v in (row.score.value for row in people) if not math.isnan(v)],
    )


def _count(section: Section) -> str:
    """Return how many metrics the table has, and how many of them are not comparable."""
    metrics = sum(row.kind == "metric" for row in section.board.rows)
    others = section.not_compared
    said = f", {others:,} of them (†) measured in another way" if others else ""
    return counted(metrics, "metric") + said


def _head(section: Section, column: Column) -> Head:
    title, meaning = column.header, _MEANING.get(column.key, "")
    if column.key in section.sub_datasets:
        title, meaning = section.board.headers.get(column.key, column.key), column.key
    if column.key == "n":
        title, meaning = "n", section.board.unit
    return Head(column.key, title, meaning, rising=column.key in ("rank", "ms"))


@dataclass(frozen=True)
class _Scale:
    """From scores to percent of a strip's width."""

    low: float
    high: float

    @classmethod
    def of(cls, section: Section) -> _Scale:
        cells = [row.score for row in [*section.metrics, *section.people.values()]]
        bounds = [v for c in cells for v in (c.value, c.low, c.high) if not math.isnan(v)]
        low, high = min(bounds, default=0.0), max(bounds, default=1.0)
        margin = 0.03 * (high - low) or 0.01
        return cls(low - margin, high + margin)

    def at(self, value: float) -> float:
        return round(min(max(100 * (value - self.low) / (self.high - self.low), 0), 100), 1)

    def strip(self, cell: Cell) -> Strip | None:
        if math.isnan(cell.value):
            return None
        low, high = (cell.value if math.isnan(v) else v for v in (cell.low, cell.high))
        return Strip(self.at(low), self.at(cell.value), self.at(high))


def _line(row: Row, cells: list[tuple[Text, str]], scale: _Scale, best: bool) -> Line:
    is_metric = row.kind == "metric"
    return Line(
        name=row.name,
        address=page_of(row.name) if is_metric else "",
        kind=row.kind,
        family=row.family if is_metric else "",
        beside=bool(row.beside),
        may_be_best=not best and row.rank_range is not None and row.rank_range.may_be_best,
        other_setup=row.other_setup,
        cells=cells,
        strip=scale.strip(row.score),
    )


def _order(key: str, row: Row) -> str:
    """Return the number that a cell is sorted by, "" where it has none."""
    value: float | None
    if key == "rank":
        value = None if row.rank_range is None else row.rank_range.low + row.rank_range.high / 1e6
    else:
        value = {
            "n": row.n,
            "speed": row.speed,
            "ms": row.ms,
            "parameters": row.parameters_count,
        }.get(key, row.cells.get(key, Cell(math.nan)).value)
    return "" if value is None or math.isnan(value) else f"{value:.8g}"
