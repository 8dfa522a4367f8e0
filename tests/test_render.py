"""Boards as text: everything fits, nothing is cut off, every number stands in its place."""

from __future__ import annotations

import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt
from rich.console import Console, RenderableType
from test_leaderboard import (
    BAPPS,
    WAY,
    everywhere,
    items_of,
    run_2afc,
    run_jnd,
    the_board,
)

from pmbench.analysis.board import Board, Cell, Row, View
from pmbench.analysis.export import tidy
from pmbench.analysis.leaderboard import boards
from pmbench.reporting import (
    forecast_to_rich,
    listing_to_rich,
    scores_to_rich,
    to_json,
    to_markdown,
    to_plain,
    to_rich,
)
from pmbench.reporting.columns import in_lines
from pmbench.reporting.tables import escaped
from pmbench.results import csv_io
from pmbench.scoring.protocols import JND, TWO_AFC

WIDTHS = pytest.mark.parametrize("width", [80, 120])


def drawn(what: RenderableType, width: int) -> list[str]:
    """Return what a terminal of that width shows, line by line."""
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(what)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def bold(board: Board, width: int) -> list[str]:
    """Return the numbers that are drawn bold, without their intervals."""
    segments = Console(width=width).render(to_rich(board, width))
    texts = [s.text.strip() for s in segments if s.style is not None and s.style.bold]
    return [text for text in texts if re.fullmatch(r"-?\d+\.\d+\*?", text)]


def heads(lines: list[str]) -> list[list[str]]:
    """Return the words of each table's head, its last line first."""
    rules = [i for i, line in enumerate(lines) if line.startswith("──")]
    return [(lines[i - 1] + " " + lines[i - 2] * (i > 1)).split() for i in rules]


def has_name(lines: list[str], name: str) -> bool:
    """Say whether a name stands complete at the beginning of a line, or of several, broken."""
    parts = in_lines(name, 13)
    wholes = [[name], parts, ["↳ " + name], in_lines("↳ " + name, 13)]
    return any(
        all(line.startswith(part) for line, part in zip(lines[i:], whole, strict=False))
        for whole in wholes
        for i in range(len(lines) - len(whole) + 1)
    )


def table_row(lines: list[str], name: str) -> list[str]:
    """Return the words of a row's first line, after its name."""
    (line,) = (line for line in lines if line.startswith(name + " "))
    return line.removeprefix(name).split()


@pytest.fixture
def bapps(tmp_path: Path) -> Path:
    """Metrics with names of all lengths on a whole BAPPS, one not defined everywhere, one †."""
    for k, metric in enumerate(
        ("mmdpp", "lpips-squeeze", "net-alex-random", "watson-dft-color-deviance", "l2-lab")
    ):
        run_2afc(tmp_path, metric, everywhere(k % 4 + 1), speed=10.0 ** (k - 1))
    run_2afc(tmp_path, "large-images-only", everywhere(4), undefined_on=("cnn",))
    run_2afc(tmp_path, "odd", everywhere(4), way=WAY.replace("legacy64", "exact4"))
    return tmp_path


# --- the terminal ---------------------------------------------------------------------------------


@WIDTHS
@pytest.mark.parametrize(
    "view",
    [
        {},
        {"cost": True, "intervals": True, "published": True},
        {"intervals": False},
        {"pooled": True},
        {"published": True},
        {"pooled": True, "published": True},
        {"statistic": "hard_majority", "pooled": True},
        {"statistic": "srcc", "pooled": True},
    ],
    ids=str,
)
def test_a_board_fits_and_nothing_is_cut_off(bapps: Path, view: dict[str, Any], width: int) -> None:
    board = the_board(bapps, **view)
    lines = drawn(to_rich(board, width), width)
    assert max(map(len, lines)) <= width
    assert "…" not in "\n".join(lines).replace("[…]", "")
    for row in board.rows:
        assert has_name(lines, row.name), row.name
    shown = {word for head in heads(lines) for word in head}
    for column in board.columns:
        parts = column.split("+")  # "traditional+" stands above "cnn"
        parts = [part + "+" for part in parts[:-1]] + parts[-1:]
        assert {column, board.headers.get(column, column)} & shown or all(
            {part, part.replace("traditional", "trad")} & shown for part in parts
        ), column
    assert {"metric", "n"} <= shown
    assert {"items/s"} <= shown or {"items", "/s"} <= shown
    for line in board.legend:  # wrapped, perhaps
        assert re.sub(r"\s", "", line) in re.sub(r"\s", "", "".join(lines))


