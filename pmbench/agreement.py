"""How well distances agree with people: the statistics, for one set of items.

Conventions
-----------
``d`` and ``p`` are float64 arrays of shape (n,). Every function takes ``w``, non-negative item
weights of shape (resamples, n), and returns an array of shape (resamples,): a bootstrap resample
that draws item i three times is the weight 3 at i, so that intervals and values come from one
formula. ``ones(n)`` gives the plain value. There is at least one item. A statistic that is
undefined (no item drawn, no variance, nobody said "same") is NaN, never a made-up number.

Two alternative forced choice ("2AFC"): p is the share of people who preferred p1.
Just noticeable differences ("JND"): p is the share of people who said "same".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def ones(n: int) -> Array:
    """Return the weights of the plain, unresampled value: shape (1, n)."""
    return np.ones((1, n))


def weighted_mean(values: Array, w: Array) -> Array:
    """Return the mean of ``values`` (n,) under each row of ``w``."""
    return _ratio(w @ values, w.sum(axis=1))


def two_afc_items(d0: Array, d1: Array, p: Array) -> Array:
    """Return each item's score: the share of people who agree with the metric's choice.

    1-p where d0 < d1, p where d1 < d0, ½ where they are equal (Zhang et al. 2018, section 4).
    """
    return np.where(d0 < d1, 1 - p, np.where(d1 < d0, p, 0.5))


def hard_majority_items(d0: Array, d1: Array, p: Array) -> Array:
    """Return 1 where the metric sides with the majority, 0 where not, ½ where d0 = d1."""
    return np.where(d0 == d1, 0.5, ((d1 < d0) == (p > 0.5)).astype(float))


def average_precision(d: Array, same: Array, w: Array, *, envelope: bool = True) -> Array:
    """Return the average precision of "small distance" as a detector of "same".

    Sorted by rising distance; soft true positives are the cumulative sum of ``same``; the area
    under precision against recall over all points. With ``envelope`` precision is made monotone
    from the right first (PASCAL VOC 2010 and later, not the 11-point form). Equal distances are
    one point of the curve, at the end of their block, so that the order of the rows is of no
    consequence.
    """
    order = np.argsort(d, kind="stable")
    ends = _block_ends(d[order])
    w = w[:, order]
    hits = np.cumsum(w * same[order], axis=1)[:, ends]
    seen = np.cumsum(w, axis=1)[:, ends]
    total = hits[:, -1:]
    # a block that was not drawn at all repeats the point before it and adds no area
    precision = np.divide(hits, seen, out=np.ones_like(hits), where=seen > 0)
    if envelope:
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    gain = np.diff(hits, axis=1, prepend=0.0)
    area: Array = (precision * gain).sum(axis=1)
    return _ratio(area, total[:, 0])


def pearson(x: Array, y: Array, w: Array) -> Array:
    """Return Pearson's linear correlation (PLCC) of x and y under each row of ``w``."""
    return _correlation(x - x.mean(), y - y.mean(), w)  # centred, so that no digits cancel


def spearman(x: Array, y: Array, w: Array) -> Array:
    """Return Spearman's rank correlation (SRCC): Pearson's, of mid-ranks."""
    return _correlation(_mid_ranks(x, w), _mid_ranks(y, w), w)


def kendall(x: Array, y: Array) -> float:
    """Return Kendall's tau-b (KRCC), by SciPy's O(n log n) algorithm; NaN where undefined."""
    from scipy.stats import kendalltau  # a second of import that the other statistics do not need

    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(kendalltau(x, y).statistic)


def human_self_agreement(p: Array) -> Array:
    """Return p²+(1-p)² for each item: the "Human" row of the LPIPS paper.

    Two draws with replacement from the same few votes: above what a person reaches.
    """
    return p**2 + (1 - p) ** 2


def human_fresh(p: Array, n: Array) -> Array:
    """Return how often one person agrees with another, unbiased, from k = p·n of n votes.

    (k(k-1) + (n-k)(n-k-1)) / (n(n-1)); NaN where fewer than two people were asked.
    """
    k = p * n
    return _ratio(k * (k - 1) + (n - k) * (n - k - 1), n * (n - 1))


def human_majority(p: Array) -> Array:
    """Return max(p, 1-p): always with the majority, which no metric can beat."""
    return np.maximum(p, 1 - p)


def _ratio(top: Array, bottom: Array) -> Array:
    quotient: Array = np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0)
    return quotient


def _block_ends(ordered: Array) -> NDArray[np.intp]:
    """Return the last index of each run of equal values."""
    return np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))


def _mid_ranks(x: Array, w: Array) -> Array:
    """Return the mid-rank of each item in the resample that ``w`` describes, minus their mean.

    Equal values, and the copies of one item, share the mean of the ranks they fill. Shape of ``w``.
    """
    order = np.argsort(x, kind="stable")
    ends = _block_ends(x[order])
    upto = np.cumsum(w[:, order], axis=1)[:, ends]  # items up to the end of each block
    inside = np.diff(upto, axis=1, prepend=0.0)
    middle = upto - inside / 2 - upto[:, -1:] / 2
    ranks = np.empty_like(w)
    ranks[:, order] = np.repeat(middle, np.diff(ends, prepend=-1), axis=1)
    return ranks


def _correlation(x: Array, y: Array, w: Array) -> Array:
    """Return the weighted correlation of x and y, each (resamples, n) or (n,)."""
    total = w.sum(axis=1)

    def moment(values: Array) -> Array:
        summed = w @ values if values.ndim == 1 else np.einsum("bi,bi->b", w, values)
        return _ratio(summed, total)

    mean_x, mean_y, xx, yy = moment(x), moment(y), moment(x * x), moment(y * y)
    var_x, var_y = xx - mean_x**2, yy - mean_y**2
    # a constant has a variance of rounding errors only
    sound = (var_x > 1e-12 * xx) & (var_y > 1e-12 * yy)
    scale = np.sqrt(np.where(sound, var_x * var_y, 1.0))
    covariance = moment(x * y) - mean_x * mean_y
    return np.where(sound, covariance / scale, np.nan)
