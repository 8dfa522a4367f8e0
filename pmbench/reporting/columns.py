"""What every form of a board shares: its columns, each cell's text, and what is best."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from pmbench.analysis.leaderboard_rows import Board, Cell, Row
from pmbench.analysis.ranking import RankRange

SCORES, SUBS, FACTS, COST = "scores", "by sub-dataset", "", "cost"  # groups of columns
BEST = "bold: best of its column"
_TITLES = {  # of columns that are no scores: what stands above, and the title
    "counterpart": ("metric", "of pmbench"),
    "trained_on": ("", "trained on"),
    "rank": ("", "rank"),
    "n": ("n", "{unit}"),
    "speed": ("", "items/s"),
    "ms": ("ms", "/pair"),
    "memory": ("peak", "MB"),
    "parameters": ("", "params"),
    "weights": ("weights", "MB"),
}


@dataclass(frozen=True)
class Text:
    """One cell: the number, and what stands small below or beside it."""

    main: str
    interval: str = ""
    difference: str = ""  # of a published number: how far the measured one is above it
    best: bool = False
    off: bool = False  # the difference is larger than expected

    def small(self, intervals: bool) -> str:
        """Return what stands small below or beside it; a difference is never left out."""
        return self.difference or self.interval * intervals


@dataclass(frozen=True)
class Column:
    """One column: ``above`` and ``title`` are its head, ``texts`` its cells, a row each."""

    key: str
    group: str
    above: str
    title: str
    texts: tuple[Text, ...]

    @property
    def align(self) -> str:
        """Where its cells stand: l, to the left, or r."""
        return "l" if self.key in ("counterpart", "trained_on") else "r"

    @property
    def header(self) -> str:
        """The head in one line."""
        return " ".join(filter(None, [self.above, self.title]))


def columns_of(board: Board) -> list[Column]:
    """Return all columns of a board but the names, from left to right."""
    rows, columns = board.rows, []
    if not board.measured:
        columns += [
            _facts(board, "counterpart", FACTS, [Text(row.counterpart) for row in rows]),
            _facts(board, "trained_on", FACTS, [Text(row.trained_on) for row in rows]),
        ]
    for key in board.columns:
        columns.append(_scores(board, key))
        if key == board.overall and any(row.rank_range for row in rows):
            columns.append(_facts(board, "rank", SCORES, map(_rank, rows)))
    facts = [
        _facts(board, "n", FACTS, [Text(_whole(row.n)) for row in rows]),
        _facts(board, "speed", COST, [Text(_rounded(row.speed)) for row in rows]),
    ]
    costs = [
        _facts(board, "ms", COST, [Text(_rounded(row.ms)) for row in rows]),
        _facts(board, "memory", COST, [Text(_rounded(row.peak_memory_mb)) for row in rows]),
        _facts(board, "parameters", COST, [Text(many(row.parameters_count)) for row in rows]),
        _facts(board, "weights", COST, [Text(_rounded(row.weights_mb)) for row in rows]),
    ]
    facts += costs if board.cost else []
    return columns + [column for column in facts if any(text.main for text in column.texts)]


def name_of(row: Row) -> str:
    """Return a row's name, with what marks it."""
    return "↳ " * bool(row.beside) + row.name + " †" * row.other_setup


def in_lines(name: str, width: int) -> list[str]:
    """Return a name in lines of ``width`` characters, broken where a word or a part of it ends."""
    lines = [""]
    for part in re.findall(r"[^-\s,(+]*[-\s,(+]|[^-\s,(+]+", name):
        while len(lines[-1].rstrip() + part.rstrip()) > width and (lines[-1] or len(part) > width):
            if not lines[-1]:  # nowhere to break it
                lines[-1], part = part[:width], part[width:]
            lines.append("")
        lines[-1] += part
    return [line.rstrip() for line in lines]


def begins_family(board: Board, i: int) -> bool:
    """Say whether the row ``i`` is the first of its family, and the family's name is due."""
    return board.grouped and (i == 0 or board.rows[i - 1].family != board.rows[i].family)


def legend_of(board: Board, columns: list[Column]) -> list[str]:
    """Return the legend of a drawing without colours, in which bold has to be explained."""
    any_best = any(text.best for column in columns for text in column.texts)
    first, *others = board.legend or [""]
    return list(filter(None, [first, BEST * any_best, *others]))


def _scores(board: Board, key: str) -> Column:
    best = _best(board, key)
    texts = []
    for row in board.rows:
        cell = row.cells.get(key)
        if cell is None:
            texts.append(Text(""))
            continue
        percent = board.statistic.percent
        is_best = row.kind == "metric" and not row.other_setup and row.name in best
        texts.append(
            Text(
                number(cell, percent),
                interval(cell, percent),
                _difference(cell, percent),
                is_best,
                cell.off,
            )
        )
    whole = key in ("macro", "pooled")
    above, title = (board.statistic.title if whole else ""), key
    return Column(key, SCORES if whole else SUBS, above, title, tuple(texts))


def _facts(board: Board, key: str, group: str, texts: Iterable[Text]) -> Column:
    above, title = _TITLES[key]
    return Column(key, group, above, title.format(unit=board.unit), tuple(texts))


def number(cell: Cell, percent: bool) -> str:
    """Return a value as it is shown: in percent with one digit, or with three."""
    return score_text(cell.value, percent) + "*" * (cell.part and not math.isnan(cell.value))


def interval(cell: Cell, percent: bool) -> str:
    """Return the interval of a value as it is shown, "" where there is none."""
    if math.isnan(cell.value) or math.isnan(cell.low):
        return ""
    between = "–" if cell.low >= 0 else " to "  # a dash would look like another minus
    low, high = (score_text(value, percent) for value in (cell.low, cell.high))
    return "~" * cell.unreliable + low + between + high


def _difference(cell: Cell, percent: bool) -> str:
    if math.isnan(cell.difference):
        return ""
    scale, digits = (100, 1) if percent else (1, 3)
    rounded = round(cell.difference * scale, digits) + 0.0  # -0 is 0
    return f"{rounded:+.{digits}f}" + "!" * cell.off


def score_text(value: float, percent: bool) -> str:
    """Return a score in percent with one digit, or with three; "n/a" where there is none."""
    return "n/a" if math.isnan(value) else f"{value * 100:.1f}" if percent else f"{value:.3f}"


def _rank(row: Row) -> Text:
    if row.rank_range is None:
        return Text("")
    return Text(rank_text(row.rank_range), best=row.rank_range.low == 1)


def rank_text(rank_range: RankRange) -> str:
    """Return the places that a metric may have."""
    low, high = rank_range.low, rank_range.high
    return str(low) if low == high else f"{low}–{high}"


def _whole(count: int | None) -> str:
    return "" if count is None else f"{count:,}"


def many(count: int | None) -> str:
    """Return a large count in thousands or millions, with three digits."""
    if count is None:
        return ""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            digits = 2 if count < 10 * size else 1 if count < 100 * size else 0
            return f"{count / size:.{digits}f}{letter}"
    return str(count)


def _rounded(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _best(board: Board, column: str) -> set[str]:
    """Return the best metrics of a column, where there are several on the same items."""
    metrics = [row for row in board.rows if row.kind == "metric" and not row.other_setup]
    if len(metrics) < 2:
        return set()
    scored = [(row.name, row.cells[column]) for row in metrics if column in row.cells]
    scored = [(name, cell) for name, cell in scored if not math.isnan(cell.value)]
    scored = [(name, cell) for name, cell in scored if not cell.part] or scored
    most = max((cell.value for _, cell in scored), default=math.nan)
    return {name for name, cell in scored if cell.value == most}
