"""Numbers of a set of items, in every place they are of: their values, and how sure they are.

A place is a sub-dataset, "macro" (the plain mean of the sub-datasets in which the number is
defined) or "pooled" (all items at once).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pmbench.scoring.bootstrap import Estimand, Mask, Resampling
from pmbench.scoring.items import Items
from pmbench.scoring.joint_scores import joint_scores
from pmbench.scoring.statistics import Array, Index

LEVEL = 0.95
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Estimate:
    """A number in every place, as ``places`` orders them."""

    value: Array  # (places,), NaN where undefined
    interval: Array  # (places, 2), NaN where there is none
    unreliable: Mask  # (places,): the interval may not cover what it says
    n: Index  # (places,), how many items it counts
    draws: Array | None  # (places, resamples) that intervals are made of, NaN where they are not


def estimate(
    items: Items,
    estimand: Estimand,
    limits: tuple[float, float],
    reliable: float,
    resampling: Resampling,
) -> Estimate:
    """Return a number with its intervals.

    ``limits`` are those between which it is; with fewer than ``reliable`` independent items an
    interval is called unreliable.
    """
    by_place = list(joint_scores([""], items, [estimand], resampling).values())
    values = np.array([one.values[0] for one in by_place])
    errors = [math.sqrt(one.covariance[0, 0]) for one in by_place]
    ends = np.array(
        [
            interval(value, error, limits, one.freedom)
            for value, error, one in zip(values.tolist(), errors, by_place, strict=True)
        ]
    )
    few = np.array(
        [
            # resamples without a value are left out
            one.independent < reliable or (one.draws is not None and np.isnan(one.draws).any())
            for one in by_place
        ]
    )
    drawn = np.full((len(by_place), resampling.count), np.nan)
    for row, one in zip(drawn, by_place, strict=True):
        if one.draws is not None:
            row[:] = one.draws[0]
    return Estimate(
        values,
        ends,
        few & ~np.isnan(ends[:, 0]),
        np.array([one.n for one in by_place]),
        None if np.isnan(drawn).all() else drawn,
    )


def interval(
    value: float, error: float, limits: tuple[float, float] = (0, 1), freedom: float = math.inf
) -> tuple[float, float]:
    """Return the 95 % interval of a value within ``limits``, from its standard error.

    It is value ± t·error on the scale log((v - low)/(high - v)), on which values near a limit vary
    as others do: the logit of a share, and Fisher's z of a correlation. t is Student's, with
    ``freedom`` degrees. A share of 0 or 1, where nothing varies, has Clopper and Pearson's interval
    (1934) of freedom + 1 trials. (NaN, NaN) where nothing is known of the error.
    """
    from scipy.special import stdtrit  # a tenth of a second of import

    if math.isnan(value) or math.isnan(error) or not freedom > 0:
        return math.nan, math.nan
    low, high = limits
    if low == 0 and high == 1 and not 0 < value < 1:
        edge = ((1 - LEVEL) / 2) ** (1 / (freedom + 1))
        return (edge, 1.0) if value >= 1 else (0.0, 1 - edge)
    if error < _ROUNDING or not low < value < high:
        return value, value
    half = float(stdtrit(freedom, (1 + LEVEL) / 2)) * error
    half *= (high - low) / (value - low) / (high - value)
    odds = (value - low) / (high - value)
    with np.errstate(over="ignore"):
        ends = high - (high - low) / (1 + odds * np.exp([-half, half]))
    return float(ends[0]), float(ends[1])