@WIDTHS
def test_every_board_begins_with_its_name_and_marks(tmp_path: Path, width: int) -> None:
    run_jnd(tmp_path, "l2", [1, 2, 1, 2], of=108, partial=True)
    lines = drawn(to_rich(the_board(tmp_path), width), width)
    assert lines[:3] == [
        "ladder-jnd  Ladder JND",
        "synthetic, no human votes",
        "partial: 4 of 108 pairs, not comparable with published scores",
    ]


def test_a_wide_terminal_shows_full_names_and_all_intervals(bapps: Path) -> None:
    lines = drawn(to_rich(the_board(bapps), 150), 150)
    (head,) = heads(lines)
    assert {"traditional", "superres", "frameinterp"} <= set(head)
    assert below_of(lines, "lpips-squeeze") == 7
    assert any(line.startswith("watson-dft-color-deviance ") for line in lines)


def below_of(lines: list[str], name: str) -> int:
    """Return how many intervals stand below a metric's numbers."""
    below = lines[[line.startswith(name) for line in lines].index(True) + 1]
    return len(re.findall(r"\d+\.\d–\d+\.\d", below))


@pytest.mark.parametrize(
    ("intervals", "width", "shown"),
    [(None, 80, 1), (None, 110, 1), (None, 120, 7), (False, 150, 0), (True, 150, 7)],
)
def test_intervals_are_shown_where_there_is_room_or_as_is_asked(
    bapps: Path, intervals: bool | None, width: int, shown: int
) -> None:
    lines = drawn(to_rich(the_board(bapps, intervals=intervals), width), width)
    assert below_of(lines, "lpips-squeeze") == shown


def test_all_intervals_on_a_narrow_terminal_go_on_in_further_tables(bapps: Path) -> None:
    lines = drawn(to_rich(the_board(bapps, intervals=True), 80), 80)
    assert max(map(len, lines)) <= 80
    rows = [i for i, line in enumerate(lines) if line.startswith("lpips-squeeze")]
    assert len(rows) == 2
    assert sum(len(re.findall(r"\d+\.\d–\d+\.\d", lines[i + 1])) for i in rows) == 7


def test_what_has_nothing_to_show_in_a_further_table_is_not_in_it(bapps: Path) -> None:
    board = the_board(bapps, cost=True)
    costly = [
        replace(row, weights_mb=9.87, parameters_count=2_469_696, peak_memory_mb=1234.5)
        if row.name == "mmdpp"
        else row
        for row in board.rows
    ]
    lines = drawn(to_rich(replace(board, columns=["macro"], rows=costly), 44), 44)
    assert len(heads(lines)) == 2
    assert sum(line.startswith("human-paper ") for line in lines) == 1  # people have no cost
    assert [line.split() for line in lines if line.startswith("mmdpp")][1][-2:] == ["2.47M", "9.9"]
    # runs that do not say what they cost have no columns for it
    assert "MB" not in {word for head in heads(drawn(to_rich(board, 80), 80)) for word in head}


def test_a_narrow_terminal_shows_short_names_and_the_interval_of_the_macro(bapps: Path) -> None:
    lines = drawn(to_rich(the_board(bapps), 80), 80)
    (head,) = heads(lines)
    assert {"trad", "superr", "interp"} <= set(head)
    assert below_of(lines, "lpips-squeeze") == 1


