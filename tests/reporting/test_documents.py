"""Boards as LaTeX and HTML: they compile, they parse, and nothing in a name breaks them."""

from __future__ import annotations

import math
import re
import string
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from support.boards import everywhere, only_board, run_2afc, run_jnd
from support.latex import compiled

from pmbench.analysis.leaderboard import boards
from pmbench.analysis.leaderboard_rows import Board, Cell, Row, View
from pmbench.reporting import to_html, to_latex
from pmbench.reporting.latex import escaped
from pmbench.scoring.protocols import TWO_AFC

STRANGE = "a_b%c&d#e$f{g}h~i^j\\k|l<m>n\"o`p'q[r]s*t--u é × – ² 中 ↳ τ"


def toy(*names: str, **facts: Any) -> Board:
    """Return a board of metrics that score the same, with an interval, and of people."""
    cells = {"macro": Cell(0.71, 0.7, 0.72), "cnn": Cell(0.8, 0.75, 0.85), "x_y": Cell(math.nan)}
    rows = [Row(name, "metric", cells, 9, 10, 12.3, family="f & g") for name in names]
    rows.append(Row("mean", "human", {"macro": Cell(0.9)}, 9, 10, family="people"))
    whole: dict[str, Any] = {
        "dataset": "toy",
        "title": "A toy",
        "warnings": ["partial: 9 of 10 triplets"],
        "statistic": TWO_AFC.statistics[0],
        "unit": "triplets",
        "columns": ["macro", "cnn", "x_y"],
        "headers": {},
        "rows": rows,
        "legend": ["macro: plain mean"],
        "signature": "pmbench:0.1|toy:9of10#00|none|soft|macro|fp32",
    }
    return Board(**whole | facts)


# --- LaTeX ----------------------------------------------------------------------------------------


def test_latex_is_this() -> None:
    assert to_latex(toy("l2", "lpips_v-0")).splitlines() == [
        f"% toy, by pmbench {version()}; needs \\usepackage{{booktabs}} \\usepackage{{graphicx}}",
        "% signature: pmbench:0.1|toy:9of10#00|none|soft|macro|fp32",
        r"\begin{table}[htbp]",
        r"\centering",
        r"\caption{A toy (toy, 9 triplets). partial: 9 of 10 triplets.}\label{tab:toy}",
        r"\par\smallskip",
        r"\footnotesize\setlength{\tabcolsep}{3.5pt}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        r"\begin{tabular}{@{}lr@{\ }lrrr@{}}",
        r"\toprule",
        r" & \multicolumn{2}{c}{2AFC (\%)} & \multicolumn{2}{c}{by sub-dataset} & "
        r"\multicolumn{1}{c}{cost} \\",
        r"\cmidrule(lr){2-3}\cmidrule(lr){4-5}\cmidrule(lr){6-6}",
        r"metric & \multicolumn{2}{c}{macro} & cnn & x\_y & items/s \\",
        r"\midrule",
        r"mean & 90.0 &  &  &  &  \\",
        r"\midrule",
        r"l2 & \textbf{71.0} & {\tiny 70.0--72.0} & \textbf{80.0} & n/a & 12 \\",
        r"lpips\_v-0 & \textbf{71.0} & {\tiny 70.0--72.0} & \textbf{80.0} & n/a & 12 \\",
        r"\bottomrule",
        r"\end{tabular}}",
        r"\par\smallskip",
        r"\begin{minipage}{\linewidth}\scriptsize\raggedright",
        r"macro: plain mean\par",
        r"bold: best of its column\par",
        r"signature: pmbench:0.1\textbar\allowbreak{}toy:9of10\#00\textbar\allowbreak{}none"
        r"\textbar\allowbreak{}soft\textbar\allowbreak{}macro\textbar\allowbreak{}fp32\par",
        r"\end{minipage}",
        r"\end{table}",
    ]


def version() -> str:
    from pmbench import __version__

    return __version__


