"""Boards -> LaTeX: a table that compiles as it stands, in the manner of booktabs."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from pmbench import __version__
from pmbench.analysis.leaderboard_rows import Board
from pmbench.reporting.columns import (
    COST,
    SCORES,
    SUBS,
    Column,
    Text,
    begins_family,
    columns_of,
    in_lines,
    legend_of,
    name_of,
)  # fmt: skip

_LINES_OF_A_PAGE = 40
_LONGEST_NAME = 24  # characters of a name on one line
_LINE = 345.0  # points: the width of a line in LaTeX's article class, on A4 as on letter paper
_LANDSCAPE = 550.0  # of one on a page that is turned
# name, points a character takes on average, blank on each side of a column
_SIZES = (
    ("small", 4.7, 4.0),
    ("footnotesize", 4.2, 3.5),
    ("scriptsize", 3.7, 2.5),
    ("scriptsize", 3.7, 1.8),
)
_TINY = 3.2  # points a character of an interval takes
_SYMBOLS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "_": r"\_", "%": r"\%", "&": r"\&",
    "#": r"\#", "$": r"\$", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar\allowbreak{}", '"': "''",
    "`": r"\textasciigrave{}", "–": "--", "…": r"\dots{}", "[": "{[}", "]": "{]}",
    "*": "{*}", "²": "$^2$", "×": r"$\times$", "±": r"$\pm$", "·": r"$\cdot$", "≈": r"$\approx$",
    "≤": r"$\le$", "≥": r"$\ge$", "†": r"$\dagger$", "↳": r"$\hookrightarrow$", "τ": r"$\tau$",
    "σ": r"$\sigma$", "↑": r"$\uparrow$", "’": "'", "\n": " ",
}  # fmt: skip


@dataclass(frozen=True)
class _Layout:
    """How a board is set: which columns, in which size, with which heads."""

    columns: list[Column]
    size: str
    blank: float  # points on each side of a column
    short: bool  # heads
    fits: bool

    @property
    def style(self) -> str:
        """The commands that set its type."""
        return f"\\{self.size}\\setlength{{\\tabcolsep}}{{{self.blank:g}pt}}"


def to_latex(board: Board) -> str:
    """Return a board as a complete table environment; long ones break across pages.

    What it needs stands in a comment at its top. A number of items that all rows share is named in
    the caption and has no column.
    """
    rows = sorted(board.rows, key=lambda row: row.family != "people")  # people first, then a rule
    board = replace(board, rows=rows)
    columns = columns_of(board)
    counts = {row.n for row in rows if row.n is not None}
    if len(counts) == 1:
        columns = [column for column in columns if column.key != "n"]
    layout = _layout(board, columns, _LINE)
    body = list(_body(board, layout))
    caption = f"\\caption{{{_caption(board, counts)}}}\\label{{tab:{_slug(board.dataset)}}}"
    if len(body) <= _LINES_OF_A_PAGE:
        packages = ["booktabs", *["graphicx"] * (not layout.fits)]
        lines = _short(board, layout, caption, body)
    elif layout.fits:
        packages, lines = ["booktabs", "longtable"], _long(board, layout, caption, body)
    else:
        layout = _layout(board, columns, _LANDSCAPE)
        packages = ["booktabs", "longtable", "lscape"]
        lines = [
            r"\begin{landscape}",
            *_long(board, layout, caption, list(_body(board, layout))),
            r"\end{landscape}",
        ]
    needs = " ".join(f"\\usepackage{{{package}}}" for package in packages)
    comments = [f"% {board.dataset}, by pmbench {__version__}; needs {needs}"]
    comments += [f"% signature: {board.signature}"] * bool(board.signature)
    return "\n".join([*(comment.replace("\n", " ") for comment in comments), *lines]) + "\n"


def _short(board: Board, layout: _Layout, caption: str, body: list[str]) -> list[str]:
    """Return a table that floats, on one page; one that is too wide is made smaller."""
    inner = [f"\\begin{{tabular}}{{{_spec(board, layout)}}}", *_head(board, layout), *body]
    inner += [r"\bottomrule", r"\end{tabular}"]
    if not layout.fits:
        inner = [r"\resizebox{\linewidth}{!}{%", *inner, "}"]
    lines = [r"\begin{table}[htbp]", r"\centering", caption, r"\par\smallskip", layout.style]
    return [*lines, *inner, r"\par\smallskip", *_notes(board, layout), r"\end{table}"]


def _long(board: Board, layout: _Layout, caption: str, body: list[str]) -> list[str]:
    """Return a table that goes on over pages, with its head on each."""
    head = _head(board, layout)
    lines = [f"{{{layout.style}", f"\\begin{{longtable}}{{{_spec(board, layout)}}}"]
    lines += [f"{caption}\\\\", *head, r"\endfirsthead", *head, r"\endhead"]
    lines += [r"\bottomrule", r"\endfoot", *body, r"\end{longtable}"]
    return [*lines, r"\noindent", *_notes(board, layout), "}"]


def escaped(text: str) -> str:
    """Return a text as LaTeX sets it, in the default encoding; what that lacks, by its number."""
    plain = "".join(_SYMBOLS.get(letter) or _set(letter) for letter in text)
    return re.sub("-(?=-)", "-{}", plain) if "--" in text else plain


def _set(letter: str) -> str:
    base = unicodedata.normalize("NFD", letter)[0]
    if letter.isascii() and letter.isprintable():
        return letter
    if base.isascii() and ord(letter) < 0x100:  # an accented letter
        return letter
    return f"{{[}}U+{ord(letter):04X}{{]}}"


def _layout(board: Board, columns: list[Column], line: float) -> _Layout:
    """Return the largest type in which a board is no wider than a line of so many points."""
    for size, letter, blank in _SIZES:
        for short in (False, True):
            width = _width(board, columns, short, letter)
            if width + 2 * blank * len(columns) <= line:
                return _Layout(columns, size, blank, short, fits=True)
    size, _, blank = _SIZES[-1]
    return _Layout(columns, size, blank, short=True, fits=False)


def _width(board: Board, columns: list[Column], short: bool, letter: float) -> float:
    """Return about how wide a board is in points, without blanks, if a letter takes so many."""
    names = [part for row in board.rows for part in in_lines(name_of(row), _LONGEST_NAME)]
    total = max(map(len, names)) * letter
    for column in columns:
        widths = [len(_title(board, column, short)) * letter]
        for text in column.texts:
            main = len(text.main) * letter
            small = len(text.small(_has_intervals(board, column))) * _TINY
            beside = _beside(board, column) and not text.difference
            widths.append(main + small if beside else max(main, small))
        total += max(widths)
    return total


def _title(board: Board, column: Column, short: bool) -> str:
    if column.key not in board.columns:
        return column.header if column.key != "n" else "n"
    parts = column.key.split("+")
    return "+".join(board.headers.get(part, part) if short else part for part in parts)


def _has_intervals(board: Board, column: Column) -> bool:
    of_macro = column.key in ("macro", "pooled")
    return of_macro if board.intervals is None else board.intervals


def _beside(board: Board, column: Column) -> bool:
    """Say whether a column's intervals stand in a column of their own, and not below."""
    return board.intervals is None and _has_intervals(board, column)


