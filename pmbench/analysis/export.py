"""Runs -> one tidy table for a machine: every score of every run, and where it is from."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from pmbench.analysis.leaderboard import boards, runs_in_view
from pmbench.analysis.leaderboard_rows import Board, Row, View
from pmbench.results.merging import ResultFolders, folders
from pmbench.results.run import Run
from pmbench.results.signature import setup_of

_OF_THE_METRIC = ("items_per_second", "peak_memory_mb", "parameters_count", "weights_mb")


def scores_table(results: ResultFolders, view: View) -> pd.DataFrame:
    """Return every score of every run as one table: what ``scores`` says, and where it is from.

    Rows come in the order of the boards. Of a view, the dataset, the statistic, the order and the
    published rows count. Raises PmbenchError as ``boards`` does.
    """
    runs, shown = runs_in_view(results, view), boards(results, view)
    tables = [_tidy_run(run, several=len(folders(results)) > 1) for run in runs]
    published = [record for board in shown for record in _published_records(board)]
    tables += [pd.DataFrame(published)] if published else []
    whole = pd.concat([table for table in tables if len(table)], ignore_index=True)
    if view.statistic is not None:
        whole = whole[whole["statistic"] == view.statistic]
    keys = ["dataset", "kind", "name", "statistic", "sub_dataset", "signature"]
    whole = whole.drop_duplicates(keys, ignore_index=True)
    for count in ("n", "of"):  # papers do not say
        whole[count] = whole.get(count, pd.Series(dtype="Int64")).astype("Int64")
    whole = _with_rank_ranges(whole, shown)
    place = {(b.dataset, row.kind, row.name): i for i, (b, row) in enumerate(_all_rows(shown))}
    order = [place.get(key, len(place)) for key in _identities(whole)]
    return whole.iloc[np.argsort(order, kind="stable")].reset_index(drop=True)


def _identities(table: pd.DataFrame) -> Iterator[tuple[str, str, str]]:
    return zip(table["dataset"], table["kind"], table["name"], strict=True)


def _all_rows(shown: list[Board]) -> Iterator[tuple[Board, Row]]:
    return ((board, row) for board in shown for row in board.rows)


def _tidy_run(run: Run, several: bool) -> pd.DataFrame:
    table = run.scores()
    table.insert(0, "dataset", run.dataset)
    info = run.info
    table["family"] = info.metric.family
    table["partial"] = info.dataset.partial
    table["human_votes"] = info.dataset.human_votes
    table["items_per_second"] = _number(info.items_per_second)
    table["peak_memory_mb"] = _number(info.peak_memory_mb)
    table["parameters_count"] = _number(info.metric.parameters_count)
    table["weights_mb"] = _number(info.metric.weights_mb)
    table["signature"] = run.signature
    if several:
        table["results"] = str(run.folder.parent.parent)
    people = table["kind"] == "human"  # the same in every run, and not the metric's
    table.loc[people, "signature"] = setup_of(run)
    table.loc[people, "family"] = "people"
    table.loc[people, list(_OF_THE_METRIC)] = math.nan
    table.loc[~people, "name"] = run.metric
    table["parameters_count"] = table["parameters_count"].astype("Int64")
    return table[table["human_votes"] | ~people]


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _published_records(board: Board) -> list[dict[str, object]]:
    """Return the published numbers of a board; what they are compared with, and by how much."""
    return [
        {
            "dataset": board.dataset, "kind": "published", "name": row.name,
            "statistic": board.statistic.name, "sub_dataset": place, "value": cell.value,
            "note": cell.note, "unreliable": False, "family": "published", "partial": False,
            "human_votes": True, "signature": "", "same_as": row.counterpart,
            "trained_on": row.trained_on, "measured_minus_published": cell.difference,
        }
        for row in board.rows if row.kind == "published"
        for place, cell in row.cells.items()
    ]  # fmt: skip


def _with_rank_ranges(table: pd.DataFrame, shown: list[Board]) -> pd.DataFrame:
    """Add the columns that say which places a metric's macro score may have."""
    rank_range = {
        (board.dataset, row.name, board.statistic.name, board.overall): row.rank_range
        for board, row in _all_rows(shown)
        if row.rank_range is not None
    }
    of_rows = [
        rank_range.get((dataset, name, statistic, place))
        for dataset, name, statistic, place in zip(
            table["dataset"], table["name"], table["statistic"], table["sub_dataset"], strict=True
        )
    ]
    for column, places in (
        ("rank_low", [one.low if one else math.nan for one in of_rows]),
        ("rank_high", [one.high if one else math.nan for one in of_rows]),
    ):
        table[column] = pd.Series(places, index=table.index).astype("Int64")
    table["letters"] = [one.letters if one else "" for one in of_rows]
    return table
