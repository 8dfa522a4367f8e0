"""Toy runs on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pmbench.results.run import Run, save
from pmbench.results.schema import RunInfo
from pmbench.scoring.bootstrap import Resampling
from pmbench.scoring.items import Items
from pmbench.scoring.protocols import TWO_AFC
from pmbench.scoring.scores import human_rows, score
from pmbench.scoring.statistics import Array
from support.factories import run_info

DISTANCES_OF = "expected the distances of a run, got a file that is none or is damaged"
FEW = Resampling(20)  # intervals need not be good here
SIGNATURE = "pmbench:0.1|toy:12#0123abcd|none|soft|macro|fp32 || mine#9876"
ABOUT = {"items": 12, "of": 12, "sub_datasets": ["one", "zwei, größer"]}


def toy(n: int = 12) -> tuple[Items, Array]:
    rng = np.random.default_rng(0)
    items = Items(
        id=np.array([f"größe {i}" for i in range(n)], object),
        sub=np.arange(n, dtype=np.int64) % 2,
        sub_names=("one", "zwei, größer"),
        p=rng.integers(0, 4, n) / 3,
        votes=np.full(n, 3, np.int32),
        cluster=np.arange(n, dtype=np.int64) // 2,
    )
    return items, rng.normal(size=(n, 2))


def toy_info(metric: str = "mine", **more: Any) -> RunInfo:
    about = {"signature": SIGNATURE, "metric": {"name": metric}, "dataset": ABOUT}
    return run_info({**about, **more})


def save_run(results: Path, dataset: str = "toy", metric: str = "mine", folder: str = "") -> Run:
    items, distances = toy()
    scores = score(TWO_AFC, metric, items, distances, resampling=FEW)
    table = pd.concat([scores.table, human_rows(TWO_AFC, items, FEW)], ignore_index=True)
    place = results / dataset / (folder or metric)
    return save(place, toy_info(metric), items, distances, table, scores.draws)


def remove_digests(folder: Path) -> None:
    """Let the facts of a run say nothing about its other files."""
    path = folder / "run.json"
    info = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({key: value for key, value in info.items() if key != "files"}))


def names(runs: list[Run]) -> list[str]:
    return [f"{run.dataset}/{run.metric}" for run in runs]