@WIDTHS
def test_numbers_stand_under_their_heads(tmp_path: Path, width: int) -> None:
    run_2afc(tmp_path, "l2", {"traditional": 4, "cnn": 3, "superres": 2, "deblur": 1}, speed=1234.5)
    lines = drawn(to_rich(the_board(tmp_path), width), width)
    # macro: (80 + 65 + 50 + 35 + 20 + 20)/6; then the six, n and speed
    assert table_row(lines, "l2") == [
        "45.0", "80.0", "65.0", "50.0", "35.0", "20.0", "20.0", "24", "1,234",
    ]  # fmt: skip
    head = next(line for line in lines if line.startswith("metric"))
    row = next(line for line in lines if line.startswith("l2 "))
    for title, number in (("macro", "45.0"), ("cnn", "65.0"), ("deblur", "35.0")):
        assert head.index(title) + len(title) == row.index(number) + len(number)


def test_correlations_are_not_percentages(tmp_path: Path) -> None:
    run_jnd(tmp_path, "l2", [1, 2, 2, 1])
    lines = drawn(to_rich(the_board(tmp_path, statistic="srcc"), 80), 80)
    assert table_row(lines, "l2")[:3] == ["0.000", "1.000", "-1.000"]


@pytest.mark.parametrize(
    ("speed", "text"),
    [(12345.6, "12,346"), (99.6, "100"), (10, "10"), (9.87, "9.9"), (0.1234, "0.12")],
)
def test_speeds_have_two_digits_at_least(tmp_path: Path, speed: float, text: str) -> None:
    run_2afc(tmp_path, "l2", everywhere(1), speed=speed)
    assert table_row(drawn(to_rich(the_board(tmp_path), 80), 80), "l2")[-1] == text


@WIDTHS
def test_many_sub_datasets_go_on_in_further_tables(tmp_path: Path, width: int) -> None:
    many = {f"distortion-{i:02d}": 2 for i in range(15)}
    for metric in ("mmdpp", "watson-dft-color-deviance"):
        run_2afc(tmp_path, metric, dict.fromkeys(many, 1), many, name="mine")
    board = the_board(tmp_path)
    lines = drawn(to_rich(board, width), width)
    assert max(map(len, lines)) <= width
    assert "…" not in "".join(lines)
    tables = heads(lines)
    assert len(tables) > 1
    assert all("metric" in head for head in tables)  # each can be read alone
    shown = [word for head in tables for word in head]
    assert [shown.count(sub) for sub in many] == [1] * 15
    assert shown.count("macro") == shown.count("n") == 1
    starts = [line for line in lines if line.startswith("mmdpp")]
    assert len(starts) == len(tables)
    numbers = [number for line in starts for number in line.split()[1:]]
    assert [n for n in numbers if "." in n][:16] == ["50.0"] * 16  # macro, fifteen sub-datasets
    assert lines.count(board.legend[0]) == 1


def test_a_terminal_that_is_too_narrow_for_two_columns_shows_one_at_a_time(bapps: Path) -> None:
    lines = drawn(to_rich(the_board(bapps), 30), 30)
    assert max(map(len, lines)) <= 30
    assert {"trad", "cnn", "superr"} <= {word for head in heads(lines) for word in head}
    assert "…" not in "".join(lines)


@WIDTHS
def test_the_best_metric_of_each_column_is_bold(tmp_path: Path, width: int) -> None:
    run_2afc(tmp_path, "a", {"traditional": 4, "cnn": 3, "superres": 1, "deblur": 2})
    run_2afc(tmp_path, "b", {"traditional": 3, "cnn": 4, "superres": 1, "deblur": 1})
    run_2afc(tmp_path, "c", {"traditional": 0, "cnn": 0, "superres": 0, "deblur": 0, "color": 1})
    # macro of a: (80+65+35+50+20+20)/6; traditional of a, cnn of b, superres of both, deblur of a,
    # color of c, frameinterp of all three; people are above all of these and no metrics
    expected = ["45.0", "80.0", "80.0", "35.0", "35.0", "50.0", "35.0", "20.0", "20.0", "20.0"]
    assert sorted(bold(the_board(tmp_path), width)) == sorted(expected)


