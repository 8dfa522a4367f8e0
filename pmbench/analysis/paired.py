"""The difference of two metrics' scores on the same items: how large, and how sure.

    z = (a - b) / √(var a + var b - 2 cov(a, b))

is referred to Student's t. Where clusters are few and of unlike sizes that is wrong too often, and
the signs of what each cluster adds to the difference are turned instead (see ``JointScores``). In
both cases the interval holds the differences that the same test at 5 % would not reject, so that it
excludes 0 exactly where p is below 0.05.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pmbench.scoring.joint_scores import ALPHA as ALPHA
from pmbench.scoring.joint_scores import JointScores
from pmbench.scoring.statistics import Array, Index

POWER = 0.8
RELIABLE = 20  # of fewer independent items the test rests on how their scores are distributed
ALL_THE_SAME = "it is the same in all clusters, and these are too few"
_ROUGHLY = 1e-9  # relative, of sums of the same numbers
_ROUNDING = 1e-12  # what only rounding leaves of equal scores; relative, of equal variances


@dataclass(frozen=True)
class Difference:
    """Metric a's score minus metric b's in one place, on the statistic's own scale."""

    a: str
    b: str
    place: str
    value: float
    low: float  # 95 %; NaN where there is none
    high: float
    z: float
    p: float  # two-sided; NaN where there is none
    detectable: float  # the smallest difference that such items find with 80 % power
    n: int
    independent: float  # items that these count as: effective clusters
    unknown: str = ""  # why there is no p


def difference(scores: JointScores, a: str, b: str) -> Difference:
    """Return how far a is above b."""
    i, j = scores.names.index(a), scores.names.index(b)
    value, error, z, p = (float(x[0]) for x in _tested(scores, i, np.array([j])))
    unknown = scores.unknown
    if math.isnan(p):
        low = high = error = math.nan
        unknown = unknown or ALL_THE_SAME
    elif scores.additions is None:
        half = quantile(1 - ALPHA / 2, scores.freedom) * error
        low, high = value - half, value + half
    else:
        low, high = _between(*_turning_points(scores, i, j))
    return Difference(
        a,
        b,
        scores.place,
        value,
        low,
        high,
        z,
        p,
        (high - low) / 2 + quantile(POWER, scores.freedom) * error,
        scores.n,
        scores.independent,
        unknown,
    )


def pairwise(scores: JointScores) -> tuple[Array, Array]:
    """Return z and the two-sided p of each score (row) less each other (column): (k, k).

    Equal scores are z = 0, p = 1. Where nothing varies, others are z = ±∞, and p is how often G
    clusters are all in favour of one metric, 2/2ᴳ. Where there is no test p is NaN.
    """
    k = len(scores.names)
    _, _, z, p = np.stack([_tested(scores, i, np.arange(k)) for i in range(k)], axis=1)
    return z, p


def _tested(scores: JointScores, i: int, j: Index) -> Array:
    """Return score i less scores j, (k,): the difference, its standard error, z, and p."""
    plain = np.diag(scores.covariance)
    both = plain[i] + plain[j]
    variance = both - 2 * scores.covariance[i, j]
    value = scores.values[i] - scores.values[j]
    value = np.where(np.abs(value) <= _ROUNDING, 0.0, value)
    error = np.sqrt(np.where(variance <= _ROUNDING * both, 0.0, variance))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where((value == 0) & ~np.isnan(error), 0.0, value / error)
    if scores.additions is None:
        p = two_sided(z, 0 if scores.unknown else scores.freedom)
        of_one_side = 2.0**-scores.freedom
        p[np.isinf(z)] = of_one_side if of_one_side < ALPHA else np.nan
        return np.stack([value, error, z, p])
    flipped, _ = scores.flips
    as_far = np.abs(flipped[:, [i]] - flipped[:, j]) >= np.abs(value) * (1 - _ROUGHLY)
    return np.stack([value, error, z, as_far.mean(axis=0)])


def two_sided(t: Array, freedom: float) -> Array:
    """Return how often Student's t is at least |t| from 0; ten digits are right also where tiny.

    NaN without a degree of freedom: one cluster says nothing of how clusters vary.
    """
    t = np.abs(np.asarray(t, np.float64))
    if not freedom > 0:
        return np.full(t.shape, np.nan)
    from scipy.special import stdtr  # a tenth of a second of import

    return np.asarray(2 * stdtr(freedom, -t), np.float64)


def quantile(share: float, freedom: float) -> float:
    """Return the quantile of Student's t; NaN without a degree of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, share)) if freedom > 0 else math.nan


# --- the signs of what clusters add ---------------------------------------------------------------


def _turning_points(scores: JointScores, i: int, j: int) -> tuple[Array, Array]:
    """Return between which differences each choice of signs is at least as far off as the data.

    A difference δ is tested by what clusters add less their share of δ. Under signs with a sum A of
    the one and B of the other that is A - δB, at least as far from 0 as the data's θ - δ for all δ
    between (θ - A)/(1 - B) and (θ + A)/(1 + B).
    """
    flipped, shares = scores.flips
    a, b = flipped[:, i] - flipped[:, j], shares
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.stack([(a[0] - a) / (1 - b), (a[0] + a) / (1 + b)])
    always = np.abs(b) > 1 - _ROUGHLY  # all signs the same: as far off whatever δ is
    return (
        np.where(always, -np.inf, ends.min(axis=0)),
        np.where(always, np.inf, ends.max(axis=0)),
    )


def _between(lows: Array, highs: Array) -> tuple[float, float]:
    """Return the ends of the differences that 5 % of all signs or more are as far off from."""
    at = math.ceil(ALPHA * len(lows)) - 1
    low, high = float(np.partition(lows, at)[at]), -float(np.partition(-highs, at)[at])
    return 0.0 if abs(low) <= _ROUNDING else low, 0.0 if abs(high) <= _ROUNDING else high
