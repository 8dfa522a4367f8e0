"""Runs -> boards: which rows stand where, what is marked, what is left out and why."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from making import resealed, whole_facts

from pmbench.analysis.board import Board, Cell, Row, View
from pmbench.analysis.export import tidy
from pmbench.analysis.leaderboard import boards, relations
from pmbench.analysis.legends import legend
from pmbench.analysis.published import published_rows
from pmbench.analysis.ranking import Standing
from pmbench.datasets import manifest
from pmbench.datasets.pack import Items
from pmbench.reporting.site.sections import sections
from pmbench.results.run import Run, save
from pmbench.scoring.bootstrap import Resampling
from pmbench.scoring.protocols import JND, TWO_AFC
from pmbench.scoring.scores import COLUMNS, human_rows, score
from pmbench.utils.errors import PmbenchError

# --- toy runs, of which every score is known beforehand -------------------------------------------

BAPPS = {"traditional": 4, "cnn": 4, "superres": 4, "deblur": 4, "color": 4, "frameinterp": 4}
SHORT = {"traditional": "trad", "superres": "superr", "frameinterp": "interp"}
WAY = "pmbench:0.1|bapps-2afc-val:24#d3b01234|legacy64|soft|macro|fp32"


FEW = Resampling(20)  # intervals need not be good here


def items_of(counts: dict[str, int], p: float, votes: int = 5) -> Items:
    n = sum(counts.values())
    return Items(
        id=np.array([f"item-{i}" for i in range(n)], object),
        sub=np.repeat(np.arange(len(counts)), list(counts.values())),
        sub_names=tuple(counts),
        p=np.full(n, p),
        votes=np.full(n, votes, np.int32),
        cluster=np.arange(n),
    )


def run_2afc(
    results: Path,
    metric: str,
    right: dict[str, int],
    counts: dict[str, int] | None = None,
    *,
    folder: str | None = None,
    way: str = WAY,
    speed: float = 100.0,
    votes: int = 5,
    undefined_on: tuple[str, ...] = (),
    family: str = "other",
    **facts: Any,
) -> Run:
    """Save a run on which ``right`` items of each sub-dataset are decided as the majority did.

    Four of five people preferred p1, so a sub-dataset of n scores (0.8·right + 0.2·(n-right))/n;
    in the usual one of four: 0.2 + 0.15·right. With one vote an item: right/n.
    """
    counts = counts or BAPPS
    items = items_of(counts, 0.8 if votes == 5 else 1.0, votes)
    distances = np.array(
        [
            [2.0, 1.0] if i < right.get(sub, 0) else [1.0, 2.0]
            for sub, n in counts.items()
            for i in range(n)
        ]
    )
    gone = np.isin(np.array(items.sub_names, object)[items.sub], undefined_on)
    distances[gone] = np.nan
    why = "63×63: needs at least 64 pixels a side" if undefined_on else ""
    scores = score(TWO_AFC, metric, items, distances, undefined=why, how=FEW)
    tables = [scores.table, human_rows(TWO_AFC, items, FEW)]
    dataset = {
        "name": "bapps-2afc-val",
        "title": "BAPPS 2AFC, validation",
        "protocol": "2afc",
        "human_votes": True,
        "items": len(items),
        "of": len(items),
        "partial": False,
        "sub_datasets": list(counts),
        "short_names": SHORT,
    } | facts
    info = {
        "signature": f"{way} || {metric}#1f9c0000",
        "metric": {"name": metric, "family": family},
        "dataset": dataset,
        "items_per_second": speed,
    }
    place = results / (folder or str(dataset["name"])) / metric
    table = pd.concat(tables, ignore_index=True)
    return save(place, whole_facts(info), items, distances, table)


def run_jnd(results: Path, metric: str, d: list[float], **facts: Any) -> Run:
    """Save a run on pairs of a synthetic dataset: two sub-datasets of two, the first one "same"."""
    items = replace(items_of({"noise": 2, "blur": 2}, 0, votes=1), p=np.array([1, 0, 1, 0.0]))
    distances = np.array(d)[:, None]
    tables = [score(JND, metric, items, distances, how=FEW).table, human_rows(JND, items, FEW)]
    dataset = {
        "name": "ladder-jnd",
        "title": "Ladder JND",
        "protocol": "jnd",
        "human_votes": False,
        "items": 4,
        "of": 4,
        "partial": False,
        "sub_datasets": ["noise", "blur"],
        "short_names": {},
    } | facts
    info = {
        "signature": f"pmbench:0.1|ladder-jnd:4#aaaaaaaa|none|voc-ap|macro|fp32 || {metric}#22",
        "metric": {"name": metric},
        "dataset": dataset,
        "items_per_second": 12.5,
    }
    place = results / str(dataset["name"]) / metric
    table = pd.concat(tables, ignore_index=True)
    return save(place, whole_facts(info), items, distances, table)


def everywhere(right: int) -> dict[str, int]:
    return dict.fromkeys(BAPPS, right)


def the_board(results: Path, **view: Any) -> Board:
    (board,) = boards(results, View(**view))
    return board


def names(board: Board, kind: str | None = "metric") -> list[str]:
    return [row.name for row in board.rows if kind in (None, row.kind)]


def row_of(board: Board, name: str) -> Row:
    (row,) = (row for row in board.rows if row.name == name)
    return row


def value(board: Board, name: str, column: str = "macro") -> float:
    return row_of(board, name).cells[column].value


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Three metrics on a part of BAPPS, two on a synthetic dataset."""
    counts = {
        "traditional": 16,
        "cnn": 16,
        "superres": 16,
        "deblur": 16,
        "color": 15,
        "frameinterp": 15,
    }
    part: dict[str, Any] = {"counts": counts, "of": 36344, "partial": True}
    way = "pmbench:0.1|bapps-2afc-val:94of36344#d3b01234|legacy64|soft|macro|fp32"
    for metric, right, speed in (("mmdpp", 12, 800.0), ("lpips-alex", 15, 90.0), ("l2", 6, 4000.0)):
        run_2afc(tmp_path, metric, everywhere(right), way=way, speed=speed, **part)
    run_jnd(tmp_path, "mmdpp", [1, 2, 1, 2])
    run_jnd(tmp_path, "l2", [1, 2, 2, 1])
    return tmp_path


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
    assert first.marks == ["partial: 94 of 36,344 triplets, not comparable with published scores"]
    assert second.marks == ["synthetic, no human votes"]