def test_the_only_metric_is_not_best(tmp_path: Path) -> None:
    run_2afc(tmp_path, "a", everywhere(4))
    assert bold(the_board(tmp_path, published=True), 120) == []


def test_what_is_not_comparable_is_not_best(tmp_path: Path) -> None:
    # 65 and 50 in all seven columns; the better ones are another protocol, or over a part
    run_2afc(tmp_path, "a", everywhere(3))
    run_2afc(tmp_path, "b", everywhere(2))
    run_2afc(tmp_path, "other", everywhere(4), way="other")
    assert bold(the_board(tmp_path), 120) == ["65.0"] * 7
    run_2afc(tmp_path, "part", everywhere(4), undefined_on=("cnn",))
    # its whole sub-datasets compete, its macro does not, and cnn it has not
    assert sorted(bold(the_board(tmp_path), 120)) == ["65.0"] * 2 + ["80.0"] * 5


def test_where_every_score_is_over_a_part_one_of_them_is_best(tmp_path: Path) -> None:
    for metric, right in (("a", 3), ("b", 2)):
        run_2afc(tmp_path, metric, everywhere(right), undefined_on=("cnn",))
    assert bold(the_board(tmp_path), 120) == ["65.0*"] + ["65.0"] * 5


def test_a_score_over_a_part_has_a_star(bapps: Path) -> None:
    lines = drawn(to_rich(the_board(bapps), 80), 80)
    first = next(line for line in lines if line.startswith("large-images-"))
    assert first.split()[1:] == [
        "80.0*",
        "80.0",
        "n/a",
        "80.0",
        "80.0",
        "80.0",
        "80.0",
        "20",
        "100",
    ]
    text = " ".join(lines)
    assert "large-images-only: not defined on 4 items: 63×63: needs at least 64 pixels" in text
    assert "* over a part of the items only; the reasons:" in lines


def test_rows_of_another_protocol_have_a_dagger(bapps: Path) -> None:
    lines = drawn(to_rich(the_board(bapps), 120), 120)
    assert [line.split()[0] for line in lines if re.match(r"\S+ † ", line)] == ["odd"]
    dagger = f"† measured in another way, or on other items, than {WAY}; not comparable"
    assert dagger in " ".join(lines)


def test_names_of_sub_datasets_are_no_markup(tmp_path: Path) -> None:
    counts = {"[bold]": 2, "x:smile:[/]": 2}
    run_2afc(tmp_path, "l2", {"[bold]": 2}, counts, name="mine")
    text = "\n".join(drawn(to_rich(the_board(tmp_path), 80), 80))
    assert "[bold]" in text
    assert "x:smile:[/]" in text


def test_plain_text_is_the_terminals_without_colour(bapps: Path) -> None:
    board = the_board(bapps, published=True)
    for width in (80, 120):
        assert to_plain(board, width) == "\n".join(drawn(to_rich(board, width), width)) + "\n"
    assert to_plain(board) == to_plain(board, 120)
    assert "\x1b" not in to_plain(board)


