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

from pmbench.analysis.joint import Joint
from pmbench.scoring.bootstrap import interval
from pmbench.scoring.statistics import Array

_STEP = 1 / 16
_GRID = np.arange(-4, 4 + _STEP / 2, _STEP)  # of s; outside of it nothing is left in float64
_NODES = np.exp(np.pi / 2 * np.sinh(_GRID))
_WEIGHTS = _STEP * np.pi / 2 * np.cosh(_GRID) * _NODES


def two_sided(t: Array, freedom: float) -> Array:
    """Return how often Student's t is at least |t| from 0; ten digits are right also where tiny.

    NaN without a degree of freedom: one cluster says nothing of how clusters vary.
    """
    t = np.abs(np.asarray(t, np.float64))
    if freedom < 1:
        return np.full(t.shape, np.nan)
    usable = np.isfinite(t)
    at = np.where(usable, t, 0.0)
    power = (freedom + 1) / 2
    scale = 1 / np.maximum(1, at * (freedom + 1) / (freedom + at**2))  # where the density falls off
    u = scale[..., None] * _NODES
    further = np.log1p(u * (2 * at[..., None] + u) / (freedom + at[..., None] ** 2))
    integral = scale * (np.exp(-power * further) @ _WEIGHTS)
    log_density = _log_of_gammas(freedom / 2) - math.log(freedom * math.pi) / 2
    p = 2 * np.exp(log_density - power * np.log1p(at**2 / freedom)) * integral
    p = np.where(at == 0, 1.0, np.minimum(p, 1.0))
    return np.where(usable, p, np.where(np.isinf(t), 0.0, np.nan))


def _log_of_gammas(a: float) -> float:
    """Return log Γ(a + ½) / Γ(a), which two lgamma lose digits of where a is large."""
    if a < 30:
        return math.lgamma(a + 0.5) - math.lgamma(a)
    return math.log(a) / 2 - 1 / (8 * a) + 1 / (192 * a**3) - 1 / (640 * a**5)


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


def difference(joint: Joint, a: str, b: str, place: str = "macro") -> Difference:
    """Return how far a is above b."""
    i, j, where = joint.names.index(a), joint.names.index(b), joint.at(place)
    value = float(joint.values[i, where] - joint.values[j, where])
    value = 0.0 if abs(value) <= _ROUNDING else value
    cov = joint.covariance[where]
    free = joint.freedom[where]
    z, p = (float(x) for x in z_test(np.array(value), cov[i, i], cov[j, j], cov[i, j], free))
    low, high = interval(joint.draws[i, where] - joint.draws[j, where])
    n = joint.n[where]
    unsettled = p >= ALPHA and z != 0
    more = max(1, math.ceil(n * (_growth(abs(z), free) - 1))) if unsettled else None
    return Difference(a, b, place, value, low, high, z, p, n, more, joint.independent[where])


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