def test_a_dataset_may_be_both(tmp_path: Path) -> None:
    run_jnd(tmp_path, "l2", [1, 2, 1, 2], of=108, partial=True)
    assert the_board(tmp_path).marks == [
        "synthetic, no human votes",
        "partial: 4 of 108 pairs, not comparable with published scores",
    ]


def test_a_whole_dataset_of_human_votes_has_no_mark(tmp_path: Path) -> None:
    run_2afc(tmp_path, "l2", everywhere(2))
    assert the_board(tmp_path).marks == []


def test_scores_stand_in_their_columns_with_their_intervals(tmp_path: Path) -> None:
    run = run_2afc(tmp_path, "l2", {"traditional": 4, "cnn": 3, "color": 1}, speed=7.5)
    board = the_board(tmp_path, pooled=True)
    found = {column: value(board, "l2", column) for column in board.columns}
    assert found == pytest.approx(
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
        24,
        24,
        7.5,
    )


def test_pooled_is_shown_on_request_only(results: Path) -> None:
    for board in boards(results, View()):
        assert "pooled" not in board.columns
    for board in boards(results, View(pooled=True)):
        assert board.columns[:2] == ["macro", "pooled"]


def test_a_single_sub_dataset_has_no_column_beside_the_macro(tmp_path: Path) -> None:
    run_2afc(tmp_path, "l2", {"all": 2}, {"all": 4}, name="mine")
    assert the_board(tmp_path).columns == ["macro"]


def test_columns_are_those_of_all_runs(tmp_path: Path) -> None:
    run_2afc(tmp_path, "a", {"cnn": 3}, {"cnn": 4}, way="other", of=8, partial=True)
    run_2afc(tmp_path, "b", {"cnn": 2, "color": 4}, {"cnn": 4, "color": 4})
    board = the_board(tmp_path)
    assert board.columns == ["macro", "cnn", "color"]
    assert "color" not in row_of(board, "a").cells
    assert value(board, "b", "color") == pytest.approx(0.8)


def test_another_statistic_is_shown_on_request(results: Path) -> None:
    (board,) = boards(results, View(statistic="hard_majority"))  # JND has none
    assert (board.dataset, board.statistic.name) == ("bapps-2afc-val", "hard_majority")
    assert value(board, "lpips-alex", "cnn") == 15 / 16
    first, second = boards(results, View(statistic="srcc"))
    assert first.statistic.name == second.statistic.name == "srcc"
    assert value(second, "mmdpp") == pytest.approx(1)
    assert value(second, "l2", "blur") == pytest.approx(-1)
    assert names(first, "human") == []  # people have shares, not correlations


# --- people ---------------------------------------------------------------------------------------


def test_human_rows_appear_for_human_votes_only(results: Path) -> None:
    first, second = boards(results, View())
    assert set(names(first, "human")) == {"human-paper", "human-fresh", "human-majority"}
    assert set(names(second, None)) == {"mmdpp", "l2"}
    assert not any("human" in line for line in second.legend)


def test_human_rows_say_what_people_would_score(results: Path) -> None:
    board = boards(results, View())[0]
    # four of five votes: 0.8² + 0.2², (4·3)/(5·4), 0.8
    assert value(board, "human-paper") == pytest.approx(0.68)
    assert value(board, "human-fresh") == pytest.approx(0.6)
    assert value(board, "human-majority") == pytest.approx(0.8)
    for name in names(board, "human"):
        row = row_of(board, name)
        assert (row.n, row.of, row.speed, row.other_protocol) == (94, 36344, None, False)


def test_the_legend_says_which_human_row_is_the_ceiling(results: Path) -> None:
    assert boards(results, View())[0].legend == [
        "macro: plain mean of the sub-datasets; 95 % bootstrap intervals",
        "~ interval of fewer than 30 independent items: unreliable",
        "rank: places it may have, by paired tests (Holm-corrected, 5 %); those from 1 on cannot "
        "be told apart from the best",
        "human-paper: Human, the paper's row: p²+(1-p)²",
        "human-fresh: Human, one person against the others",
        "human-majority: Upper bound: always with the majority",
    ]


def test_a_human_row_that_is_undefined_has_its_reason_in_the_legend(tmp_path: Path) -> None:
    run_2afc(tmp_path, "l2", everywhere(1), votes=1)
    board = the_board(tmp_path)
    assert math.isnan(value(board, "human-fresh"))
    assert (
        "human-fresh: without traditional, cnn, superres, deblur, color, frameinterp: "
        "fewer than two people were asked" in board.legend
    )