def test_a_table_is_this() -> None:
    cells = {"macro": Cell(0.71234, 0.7, 0.72), "cnn": Cell(0.8), "color": Cell(math.nan)}
    board = Board(
        dataset="toy",
        title="A toy",
        marks=["partial: 9 of 10 triplets"],
        statistic=TWO_AFC.statistics[0],
        unit="triplets",
        columns=["macro", "cnn", "color"],
        headers={},
        rows=[
            Row("lpips-vgg-random", "metric", cells, 9, 10, 12.3),
            Row("mean", "human", {"macro": Cell(0.7)}, 9, 10),
        ],
        legend=["macro: plain mean"],
    )
    assert "lpips-vgg-random       71.2  80.0" in to_plain(
        board, 60
    )  # a name is whole where it can be
    assert to_plain(board, 55) == (
        "toy  A toy\n"
        "partial: 9 of 10 triplets\n"
        "\n"
        "                 2AFC                      n\n"
        "metric          macro   cnn  color  triplets  items/s\n"
        "─────────────────────────────────────────────────────\n"
        "lpips-vgg-       71.2  80.0    n/a         9       12\n"
        "random      70.0–72.0\n"
        "mean             70.0                      9\n"
        "macro: plain mean\n"
    )


# --- Markdown -------------------------------------------------------------------------------------


def cells_of(line: str) -> list[str]:
    """Return the cells of a line of a Markdown table."""
    assert line.startswith("| ")
    assert line.endswith(" |")
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


@pytest.mark.parametrize("view", [{}, {"pooled": True, "published": True}, {"statistic": "srcc"}])
def test_markdown_is_a_well_formed_table(bapps: Path, view: dict[str, Any]) -> None:
    board = the_board(bapps, **view)
    lines = to_markdown(board).split("\n")
    assert lines[0] == "### bapps-2afc-val: BAPPS 2AFC, validation"
    start = next(i for i, line in enumerate(lines) if line.startswith("|"))
    assert lines[start - 1] == ""  # else it is no table
    table = [cells_of(line) for line in lines if line.startswith("|")]
    assert len(table) == 2 + len(board.rows)
    ranked = any(row.standing for row in board.rows)
    assert {len(row) for row in table} == {1 + len(board.columns) + ranked + 2}
    assert table[1] == ["---"] + ["---:"] * (len(table[0]) - 1)
    end = start + len(table)
    assert all(line.startswith("|") for line in lines[start:end])
    assert lines[end] == ""
    told = [unescaped(line) for line in lines[end + 1 :]]
    bold = ["- bold: best of its column"] * any("**" in cell for row in table[2:] for cell in row)
    assert told == [
        f"- {board.legend[0]}",
        *bold,
        *(f"- {line}" for line in board.legend[1:]),
        f"- `signature: {board.signature}`",
        "",
    ]


def unescaped(text: str) -> str:
    """Return what a line of Markdown shows."""
    return re.sub(r"\\(.)", r"\1", text)


def test_markdown_says_what_the_board_says(tmp_path: Path) -> None:
    run_2afc(tmp_path, "a", everywhere(4) | {"cnn": 3}, speed=12.3)
    run_2afc(tmp_path, "b", everywhere(1) | {"cnn": 4}, speed=0.5)
    board = the_board(tmp_path)
    head, _, *rows = (cells_of(x) for x in to_markdown(board).split("\n") if x.startswith("|"))
    assert head == [
        "metric", "2AFC macro", "rank", "traditional", "cnn", "superres", "deblur", "color",
        "frameinterp", "n triplets", "items/s",
    ]  # fmt: skip
    by_name = {row[0]: row[1:] for row in rows}
    # (5·80 + 65)/6 = 77.5 and (5·35 + 80)/6 = 42.5; the best in bold
    assert re.fullmatch(r"\*\*77\.5 \(\\~\d\d\.\d–\d\d\.\d\)\*\*", by_name["a"][0])
    assert by_name["a"][1:] == ["**1**", "**80.0**", "65.0", *["**80.0**"] * 4, "24", "12"]
    assert re.fullmatch(r"42\.5 \(\\~\d\d\.\d–\d\d\.\d\)", by_name["b"][0])
    assert by_name["b"][1:] == ["2", "35.0", "**80.0**", *["35.0"] * 4, "24", "0.5"]
    assert by_name["*human-majority*"] == [
        r"80.0 (\~80.0–80.0)", "", *["80.0"] * 6, "24", "",
    ]  # fmt: skip


