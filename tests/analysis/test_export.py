"""All scores as one tidy table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.boards import WAY, everywhere, only_board, run_2afc

from pmbench.analysis.export import scores_table
from pmbench.analysis.leaderboard_rows import View
from pmbench.datasets.manifest import datasets
from pmbench.scoring.scores import COLUMNS
from pmbench.utils.errors import PmbenchError


def test_tidy_has_every_score_once_and_says_where_it_is_from(results: Path) -> None:
    table = scores_table(results, View())
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
    table = scores_table(results, View())
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
    table = scores_table(tmp_path, View())
    row = (table["name"] == "human-majority") & (table["sub_dataset"] == "macro")
    assert dict(zip(table[row]["signature"], table[row]["value"], strict=True)) == pytest.approx(
        {WAY: 0.8, "other": 1.0}
    )


def test_tidy_of_one_dataset_and_of_papers_alone(results: Path) -> None:
    assert set(scores_table(results, View("ladder"))["dataset"]) == {"ladder-jnd"}
    with pytest.raises(PmbenchError, match="no runs in "):
        scores_table(results / "nowhere", View())
    table = scores_table(results / "nowhere", View(published=True))
    assert set(table["kind"]) == {"published"}
    published = datasets()["bapps-2afc-val"].published
    assert len(table) == sum(len(entry.scores) for entry in published)  # papers share names
    lin = table[(table["name"] == "Alex-lin [1]") & (table["sub_dataset"] == "macro")]
    (row,) = lin[["value", "same_as", "trained_on"]].values.tolist()
    assert row == [pytest.approx(0.698), "lpips-alex", "ImageNet, BAPPS"]


@pytest.mark.parametrize(("sort", "order"), [("macro", "dcab"), ("cnn", "acdb"), ("name", "abcd")])
def test_tidy_rows_come_in_the_order_of_the_board(four: Path, sort: str, order: str) -> None:
    table = scores_table(four, View(sort=sort))
    metrics = table[table["kind"] == "metric"]
    assert "".join(dict.fromkeys(metrics["name"])) == order
    everything = list(dict.fromkeys(zip(table["kind"], table["name"], strict=True)))
    board = only_board(four, sort=sort)
    assert everything == [(row.kind, row.name) for row in board.rows]


def test_tidy_refuses_what_a_board_refuses(four: Path) -> None:
    with pytest.raises(PmbenchError, match="unknown column to sort by 'colour'; did you mean"):
        scores_table(four, View(sort="colour"))


def test_tidy_published_rows_say_what_they_are_the_same_as(tmp_path: Path) -> None:
    run_2afc(tmp_path, "l2", everywhere(3))
    table = scores_table(tmp_path, View(published=True))
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
    assert "same_as" not in scores_table(tmp_path, View())


def test_a_whole_number_of_items_per_second_is_fine(tmp_path: Path) -> None:
    run = run_2afc(tmp_path, "a", everywhere(2))
    path = run.folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "items_per_second": 100}))
    assert set(scores_table(tmp_path, View())["items_per_second"].dropna()) == {100.0}