# --- order ----------------------------------------------------------------------------------------


@pytest.fixture
def four(tmp_path: Path) -> Path:
    """Metrics whose orders by score, by a sub-dataset, by name and by speed all differ."""
    run_2afc(tmp_path, "d", everywhere(4) | {"cnn": 1}, speed=10)
    run_2afc(tmp_path, "c", everywhere(3) | {"cnn": 3}, speed=30)
    run_2afc(tmp_path, "a", everywhere(2) | {"cnn": 4}, speed=20)
    run_2afc(tmp_path, "b", everywhere(1), undefined_on=("cnn",), speed=40)
    return tmp_path


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
    assert "".join(names(the_board(four, sort=sort))) == order


def test_pooled_is_shown_where_rows_are_sorted_by_it(tmp_path: Path) -> None:
    counts = {"small": 2, "large": 10}
    run_2afc(tmp_path, "a", {"small": 2, "large": 2}, counts, name="mine")
    run_2afc(tmp_path, "b", {"small": 0, "large": 8}, counts, name="mine")
    board = the_board(tmp_path, sort="pooled")
    assert names(board) == ["b", "a"]
    assert [value(board, name, "pooled") for name in "ba"] == pytest.approx([7.2 / 12, 4.8 / 12])
    assert names(the_board(tmp_path, pooled=True)) == ["a", "b"]


def test_people_and_published_scores_are_sorted_among_the_metrics(four: Path) -> None:
    board = the_board(four, published=True)
    sorted_in = [row for row in board.rows if not row.beside]
    values = [row.cells["macro"].value for row in sorted_in if "macro" in row.cells]
    assert values == sorted(values, reverse=True)
    assert all("macro" not in row.cells for row in sorted_in[len(values) :])  # others come last
    kinds = [row.kind for row in board.rows]
    assert kinds.index("metric") < len(kinds) - 1 - kinds[::-1].index("human")


def test_rows_without_speed_come_last(four: Path) -> None:
    board = the_board(four, sort="speed")
    assert [row.kind for row in board.rows] == ["metric"] * 4 + ["human"] * 3


def test_an_unknown_column_to_sort_by_is_answered_with_close_ones(four: Path) -> None:
    with pytest.raises(PmbenchError) as error:
        boards(four, View(sort="colour"))
    assert str(error.value) == "unknown column to sort by 'colour'; did you mean color or deblur?"
    with pytest.raises(PmbenchError) as error:
        boards(four, View(sort="xyz"))
    assert str(error.value) == (
        "unknown column to sort by 'xyz'; known are: cnn, color, deblur, frameinterp, items/s, "
        "macro, name, pooled, speed, superres, traditional."
    )


# --- what is missing ------------------------------------------------------------------------------


def test_na_has_its_reason_in_the_legend(tmp_path: Path) -> None:
    run_2afc(tmp_path, "big", everywhere(3), undefined_on=("cnn",))
    run_2afc(tmp_path, "any", everywhere(2))
    board = the_board(tmp_path)
    assert math.isnan(value(board, "big", "cnn"))
    assert board.legend[-2:] == [
        "* over a part of the items only; the reasons:",
        "big: not defined on 4 items: 63×63: needs at least 64 pixels a side; "
        "without cnn: no items left",
    ]
    assert row_of(board, "big").n == 20


def test_a_score_over_a_part_is_marked_beside_the_number(tmp_path: Path) -> None:
    run_2afc(tmp_path, "big", everywhere(3), undefined_on=("cnn",))
    run_2afc(tmp_path, "any", everywhere(2))
    board = the_board(tmp_path, pooled=True)
    marked = {c: cell.part for c, cell in row_of(board, "big").cells.items()}
    assert marked == {"macro": True, "pooled": True, **dict.fromkeys(BAPPS, False)}
    assert not any(cell.part for cell in row_of(board, "any").cells.values())


def test_a_macro_without_a_sub_dataset_is_marked_and_its_reason_told(tmp_path: Path) -> None:
    run = run_jnd(tmp_path, "l2", [1, 2, 1, 2])
    items, distances = run.distances()
    nobody = replace(items, p=np.array([1, 0, 0, 0.0]))
    save(run.folder, run.info, nobody, distances, score(JND, "l2", nobody, distances).table)
    board = the_board(tmp_path)
    assert row_of(board, "l2").cells["macro"].part
    assert math.isnan(value(board, "l2", "blur"))
    assert board.legend[-1] == 'l2: without blur: nobody said "same"'


def test_no_interval_where_nothing_can_be_drawn_is_said(tmp_path: Path) -> None:
    run_2afc(tmp_path, "l2", {"one": 1}, {"one": 1, "two": 4}, name="mine")
    board = the_board(tmp_path)
    assert math.isnan(row_of(board, "l2").cells["one"].low)
    told = "no interval where all items are of one cluster: there is nothing to draw"
    assert told in board.legend
    run_2afc(tmp_path / "other", "l2", {"one": 1}, {"one": 4, "two": 4}, name="mine")
    assert told not in the_board(tmp_path / "other").legend


@pytest.mark.parametrize(("value", "said"), [(1.0, True), (0.99, False)])
def test_where_people_always_agree_their_rows_say_nothing(value: float, said: bool) -> None:
    people = [Row(human.name, "human", {"macro": Cell(value)}) for human in TWO_AFC.humans]
    told = "people agreed on every item: the rows about them say nothing here"
    assert (told in legend(TWO_AFC, people)) == said


# --- rows that are not comparable -----------------------------------------------------------------


