"""How long scoring takes, and how much memory: 60 metrics × 36,344 triplets × 1,000 resamples.

    python benchmarks/scoring.py [JUDGEMENTS.csv.gz]

JUDGEMENTS are distances and votes as `pmbench score --protocol 2afc` reads them; without, data of
the shape of BAPPS' validation set are made. The other metrics are the first with noise added: their
distances differ, the work is the same. Prints seconds for all 60, for each group of statistics in
each sub-dataset, macro and pooled, with intervals; and the largest memory of the process.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from pmbench.datasets.pack import Items
from pmbench.results.csv_io import read_csv
from pmbench.scoring.bootstrap import DEFAULT_RESAMPLING
from pmbench.scoring.protocols import TWO_AFC
from pmbench.scoring.scores import human_rows, score
from pmbench.scoring.statistics import Array

METRICS = 60
BAPPS = {
    "traditional": 4720, "cnn": 4720, "superres": 10856, "deblur": 9440, "color": 4720,
    "frameinterp": 1888,
}  # fmt: skip
GROUPS = {
    "2AFC": ["2afc"],
    "hard majority": ["hard_majority"],
    "Spearman, Kendall and Pearson": ["srcc", "krcc", "plcc"],
}


def made() -> tuple[Items, Array]:
    """Return triplets like BAPPS': five votes each, and a metric that mostly agrees with them."""
    rng = np.random.default_rng(0)
    n = sum(BAPPS.values())
    p = rng.binomial(5, rng.random(n)) / 5
    items = Items(
        id=np.arange(n).astype(str).astype(object),
        sub=np.repeat(np.arange(len(BAPPS)), list(BAPPS.values())),
        sub_names=tuple(BAPPS),
        p=p,
        votes=np.full(n, 5, np.int32),
        cluster=np.arange(n),
    )
    return items, rng.lognormal(size=(n, 2)) * np.stack([0.5 + p, 1.5 - p], axis=1)


@contextmanager
def told(what: str) -> Iterator[None]:
    """Print how long something took, and how much computing that was on all cores."""
    begun, computed = time.perf_counter(), time.process_time()
    yield
    took, computed = time.perf_counter() - begun, time.process_time() - computed
    print(f"{what:<40}{took:8.1f} s{computed:8.1f} s of CPU", flush=True)


def main() -> None:
    items, first = read_csv(Path(sys.argv[1]), "2afc", False) if len(sys.argv) > 1 else made()
    rng = np.random.default_rng(1)
    metrics = [first * rng.lognormal(sigma=0.1, size=first.shape) for _ in range(METRICS)]
    print(f"{METRICS} metrics × {len(items):,} triplets × {DEFAULT_RESAMPLING.count:,} resamples")
    with told("drawing resamples, and the human rows"):
        human_rows(TWO_AFC, items)
    for title, names in GROUPS.items():
        part = replace(TWO_AFC, statistics=tuple(TWO_AFC.statistic(name) for name in names))
        with told(title):
            for i, distances in enumerate(metrics):
                score(part, f"metric {i}", items, distances)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(f"{'largest memory':<40}{peak:8.0f} MB")


if __name__ == "__main__":
    main()