def test_markdown_has_the_marks(tmp_path: Path) -> None:
    run_2afc(tmp_path, "a", everywhere(4), of=36344, partial=True)
    lines = to_markdown(the_board(tmp_path)).split("\n")
    mark = "**partial: 24 of 36,344 triplets, not comparable with published scores**"
    assert lines[1:5] == ["", mark, "", lines[4]]
    assert lines[4].startswith("| metric |")


def test_markdown_escapes_what_would_be_markup(tmp_path: Path) -> None:
    run_2afc(tmp_path, "part", everywhere(4), undefined_on=("cnn",))
    text = to_markdown(the_board(tmp_path, published=True))
    assert r"| part | 80.0\* (\~80.0–80.0) | 80.0 | n/a |" in text
    assert r"| *Alex-lin \[1\]* | 69.8 | 73.9 |" in text
    assert r"- \* over a part of the items only; the reasons:" in text
    run_2afc(tmp_path / "pipes", "l2", {"a|b": 2}, {"a|b": 2, "c": 2}, name="mine")
    table = [x for x in to_markdown(the_board(tmp_path / "pipes")).split("\n") if x.startswith("|")]
    assert {len(cells_of(line)) for line in table} == {6}
    assert r"a\|b" in table[0]


@pytest.mark.parametrize("name", ["a|b", "_x_ *y*", "[z](u)", "~~s~~", "<b>&amp;", "`c`", "↳ \\"])
def test_markdown_shows_any_name_as_it_is(tmp_path: Path, name: str) -> None:
    run_2afc(tmp_path, "plain", everywhere(2))
    board = the_board(tmp_path)
    rows = [replace(row, name=name) if row.name == "plain" else row for row in board.rows]
    text = to_markdown(replace(board, rows=rows, title=name, marks=[name], legend=[name]))
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    shown = ["".join(c.content for c in t.children or ()) for t in tokens if t.type == "inline"]
    assert shown.count(name) == 3  # the mark, the row, the legend
    assert f"bapps-2afc-val: {name}" in shown
    table = [t.type for t in tokens if t.type in ("th_open", "td_open", "tr_open")]
    assert len(table) == (len(board.rows) + 1) * (1 + 1 + len(board.columns) + 2)


# --- CSV and JSON ---------------------------------------------------------------------------------


def test_json_is_the_tidy_table_with_null_for_no_number(tmp_path: Path) -> None:
    run_2afc(tmp_path, "big", everywhere(4), undefined_on=("cnn",), speed=12.5)
    table = tidy(tmp_path, View())
    records = json.loads(to_json(table))
    assert len(records) == len(table)
    found = [r for r in records if (r["name"], r["statistic"]) == ("big", "2afc")]
    cnn = next(r for r in found if r["sub_dataset"] == "cnn")
    assert cnn == {
        "dataset": "bapps-2afc-val",
        "kind": "metric",
        "name": "big",
        "statistic": "2afc",
        "sub_dataset": "cnn",
        "value": None,
        "low": None,
        "high": None,
        "n": 0,
        "of": 4,
        "note": "not defined on 4 items: 63×63: needs at least 64 pixels a side; no items left",
        "unreliable": False,
        "family": "other",
        "partial": False,
        "human_votes": True,
        "items_per_second": 12.5,
        "peak_memory_mb": None,
        "parameters_count": None,
        "weights_mb": None,
        "signature": f"{WAY} || big#1f9c0000",
        "rank_low": None,
        "rank_high": None,
        "letters": "",
    }
    macro = next(r for r in found if r["sub_dataset"] == "macro")
    assert (macro["value"], macro["n"], macro["of"]) == (pytest.approx(0.8), 20, 24)
    assert "×" in to_json(table)  # as it is, not escaped
    assert "NaN" not in to_json(table)


