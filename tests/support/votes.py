"""Items with votes, and distances of metrics that see the votes through noise."""

from __future__ import annotations

import numpy as np

from pmbench.datasets.pack import Items
from pmbench.scoring.statistics import Array


def items_of(sub: list[int], p: Array, cluster: list[int] | None = None) -> Items:
    n = len(p)
    return Items(
        id=np.array([f"item {i}" for i in range(n)], object),
        sub=np.array(sub, np.int64),
        sub_names=tuple("abcdef"[: max(sub) + 1]),
        p=np.asarray(p, float),
        votes=np.full(n, 5, np.int32),
        cluster=np.arange(n) if cluster is None else np.array(cluster, np.int64),
    )


def noisy_distances(items: Items, noise: float, seed: int) -> Array:
    """Return the distances of a metric that sees the votes through noise."""
    rng = np.random.default_rng(seed)
    d = np.zeros((len(items), 2))
    d[:, 0] = items.p - 0.5 + noise * rng.normal(size=len(items))
    return d


def many_items(per_sub: int = 80, subs: int = 3, seed: int = 0) -> Items:
    rng = np.random.default_rng(seed)
    sub = np.repeat(np.arange(subs), [per_sub + 7 * s for s in range(subs)]).tolist()
    return items_of(sub, rng.integers(0, 6, len(sub)) / 5)


def jnd_items(n: int = 120, seed: int = 0) -> Items:
    rng = np.random.default_rng(seed)
    return items_of((np.arange(n) % 2).tolist(), rng.integers(0, 4, n) / 3)


def jnd_distances(items: Items, noise: float, seed: int) -> Array:
    return (1 - items.p + noise * np.random.default_rng(seed).normal(size=len(items)))[:, None]
