"""What a metric costs, beside its score."""

from __future__ import annotations

import json
from pathlib import Path

from support.boards import everywhere, only_board, row_of, run_2afc

from pmbench.analysis.export import scores_table
from pmbench.analysis.leaderboard_rows import View


def test_a_row_has_the_cost_that_its_run_says(tmp_path: Path) -> None:
    run = run_2afc(tmp_path, "new", everywhere(2))
    run_2afc(tmp_path, "old", everywhere(2))  # an older run says nothing
    path = run.folder / "run.json"
    info = json.loads(path.read_text()) | {"peak_memory_mb": 812.5}
    info["metric"] |= {"parameters_count": 2_469_696, "weights_mb": 9.9}
    path.write_text(json.dumps(info))
    board = only_board(tmp_path, cost=True)
    new, old = row_of(board, "new"), row_of(board, "old")
    assert (new.peak_memory_mb, new.parameters_count, new.weights_mb) == (812.5, 2_469_696, 9.9)
    assert (old.peak_memory_mb, old.parameters_count, old.weights_mb) == (None, None, None)
    assert (
        "peak MB: most memory of the process that measured it, which may have measured other "
        "metrics too; params, weights: of the metric alone" in board.legend
    )
    assert not any("peak MB" in line for line in only_board(tmp_path).legend)
    table = scores_table(tmp_path, View()).set_index("name")
    assert set(table.loc["new", "parameters_count"]) == {2_469_696}
    assert table.loc[["old", "human-paper"], "weights_mb"].isna().all()


def test_where_no_run_says_its_cost_that_is_said(tmp_path: Path) -> None:
    run_2afc(tmp_path, "old", everywhere(2))
    assert (
        "memory, parameters and weights: older runs do not say; measure them again"
        in only_board(tmp_path, cost=True).legend
    )
