"""Tables in a terminal: everything fits, nothing is cut off, every number stands in its place."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.boards import BAPPS, WAY, everywhere, items_of, only_board, run_2afc, run_jnd
from support.terminal import bold_numbers, terminal_lines

from pmbench.analysis.leaderboard import boards
from pmbench.analysis.leaderboard_rows import Board, Cell, Row, View
from pmbench.reporting import (
    listing_to_rich,
    scores_to_rich,
    to_markdown,
    to_plain,
    to_rich,
)
from pmbench.reporting.columns import in_lines
from pmbench.reporting.tables import escape_markdown
from pmbench.results import csv_io
from pmbench.scoring.protocols import JND, TWO_AFC

WIDTHS = pytest.mark.parametrize("width", [80, 120])


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
    board = only_board(bapps, **view)
    lines = terminal_lines(to_rich(board, width), width)
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
    lines = terminal_lines(to_rich(only_board(tmp_path), width), width)
    assert lines[:3] == [
        "ladder-jnd  Ladder JND",
        "synthetic, no human votes",
        "partial: 4 of 108 pairs, not comparable with published scores",
    ]


def test_a_wide_terminal_shows_full_names_and_all_intervals(bapps: Path) -> None:
    lines = terminal_lines(to_rich(only_board(bapps), 150), 150)
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
    lines = terminal_lines(to_rich(only_board(bapps, intervals=intervals), width), width)
    assert below_of(lines, "lpips-squeeze") == shown


def test_all_intervals_on_a_narrow_terminal_go_on_in_further_tables(bapps: Path) -> None:
    lines = terminal_lines(to_rich(only_board(bapps, intervals=True), 80), 80)
    assert max(map(len, lines)) <= 80
    rows = [i for i, line in enumerate(lines) if line.startswith("lpips-squeeze")]
    assert len(rows) == 2
    assert sum(len(re.findall(r"\d+\.\d–\d+\.\d", lines[i + 1])) for i in rows) == 7


def test_what_has_nothing_to_show_in_a_further_table_is_not_in_it(bapps: Path) -> None:
    board = only_board(bapps, cost=True)
    costly = [
        replace(row, weights_mb=9.87, parameters_count=2_469_696, peak_memory_mb=1234.5)
        if row.name == "mmdpp"
        else row
        for row in board.rows
    ]
    lines = terminal_lines(to_rich(replace(board, columns=["macro"], rows=costly), 44), 44)
    assert len(heads(lines)) == 2
    assert sum(line.startswith("human-paper ") for line in lines) == 1  # people have no cost
    assert [line.split() for line in lines if line.startswith("mmdpp")][1][-2:] == ["2.47M", "9.9"]
    # runs that do not say what they cost have no columns for it
    assert "MB" not in {
        word for head in heads(terminal_lines(to_rich(board, 80), 80)) for word in head
    }


def test_a_narrow_terminal_shows_short_names_and_the_interval_of_the_macro(bapps: Path) -> None:
    lines = terminal_lines(to_rich(only_board(bapps), 80), 80)
    (head,) = heads(lines)
    assert {"trad", "superr", "interp"} <= set(head)
    assert below_of(lines, "lpips-squeeze") == 1


@WIDTHS
def test_numbers_stand_under_their_heads(tmp_path: Path, width: int) -> None:
    run_2afc(tmp_path, "l2", {"traditional": 4, "cnn": 3, "superres": 2, "deblur": 1}, speed=1234.5)
    lines = terminal_lines(to_rich(only_board(tmp_path), width), width)
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
    lines = terminal_lines(to_rich(only_board(tmp_path, statistic="srcc"), 80), 80)
    assert table_row(lines, "l2")[:3] == ["0.000", "1.000", "-1.000"]


@pytest.mark.parametrize(
    ("speed", "text"),
    [(12345.6, "12,346"), (99.6, "100"), (10, "10"), (9.87, "9.9"), (0.1234, "0.12")],
)
def test_speeds_have_two_digits_at_least(tmp_path: Path, speed: float, text: str) -> None:
    run_2afc(tmp_path, "l2", everywhere(1), speed=speed)
    assert table_row(terminal_lines(to_rich(only_board(tmp_path), 80), 80), "l2")[-1] == text


@WIDTHS
def test_many_sub_datasets_go_on_in_further_tables(tmp_path: Path, width: int) -> None:
    many = {f"distortion-{i:02d}": 2 for i in range(15)}
    for metric in ("mmdpp", "watson-dft-color-deviance"):
        run_2afc(tmp_path, metric, dict.fromkeys(many, 1), many, name="mine")
    board = only_board(tmp_path)
    lines = terminal_lines(to_rich(board, width), width)
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
    lines = terminal_lines(to_rich(only_board(bapps), 30), 30)
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
    assert sorted(bold_numbers(only_board(tmp_path), width)) == sorted(expected)


def test_the_only_metric_is_not_best(tmp_path: Path) -> None:
    run_2afc(tmp_path, "a", everywhere(4))
    assert bold_numbers(only_board(tmp_path, published=True), 120) == []


def test_what_is_not_comparable_is_not_best(tmp_path: Path) -> None:
    # 65 and 50 in all seven columns; the better ones are another protocol, or over a part
    run_2afc(tmp_path, "a", everywhere(3))
    run_2afc(tmp_path, "b", everywhere(2))
    run_2afc(tmp_path, "other", everywhere(4), way="other")
    assert bold_numbers(only_board(tmp_path), 120) == ["65.0"] * 7
    run_2afc(tmp_path, "part", everywhere(4), undefined_on=("cnn",))
    # its whole sub-datasets compete, its macro does not, and cnn it has not
    assert sorted(bold_numbers(only_board(tmp_path), 120)) == ["65.0"] * 2 + ["80.0"] * 5


def test_where_every_score_is_over_a_part_one_of_them_is_best(tmp_path: Path) -> None:
    for metric, right in (("a", 3), ("b", 2)):
        run_2afc(tmp_path, metric, everywhere(right), undefined_on=("cnn",))
    assert bold_numbers(only_board(tmp_path), 120) == ["65.0*"] + ["65.0"] * 5


def test_a_score_over_a_part_has_a_star(bapps: Path) -> None:
    lines = terminal_lines(to_rich(only_board(bapps), 80), 80)
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
    lines = terminal_lines(to_rich(only_board(bapps), 120), 120)
    assert [line.split()[0] for line in lines if re.match(r"\S+ † ", line)] == ["odd"]
    dagger = f"† measured in another way, or on other items, than {WAY}; not comparable"
    assert dagger in " ".join(lines)


def test_names_of_sub_datasets_are_no_markup(tmp_path: Path) -> None:
    counts = {"[bold]": 2, "x:smile:[/]": 2}
    run_2afc(tmp_path, "l2", {"[bold]": 2}, counts, name="mine")
    text = "\n".join(terminal_lines(to_rich(only_board(tmp_path), 80), 80))
    assert "[bold]" in text
    assert "x:smile:[/]" in text


def test_plain_text_is_the_terminals_without_colour(bapps: Path) -> None:
    board = only_board(bapps, published=True)
    for width in (80, 120):
        assert (
            to_plain(board, width) == "\n".join(terminal_lines(to_rich(board, width), width)) + "\n"
        )
    assert to_plain(board) == to_plain(board, 120)
    assert "\x1b" not in to_plain(board)


def test_a_table_is_this() -> None:
    cells = {"macro": Cell(0.71234, 0.7, 0.72), "cnn": Cell(0.8), "color": Cell(math.nan)}
    board = Board(
        dataset="toy",
        title="A toy",
        warnings=["partial: 9 of 10 triplets"],
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


# --- families -------------------------------------------------------------------------------------


@WIDTHS
def test_a_family_s_name_stands_above_its_metrics(tmp_path: Path, width: int) -> None:
    run_2afc(tmp_path, "l1", everywhere(2), family="pixels")
    run_2afc(tmp_path, "net-alex", everywhere(3), family="LPIPS")
    (board,) = boards(tmp_path, View(grouped=True))
    lines = terminal_lines(to_rich(board, width), width)
    firsts = [line.split()[0] for line in lines if line.split()]
    order = [firsts.index(word) for word in ("people", "LPIPS", "net-alex", "pixels", "l1")]
    assert order == sorted(order)
    markdown = to_markdown(board).splitlines()
    (heading,) = (line for line in markdown if line.startswith("| ***LPIPS***"))
    assert heading.count("|") == markdown[markdown.index(heading) + 1].count("|")


def test_without_groups_no_family_is_named(tmp_path: Path) -> None:
    run_2afc(tmp_path, "l1", everywhere(2), family="pixels")
    (board,) = boards(tmp_path, View())
    assert not any("pixels" in line for line in terminal_lines(to_rich(board, 100), 100))


# --- scores of a file -----------------------------------------------------------------------------


@WIDTHS
def test_the_scores_of_a_file_fit(width: int) -> None:
    items = items_of(BAPPS | {"[all]": 1000}, 0.8)
    distances = np.random.default_rng(0).random((len(items), 2))
    table = csv_io.score_table("x", "2afc", items, distances)
    lines = terminal_lines(scores_to_rich(table, TWO_AFC), width)
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
    assert "~ interval of fewer than 20 independent items: unreliable" in lines
    # votes are the same everywhere, so correlations are undefined
    assert row[3:] == ["n/a", "n/a", "n/a", "68.0", "60.0", "80.0", "4"]
    assert "plcc: without traditional, cnn, " in "\n".join(lines)


@WIDTHS
def test_a_long_name_in_a_file_gives_way_to_the_numbers(width: int) -> None:
    items = items_of({"all-of-the-very-long-names-of-sub-datasets": 2, "b": 2}, 1.0)
    table = csv_io.score_table("x", "2afc", items, np.array([[2.0, 1.0]] * 4))
    lines = terminal_lines(scores_to_rich(table, TWO_AFC), width)
    assert max(map(len, lines)) <= width
    assert "…" not in "".join(lines)
    assert table_row(lines, "b") == [
        "100.0", "(~15.8–100.0)", "100.0", "n/a", "n/a", "n/a", "100.0", "100.0", "100.0", "2",
    ]  # fmt: skip


def test_what_is_undefined_in_a_file_has_its_reason_below() -> None:
    items = items_of({"noise": 2}, 0.0, votes=1)
    table = csv_io.score_table("x", "jnd", items, np.array([[1.0], [2.0]]))
    lines = terminal_lines(scores_to_rich(table, JND), 120)
    assert table_row(lines, "macro") == ["n/a", "n/a", "n/a", "n/a", "n/a", "2"]
    assert lines[-5:] == [
        'map: nobody said "same"',
        "srcc: distances or votes do not vary",
        "krcc: distances or votes do not vary",
        "plcc: distances or votes do not vary",
        'human-majority: nobody said "same"',
    ]


# --- other tables ---------------------------------------------------------------------------------


def test_a_listing_shows_every_field() -> None:
    table = pd.DataFrame(
        {"metric": ["l2", "lpips-alex"], "min_size": [1, 31000], "paper": ["[1]", math.nan]}
    )
    lines = terminal_lines(listing_to_rich(table, 80), 80)
    assert [line.split() for line in lines] == [
        ["metric", "min", "size", "paper"],
        ["─" * len(lines[1])],
        ["l2", "1", "[1]"],
        ["lpips-alex", "31,000"],
    ]


@pytest.mark.parametrize("width", [52, 60, 80, 120])
def test_a_listing_breaks_no_name_on_a_narrow_terminal(width: int) -> None:
    table = pd.DataFrame(
        {"dataset": ["bapps-2afc-train"], "group": ["of-papers"], "title": ["BAPPS, training"],
         "protocol": ["2afc"], "here": ["151,400 items"]}
    )  # fmt: skip
    text = "\n".join(terminal_lines(listing_to_rich(table, width), width))
    for word in ("bapps-2afc-train", "2afc", "151,400 items"):
        assert word in text
    assert ("BAPPS, training" in text) == (width > 70)


def test_an_empty_listing_says_none() -> None:
    assert terminal_lines(listing_to_rich(pd.DataFrame(columns=["metric"]), 80), 80) == ["none"]


@WIDTHS
def test_each_of_several_boards_fits(tmp_path: Path, width: int) -> None:
    run_2afc(tmp_path, "mmdpp", everywhere(3))
    run_jnd(tmp_path, "mmdpp", [1, 2, 1, 2])
    for board in boards(tmp_path, View()):
        lines = terminal_lines(to_rich(board, width), width)
        assert max(map(len, lines)) <= width
        assert (
            table_row(lines, "mmdpp")[0] == {"2afc": "65.0", "map": "100.0"}[board.statistic.name]
        )


def test_markdown_keeps_code_on_request_and_no_other_markup() -> None:
    assert escape_markdown("a|b *c* `_d_` [e] <f> ~g~ &") == (
        r"a\|b \*c\* \`\_d\_\` \[e\] \<f\> \~g\~ \&"
    )
    assert escape_markdown("a_b `c_d` e_f", code=True) == r"a\_b `c_d` e\_f"