def _spec(board: Board, layout: _Layout) -> str:
    columns = ["r@{\\ }l" if _beside(board, column) else "r" for column in layout.columns]
    return "@{}l" + "".join(columns) + "@{}"


def _head(board: Board, layout: _Layout) -> list[str]:
    """Return the lines of the head: groups of columns with rules below, and the columns."""
    groups, rules, at = [""], [], 2
    titles = [""]
    for group, members in groupby(layout.columns, key=lambda column: column.group):
        spans = [2 if _beside(board, column) else 1 for column in members]
        title = _group(board, group)
        groups.append(f"\\multicolumn{{{sum(spans)}}}{{c}}{{{title}}}")
        rules += [f"\\cmidrule(lr){{{at}-{at + sum(spans) - 1}}}"] * bool(title)
        at += sum(spans)
    for column in layout.columns:
        title = escaped(_title(board, column, layout.short))
        titles.append(f"\\multicolumn{{2}}{{c}}{{{title}}}" if _beside(board, column) else title)
    titles[0] = "metric"
    return [r"\toprule", " & ".join(groups) + r" \\", "".join(rules), _line(titles), r"\midrule"]


def _group(board: Board, group: str) -> str:
    statistic = board.statistic
    scores = escaped(statistic.title + " (%)" * statistic.percent)
    return {SCORES: scores, SUBS: SUBS, COST: COST}.get(group, "")


def _body(board: Board, layout: _Layout) -> Iterator[str]:
    width = 1 + sum(2 if _beside(board, column) else 1 for column in layout.columns)
    for i, row in enumerate(board.rows):
        if i and board.rows[i - 1].family == "people" != row.family:
            yield r"\midrule"
        if begins_family(board, i) and row.family != "people":
            yield r"\addlinespace" * (i > 0 and board.rows[i - 1].family != "people")
            yield f"\\multicolumn{{{width}}}{{@{{}}l}}{{\\itshape {escaped(row.family)}}} \\\\*"
        lines = [[escaped(part)] for part in in_lines(name_of(row), _LONGEST_NAME)]
        lines += [[""]] * (len(lines) == 1)
        lines = [list(line) for line in lines]
        for column in layout.columns:
            beside = _beside(board, column)
            cells = _cell(column.texts[i], _has_intervals(board, column), beside)
            for k, line in enumerate(lines):
                line += cells[k] if k < 2 else [""] * len(cells[0])
        while not any(lines[-1]):
            del lines[-1]
        yield from (_line(line, r"\\*") for line in lines[:-1])
        yield _line(lines[-1])


def _cell(text: Text, intervals: bool, beside: bool) -> tuple[list[str], list[str]]:
    """Return what stands in a column, or in the two of it, in the upper and the lower line."""
    main = f"\\textbf{{{escaped(text.main)}}}" if text.best else escaped(text.main)
    small = text.small(intervals)
    drawn = f"{{\\tiny {escaped(small)}}}".replace("{\\tiny -", "{\\tiny $-$") if small else ""
    if beside and not text.difference:
        return [main, drawn], ["", ""]
    return [main, *[""] * beside], [drawn, *[""] * beside]


def _notes(board: Board, layout: _Layout) -> list[str]:
    lines = [escaped(line) for line in legend_of(board, layout.columns)]
    lines += [f"signature: {escaped(board.signature)}"] * bool(board.signature)
    return [
        r"\begin{minipage}{\linewidth}\scriptsize\raggedright",
        *(f"{line}\\par" for line in lines),
        r"\end{minipage}",
    ]


def _caption(board: Board, counts: set[int]) -> str:
    items = [f"{count:,} {board.unit}" for count in counts] if len(counts) == 1 else []
    parts = [f"{board.title} ({', '.join([board.dataset, *items])})", *board.warnings]
    return escaped(". ".join(parts) + ".")


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _line(cells: list[str], end: str = r"\\") -> str:
    return " & ".join(cells) + f" {end}"
