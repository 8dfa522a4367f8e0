"""Boards and runs of which a report is written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pmbench.analysis.leaderboard_rows import Board, Cell, Row
from pmbench.analysis.ranking import RankRange
from pmbench.datasets.pack import Items
from pmbench.reporting.site.build import Options, write
from pmbench.reporting.site.sections import Section, sections
from pmbench.results.run import Run, save
from pmbench.scoring.bootstrap import Resampling
from pmbench.scoring.protocols import JND, TWO_AFC
from pmbench.scoring.scores import human_rows, score
from pmbench.utils.progress import Silent
from support.factories import run_info

WAY = "pmbench:0.1|toy:6#d3b01234|none|soft|macro|fp32"


def items_of(p: list[float], votes: int | list[int] = 5, subs: int = 1) -> Items:
    n = len(p)
    return Items(
        id=np.array([f"s{i * subs // n}/item-{i}" for i in range(n)], object),
        sub=np.arange(n) * subs // n,
        sub_names=tuple(f"s{k}" for k in range(subs)),
        p=np.array(p, float),
        votes=np.full(n, votes, np.int32) if isinstance(votes, int) else np.array(votes, np.int32),
        cluster=np.arange(n),
    )


def differences(*d0_minus_d1: float) -> np.ndarray:
    """Return distances (n, 2) with these differences."""
    d = np.array(d0_minus_d1, float)
    return np.stack([10 + d, np.full(len(d), 10.0)], axis=1)


def row(name: str, value: float, low: int, high: int, speed: float | None) -> Row:
    cell = Cell(value, value - 0.004, value + 0.004)
    rank_range = RankRange(low, high, "a")
    return Row(name, "metric", {"macro": cell}, 36344, 36344, speed, "f", rank_range=rank_range)


def human(name: str, value: float) -> Row:
    return Row(name, "human", {"macro": Cell(value)}, 36344, 36344, family="people")


def section_of(rows: list[Row], **facts: Any) -> Section:
    about = {
        "name": "toy", "protocol": "2afc", "human_votes": True, "partial": False,
        "sub_datasets": ["s0"],
    } | facts  # fmt: skip
    board = Board(
        dataset="toy", title="Toy", warnings=[], statistic=TWO_AFC.statistics[0], unit="triplets",
        columns=["macro"], headers={}, rows=rows, signature=WAY,
    )  # fmt: skip
    info = {
        "signature": f"{WAY} || x#1", "dataset": about, "metric": {"name": "x"},
        "environment": {"device": "cpu"},
    }  # fmt: skip
    return Section(board, {row.name: Run(Path("toy/x"), run_info(info)) for row in rows})


PEOPLE = [human("human-fresh", 0.739), human("human-majority", 0.826)]


def save_run(
    results: Path, metric: str, d: np.ndarray, items: Items, dataset: str = "toy", **facts: Any
) -> Run:
    """Save a run on a 2AFC or JND toy dataset whose votes people gave."""
    protocol = TWO_AFC if d.shape[1] == 2 else JND
    resampling = Resampling(50, 0)
    scores = score(protocol, metric, items, d, resampling=resampling)
    table = pd.concat([scores.table, human_rows(protocol, items, resampling)], ignore_index=True)
    about = {
        "name": dataset, "title": "Toy & <co>", "protocol": protocol.name, "human_votes": True,
        "items": len(items), "of": len(items), "partial": False, "resize": "none",
        "selection": "every item", "sub_datasets": list(items.sub_names), "short_names": {},
        "source": "", "source_sha256": "", "pack_digest": "d3b0", **facts,
    }  # fmt: skip
    card = {
        "name": metric, "family": "own", "title": f"made <{metric}>", "version": 1,
        "parameters": {},
        "higher_is_better": False, "symmetric": True, "weights": {}, "undefined_on": {},
        "paper": "", "code": "https://example.org/code", "licence": "MIT", "digest": "11",
        "parameters_count": 1234, "weights_mb": 0.1,
    }  # fmt: skip
    info = {
        "signature": f"{WAY} || {metric}#1f9c", "metric": card, "dataset": about,
        "environment": {"device": "cpu", "torch": "2", "threads": 1}, "seconds": 1.0,
        "items_per_second": 10.0, "finished": "2026-03-01T00:00:00+00:00",
        "command": "pmbench eval -m x", "batches": {"pixels": 1, "items": None, "count": 1},
    }  # fmt: skip
    folder = results / dataset / re.sub(r"\W", "_", metric)
    return save(folder, run_info(info), items, d, table)


def write_report(results: Path, out: Path, **options: Any) -> tuple[str, list[str]]:
    """Write a report; return its first page and the notes."""
    reporter = Silent()
    write(out, sections(results, []), Options(**options), reporter)
    return (out / "index.html").read_text(encoding="utf-8"), reporter.notes
