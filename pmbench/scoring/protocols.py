"""The protocols: which roles are compared, and which statistics score the distances.

A protocol is data. ``two_afc`` and ``jnd`` follow the LPIPS paper (Zhang et al. 2018, section 4);
how each number is computed stands in ``agreement``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pmbench.scoring import statistics as agreement
from pmbench.scoring.statistics import Array, Weights
from pmbench.utils.errors import PmbenchError

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Statistic:
    """One number about agreement.

    ``value(distances, p, w)`` takes distances (n, pairs), the votes p (n,) and resampling weights
    w (resamples, n), and returns (resamples,). ``counts(distances, p)`` says which items it uses.
    ``items(distances, p)`` gives each item's score (n,), NaN where the item does not count, if the
    statistic is their mean; None if it is none.
    """

    name: str
    title: str
    value: Callable[[Array, Array, Weights], Array]
    percent: bool  # shown times 100; correlations are not
    counts: Callable[[Array, Array], Mask] = lambda d, p: np.ones(len(p), dtype=bool)
    items: Callable[[Array, Array], Array] | None = None


@dataclass(frozen=True)
class Human:
    """One row about people themselves: what they would score on the same items.

    ``value(p, n, w)`` takes the votes p, the number of votes n, each (items,), and resampling
    weights w (resamples, items), and returns (resamples,), on the scale of the main statistic.
    """

    name: str
    title: str
    value: Callable[[Array, Array, Weights], Array]
    counts: Callable[[Array], Mask] = lambda n: np.ones(len(n), dtype=bool)


@dataclass(frozen=True)
class Protocol:
    """What is compared with what, and how that is scored; ``statistics[0]`` is the main one."""

    name: str
    title: str
    roles: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]  # (reference, distorted)
    vote: str  # the name of p in files
    convention: str  # in the signature
    statistics: tuple[Statistic, ...]
    humans: tuple[Human, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the distances in files: d0, d1, … or d where there is one."""
        return ("d",) if len(self.pairs) == 1 else tuple(f"d{i}" for i in range(len(self.pairs)))

    @property
    def unit(self) -> str:
        """What its items are called."""
        return "triplets" if len(self.pairs) == 2 else "pairs"

    def statistic(self, name: str) -> Statistic:
        """Return the statistic of that name."""
        return next(s for s in self.statistics if s.name == name)

    def score(self, distances: Array, p: Array) -> dict[str, float]:
        """Return every statistic of one set of items, by name.

        ``distances`` (n, pairs), smaller = more alike; ``p`` (n,) in [0, 1]. Undefined is NaN.
        Raises PmbenchError where shapes do not fit or a distance is not a finite number.
        """
        if distances.shape != (len(p), len(self.pairs)):
            raise PmbenchError(
                f"distances of shape {distances.shape} do not fit the protocol {self.name}: "
                f"expected ({len(p)}, {len(self.pairs)}), a row an item and a column a pair"
            )
        if not np.isfinite(distances).all():
            row = int(np.flatnonzero(~np.isfinite(distances).all(axis=1))[0])
            raise PmbenchError(
                f"the distance in row {row} is {distances[row].tolist()}; expected finite numbers; "
                "leave the item out or mend the metric"
            )
        if len(p) == 0:
            return {s.name: float("nan") for s in self.statistics}
        plain = agreement.ones(len(p))
        return {s.name: float(s.value(distances, p, plain)[0]) for s in self.statistics}


def _difference(d: Array) -> Array:
    return d[:, 0] - d[:, 1]


def _correlations(
    x: Callable[[Array], Array], y: Callable[[Array], Array]
) -> tuple[Statistic, ...]:
    return (
        Statistic(
            "srcc", "Spearman", lambda d, p, w: agreement.spearman(x(d), y(p), w), percent=False
        ),
        Statistic(
            "krcc", "Kendall τb", lambda d, p, w: agreement.kendall(x(d), y(p), w), percent=False
        ),
        Statistic(
            "plcc", "Pearson", lambda d, p, w: agreement.pearson(x(d), y(p), w), percent=False
        ),
    )  # fmt: skip


def _best_ranking(same: Array) -> Array:
    """Return distances that rank by the votes; all differ, since ties could be bettered."""
    ranks = np.empty(len(same))
    ranks[np.argsort(-same, kind="stable")] = np.arange(len(same))
    return ranks


def _undecided_left_out(d: Array, p: Array) -> Mask:
    decided: Mask = p != 0.5
    return decided


def _two_afc_items(d: Array, p: Array) -> Array:
    return agreement.two_afc_items(d[:, 0], d[:, 1], p)


def _hard_majority_items(d: Array, p: Array) -> Array:
    items = agreement.hard_majority_items(d[:, 0], d[:, 1], p)
    return np.where(_undecided_left_out(d, p), items, np.nan)


def _mean_of(items: Callable[[Array, Array], Array]) -> Callable[[Array, Array, Weights], Array]:
    """Return the statistic that is the mean of the items' scores, as far as they count."""

    return lambda d, p, w: agreement.weighted_mean(items(d, p), w)


TWO_AFC = Protocol(
    name="2afc",
    title="two alternative forced choice",
    roles=("ref", "p0", "p1"),
    pairs=(("ref", "p0"), ("ref", "p1")),
    vote="p",
    convention="soft",
    statistics=(
        Statistic(
            "2afc",
            "2AFC",
            _mean_of(_two_afc_items),
            percent=True,
            items=_two_afc_items,
        ),
        Statistic(
            "hard_majority",
            "hard majority",
            _mean_of(_hard_majority_items),
            percent=True,
            counts=_undecided_left_out,
            items=_hard_majority_items,
        ),
        *_correlations(_difference, lambda p: p),
    ),
    humans=(
        Human(
            "human-paper",
            "Human, the paper's row: p²+(1-p)²",
            lambda p, n, w: agreement.weighted_mean(agreement.human_self_agreement(p), w),
        ),
        Human(
            "human-fresh",
            "Human, one person against the others",
            # who was asked alone has nobody to agree with
            lambda p, n, w: agreement.weighted_mean(agreement.human_fresh(p, n), w),
            counts=lambda n: n > 1,
        ),
        Human(
            "human-majority",
            "Upper bound: always with the majority",
            lambda p, n, w: agreement.weighted_mean(agreement.human_majority(p), w),
        ),
    ),
)

JND = Protocol(
    name="jnd",
    title="just noticeable differences",
    roles=("p0", "p1"),
    pairs=(("p0", "p1"),),
    vote="same",
    convention="voc-ap",
    statistics=(
        Statistic(
            "map",
            "JND mAP",
            lambda d, p, w: agreement.average_precision(d[:, 0], p, w),
            percent=True,
        ),
        *_correlations(lambda d: d[:, 0], lambda same: 1 - same),
    ),
    humans=(
        Human(
            "human-majority",
            "Upper bound: ranked by the votes themselves",
            lambda p, n, w: agreement.average_precision(_best_ranking(p), p, w),
        ),
    ),
)

PROTOCOLS = {protocol.name: protocol for protocol in (TWO_AFC, JND)}
