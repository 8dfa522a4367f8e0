"""Which runs stand on one board: those that are comparable, and those that are asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.boards import (
    BAPPS,
    SHORT,
    WAY,
    cell_value,
    everywhere,
    only_board,
    row_names,
    row_of,
    rows_of,
    run_2afc,
)
from support.refusals import message_of

from pmbench.analysis.export import scores_table
from pmbench.analysis.leaderboard import boards
from pmbench.analysis.leaderboard_rows import View
from pmbench.reporting.site.sections import sections
from pmbench.results.run import Run
from pmbench.utils.errors import PmbenchError

# --- rows that are not comparable -----------------------------------------------------------------


def test_rows_measured_in_another_way_are_marked(tmp_path: Path) -> None:
    for metric in ("a", "b"):
        run_2afc(tmp_path, metric, everywhere(2))
    run_2afc(tmp_path, "c", everywhere(3), way=WAY.replace("d3b01234", "ffffffff"))
    board = only_board(tmp_path)
    assert {row.name: row.other_setup for row in board.rows if row.kind == "metric"} == {
        "a": False, "b": False, "c": True,
    }  # fmt: skip
    assert board.legend[-1] == (
        f"† measured in another way, or on other items, than {WAY}; not comparable"
    )


def test_rows_of_items_that_have_changed_since_are_the_marked_ones(tmp_path: Path) -> None:
    new = WAY.replace("d3b01234", "ffffffff")
    for metric, way, day in (("a", WAY, "01"), ("b", WAY, "01"), ("c", new, "02")):
        run_2afc(tmp_path, metric, everywhere(2), way=way)
        path = tmp_path / "bapps-2afc-val" / metric / "run.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"finished": f"2026-01-{day}"}))
    board = only_board(tmp_path)
    assert board.signature == new
    assert {row.name: row.other_setup for row in board.rows if row.kind == "metric"} == {
        "a": True, "b": True, "c": False,
    }  # fmt: skip


def test_strict_refuses_to_mix_and_names_the_rows(tmp_path: Path) -> None:
    for metric in ("a", "b"):
        run_2afc(tmp_path, metric, everywhere(2))
    assert row_names(only_board(tmp_path, strict=True)) == ["a", "b"]
    other = WAY.replace("d3b01234", "ffffffff")
    run_2afc(tmp_path, "c", everywhere(3), way=other)
    sentence = (
        "bapps-2afc-val mixes rows that were measured in different ways "
        f"(a, b: {WAY}; c: {other}); measure the older ones again with `pmbench eval`, or leave "
        "--strict out to have them marked"
    )
    for show in (boards, scores_table):
        assert message_of(show, tmp_path, View(strict=True)) == sentence


def test_rows_measured_in_one_way_are_not_marked(results: Path) -> None:
    for board in boards(results, View()):
        assert not any(row.other_setup for row in board.rows)
        assert not any("†" in line for line in board.legend)


def test_the_people_of_a_board_are_those_of_its_usual_items(tmp_path: Path) -> None:
    for metric in ("a", "b"):
        run_2afc(tmp_path, metric, everywhere(2))
    run_2afc(
        tmp_path, "z", everywhere(2), votes=1, way="other items", counts=dict.fromkeys(BAPPS, 3)
    )
    board = only_board(tmp_path)
    assert cell_value(board, "human-majority") == pytest.approx(0.8)  # 1.0 in the other run
    assert len(row_names(board, "human")) == 3
    assert row_of(board, "human-paper").n == 24


def test_an_older_partial_run_marks_its_own_row_and_not_the_board(tmp_path: Path) -> None:
    few = dict.fromkeys(BAPPS, 2)
    finished(run_2afc(tmp_path, "a", everywhere(2), few, way="few", of=24, partial=True), "2025")
    old = tmp_path / "bapps-2afc-val" / "a" / "run.json"
    facts = json.loads(old.read_text())
    facts["dataset"] |= {"title": "Another title", "short_names": {"cnn": "other"}}
    old.write_text(json.dumps(facts))
    finished(run_2afc(tmp_path, "l2-lab", everywhere(2)), "2026")
    board = only_board(tmp_path, published=True)
    assert board.warnings == []
    assert board.title == "BAPPS 2AFC, validation"
    assert board.headers == SHORT
    assert {row.name: row.other_setup for row in board.rows if row.kind == "metric"} == {
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
    board = only_board(tmp_path, published=True)
    assert board.warnings == ["partial: 12 of 24 triplets, not comparable with published scores"]
    assert rows_of(board, "published") == {}


def finished(run: Run, when: str) -> None:
    """Write into a run when it was finished."""
    path = run.folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"finished": when}))


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
    todo = (
        "make some with `pmbench eval`, name another folder with --results, or see what papers "
        "report with --published"
    )
    for where, dataset, what in (
        (results / "nowhere", None, f"no runs in {results / 'nowhere'}"),
        (results, "bapps-jnd-val", f"no runs on bapps-jnd-val in {results}"),
        (results, "bapps-2afc-val@exact4", f"no runs on bapps-2afc-val@exact4 in {results}"),
    ):
        assert message_of(boards, where, View(dataset=dataset)) == f"{what}; {todo}"


def test_unknown_names_are_answered_with_close_ones(results: Path) -> None:
    message = message_of(boards, results, View(dataset="bap"))
    assert message == "unknown dataset 'bap'; did you mean bapps?"
    message = message_of(boards, results, View(statistic="mAP"))
    assert message == "unknown statistic 'mAP'; did you mean map?"
    with pytest.raises(PmbenchError) as error:
        boards(results, View(dataset="ladder", statistic="2afc"))  # not one of JND
    assert str(error.value) == "unknown statistic '2afc'; known are: krcc, map, plcc, srcc."
