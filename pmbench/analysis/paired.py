"""The difference of two metrics' scores on the same items: how large, and how sure.

It has a paired interval, by the bootstrap, and a paired, stratified z:

    z = (a - b) / √(var a + var b - 2 cov(a, b))

referred to Student's t with as many degrees of freedom as there are clusters less urns (see
``bootstrap``): the normal distribution for any but few items.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pmbench.analysis.joint_scores import JointScores
from pmbench.scoring.bootstrap import interval
from pmbench.scoring.statistics import Array

ALPHA = 0.05
POWER = 0.8
_ROUGHLY = 1e-6  # of a number of items, of which two digits are told
_ROUNDING = 1e-12  # what only rounding leaves of equal scores; relative, of equal variances


@dataclass(frozen=True)
class Difference:
    """Metric a's score minus metric b's in one place, on the statistic's own scale."""

    a: str
    b: str
    place: str
    value: float
    low: float  # 95 %, paired bootstrap; NaN where there is none
    high: float
    z: float
    p: float  # two-sided; NaN where the variance is not known
    n: int
    more: int | None  # items to add to tell them apart; None: apart already, or no difference
    independent: int  # what the interval rests on


def difference(scores: JointScores, a: str, b: str, place: str) -> Difference:
    """Return how far a is above b."""
    i, j, where = scores.names.index(a), scores.names.index(b), scores.at(place)
    value = float(scores.values[i, where] - scores.values[j, where])
    value = 0.0 if abs(value) <= _ROUNDING else value
    cov, freedom = scores.covariance[where], scores.freedom[where]
    z, p = (float(x) for x in z_test(np.array(value), cov[i, i], cov[j, j], cov[i, j], freedom))
    low, high = interval(scores.draws[i, where] - scores.draws[j, where])
    n = scores.n[where]
    unsettled = p >= ALPHA and z != 0
    more = max(1, math.ceil(n * (_growth(abs(z), freedom) - 1))) if unsettled else None
    return Difference(a, b, place, value, low, high, z, p, n, more, scores.independent[where])


def z_test(
    value: Array, var_a: Array, var_b: Array, cov: Array, freedom: float
) -> tuple[Array, Array]:
    """Return z and the two-sided p of differences, elementwise.

    Equal scores are z = 0, p = 1. Where nothing varies, others are z = ±∞, p = 0.
    """
    variance = var_a + var_b - 2 * cov
    still = variance <= _ROUNDING * (var_a + var_b)
    equal = (np.abs(value) <= _ROUNDING) & ~np.isnan(variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(still, np.sign(value) * np.inf, value / np.sqrt(variance))
    z = np.where(equal, 0.0, z)
    return z, two_sided(z, freedom)


def two_sided(t: Array, freedom: float) -> Array:
    """Return how often Student's t is at least |t| from 0; ten digits are right also where tiny.

    NaN without a degree of freedom: one cluster says nothing of how clusters vary.
    """
    t = np.abs(np.asarray(t, np.float64))
    if freedom < 1:
        return np.full(t.shape, np.nan)
    from scipy.special import stdtr  # a tenth of a second of import

    return np.asarray(2 * stdtr(freedom, -t), np.float64)


def _growth(z: float, freedom: float) -> float:
    """Return how many times the items it takes to find a difference of this z, which is not found.

    With k times the items z is √k as large, on k times the degrees of freedom. Found at 5 % with
    80 % power it is from the sum of the two quantiles of Student's t on: 1.96 + 0.84 with many.
    """
    from scipy.special import stdtrit

    def enough(k: float) -> float:
        parts = stdtrit(k * freedom, [1 - ALPHA / 2, POWER])
        return float(parts.sum() / z) ** 2

    # that many are enough for fewer degrees of freedom than there will be, or for more
    high = enough(1)
    low = max(1.0, enough(high))
    while high - low > _ROUGHLY * high:
        middle = (low + high) / 2
        low, high = (middle, high) if middle < enough(middle) else (low, middle)
    return high