def test_rows_measured_in_another_way_are_marked(tmp_path: Path) -> None:
    for metric in ("a", "b"):
        run_2afc(tmp_path, metric, everywhere(2))
    run_2afc(tmp_path, "c", everywhere(3), way=WAY.replace("d3b01234", "ffffffff"))
    board = the_board(tmp_path)
    assert {row.name: row.other_protocol for row in board.rows if row.kind == "metric"} == {
        "a": False,
        "b": False,
        "c": True,
    }
    assert board.legend[-1] == (
        f"† measured in another way, or on other items, than {WAY}; not comparable"
    )


def test_rows_of_items_that_have_changed_since_are_the_marked_ones(tmp_path: Path) -> None:
    new = WAY.replace("d3b01234", "ffffffff")
    for metric, way, day in (("a", WAY, "01"), ("b", WAY, "01"), ("c", new, "02")):
        run_2afc(tmp_path, metric, everywhere(2), way=way)
        path = tmp_path / "bapps-2afc-val" / metric / "run.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"finished": f"2026-01-{day}"}))
    board = the_board(tmp_path)
    assert board.signature == new
    assert {row.name: row.other_protocol for row in board.rows if row.kind == "metric"} == {
        "a": True,
        "b": True,
        "c": False,
    }


def test_strict_refuses_to_mix_and_names_the_rows(tmp_path: Path) -> None:
    for metric in ("a", "b"):
        run_2afc(tmp_path, metric, everywhere(2))
    assert names(the_board(tmp_path, strict=True)) == ["a", "b"]
    other = WAY.replace("d3b01234", "ffffffff")
    run_2afc(tmp_path, "c", everywhere(3), way=other)
    sentence = (
        "bapps-2afc-val mixes rows that were measured in different ways "
        f"(a, b: {WAY}; c: {other}); measure the older ones again with `pmbench eval`, or leave "
        "--strict out to have them marked"
    )
    for show in (boards, tidy):
        with pytest.raises(PmbenchError) as error:
            show(tmp_path, View(strict=True))
        assert str(error.value) == sentence


def test_rows_measured_in_one_way_are_not_marked(results: Path) -> None:
    for board in boards(results, View()):
        assert not any(row.other_protocol for row in board.rows)
        assert not any("†" in line for line in board.legend)


def test_the_people_of_a_board_are_those_of_its_usual_items(tmp_path: Path) -> None:
    for metric in ("a", "b"):
        run_2afc(tmp_path, metric, everywhere(2))
    run_2afc(
        tmp_path, "z", everywhere(2), votes=1, way="other items", counts=dict.fromkeys(BAPPS, 3)
    )
    board = the_board(tmp_path)
    assert value(board, "human-majority") == pytest.approx(0.8)  # 1.0 in the other run
    assert len(names(board, "human")) == 3
    assert row_of(board, "human-paper").n == 24


def test_an_older_partial_run_marks_its_own_row_and_not_the_board(tmp_path: Path) -> None:
    few = dict.fromkeys(BAPPS, 2)
    finished(run_2afc(tmp_path, "a", everywhere(2), few, way="few", of=24, partial=True), "2025")
    old = tmp_path / "bapps-2afc-val" / "a" / "run.json"
    facts = json.loads(old.read_text())
    facts["dataset"] |= {"title": "Another title", "short_names": {"cnn": "other"}}
    old.write_text(json.dumps(facts))
    finished(run_2afc(tmp_path, "l2-lab", everywhere(2)), "2026")
    board = the_board(tmp_path, published=True)
    assert board.marks == []
    assert board.title == "BAPPS 2AFC, validation"
    assert board.headers == SHORT
    assert {row.name: row.other_protocol for row in board.rows if row.kind == "metric"} == {
        "a": True,
        "l2-lab": False,
    }
    assert rows_of(board, "published")
    assert not any("not shown beside a partial dataset" in line for line in board.legend)
    (section,) = sections(tmp_path, [])
    assert not section.partial


def test_the_latest_run_being_partial_marks_the_board(tmp_path: Path) -> None:
    few = dict.fromkeys(BAPPS, 2)
    finished(run_2afc(tmp_path, "a", everywhere(2)), "2025")
    finished(run_2afc(tmp_path, "b", everywhere(2), few, way="few", of=24, partial=True), "2026")
    board = the_board(tmp_path, published=True)
    assert board.marks == ["partial: 12 of 24 triplets, not comparable with published scores"]
    assert rows_of(board, "published") == {}


def finished(run: Run, when: str) -> None:
    """Write into a run when it was finished."""
    path = run.folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"finished": when}))


# --- published scores -----------------------------------------------------------------------------


def rows_of(board: Board, kind: str) -> dict[str, Row]:
    return {row.name: row for row in board.rows if row.kind == kind}


