"""Toy runs of which every score is known beforehand, and what stands on their boards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pmbench.analysis.leaderboard import boards
from pmbench.analysis.leaderboard_rows import Board, Row, View
from pmbench.datasets.pack import Items
from pmbench.results.run import Run, save
from pmbench.scoring.bootstrap import Resampling
from pmbench.scoring.protocols import JND, TWO_AFC
from pmbench.scoring.scores import human_rows, score
from support.factories import run_info

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
    scores = score(TWO_AFC, metric, items, distances, undefined=why, resampling=FEW)
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
    return save(place, run_info(info), items, distances, table)


def run_jnd(results: Path, metric: str, d: list[float], **facts: Any) -> Run:
    """Save a run on pairs of a synthetic dataset: two sub-datasets of two, the first one "same"."""
    items = replace(items_of({"noise": 2, "blur": 2}, 0, votes=1), p=np.array([1, 0, 1, 0.0]))
    distances = np.array(d)[:, None]
    tables = [
        score(JND, metric, items, distances, resampling=FEW).table,
        human_rows(JND, items, FEW),
    ]
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
    return save(place, run_info(info), items, distances, table)


def everywhere(right: int) -> dict[str, int]:
    return dict.fromkeys(BAPPS, right)


def only_board(results: Path, **view: Any) -> Board:
    (board,) = boards(results, View(**view))
    return board


def row_names(board: Board, kind: str | None = "metric") -> list[str]:
    return [row.name for row in board.rows if kind in (None, row.kind)]


def row_of(board: Board, name: str) -> Row:
    (row,) = (row for row in board.rows if row.name == name)
    return row


def cell_value(board: Board, name: str, column: str = "macro") -> float:
    return row_of(board, name).cells[column].value


def rows_of(board: Board, kind: str) -> dict[str, Row]:
    return {row.name: row for row in board.rows if row.kind == kind}
