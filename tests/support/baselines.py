"""A toy dataset whose scores can be counted, measurements of it, and runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pmbench.analysis.baseline import RunScores, to_entry
from pmbench.analysis.regression import Change, Rules, compare
from pmbench.datasets.pack import Items
from pmbench.results.run import Run, save
from pmbench.scoring.bootstrap import Resampling
from pmbench.scoring.protocols import TWO_AFC, Protocol
from pmbench.scoring.scores import human_rows, score
from support.factories import run_info

WAY = "pmbench:0.1|toy:60#0123abcd|none|soft|macro|fp32"
# everybody prefers p1, so that an item is right where d1 < d0
RIGHT, WRONG = (2.0, 1.0), (1.0, 2.0)
EACH = 30  # items in each of two sub-datasets


def items(cluster: NDArray[np.int64] | None = None) -> Items:
    n = 2 * EACH
    return Items(
        id=np.array([f"{i:02}" for i in range(n)], object),
        sub=np.repeat([0, 1], EACH),
        sub_names=("one", "two"),
        p=np.ones(n),
        votes=np.full(n, 5, np.int32),
        cluster=np.arange(n) if cluster is None else cluster,
    )


def distances(right: int) -> NDArray[np.float64]:
    """Return distances (60, 2) with so many items of each sub-dataset right: the first ones."""
    return np.array(([RIGHT] * right + [WRONG] * (EACH - right)) * 2)


def measurement(right: int = 20, **changes: Any) -> RunScores:
    whole = RunScores(
        dataset="toy",
        metric="mine",
        signature=f"{WAY} || mine#11111111",
        tolerance=1e-5,
        made_with="torch 2.9, cpu, 2 cores",
        protocol=TWO_AFC,
        items=items(),
        distances=distances(right),
    )
    return replace(whole, **changes)


def run_of(
    results: Path,
    d: NDArray[np.float64],
    toy_items: Items,
    metric: str = "mine",
    dataset: str = "toy",
    way: str = WAY,
    protocol: Protocol = TWO_AFC,
    facts: dict[str, Any] | None = None,
) -> Run:
    """Write a run of known distances."""
    about = {
        "name": dataset.partition("@")[0],
        "title": "Toy",
        "protocol": protocol.name,
        "human_votes": True,
        "resize": "none",
        "items": len(toy_items),
        "of": len(toy_items),
        "partial": False,
        "sub_datasets": list(toy_items.sub_names),
        "short_names": {},
        **(facts or {}),
    }
    info = {
        "signature": f"{way} || {metric}#11111111",
        "dataset": about,
        "metric": {"name": metric, "tolerance": 1e-5},
        "environment": {"torch": "2.9", "device": "cpu, 2 cores"},
        "items_per_second": 1.0,
    }
    why = "too small" if np.isnan(d).any() else ""
    table = score(protocol, metric, toy_items, d, undefined=why, resampling=Resampling(20)).table
    table = pd.concat([table, human_rows(protocol, toy_items, Resampling(20))], ignore_index=True)
    return save(results / dataset / metric, run_info(info), toy_items, d, table)


def change_between(before: RunScores, now: RunScores, tolerance: float = 0.1) -> Change:
    return compare(to_entry(before), now, Rules(tolerance))