def test_published_scores_stand_below_the_measured_ones_with_the_difference(tmp_path: Path) -> None:
    run_2afc(tmp_path, "lpips-alex", everywhere(3) | {"cnn": 4})
    board = the_board(tmp_path, published=True)
    published = rows_of(board, "published")
    assert len(published) == 23 + 19 + 33
    alex = published["Alex-lin [1]"]
    assert alex.beside == "lpips-alex"
    names = [row.name for row in board.rows]
    assert names.index("Alex-lin [1]") == names.index("lpips-alex") + 1
    assert {c: cell.value for c, cell in alex.cells.items()} == pytest.approx(
        {
            "traditional": 0.739, "cnn": 0.834, "superres": 0.715, "deblur": 0.612,
            "color": 0.653, "frameinterp": 0.632, "macro": 0.698,
        }
    )  # fmt: skip
    # measured here: 65 everywhere and 80 in cnn
    assert {c: cell.difference for c, cell in alex.cells.items()} == pytest.approx(
        {
            "traditional": -0.089, "cnn": -0.034, "superres": -0.065, "deblur": 0.038,
            "color": -0.003, "frameinterp": 0.018, "macro": 0.675 - 0.698,
        }
    )  # fmt: skip
    assert all(cell.off for cell in alex.cells.values())  # it may be 0.2 points off
    assert (alex.n, alex.of, alex.speed, alex.standing) == (None, None, None, None)
    assert math.isnan(alex.cells["macro"].low)
    others = [row for row in published.values() if row.name not in ("Alex-lin [1]",)]
    assert {row.beside for row in others} == {"", "human-paper"}


def test_what_papers_report_of_people_stands_below_the_same_people(tmp_path: Path) -> None:
    run_2afc(tmp_path, "l2", everywhere(3))
    board = the_board(tmp_path, published=True)
    names = [row.name for row in board.rows]
    first = names.index("human-paper")
    assert names[first + 1 : first + 3] == ["Human [1]", "Human [2]"]
    assert row_of(board, "Human [1]").family == "people"
    # 0.8² + 0.2² here
    assert row_of(board, "Human [2]").cells["cnn"].difference == pytest.approx(0.68 - 0.8435)


def test_sub_datasets_that_a_paper_pools_are_pooled_for_comparison(tmp_path: Path) -> None:
    counts = {"traditional": 4, "cnn": 8, "superres": 4}
    run_2afc(tmp_path, "mmdpp", {"traditional": 4, "cnn": 2}, counts)
    run_2afc(tmp_path, "l2", {"cnn": 8}, counts, undefined_on=("traditional",))
    board = the_board(tmp_path, published=True)
    assert board.columns[-1] == "traditional+cnn"
    # (4·0.8 + 2·0.8 + 6·0.2)/12, not the mean of the two; l2 has the items of cnn only
    assert value(board, "mmdpp", "traditional+cnn") == pytest.approx(6 / 12)
    assert value(board, "l2", "traditional+cnn") == pytest.approx(0.8)
    cell = row_of(board, "MMD++ [3]").cells["traditional+cnn"]
    assert (cell.value, cell.difference) == pytest.approx((0.74, 0.5 - 0.74))
    assert [r.name for r in board.rows if r.beside == "l2"] == ["L2 [2]", "L2 [3]"]
    assert "traditional+cnn" not in the_board(tmp_path).columns


def test_a_difference_within_the_tolerance_is_not_off(tmp_path: Path) -> None:
    ours = Row("l2-lab", "metric", {"macro": Cell(0.634), "cnn": Cell(0.7806), "deblur": Cell(0.5)})
    (entry,) = (e for e in manifest.datasets()["bapps-2afc-val"].published if e.metric == "l2-lab")
    (row,) = published_rows((entry,), [ours], ["macro", "cnn", "deblur"])
    # the paper says 63.2, 77.8 and 58.2, and is the same to 0.2 points and half its last digit
    assert {c: cell.off for c, cell in row.cells.items()} == {
        "macro": False, "cnn": True, "deblur": True,
    }  # fmt: skip
    assert published_rows((entry,), [ours], ["color+cnn"]) == []


def test_a_row_that_is_not_comparable_has_no_published_one_below(tmp_path: Path) -> None:
    run_2afc(tmp_path, "l2", everywhere(3))
    run_2afc(tmp_path, "mmdpp", everywhere(3))
    run_2afc(tmp_path, "lpips-alex", everywhere(3), way="other")
    board = the_board(tmp_path, published=True)
    assert row_of(board, "lpips-alex").other_protocol
    assert row_of(board, "Alex-lin [1]").beside == ""


def test_the_legend_names_the_sources_and_why_a_number_may_be_off(tmp_path: Path) -> None:
    run_2afc(tmp_path, "dssim", everywhere(3))
    told = the_board(tmp_path, published=True).legend
    start = told.index("[1] published: Zhang et al. 2018, arXiv 1801.03924v2, Table 5")
    assert told[start + 1].startswith("[2] published: Czolbe et al. 2020")
    assert told[start + 2].startswith("[3] published: PerceptualLossExperiments")
    assert told[start + 3] == (
        "↳ published for the row above, and how far the number measured here is above it; "
        "! farther apart than expected"
    )
    assert "SSIM [1]: the paper does not say which colour space its SSIM works in" in told
    assert not any("mixed input ranges" in line for line in told)  # of none that is shown


def test_published_scores_are_shown_on_request_only(tmp_path: Path) -> None:
    run_2afc(tmp_path, "lpips-alex", everywhere(3))
    board = the_board(tmp_path)
    assert names(board, "published") == []
    assert not any("published" in line for line in board.legend)


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ({"of": 36344, "partial": True}, "partial dataset, or in another resize mode or precision"),
        (
            {"folder": "bapps-2afc-val@exact4"},
            "partial dataset, or in another resize mode or precision",
        ),
        (
            {"folder": "bapps-2afc-val@first4"},
            "partial dataset, or in another resize mode or precision",
        ),
    ],
)
def test_published_scores_are_not_shown_beside_what_they_do_not_compare_with(
    tmp_path: Path, case: dict[str, Any], why: str
) -> None:
    run_2afc(tmp_path, "lpips-alex", everywhere(3), **case)
    board = the_board(tmp_path, published=True)
    assert names(board, "published") == []
    assert board.legend[-1] == f"published: not shown beside a {why}"


