"""Boards -> LaTeX: a table that compiles as it stands, in the manner of booktabs."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
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
_STYLE = r"\footnotesize\setlength{\tabcolsep}{3.5pt}"
_SYMBOLS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "_": r"\_", "%": r"\%", "&": r"\&",
    "#": r"\#", "$": r"\$", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar\allowbreak{}", '"': "''",
    "`": r"\textasciigrave{}", "–": "--", "…": r"\dots{}", "[": "{[}", "]": "{]}",
    "*": "{*}", "²": "$^2$", "×": r"$\times$", "±": r"$\pm$", "·": r"$\cdot$", "≈": r"$\approx$",
    "≤": r"$\le$", "≥": r"$\ge$", "†": r"$\dagger$", "↳": r"$\hookrightarrow$", "τ": r"$\tau$",
    "σ": r"$\sigma$", "↑": r"$\uparrow$", "’": "'", "\n": " ",
}  # fmt: skip


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
    body = list(_body(board, columns))
    caption = f"\\caption{{{_caption(board, counts)}}}\\label{{tab:{_slug(board.dataset)}}}"
    if len(body) <= _LINES_OF_A_PAGE:
        needs = r"\usepackage{booktabs} \usepackage{graphicx}"
        lines = _short(board, columns, caption, body)
    else:
        needs = r"\usepackage{booktabs} \usepackage{longtable} \usepackage{lscape}"
        lines = _long(board, columns, caption, body)
    comments = [f"% {board.dataset}, by pmbench {__version__}; needs {needs}"]
    comments += [f"% signature: {board.signature}"] * bool(board.signature)
    return "\n".join([*(comment.replace("\n", " ") for comment in comments), *lines]) + "\n"


def _short(board: Board, columns: list[Column], caption: str, body: list[str]) -> list[str]:
    """Return a table that floats, on one page; LaTeX makes one that is too wide smaller."""
    return [
        r"\begin{table}[htbp]",
        r"\centering",
        caption,
        r"\par\smallskip",
        _STYLE,
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        f"\\begin{{tabular}}{{{_spec(board, columns)}}}",
        *_head(board, columns, short=False),
        *body,
        r"\bottomrule",
        r"\end{tabular}}",
        r"\par\smallskip",
        *_notes(board, columns),
        r"\end{table}",
    ]


def _long(board: Board, columns: list[Column], caption: str, body: list[str]) -> list[str]:
    """Return a table that goes on over turned pages, with its head on each."""
    head = _head(board, columns, short=True)
    return [
        r"\begin{landscape}",
        _STYLE,
        f"\\begin{{longtable}}{{{_spec(board, columns)}}}",
        f"{caption}\\\\",
        *head,
        r"\endfirsthead",
        *head,
        r"\endhead",
        r"\bottomrule",
        r"\endfoot",
        *body,
        r"\end{longtable}",
        r"\noindent",
        *_notes(board, columns),
        r"\end{landscape}",
    ]


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


def _spec(board: Board, columns: list[Column]) -> str:
    letters = [r"r@{\ }l" if _beside(board, column) else column.align for column in columns]
    return "@{}l" + "".join(letters) + "@{}"


def _head(board: Board, columns: list[Column], short: bool) -> list[str]:
    """Return the lines of the head: groups of columns with rules below, and the columns."""
    groups, rules, at = [""], [], 2
    titles = [""]
    for group, members in groupby(columns, key=lambda column: column.group):
        spans = [2 if _beside(board, column) else 1 for column in members]
        title = _group(board, group)
        groups.append(f"\\multicolumn{{{sum(spans)}}}{{c}}{{{title}}}")
        rules += [f"\\cmidrule(lr){{{at}-{at + sum(spans) - 1}}}"] * bool(title)
        at += sum(spans)
    for column in columns:
        title = escaped(_title(board, column, short))
        titles.append(f"\\multicolumn{{2}}{{c}}{{{title}}}" if _beside(board, column) else title)
    titles[0] = "metric"
    return [r"\toprule", " & ".join(groups) + r" \\", "".join(rules), _line(titles), r"\midrule"]


def _group(board: Board, group: str) -> str:
    statistic = board.statistic
    scores = escaped(statistic.title + " (%)" * statistic.percent)
    return {SCORES: scores, SUBS: SUBS, COST: COST}.get(group, "")


def _body(board: Board, columns: list[Column]) -> Iterator[str]:
    width = 1 + sum(2 if _beside(board, column) else 1 for column in columns)
    for i, row in enumerate(board.rows):
        if i and board.rows[i - 1].family == "people" != row.family:
            yield r"\midrule"
        if begins_family(board, i) and row.family != "people":
            yield r"\addlinespace" * (i > 0 and board.rows[i - 1].family != "people")
            yield f"\\multicolumn{{{width}}}{{@{{}}l}}{{\\itshape {escaped(row.family)}}} \\\\*"
        lines = [[escaped(part)] for part in in_lines(name_of(row), _LONGEST_NAME)]
        lines += [[""]] * (len(lines) == 1)
        lines = [list(line) for line in lines]
        for column in columns:
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


def _notes(board: Board, columns: list[Column]) -> list[str]:
    lines = [escaped(line) for line in legend_of(board, columns)]
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