def test_csv_has_the_documented_columns_with_n_and_signature(tmp_path: Path) -> None:
    run_2afc(tmp_path, "a", everywhere(3))
    table = pd.read_csv(io.StringIO(str(tidy(tmp_path, View()).to_csv(index=False))))
    assert list(table.columns) == [
        "dataset", "kind", "name", "statistic", "sub_dataset", "value", "low", "high", "n", "of",
        "note", "unreliable", "family", "partial", "human_votes", "items_per_second",
        "peak_memory_mb", "parameters_count", "weights_mb", "signature",
        "rank_low", "rank_high", "letters",
    ]  # fmt: skip
    table = table[table["kind"] == "metric"]
    row = table[(table["statistic"] == "2afc") & (table["sub_dataset"] == "macro")].iloc[0]
    assert (row["value"], row["n"]) == (pytest.approx(0.65), 24)
    assert row["signature"] == f"{WAY} || a#1f9c0000"


# --- families -------------------------------------------------------------------------------------


@WIDTHS
def test_a_family_s_name_stands_above_its_metrics(tmp_path: Path, width: int) -> None:
    run_2afc(tmp_path, "l1", everywhere(2), family="pixels")
    run_2afc(tmp_path, "net-alex", everywhere(3), family="LPIPS")
    (board,) = boards(tmp_path, View(grouped=True))
    lines = drawn(to_rich(board, width), width)
    firsts = [line.split()[0] for line in lines if line.split()]
    order = [firsts.index(word) for word in ("people", "LPIPS", "net-alex", "pixels", "l1")]
    assert order == sorted(order)
    markdown = to_markdown(board).splitlines()
    (heading,) = (line for line in markdown if line.startswith("| ***LPIPS***"))
    assert heading.count("|") == markdown[markdown.index(heading) + 1].count("|")


def test_without_groups_no_family_is_named(tmp_path: Path) -> None:
    run_2afc(tmp_path, "l1", everywhere(2), family="pixels")
    (board,) = boards(tmp_path, View())
    assert not any("pixels" in line for line in drawn(to_rich(board, 100), 100))


# --- scores of a file -----------------------------------------------------------------------------


@WIDTHS
def test_the_scores_of_a_file_fit(width: int) -> None:
    items = items_of(BAPPS | {"[all]": 1000}, 0.8)
    distances = np.random.default_rng(0).random((len(items), 2))
    table = csv_io.score_table("x", "2afc", items, distances)
    lines = drawn(scores_to_rich(table, TWO_AFC), width)
    assert max(map(len, lines)) <= width
    assert "…" not in "".join(lines)
    (head,) = heads(lines)
    assert {"2AFC", "hard", "SRCC", "KRCC", "PLCC", "paper", "fresh", "maj.", "n"} <= set(head)
    assert [line.split()[0] for line in lines[3:12]] == [*BAPPS, "[all]", "macro", "pooled"]
    cnn = table[table["sub_dataset"] == "cnn"]
    value = cnn.loc[cnn["statistic"] == "2afc", "value"].iloc[0] * 100
    row = table_row(lines, "cnn")
    assert row[0] == f"{value:.1f}"
    assert re.fullmatch(r"\(~\d+\.\d–\d+\.\d\)", row[1])  # of four items
    assert "~ interval of fewer than 30 independent items: unreliable" in lines
    # votes are the same everywhere, so correlations are undefined
    assert row[3:] == ["n/a", "n/a", "n/a", "68.0", "60.0", "80.0", "4"]
    assert "plcc: without traditional, cnn, " in "\n".join(lines)