def test_one_partial_run_keeps_published_scores_away(tmp_path: Path) -> None:
    run_2afc(tmp_path, "a", everywhere(3))
    run_2afc(tmp_path, "b", everywhere(3), of=36344, partial=True)
    assert names(the_board(tmp_path, published=True), "published") == []


def test_published_scores_are_of_the_main_statistic(tmp_path: Path) -> None:
    run_2afc(tmp_path, "lpips-alex", everywhere(3))
    board = the_board(tmp_path, published=True, statistic="srcc")
    assert names(board, "published") == []
    assert board.legend[-1] == (
        "published: not shown, since papers report no other statistic than the main one"
    )


@pytest.mark.parametrize("name", ["ladder-jnd", "unheard-of"])
def test_where_nobody_published_scores_that_is_said(tmp_path: Path, name: str) -> None:
    run_jnd(tmp_path, "l2", [1, 2, 1, 2], name=name)
    board = the_board(tmp_path, published=True)
    assert names(board, None) == ["l2"]
    assert board.legend[-1] == (
        "published: nobody has published scores on this dataset, as far as known here"
    )


# --- ranks ----------------------------------------------------------------------------------------


def test_rows_have_the_places_they_may_have(tmp_path: Path) -> None:
    counts = dict.fromkeys(BAPPS, 100)
    for metric, right in (("a", {}), ("b", {"cnn": 89}), ("c", everywhere(20))):
        run_2afc(tmp_path, metric, everywhere(90) | right, counts)
    run_2afc(tmp_path, "part", everywhere(90), counts, undefined_on=("cnn",))
    run_2afc(tmp_path, "odd", everywhere(90), counts, way="other")
    board = the_board(tmp_path)
    places = {row.name: row.standing for row in board.rows}
    # a and b differ in one item (z = 1), both from c in hundreds
    assert {n: (s.low, s.high) for n, s in places.items() if s} == {
        "a": (1, 2), "b": (1, 2), "c": (3, 3),
    }  # fmt: skip
    table = tidy(tmp_path, View())
    table = table[table["kind"] == "metric"]
    ranked = table[table["rank_low"].notna()]
    assert set(zip(ranked["name"], ranked["statistic"], ranked["sub_dataset"], strict=True)) == {
        (name, "2afc", "macro") for name in "abc"
    }
    assert ranked.set_index("name")[["rank_low", "rank_high"]].loc["c"].tolist() == [3, 3]
    assert ranked.set_index("name")["letters"].to_dict() == {"a": "a", "b": "a", "c": "b"}


def test_a_single_metric_has_no_rank(tmp_path: Path) -> None:
    run_2afc(tmp_path, "a", everywhere(2))
    board = the_board(tmp_path)
    assert row_of(board, "a").standing is None
    assert not any(line.startswith("rank") for line in board.legend)


def test_where_nothing_is_known_of_chance_no_rank_is_shown_and_that_is_said(
    tmp_path: Path,
) -> None:
    """All items of one cluster: no draw differs from another, and no test can be made."""
    for k, metric in enumerate(("a", "b")):
        run_2afc(tmp_path, metric, {"one": k}, {"one": 1})
    board = the_board(tmp_path)
    assert all(row.standing is None for row in board.rows)
    assert [line for line in board.legend if "rank" in line] == [
        "no rank: too few independent items to say how much of a difference is chance"
    ]


def test_the_legend_names_the_metrics_of_which_the_rank_is_not_known() -> None:
    place = Standing(1, 2, "a")
    rows = [
        Row("a", "metric", {"macro": Cell(0.7)}, standing=place),
        Row("b", "metric", {"macro": Cell(0.6)}, standing=place),
        Row("c", "metric", {"macro": Cell(0.5)}),
        Row("in part", "metric", {"macro": Cell(0.5, part=True)}),
        Row("no score", "metric", {"macro": Cell(math.nan)}),
        Row("old", "metric", {"macro": Cell(0.5)}, other_protocol=True),
        Row("human-mean", "human", {"macro": Cell(0.5)}),
    ]
    why = "too few independent items to say how much of a difference is chance"
    assert [line for line in legend(TWO_AFC, rows) if "no rank" in line] == [
        f"no rank for c: {why}"
    ]
    assert not any("no rank" in line for line in legend(TWO_AFC, [rows[0], *rows[3:]]))
    assert not any("no rank" in line for line in legend(TWO_AFC, rows[2:3]))  # nothing to be ranked


def test_what_has_no_score_has_no_rank(tmp_path: Path) -> None:
    for metric in "ab":  # all votes are alike, so correlations with them are undefined
        run_2afc(tmp_path, metric, everywhere(2))
    board = the_board(tmp_path, statistic="srcc")
    assert all(row.standing is None for row in board.rows)


# --- cost -----------------------------------------------------------------------------------------


