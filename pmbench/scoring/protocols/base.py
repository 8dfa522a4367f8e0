"""What a protocol is: which images are compared, what people were asked, and how that is scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pmbench.scoring.statistics import (
    Array,
    Weights,
    kendall,
    ones,
    pearson,
    spearman,
    weighted_mean,
)
from pmbench.utils.errors import PmbenchError

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Statistic:
    """One number about agreement.

    ``value(distances, p, w)`` takes distances (n, pairs), the judgements p (n,) and resampling
    weights w (resamples, n), and returns (resamples,). ``counts(distances, p)`` says which items it
    uses. ``items(distances, p)`` gives each item's score (n,), NaN where the item does not count,
    if the statistic is their mean; None if it is none.
    """

    name: str
    title: str
    value: Callable[[Array, Array, Weights], Array]
    percent: bool  # shown times 100; correlations are not
    undefined: str = ""  # why it has no value where there are items
    counts: Callable[[Array, Array], Mask] = lambda d, p: np.ones(len(p), dtype=bool)
    items: Callable[[Array, Array], Array] | None = None
    # With fewer independent items in a sub-dataset, its 95 % interval is called unreliable: there
    # are simulated data of which it holds the true value in less than 92.5 % of cases
    # (tests/scoring/test_interval_coverage.py).
    reliable: int = 20

    @property
    def limits(self) -> tuple[float, float]:
        """Between which numbers it is."""
        return (0, 1) if self.percent else (-1, 1)


@dataclass(frozen=True)
class HumanBaseline:
    """One row about people themselves: what they would score on the same items.

    ``value(p, n, w)`` takes the judgements p, the number of votes n, each (items,), and resampling
    weights w (resamples, items), and returns (resamples,), on the scale of the main statistic.
    ``items(p, n)`` gives each item's (items,), as that of a statistic.
    """

    name: str
    title: str
    value: Callable[[Array, Array, Weights], Array]
    undefined: str = ""  # why it has no value where there are items
    counts: Callable[[Array], Mask] = lambda n: np.ones(len(n), dtype=bool)
    items: Callable[[Array, Array], Array] | None = None


_MOST_VOTES = 2**31 - 1  # a pack has 32 bits for them


@dataclass(frozen=True)
class Judgement:
    """What people said of one item, as a number in [low, high].

    A share of votes is a multiple of 1/n of the n people asked; a rating is any number in range.
    """

    name: str  # its column in files of distances
    title: str
    low: float = 0.0
    high: float = 1.0
    is_share: bool = True

    @property
    def range(self) -> str:
        """The range in words for sentences: "a share of people, in [0, 1]"."""
        kind = "a share of people" if self.is_share else "a number"
        return f"{kind}, in [{self.low:g}, {self.high:g}]"

    def contains(self, values: Array) -> bool:
        """Return whether all values (n,) are in range; NaN is not."""
        return bool(((values >= self.low) & (values <= self.high)).all())

    def parse(self, value: float, votes: int | None, where: str) -> tuple[float, int]:
        """Return one judgement as it is stored, and the number of votes behind it.

        A share becomes k/votes: stored shares are rounded floats (0.6000000238), and scores must
        not depend on their last digits. ``votes`` None: the value as it is, of one vote. Raises
        PmbenchError, beginning with ``where``, for a value out of range and for a share that is no
        multiple of 1/votes.
        """
        if not self.low <= value <= self.high:  # also false for NaN
            raise PmbenchError(f"{where}: the vote is {value}; expected {self.range}")
        if votes is None:
            return value + 0.0, 1  # -0.0 is 0.0
        if not 1 <= votes <= _MOST_VOTES:
            raise PmbenchError(
                f"{where}: {votes} votes; expected at least one and at most {_MOST_VOTES:,}"
            )
        if not self.is_share:
            return value + 0.0, votes
        k = round(value * votes)
        if abs(value * votes - k) > min(0.01 * votes, 0.25):  # two decimals, but always a clear k
            raise PmbenchError(
                f"{where}: the vote is {value}, which is no multiple of 1/{votes}; "
                "correct the number of votes in the manifest or the file"
            )
        return k / votes, votes

    def parse_counts(self, against: float, in_favour: float, where: str) -> tuple[float, int]:
        """Return the share of people in favour, and how many there are, from two counts.

        Raises PmbenchError, beginning with ``where``, unless both are whole numbers of people.
        """
        asked = against + in_favour
        whole = against.is_integer() and in_favour.is_integer()  # no for NaN and infinity
        if not whole or min(against, in_favour) < 0 or not 1 <= asked <= _MOST_VOTES:
            raise PmbenchError(
                f"{where}: vote counts {against:g} and {in_favour:g}; expected whole numbers of "
                f"people, at least one in all and at most {_MOST_VOTES:,}"
            )
        return self.parse(in_favour / asked, int(asked), where)


@dataclass(frozen=True)
class Protocol:
    """What is compared with what, what people were asked, and how distances are scored against it.

    ``statistics[0]`` is the main one. ``overall`` is the score over a whole dataset that is shown
    first and ranked by: "macro", the plain mean of the sub-datasets, or "pooled", over all items.
    """

    name: str
    title: str
    roles: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]  # (reference, distorted)
    task: Literal["choice", "discrimination", "rating"]  # what people were asked to do
    judgement: Judgement
    unit: str  # what its items are called, in the plural
    description: str  # what people did, and what the main score is
    convention: str  # in the signature
    statistics: tuple[Statistic, ...]
    humans: tuple[HumanBaseline, ...] = ()
    overall: Literal["macro", "pooled"] = "macro"

    @property
    def main(self) -> Statistic:
        """The statistic that metrics are ranked by."""
        return self.statistics[0]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the distances in files: d0, d1, … or d where there is one."""
        return ("d",) if len(self.pairs) == 1 else tuple(f"d{i}" for i in range(len(self.pairs)))

    def statistic(self, name: str) -> Statistic:
        """Return the statistic of that name."""
        return next(s for s in self.statistics if s.name == name)

    def score(self, distances: Array, p: Array) -> dict[str, float]:
        """Return every statistic of one set of items, by name.

        ``distances`` (n, pairs), smaller = more alike; ``p`` (n,) judgements. Undefined is NaN.
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
        plain = ones(len(p))
        return {s.name: float(s.value(distances, p, plain)[0]) for s in self.statistics}


def correlations(x: Callable[[Array], Array], y: Callable[[Array], Array]) -> tuple[Statistic, ...]:
    """Return Spearman's, Kendall's and Pearson's correlation of x(distances) with y(judgements)."""

    def statistic(
        name: str,
        title: str,
        correlation: Callable[[Array, Array, Weights], Array],
        reliable: int = 20,
    ) -> Statistic:
        return Statistic(
            name,
            title,
            lambda d, p, w: correlation(x(d), y(p), w),
            percent=False,
            undefined="distances or votes do not vary",
            reliable=reliable,
        )

    return (
        statistic("srcc", "Spearman", spearman),
        statistic("krcc", "Kendall τb", kendall),
        # a few large distances decide it: 90 % of 500 items where distances are lognormal
        statistic("plcc", "Pearson", pearson, reliable=1000),
    )


def mean_of(items: Callable[[Array, Array], Array]) -> Callable[[Array, Array, Weights], Array]:
    """Return the statistic that is the mean of the items' scores, as far as they count."""
    return lambda d, p, w: weighted_mean(items(d, p), w)
