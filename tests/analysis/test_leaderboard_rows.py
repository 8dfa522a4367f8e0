"""Runs -> boards: which rows and columns there are, in which order, what is marked and why."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.boards import (
    BAPPS,
    SHORT,
    cell_value,
    everywhere,
    only_board,
    row_names,
    row_of,
    run_2afc,
    run_jnd,
)
from support.factories import update_digests
from support.refusals import message_of

from pmbench.analysis.export import scores_table
from pmbench.analysis.leaderboard import boards
from pmbench.analysis.leaderboard_rows import Cell, Row, View
from pmbench.analysis.legends import legend
from pmbench.results.run import save
from pmbench.scoring.protocols import JND, TWO_AFC
from pmbench.scoring.scores import score

# --- what is on a board ---------------------------------------------------------------------------


def test_there_is_a_board_for_each_dataset(results: Path) -> None:
    first, second = boards(results, View())
    assert (first.dataset, first.title, first.unit) == (
        "bapps-2afc-val", "BAPPS 2AFC, validation", "triplets",
    )  # fmt: skip
    assert (second.dataset, second.title, second.unit) == ("ladder-jnd", "Ladder JND", "pairs")
    assert (first.statistic.name, second.statistic.name) == ("2afc", "map")
    assert first.columns == ["macro", *BAPPS]
    assert second.columns == ["macro", "noise", "blur"]
    assert first.headers == SHORT


def test_a_partial_and_a_synthetic_dataset_are_marked(results: Path) -> None:
    first, second = boards(results, View())
    assert first.warnings == [
        "partial: 94 of 36,344 triplets, not comparable with published scores"
    ]
    assert second.warnings == ["synthetic, no human votes"]


def test_a_dataset_may_be_both_or_without_a_mark(tmp_path: Path) -> None:
    run_jnd(tmp_path / "both", "l2", [1, 2, 1, 2], of=108, partial=True)
    assert only_board(tmp_path / "both").warnings == [
        "synthetic, no human votes",
        "partial: 4 of 108 pairs, not comparable with published scores",
    ]
    run_2afc(tmp_path / "whole", "l2", everywhere(2))
    assert only_board(tmp_path / "whole").warnings == []


def test_scores_stand_in_their_columns_with_their_intervals(tmp_path: Path) -> None:
    run = run_2afc(tmp_path, "l2", {"traditional": 4, "cnn": 3, "color": 1}, speed=7.5)
    board = only_board(tmp_path, pooled=True)
    result = {column: cell_value(board, "l2", column) for column in board.columns}
    assert result == pytest.approx(
        {
            "macro": (0.8 + 0.65 + 0.2 + 0.2 + 0.35 + 0.2) / 6,
            "pooled": (0.8 * 8 + 0.2 * 16) / 24,
            "traditional": 0.8,
            "cnn": 0.65,
            "superres": 0.2,
            "deblur": 0.2,
            "color": 0.35,
            "frameinterp": 0.2,
        }
    )
    table = run.scores()
    macro = table[(table["statistic"] == "2afc") & (table["sub_dataset"] == "macro")].iloc[0]
    cell = row_of(board, "l2").cells["macro"]
    assert (cell.value, cell.low, cell.high) == (macro.value, macro.low, macro.high)
    assert (cell.note, cell.part, cell.unreliable) == ("", False, True)  # of 4 items each
    assert math.isnan(cell.difference)
    assert row_of(board, "l2").cells["macro"].low < macro.value
    assert (row_of(board, "l2").n, row_of(board, "l2").of, row_of(board, "l2").speed) == (
        24, 24, 7.5,
    )  # fmt: skip


def test_pooled_is_shown_on_request_only(results: Path) -> None:
    for board in boards(results, View()):
        assert "pooled" not in board.columns
    for board in boards(results, View(pooled=True)):
        assert board.columns[:2] == ["macro", "pooled"]


def test_a_single_sub_dataset_has_no_column_beside_the_macro(tmp_path: Path) -> None:
    run_2afc(tmp_path, "l2", {"all": 2}, {"all": 4}, name="mine")
    assert only_board(tmp_path).columns == ["macro"]


def test_columns_are_those_of_all_runs(tmp_path: Path) -> None:
    run_2afc(tmp_path, "a", {"cnn": 3}, {"cnn": 4}, way="other", of=8, partial=True)
    run_2afc(tmp_path, "b", {"cnn": 2, "color": 4}, {"cnn": 4, "color": 4})
    board = only_board(tmp_path)
    assert board.columns == ["macro", "cnn", "color"]
    assert "color" not in row_of(board, "a").cells
    assert cell_value(board, "b", "color") == pytest.approx(0.8)


def test_another_statistic_is_shown_on_request(results: Path) -> None:
    (board,) = boards(results, View(statistic="hard_majority"))  # JND has none
    assert (board.dataset, board.statistic.name) == ("bapps-2afc-val", "hard_majority")
    assert cell_value(board, "lpips-alex", "cnn") == 15 / 16
    first, second = boards(results, View(statistic="srcc"))
    assert first.statistic.name == second.statistic.name == "srcc"
    assert cell_value(second, "mmdpp") == pytest.approx(1)
    assert cell_value(second, "l2", "blur") == pytest.approx(-1)
    assert row_names(first, "human") == []  # people have shares, not correlations


# --- people ---------------------------------------------------------------------------------------


def test_human_rows_appear_for_human_votes_only(results: Path) -> None:
    first, second = boards(results, View())
    assert set(row_names(first, "human")) == {"human-paper", "human-fresh", "human-majority"}
    assert set(row_names(second, None)) == {"mmdpp", "l2"}
    assert not any("human" in line for line in second.legend)


def test_human_rows_say_what_people_would_score(results: Path) -> None:
    board = boards(results, View())[0]
    # four of five votes: 0.8² + 0.2², (4·3)/(5·4), 0.8
    assert cell_value(board, "human-paper") == pytest.approx(0.68)
    assert cell_value(board, "human-fresh") == pytest.approx(0.6)
    assert cell_value(board, "human-majority") == pytest.approx(0.8)
    for name in row_names(board, "human"):
        row = row_of(board, name)
        assert (row.n, row.of, row.speed, row.other_setup) == (94, 36344, None, False)


def test_the_legend_says_which_human_row_is_the_ceiling(results: Path) -> None:
    assert boards(results, View())[0].legend == [
        "macro: plain mean of the sub-datasets; 95 % intervals",
        "~ interval of fewer than 20 independent items: unreliable",
        "rank: range of ranks by paired tests (Holm-corrected, 5 %); those from 1 on cannot "
        "be told apart from the best",
        "human-paper: Human, the paper's row: p²+(1-p)²",
        "human-fresh: Human, one person against the others",
        "human-majority: Upper bound: always with the majority",
    ]


def test_a_human_row_that_is_undefined_has_its_reason_in_the_legend(tmp_path: Path) -> None:
    run_2afc(tmp_path, "l2", everywhere(1), votes=1)
    board = only_board(tmp_path)
    assert math.isnan(cell_value(board, "human-fresh"))
    assert (
        "human-fresh: without traditional, cnn, superres, deblur, color, frameinterp: "
        "fewer than two people were asked, or nobody says how many" in board.legend
    )


# --- order ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("macro", "dcab"),
        ("cnn", "acdb"),  # n/a comes last
        ("name", "abcd"),
        ("speed", "bcad"),
        ("items/s", "bcad"),
    ],
)
def test_rows_are_sorted(four: Path, sort: str, order: str) -> None:
    assert "".join(row_names(only_board(four, sort=sort))) == order


def test_pooled_is_shown_where_rows_are_sorted_by_it(tmp_path: Path) -> None:
    counts = {"small": 2, "large": 10}
    run_2afc(tmp_path, "a", {"small": 2, "large": 2}, counts, name="mine")
    run_2afc(tmp_path, "b", {"small": 0, "large": 8}, counts, name="mine")
    board = only_board(tmp_path, sort="pooled")
    assert row_names(board) == ["b", "a"]
    assert [cell_value(board, name, "pooled") for name in "ba"] == pytest.approx(
        [7.2 / 12, 4.8 / 12]
    )
    assert row_names(only_board(tmp_path, pooled=True)) == ["a", "b"]


def test_people_and_published_scores_are_sorted_among_the_metrics(four: Path) -> None:
    board = only_board(four, published=True)
    sorted_in = [row for row in board.rows if not row.beside]
    values = [row.cells["macro"].value for row in sorted_in if "macro" in row.cells]
    assert values == sorted(values, reverse=True)
    assert all("macro" not in row.cells for row in sorted_in[len(values) :])  # others come last
    kinds = [row.kind for row in board.rows]
    assert kinds.index("metric") < len(kinds) - 1 - kinds[::-1].index("human")


def test_rows_without_speed_come_last(four: Path) -> None:
    board = only_board(four, sort="speed")
    assert [row.kind for row in board.rows] == ["metric"] * 4 + ["human"] * 3


def test_an_unknown_column_to_sort_by_is_answered_with_close_ones(four: Path) -> None:
    message = message_of(boards, four, View(sort="colour"))
    assert message == "unknown column to sort by 'colour'; did you mean color or deblur?"
    assert message_of(boards, four, View(sort="xyz")) == (
        "unknown column to sort by 'xyz'; known are: cnn, color, deblur, frameinterp, items/s, "
        "macro, name, pooled, speed, superres, traditional."
    )


# --- what is missing ------------------------------------------------------------------------------


def test_na_has_its_reason_in_the_legend(tmp_path: Path) -> None:
    run_2afc(tmp_path, "big", everywhere(3), undefined_on=("cnn",))
    run_2afc(tmp_path, "any", everywhere(2))
    board = only_board(tmp_path)
    assert math.isnan(cell_value(board, "big", "cnn"))
    assert board.legend[-2:] == [
        "* over a part of the items only; the reasons:",
        "big: not defined on 4 items: 63×63: needs at least 64 pixels a side; "
        "without cnn: no items left",
    ]
    assert row_of(board, "big").n == 20


def test_a_score_over_a_part_is_marked_beside_the_number(tmp_path: Path) -> None:
    run_2afc(tmp_path, "big", everywhere(3), undefined_on=("cnn",))
    run_2afc(tmp_path, "any", everywhere(2))
    board = only_board(tmp_path, pooled=True)
    marked = {c: cell.part for c, cell in row_of(board, "big").cells.items()}
    assert marked == {"macro": True, "pooled": True, **dict.fromkeys(BAPPS, False)}
    assert not any(cell.part for cell in row_of(board, "any").cells.values())


def test_a_macro_without_a_sub_dataset_is_marked_and_its_reason_told(tmp_path: Path) -> None:
    run = run_jnd(tmp_path, "l2", [1, 2, 1, 2])
    items, distances = run.distances()
    nobody = replace(items, p=np.array([1, 0, 0, 0.0]))
    save(run.folder, run.info, nobody, distances, score(JND, "l2", nobody, distances).table)
    board = only_board(tmp_path)
    assert row_of(board, "l2").cells["macro"].part
    assert math.isnan(cell_value(board, "l2", "blur"))
    assert board.legend[-1] == 'l2: without blur: nobody said "same"'


def test_no_interval_where_nothing_can_be_drawn_is_said(tmp_path: Path) -> None:
    run_2afc(tmp_path, "l2", {"one": 1}, {"one": 1, "two": 4}, name="mine")
    board = only_board(tmp_path)
    assert math.isnan(row_of(board, "l2").cells["one"].low)
    message = "no interval where all items, or all that decide, are of one cluster"
    assert message in board.legend
    run_2afc(tmp_path / "other", "l2", {"one": 1}, {"one": 4, "two": 4}, name="mine")
    assert message not in only_board(tmp_path / "other").legend


@pytest.mark.parametrize(("value", "said"), [(1.0, True), (0.99, False)])
def test_where_people_always_agree_their_rows_say_nothing(value: float, said: bool) -> None:
    people = [Row(human.name, "human", {"macro": Cell(value)}) for human in TWO_AFC.humans]
    message = "people agreed on every item: the rows about them say nothing here"
    assert (message in legend(TWO_AFC, TWO_AFC.main, people)) == said


# --- unreliable intervals -------------------------------------------------------------------------


def test_intervals_of_few_items_are_unreliable(tmp_path: Path) -> None:
    run_2afc(tmp_path, "a", everywhere(9), {"traditional": 40, "cnn": 19})
    board = only_board(tmp_path)
    cells = row_of(board, "a").cells
    assert {c: cell.unreliable for c, cell in cells.items()} == {
        "macro": True, "traditional": False, "cnn": True,
    }  # fmt: skip
    assert board.legend[1] == "~ interval of fewer than 20 independent items: unreliable"


def test_older_runs_do_not_say_what_is_unreliable(tmp_path: Path) -> None:
    run = run_2afc(tmp_path, "a", everywhere(3))
    path = run.folder / "scores.csv"
    pd.read_csv(path).drop(columns="unreliable").to_csv(path, index=False, na_rep="nan")
    update_digests(run.folder)
    board = only_board(tmp_path)
    assert not any(cell.unreliable for row in board.rows for cell in row.cells.values())
    assert not any("unreliable" in line for line in board.legend)
    assert not scores_table(tmp_path, View())["unreliable"].any()


# --- families -------------------------------------------------------------------------------------


@pytest.fixture
def families(tmp_path: Path) -> Path:
    """Return runs of two families, of which the second has the best and the worst metric."""
    for name, family, right in (
        ("l1", "pixels", 2), ("l2", "pixels", 3), ("lpips-a", "LPIPS", 4), ("lpips-b", "LPIPS", 0),
    ):  # fmt: skip
        run_2afc(tmp_path, name, dict.fromkeys(BAPPS, right), family=family)
    return tmp_path


def test_grouped_families_stand_where_their_best_metric_would_after_people(families: Path) -> None:
    (board,) = boards(families, View(grouped=True))
    assert board.grouped
    metrics = [(row.family, row.name) for row in board.rows if row.kind == "metric"]
    assert metrics == [
        ("LPIPS", "lpips-a"), ("LPIPS", "lpips-b"), ("pixels", "l2"), ("pixels", "l1"),
    ]  # fmt: skip
    assert [row.family for row in board.rows[:3]] == ["people"] * 3


def test_flat_the_score_alone_orders(families: Path) -> None:
    (board,) = boards(families, View())  # few metrics are not grouped unless asked for
    assert not board.grouped
    assert [row.name for row in board.rows if row.kind == "metric"] == [
        "lpips-a", "l2", "l1", "lpips-b",
    ]  # fmt: skip


def test_many_metrics_are_grouped_unless_flat_is_asked_for(tmp_path: Path) -> None:
    for i in range(17):
        run_2afc(tmp_path, f"m{i}", dict.fromkeys(BAPPS, i % 5), family=f"family {i % 2}")
    assert boards(tmp_path, View())[0].grouped
    assert not boards(tmp_path, View(grouped=False))[0].grouped


def test_a_reason_is_told_once_for_all_metrics_that_share_it(tmp_path: Path) -> None:
    for name in ("iw-ssim", "ms-ssim"):
        run_2afc(tmp_path, name, {}, undefined_on=("cnn",))
    (board,) = boards(tmp_path, View())
    messages = [line for line in board.legend if "needs at least" in line]
    assert len(messages) == 1
    assert messages[0].startswith("iw-ssim, ms-ssim: ")