def test_a_row_has_the_cost_that_its_run_says(tmp_path: Path) -> None:
    run = run_2afc(tmp_path, "new", everywhere(2))
    run_2afc(tmp_path, "old", everywhere(2))  # an older run says nothing
    path = run.folder / "run.json"
    info = json.loads(path.read_text()) | {"peak_memory_mb": 812.5}
    info["metric"] |= {"parameters_count": 2_469_696, "weights_mb": 9.9}
    path.write_text(json.dumps(info))
    board = the_board(tmp_path, cost=True)
    new, old = row_of(board, "new"), row_of(board, "old")
    assert (new.peak_memory_mb, new.parameters_count, new.weights_mb) == (812.5, 2_469_696, 9.9)
    assert (old.peak_memory_mb, old.parameters_count, old.weights_mb) == (None, None, None)
    assert (
        "peak MB: most memory of the process that measured it, which may have measured other "
        "metrics too; params, weights: of the metric alone" in board.legend
    )
    assert not any("peak MB" in line for line in the_board(tmp_path).legend)
    table = tidy(tmp_path, View()).set_index("name")
    assert set(table.loc["new", "parameters_count"]) == {2_469_696}
    assert table.loc[["old", "human-paper"], "weights_mb"].isna().all()


def test_where_no_run_says_its_cost_that_is_said(tmp_path: Path) -> None:
    run_2afc(tmp_path, "old", everywhere(2))
    assert (
        "memory, parameters and weights: older runs do not say; measure them again"
        in the_board(tmp_path, cost=True).legend
    )


# --- unreliable intervals -------------------------------------------------------------------------


def test_intervals_of_few_items_are_unreliable(tmp_path: Path) -> None:
    run_2afc(tmp_path, "a", everywhere(9), {"traditional": 40, "cnn": 20})
    board = the_board(tmp_path)
    cells = row_of(board, "a").cells
    assert {c: cell.unreliable for c, cell in cells.items()} == {
        "macro": True, "traditional": False, "cnn": True,
    }  # fmt: skip
    assert board.legend[1] == "~ interval of fewer than 30 independent items: unreliable"


def test_older_runs_do_not_say_what_is_unreliable(tmp_path: Path) -> None:
    run = run_2afc(tmp_path, "a", everywhere(3))
    path = run.folder / "scores.csv"
    pd.read_csv(path).drop(columns="unreliable").to_csv(path, index=False, na_rep="nan")
    resealed(run.folder)
    board = the_board(tmp_path)
    assert not any(cell.unreliable for row in board.rows for cell in row.cells.values())
    assert not any("unreliable" in line for line in board.legend)
    assert not tidy(tmp_path, View())["unreliable"].any()


# --- 2AFC and JND ---------------------------------------------------------------------------------


def test_how_2afc_and_jnd_go_together_is_told_where_both_are_shown(tmp_path: Path) -> None:
    for k, metric in enumerate("abcd"):
        run_2afc(
            tmp_path, metric, {"noise": k, "blur": k}, {"noise": 4, "blur": 4}, name="ladder-2afc"
        )
        run_jnd(tmp_path, metric, [1, 2, 1, 2] if k else [2, 1, 2, 1])
    (line,) = relations(tmp_path, View())
    # 2AFC 0.2, 0.35, 0.5, 0.65; JND 0.5, 1, 1, 1
    r = np.corrcoef([0, 1, 2, 3], [0.5, 1, 1, 1])[0, 1]
    assert line.startswith(f"2AFC and JND over 4 metrics of ladder: Pearson {r:.3f} (")
    assert line.endswith(f"), Spearman {3 / math.sqrt(15):.3f}")
    assert relations(tmp_path, View("ladder")) == [line]
    assert relations(tmp_path, View("ladder-jnd")) == []
    assert relations(tmp_path, View(statistic="srcc")) == []
    assert relations(tmp_path, View("ladder-jnd", statistic="map")) == []


def test_too_few_metrics_say_nothing_of_how_protocols_go_together(tmp_path: Path) -> None:
    run_2afc(tmp_path, "a", {"noise": 1}, {"noise": 4}, name="ladder-2afc")
    run_jnd(tmp_path, "a", [1, 2, 1, 2])
    assert relations(tmp_path, View()) == []


# --- choosing -------------------------------------------------------------------------------------


def datasets(results: Path, dataset: str | None) -> list[str]:
    return [board.dataset for board in boards(results, View(dataset=dataset))]


def test_a_dataset_its_variants_or_a_group_are_chosen_by_name(results: Path) -> None:
    run_2afc(results, "l2", everywhere(1), folder="bapps-2afc-val@exact4")
    run_2afc(results, "l2", {"x": 1}, {"x": 2}, name="my-own")
    both = ["bapps-2afc-val", "bapps-2afc-val@exact4"]
    assert datasets(results, None) == [*both, "ladder-jnd", "my-own"]
    assert datasets(results, "bapps-2afc-val") == both
    assert datasets(results, "bapps-2afc-val@exact4") == both[1:]
    assert datasets(results, "bapps") == both
    assert datasets(results, "ladder") == ["ladder-jnd"]
    assert datasets(results, "my-own") == ["my-own"]  # although its manifest is not at hand


def test_no_runs_is_said_with_what_to_do(results: Path) -> None:
    todo = "make some with `pmbench eval`, or name another folder with --results"
    for where, dataset, what in (
        (results / "nowhere", None, f"no runs in {results / 'nowhere'}"),
        (results, "bapps-jnd-val", f"no runs on bapps-jnd-val in {results}"),
        (results, "bapps-2afc-val@exact4", f"no runs on bapps-2afc-val@exact4 in {results}"),
    ):
        with pytest.raises(PmbenchError) as error:
            boards(where, View(dataset=dataset))
        assert str(error.value) == f"{what}; {todo}"