@WIDTHS
def test_a_long_name_in_a_file_gives_way_to_the_numbers(width: int) -> None:
    items = items_of({"all-of-the-very-long-names-of-sub-datasets": 2, "b": 2}, 1.0)
    table = csv_io.score_table("x", "2afc", items, np.array([[2.0, 1.0]] * 4))
    lines = drawn(scores_to_rich(table, TWO_AFC), width)
    assert max(map(len, lines)) <= width
    assert "…" not in "".join(lines)
    assert table_row(lines, "b") == [
        "100.0", "(~100.0–100.0)", "100.0", "n/a", "n/a", "n/a", "100.0", "100.0", "100.0", "2",
    ]  # fmt: skip


def test_what_is_undefined_in_a_file_has_its_reason_below() -> None:
    items = items_of({"noise": 2}, 0.0, votes=1)
    table = csv_io.score_table("x", "jnd", items, np.array([[1.0], [2.0]]))
    lines = drawn(scores_to_rich(table, JND), 120)
    assert table_row(lines, "macro") == ["n/a", "n/a", "n/a", "n/a", "n/a", "2"]
    assert lines[-5:] == [
        'map: without noise: nobody said "same"',
        "srcc: without noise: distances or votes do not vary",
        "krcc: without noise: distances or votes do not vary",
        "plcc: without noise: distances or votes do not vary",
        'human-majority: without noise: nobody said "same"',
    ]


# --- other tables ---------------------------------------------------------------------------------


def test_a_listing_shows_every_field() -> None:
    table = pd.DataFrame(
        {"metric": ["l2", "lpips-alex"], "min_size": [1, 31000], "paper": ["[1]", math.nan]}
    )
    lines = drawn(listing_to_rich(table), 80)
    assert [line.split() for line in lines] == [
        ["metric", "min", "size", "paper"],
        ["─" * len(lines[1])],
        ["l2", "1", "[1]"],
        ["lpips-alex", "31,000"],
    ]


def test_an_empty_listing_says_none() -> None:
    assert drawn(listing_to_rich(pd.DataFrame(columns=["metric"])), 80) == ["none"]


def test_a_forecast_says_how_long_and_how_much() -> None:
    told: Any = SimpleNamespace(
        items=36344, images=100000, computed=100000, batches=1234,
        pair_evaluations=72688, peak_memory_mb=2345.6,
        seconds={"l2": 0.123, "mmdpp": 75.4, "vgg": 1234.0, "huge": 7200.0}, together=9.87,
        probe_items=64,
    )  # fmt: skip
    lines = drawn(forecast_to_rich("bapps", told), 200)
    assert lines[0] == (
        "bapps: 36,344 items, 100,000 different images in 1,234 batches; each network passes over "
        "each image once; 72,688 distances, 2,346 MB at its peak"
    )
    rows = [re.split(r"\s{2,}", line) for line in lines[4:9]]
    assert rows == [
        ["l2", "0.12 s"],
        ["mmdpp", "75 s"],
        ["vgg", "21 min"],
        ["huge", "2.0 h"],
        ["all in one pass", "9.9 s"],
    ]
    assert lines[9] == "from a probe of 64 items; reading and scoring not included"
    told.peak_memory_mb = None
    assert "MB" not in drawn(forecast_to_rich("bapps", told), 200)[0]


@WIDTHS
def test_each_of_several_boards_fits(tmp_path: Path, width: int) -> None:
    run_2afc(tmp_path, "mmdpp", everywhere(3))
    run_jnd(tmp_path, "mmdpp", [1, 2, 1, 2])
    for board in boards(tmp_path, View()):
        lines = drawn(to_rich(board, width), width)
        assert max(map(len, lines)) <= width
        assert (
            table_row(lines, "mmdpp")[0] == {"2afc": "65.0", "map": "100.0"}[board.statistic.name]
        )


def test_markdown_keeps_code_on_request_and_no_other_markup() -> None:
    assert escaped("a|b *c* `_d_` [e] <f> ~g~ &") == (r"a\|b \*c\* \`\_d\_\` \[e\] \<f\> \~g\~ \&")
    assert escaped("a_b `c_d` e_f", code=True) == r"a\_b `c_d` e\_f"