@pytest.fixture
def published(tmp_path: Path) -> list[Board]:
    """Boards with all there can be: published rows, families, another protocol, parts, costs."""
    results = tmp_path / "results"
    for k, metric in enumerate(("l2", "lpips-alex", "mmdpp")):
        run_2afc(results, metric, everywhere(k + 1), family="a_b & c")
    run_2afc(results, "part", everywhere(4), undefined_on=("cnn",))
    run_2afc(results, "odd", everywhere(4), way="other")
    run_jnd(results, "l2", [1, 2, 2, 1])
    made = boards(results, View(published=True, pooled=True, grouped=True, cost=True))
    made += boards(results, View(intervals=True, cost=True))
    made += boards(tmp_path / "nowhere", View(published=True))
    return made + boards(results, View(statistic="srcc", intervals=False))


def test_latex_of_every_kind_compiles_within_the_line(
    published: list[Board], tmp_path: Path
) -> None:
    tables = [to_latex(board) for board in published]
    assert any("longtable" in table for table in tables)
    assert any("{table}" in table for table in tables)
    said = compiled(tables, tmp_path)
    assert not re.findall(r"Overfull \\hbox .*", said)


def test_latex_of_every_special_character_compiles(tmp_path: Path) -> None:
    ascii_ = [f"x{c}y" for c in string.printable.strip()] + list(string.punctuation)
    strange = toy(
        STRANGE, *ascii_, title=STRANGE, dataset=STRANGE, warnings=[STRANGE], legend=[STRANGE],
        signature=STRANGE, grouped=True, columns=["macro", "cnn", STRANGE],
    )  # fmt: skip
    compiled([to_latex(strange)], tmp_path)


def test_latex_escapes() -> None:
    assert escaped("50 % of a_b & #1") == r"50 \% of a\_b \& \#1"
    assert escaped("a--b") == "a-{}-b"  # no dash
    assert escaped("[x]*") == "{[}x{]}{*}"  # no option of a line's end before it
    assert escaped("中é") == "{[}U+4E2D{]}é"


def test_differences_stand_below_published_numbers(tmp_path: Path) -> None:
    run_2afc(tmp_path, "lpips-alex", everywhere(3))
    lines = to_latex(only_board(tmp_path, published=True)).splitlines()
    (at,) = (i for i, line in enumerate(lines) if "hookrightarrow$ Alex-lin {[}1{]} &" in line)
    assert lines[at].endswith(r"\\*")  # no page ends here
    assert lines[at + 1].startswith(r" & {\tiny $-$4.8!} & ")
    assert r"{\tiny $-$8.9!}" in lines[at + 1]  # 65.0 - 73.9


# --- HTML -----------------------------------------------------------------------------------------


class Page(HTMLParser):
    """The texts of a page's cells by row, and every tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "col", "!doctype"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += f" {data.strip()}"


def test_html_is_well_formed_and_needs_nothing_else(published: list[Board]) -> None:
    text = to_html(published, ["2AFC and JND: r & s"])
    page = Page(text)
    assert page.open == []
    assert not re.search(r"(src|href)=|url\(|@import|<script", text)
    assert "<p>2AFC and JND: r &amp; s</p>" in text
    assert text.count("<caption") == text.count("<table>") == len(published)
    scopes = {tag[1].get("scope") for tag in page.tags if tag[0] == "th"}
    assert scopes == {"col", "colgroup", "row", "rowgroup"}
    abbreviations = {tag[1].get("title") for tag in page.tags if tag[0] == "abbr"}
    assert {"traditional", "frameinterp"} <= abbreviations
    assert "prefers-color-scheme: dark" in text


def test_html_says_what_the_board_says() -> None:
    page = Page(to_html([toy("l2", "b")]))
    rows = [[cell.strip() for cell in row] for row in page.rows]
    assert rows[1] == ["metric", "macro", "cnn", "x_y", "n triplets", "items/s"]
    assert rows[2] == ["l2", "71.0 70.0–72.0", "80.0 75.0–85.0", "n/a", "9", "12"]
    assert rows[-1] == ["mean", "90.0", "", "", "9", ""]
    bare = Page(to_html([toy("l2", intervals=False)]))
    assert bare.rows[2][1].strip() == "71.0"


def test_nothing_in_a_name_is_html() -> None:
    name = "<script>alert('x')</script>&amp;"
    text = to_html(
        [toy(name, dataset=name, title=name, warnings=[name], legend=[name], signature=name)],
        [name],
    )
    assert "<script" not in text
    assert Page(text).rows[2][0].strip() == name