def test_unknown_names_are_answered_with_close_ones(results: Path) -> None:
    with pytest.raises(PmbenchError) as error:
        boards(results, View(dataset="bap"))
    assert str(error.value) == "unknown dataset 'bap'; did you mean bapps?"
    with pytest.raises(PmbenchError) as error:
        boards(results, View(statistic="mAP"))
    assert str(error.value) == "unknown statistic 'mAP'; did you mean map?"
    with pytest.raises(PmbenchError) as error:
        boards(results, View(dataset="ladder", statistic="2afc"))  # not one of JND
    assert str(error.value) == "unknown statistic '2afc'; known are: krcc, map, plcc, srcc."


# --- tidy -----------------------------------------------------------------------------------------


def test_tidy_has_every_score_once_and_says_where_it_is_from(results: Path) -> None:
    table = tidy(results, View())
    assert list(table.columns) == [
        "dataset", *COLUMNS, "family", "partial", "human_votes", "items_per_second",
        "peak_memory_mb", "parameters_count", "weights_mb", "signature",
        "rank_low", "rank_high", "letters",
    ]  # fmt: skip
    # 5 statistics × 8 places × 3 metrics and 3 human rows × 8 places; 4 × 4 × 2, and no people
    counts = table.groupby(["dataset", "kind"]).size().to_dict()
    assert counts == {
        ("bapps-2afc-val", "metric"): 120,
        ("bapps-2afc-val", "human"): 24,
        ("ladder-jnd", "metric"): 32,
    }
    assert not table.duplicated(["dataset", "name", "statistic", "sub_dataset"]).any()


def test_tidy_rows_are_signed(results: Path) -> None:
    table = tidy(results, View())
    way = "pmbench:0.1|bapps-2afc-val:94of36344#d3b01234|legacy64|soft|macro|fp32"
    signed = table.groupby(["dataset", "name"])["signature"].unique()
    assert signed["bapps-2afc-val", "l2"].tolist() == [f"{way} || l2#1f9c0000"]
    assert signed["bapps-2afc-val", "human-paper"].tolist() == [way]  # of no metric
    macro = table[(table["name"] == "l2") & (table["sub_dataset"] == "macro")]
    first = macro[(macro["dataset"] == "bapps-2afc-val") & (macro["statistic"] == "2afc")].iloc[0]
    assert (first["n"], first["of"], first["items_per_second"]) == (94, 94, 4000)
    assert (bool(first["partial"]), bool(first["human_votes"])) == (True, True)
    assert table.loc[table["kind"] == "human", "items_per_second"].isna().all()
    assert not table.loc[table["dataset"] == "ladder-jnd", "human_votes"].any()


def test_tidy_keeps_the_people_of_different_items_apart(tmp_path: Path) -> None:
    run_2afc(tmp_path, "a", everywhere(2))
    run_2afc(tmp_path, "z", everywhere(2), votes=1, way="other")
    table = tidy(tmp_path, View())
    row = (table["name"] == "human-majority") & (table["sub_dataset"] == "macro")
    assert dict(zip(table[row]["signature"], table[row]["value"], strict=True)) == pytest.approx(
        {WAY: 0.8, "other": 1.0}
    )


def test_tidy_of_one_dataset_and_of_none(results: Path) -> None:
    assert set(tidy(results, View("ladder"))["dataset"]) == {"ladder-jnd"}
    assert tidy(results / "nowhere", View()).empty
    assert tidy(results / "nowhere", View(published=True)).empty


@pytest.mark.parametrize(("sort", "order"), [("macro", "dcab"), ("cnn", "acdb"), ("name", "abcd")])
def test_tidy_rows_come_in_the_order_of_the_board(four: Path, sort: str, order: str) -> None:
    table = tidy(four, View(sort=sort))
    metrics = table[table["kind"] == "metric"]
    assert "".join(dict.fromkeys(metrics["name"])) == order
    everything = list(dict.fromkeys(zip(table["kind"], table["name"], strict=True)))
    board = the_board(four, sort=sort)
    assert everything == [(row.kind, row.name) for row in board.rows]


def test_tidy_refuses_what_a_board_refuses(four: Path) -> None:
    with pytest.raises(PmbenchError, match="unknown column to sort by 'colour'; did you mean"):
        tidy(four, View(sort="colour"))


def test_tidy_published_rows_say_what_they_are_the_same_as(tmp_path: Path) -> None:
    run_2afc(tmp_path, "l2", everywhere(3))
    table = tidy(tmp_path, View(published=True))
    rows = table[table["kind"] == "published"]
    assert set(rows["family"]) == {"published"}
    mine = rows[rows["same_as"] == "l2"].set_index(["name", "sub_dataset"])
    assert set(mine.index.get_level_values("name")) == {"L2 [2]", "L2 [3]"}
    row = mine.loc[("L2 [2]", "cnn")]
    assert (row["value"], row["measured_minus_published"]) == pytest.approx((0.7949, 0.65 - 0.7949))
    assert row["note"].startswith("Czolbe et al. 2020, NeurIPS, ")
    assert "mixed input ranges" in row["note"]
    assert rows["n"].isna().all()
    assert str(table["n"].dtype) == "Int64"  # 24, not 24.0
    assert "same_as" not in tidy(tmp_path, View())


def test_a_whole_number_of_items_per_second_is_fine(tmp_path: Path) -> None:
    run = run_2afc(tmp_path, "a", everywhere(2))
    path = run.folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "items_per_second": 100}))
    assert set(tidy(tmp_path, View())["items_per_second"].dropna()) == {100.0}


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
    told = [line for line in board.legend if "needs at least" in line]
    assert len(told) == 1
    assert told[0].startswith("iw-ssim, ms-ssim: ")
