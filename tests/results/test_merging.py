"""Folders of results read as one: which run stands for a metric, and what is said about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.boards import BAPPS, WAY, cell_value, everywhere, row_names, row_of, run_2afc
from support.refusals import message_of

from pmbench.analysis.export import scores_table
from pmbench.analysis.leaderboard import boards
from pmbench.analysis.leaderboard_rows import View
from pmbench.results.merging import merge_runs
from pmbench.results.run import Run
from pmbench.utils.errors import PmbenchError


def finished(run: Run, day: int, **facts: Any) -> Run:
    """Say when a run was made."""
    path = run.folder / "run.json"
    info = json.loads(path.read_text()) | {"finished": f"2026-01-{day:02d}"} | facts
    path.write_text(json.dumps(info))
    return run


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    """Two machines: both have measured ``both``, the second one later; each has one of its own."""
    a, b = tmp_path / "a", tmp_path / "b"
    finished(run_2afc(a, "both", everywhere(3), speed=10), 1)
    finished(run_2afc(b, "both", everywhere(3), speed=20), 2)
    finished(run_2afc(a, "of-a", everywhere(2)), 1)
    finished(run_2afc(b, "of-b", everywhere(1)), 2)
    return [a, b]


def test_runs_of_all_folders_are_on_one_board(two: list[Path]) -> None:
    (board,) = boards(two, View())
    assert row_names(board) == ["both", "of-a", "of-b"]
    assert not any(row.other_setup for row in board.rows)


@pytest.mark.parametrize("turned", [False, True])
def test_of_two_runs_that_agree_the_later_one_is_kept_and_that_is_said(
    two: list[Path], turned: bool
) -> None:
    (board,) = boards(two[::-1] if turned else two, View())
    assert row_of(board, "both").speed == 20
    a, b = two
    assert merge_runs(two[::-1] if turned else two).messages == [
        f"measured in {a} and in {b} with the same scores, the later one is shown, of {b}: "
        "bapps-2afc-val/both"
    ]


def test_runs_that_agree_are_said_in_one_sentence(two: list[Path]) -> None:
    a, b = two
    for folder, day in ((a, 1), (b, 2)):
        finished(run_2afc(folder, "more", everywhere(1)), day)
    (sentence,) = merge_runs(two).messages
    assert sentence.endswith(f"of {b}: bapps-2afc-val/both, bapps-2afc-val/more")


def test_rounding_is_no_disagreement(two: list[Path]) -> None:
    path = two[0] / "bapps-2afc-val" / "both" / "scores.csv"
    table = pd.read_csv(path)
    table["value"] += 0.0004  # 0.04 points
    table.to_csv(path, index=False, na_rep="nan")
    assert row_names(boards(two, View())[0]) == ["both", "of-a", "of-b"]


def test_of_two_runs_that_disagree_both_are_kept_with_their_folders(two: list[Path]) -> None:
    a, b = two
    finished(run_2afc(a, "both", everywhere(3) | {"cnn": 1}), 1)
    assert merge_runs(two).messages == [
        f"bapps-2afc-val/both: hard_majority, cnn is 0.2500 in {a} and 0.7500 in {b}, although the "
        "signatures are the same; both are shown, each with its folder; measure it again to see "
        "which is right"
    ]
    (board,) = boards(two, View())
    assert row_names(board) == [f"both ({b})", f"both ({a})", "of-a", "of-b"]
    assert [row.rank_range is not None for row in board.rows if row.kind == "metric"] == [True] * 4
    table = scores_table(two, View())
    assert {f"both ({a})", f"both ({b})"} < set(table["name"])
    assert set(table.loc[table["name"] == f"both ({a})", "results"]) == {str(a)}


def test_a_score_that_only_one_of_them_has_is_a_disagreement(two: list[Path]) -> None:
    finished(run_2afc(two[0], "both", everywhere(3), undefined_on=("cnn",)), 1)
    assert f"both ({two[0]})" in row_names(boards(two, View())[0])


def test_another_metric_under_the_same_name_has_its_digest(two: list[Path]) -> None:
    a, b = two
    finished(run_2afc(a, "both", everywhere(4)), 1, signature=f"{WAY} || both#2222aaaa")
    (board,) = boards(two, View())
    assert row_names(board) == ["both #2222aaaa", "both #1f9c0000", "of-a", "of-b"]
    assert merge_runs(two).messages == [
        f"bapps-2afc-val/both: measured in 2 ways ({a}, {b}), of which the signatures differ; "
        "all are shown"
    ]


def test_a_run_of_another_way_is_marked_as_on_any_board(two: list[Path]) -> None:
    a, _ = two
    other = WAY.replace("d3b01234", "ffffffff")
    finished(run_2afc(a, "both", everywhere(4), way=other), 1)
    (board,) = boards(two, View())
    marked = {(r.name, r.other_setup): r for r in board.rows if r.name == "both"}
    assert set(marked) == {("both", False), ("both", True)}
    assert marked["both", True].cells["macro"].value == pytest.approx(0.8)
    with pytest.raises(PmbenchError, match="bapps-2afc-val mixes rows that were measured in diff"):
        boards(two, View(strict=True))
    table = scores_table(two, View())
    assert set(table.loc[table["name"] == "both", "signature"]) == {
        f"{WAY} || both#1f9c0000", f"{other} || both#1f9c0000",
    }  # fmt: skip


def test_people_are_there_once(two: list[Path]) -> None:
    table = scores_table(two, View())
    people = table[table["kind"] == "human"]
    assert not people.duplicated(["name", "sub_dataset"]).any()
    assert len(people) == 3 * (len(BAPPS) + 2)


def test_one_folder_is_read_as_ever(two: list[Path]) -> None:
    a, _ = two
    for results in (a, [a], [a, a], [a, a / ".." / "a"]):
        assert row_names(boards(results, View())[0]) == ["both", "of-a"]
        assert merge_runs(results).messages == []
        assert "results" not in scores_table(results, View())
    assert cell_value(boards(a, View())[0], "both") == pytest.approx(0.65)


def test_a_folder_that_is_not_there_is_named(two: list[Path]) -> None:
    gone = two[0].parent / "gone"
    assert message_of(boards, [*two, gone], View()) == (
        f"{gone}: expected a folder of results to merge, and there is none; "
        "name folders that `pmbench eval` has written"
    )


def test_no_runs_in_several_folders_is_said(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    assert message_of(boards, [tmp_path / "a", tmp_path / "b"], View()).startswith(
        f"no runs in {tmp_path / 'a'} and {tmp_path / 'b'}; make "
    )
