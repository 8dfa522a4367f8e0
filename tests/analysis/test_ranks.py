"""The places that a metric may have on a board."""

from __future__ import annotations

import math
from pathlib import Path

from support.boards import BAPPS, everywhere, only_board, row_of, run_2afc

from pmbench.analysis.export import scores_table
from pmbench.analysis.leaderboard_rows import Cell, Row, View
from pmbench.analysis.legends import legend
from pmbench.analysis.ranking import RankRange
from pmbench.scoring.protocols import TWO_AFC


def test_rows_have_the_places_they_may_have(tmp_path: Path) -> None:
    counts = dict.fromkeys(BAPPS, 100)
    for metric, right in (("a", {}), ("b", {"cnn": 89}), ("c", everywhere(20))):
        run_2afc(tmp_path, metric, everywhere(90) | right, counts)
    run_2afc(tmp_path, "part", everywhere(90), counts, undefined_on=("cnn",))
    run_2afc(tmp_path, "odd", everywhere(90), counts, way="other")
    board = only_board(tmp_path)
    places = {row.name: row.rank_range for row in board.rows}
    # a and b differ in one item (z = 1), both from c in hundreds
    assert {n: (s.low, s.high) for n, s in places.items() if s} == {
        "a": (1, 2), "b": (1, 2), "c": (3, 3),
    }  # fmt: skip
    table = scores_table(tmp_path, View())
    table = table[table["kind"] == "metric"]
    ranked = table[table["rank_low"].notna()]
    assert set(zip(ranked["name"], ranked["statistic"], ranked["sub_dataset"], strict=True)) == {
        (name, "2afc", "macro") for name in "abc"
    }
    assert ranked.set_index("name")[["rank_low", "rank_high"]].loc["c"].tolist() == [3, 3]
    assert ranked.set_index("name")["letters"].to_dict() == {"a": "a", "b": "a", "c": "b"}


def test_a_single_metric_has_no_rank(tmp_path: Path) -> None:
    run_2afc(tmp_path, "a", everywhere(2))
    board = only_board(tmp_path)
    assert row_of(board, "a").rank_range is None
    assert not any(line.startswith("rank") for line in board.legend)


def test_where_nothing_is_known_of_chance_no_rank_is_shown_and_that_is_said(tmp_path: Path) -> None:
    """All items of one cluster: no draw differs from another, and no test can be made."""
    for k, metric in enumerate(("a", "b")):
        run_2afc(tmp_path, metric, {"one": k}, {"one": 1})
    board = only_board(tmp_path)
    assert all(row.rank_range is None for row in board.rows)
    assert [line for line in board.legend if "rank" in line] == [
        "no rank: too few independent items to say how much of a difference is chance"
    ]


def test_the_legend_names_the_metrics_of_which_the_rank_is_not_known() -> None:
    place = RankRange(1, 2, "a")
    rows = [
        Row("a", "metric", {"macro": Cell(0.7)}, rank_range=place),
        Row("b", "metric", {"macro": Cell(0.6)}, rank_range=place),
        Row("c", "metric", {"macro": Cell(0.5)}),
        Row("in part", "metric", {"macro": Cell(0.5, part=True)}),
        Row("no score", "metric", {"macro": Cell(math.nan)}),
        Row("old", "metric", {"macro": Cell(0.5)}, other_setup=True),
        Row("human-mean", "human", {"macro": Cell(0.5)}),
    ]
    why = "too few independent items to say how much of a difference is chance"
    assert [line for line in legend(TWO_AFC, TWO_AFC.main, rows) if "no rank" in line] == [
        f"no rank for c: {why}"
    ]
    for some in ([rows[0], *rows[3:]], rows[2:3]):  # nothing to be ranked
        assert not any("no rank" in line for line in legend(TWO_AFC, TWO_AFC.main, some))


def test_what_has_no_score_has_no_rank(tmp_path: Path) -> None:
    for metric in "ab":  # all votes are alike, so correlations with them are undefined
        run_2afc(tmp_path, metric, everywhere(2))
    board = only_board(tmp_path, statistic="srcc")
    assert all(row.rank_range is None for row in board.rows)
