"""How well distances agree with people: the statistics, for one set of items.

Conventions
-----------
``d`` and ``p`` are float64 arrays of shape (n,). Every function takes ``w``, non-negative item
weights of shape (resamples, n), and returns an array of shape (resamples,): a bootstrap resample
that draws item i three times is the weight 3 at i, so that intervals and values come from one
formula. ``ones(n)`` gives the plain value. There is at least one item. A statistic that is
undefined (no item drawn, no variance, nobody said "same") is NaN, never a made-up number.

Two alternative forced choice ("2AFC"): p is the share of people who preferred p1.
Just noticeable differences ("JND"): p is the share of raters who said "same".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Weights = NDArray[np.float64] | NDArray[np.uint8]  # whole numbers up to 255 take a byte each

_AT_ONCE = 2**17  # weights whose intermediate results stay in a CPU's cache, or near it


def ones(n: int) -> Array:
    """Return the weights of the plain, unresampled value: shape (1, n)."""
    return np.ones((1, n))


def weighted_mean(values: Array, w: Weights) -> Array:
    """Return the mean of ``values`` (n,) under each row of ``w``; what is NaN does not count."""
    counted = ~np.isnan(values)
    columns = np.stack([np.where(counted, values, 0), counted], axis=1)
    return _ratio(*_a_few_at_once(lambda w: w @ columns, w).T)


def two_afc_items(d0: Array, d1: Array, p: Array) -> Array:
    """Return each item's score: the share of people who agree with the metric's choice.

    1-p where d0 < d1, p where d1 < d0, ½ where they are equal (Zhang et al. 2018, section 4).
    """
    return np.where(d0 < d1, 1 - p, np.where(d1 < d0, p, 0.5))


def hard_majority_items(d0: Array, d1: Array, p: Array) -> Array:
    """Return 1 where the metric sides with the majority, 0 where not, ½ where d0 = d1."""
    return np.where(d0 == d1, 0.5, ((d1 < d0) == (p > 0.5)).astype(float))


def average_precision(d: Array, same: Array, w: Weights, *, envelope: bool = True) -> Array:
    """Return the average precision of "small distance" as a detector of "same".

    Sorted by rising distance; soft true positives are the cumulative sum of ``same``; the area
    under precision against recall over all points. With ``envelope`` precision is made monotone
    from the right first (PASCAL VOC 2010 and later, not the 11-point form). Equal distances are
    one point of the curve, at the end of their block, so that the order of the rows is of no
    consequence.
    """
    by_d = _Blocks.of(d)
    same = same[by_d.order]

    def value(w: Weights) -> Array:
        w = w.take(by_d.order, axis=1)
        hits, seen = by_d.upto(w * same), by_d.upto(w)
        # a block that was not drawn at all repeats the point before it and adds no area
        precision = np.divide(hits, seen, out=np.ones_like(hits), where=seen > 0)
        if envelope:
            precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        gain = np.diff(hits, axis=1, prepend=0.0)
        return _ratio(np.einsum("bi,bi->b", precision, gain), hits[:, -1])

    return _a_few_at_once(value, w)


def pearson(x: Array, y: Array, w: Weights) -> Array:
    """Return Pearson's linear correlation (PLCC) of x and y under each row of ``w``."""
    centred = _centred(x), _centred(y)
    if any((v * v).max() > 0.1 * (v * v).sum() for v in centred):
        return _a_few_at_once(lambda w: _pearson_by_row(x, y, w), w)
    x, y = centred

    def value(w: Weights) -> Array:
        w = w.astype(np.float64)
        total = w.sum(axis=1)
        mean_x, mean_y, xx, yy, xy = (_ratio(w @ v, total) for v in (x, y, x * x, y * y, x * y))
        var_x, var_y = xx - mean_x**2, yy - mean_y**2
        # a constant has a variance of rounding errors only
        varies = (var_x > 1e-12 * xx) & (var_y > 1e-12 * yy)
        return np.where(varies, _correlation(xy - mean_x * mean_y, var_x, var_y), np.nan)

    return _a_few_at_once(value, w)


def _pearson_by_row(x: Array, y: Array, w: Weights) -> Array:
    """Return ``pearson`` where one item may be so large that the others vanish beside it."""
    w = w.astype(np.float64)
    off_x, off_y = (_centred(np.where(w > 0, v, np.nan), w) for v in (x, y))
    products = ((off_x, off_y), (off_x, off_x), (off_y, off_y))
    return _correlation(*(np.einsum("bi,bi,bi->b", w, a, b) for a, b in products))


def _centred(v: Array, w: Array | None = None) -> Array:
    """Return v (…, n) less its mean under weights, scaled to a largest of about 1.

    What is NaN does not count, and becomes 0. A constant is 0 throughout, without rounding.
    """
    first = np.take_along_axis(v, np.argmax(~np.isnan(v), axis=-1, keepdims=True), axis=-1)
    v = np.nan_to_num((v - first).astype(np.float64))
    v /= np.maximum(np.abs(v).max(axis=-1, keepdims=True), np.finfo(float).tiny)
    mean = v.mean(axis=-1) if w is None else _ratio((w * v).sum(axis=-1), w.sum(axis=-1))
    centred: Array = v - mean[..., None]
    return centred


def spearman(x: Array, y: Array, w: Weights) -> Array:
    """Return Spearman's rank correlation (SRCC): Pearson's, of mid-ranks.

    Equal values, and the copies of one item, share the mean of the ranks that they fill. Less the
    mean of all, the squared ranks of T items of which t have the same value sum to (T³ - Σt³)/12.
    """
    by_x, by_y = _Blocks.of(x), _Blocks.of(y)

    def ranks(upto: Array) -> tuple[Array, Array]:
        t, total = np.diff(upto, axis=1, prepend=0.0), upto[:, -1]
        squares = (total**3 - np.einsum("bi,bi,bi->b", t, t, t)) / 12
        return upto - (t + total[:, None]) / 2, squares

    def value(w: Weights) -> Array:
        by_rising_x = w.take(by_x.order, axis=1)
        rank_x, square_x = ranks(by_x.upto(by_rising_x))
        rank_y, square_y = ranks(by_y.upto(w.take(by_y.order, axis=1)))
        rank_x = rank_x.take(by_x.block[by_x.order], axis=1)
        rank_y = rank_y.take(by_y.block[by_x.order], axis=1)
        cross = np.einsum("bi,bi,bi->b", by_rising_x, rank_x, rank_y)
        return _correlation(cross, square_x, square_y)

    return _a_few_at_once(value, w)


def kendall(x: Array, y: Array, w: Weights) -> Array:
    """Return Kendall's tau-b (KRCC): pairs that agree less pairs that do not, over the geometric
    mean of the pairs that differ in x and of those that differ in y.

    The values of y are halved, the halves again and so on, which parts any two of them once: about
    n·log(values) steps, few for votes.
    """
    by_x, by_y = _Blocks.of(x), _Blocks.of(y)

    def differing(by: _Blocks, w: Weights) -> Array:
        upto = by.upto(w.take(by.order, axis=1))
        t, total = np.diff(upto, axis=1, prepend=0.0), upto[:, -1]
        pairs: Array = (total**2 - np.einsum("bi,bi->b", t, t)) / 2
        return pairs

    surplus = np.zeros(len(w))
    for lower, upper in by_y.halves():
        surplus += _surplus(x, lower, upper, w)
    in_x, in_y = (_a_few_at_once(partial(differing, by), w) for by in (by_x, by_y))
    return _correlation(surplus, in_x, in_y)


def _surplus(x: Array, lower: Index, upper: Index, w: Weights) -> Array:
    """Return in how many more pairs the upper item has the greater x than has the smaller one."""
    lower, upper = (index[np.argsort(x[index], kind="stable")] for index in (lower, upper))
    smaller, up_to_equal = (np.searchsorted(x[lower], x[upper], side) for side in ("left", "right"))

    def value(w: Weights) -> Array:
        drawn = np.zeros((len(w), len(lower) + 1))
        np.cumsum(w.take(lower, axis=1), axis=1, out=drawn[:, 1:])
        balance = drawn.take(smaller, axis=1)
        balance += drawn.take(up_to_equal, axis=1)
        balance -= drawn[:, -1:]
        surplus: Array = np.einsum("bi,bi->b", w.take(upper, axis=1), balance)
        return surplus

    return _a_few_at_once(value, w)


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


def _correlation(cross: Array, square_x: Array, square_y: Array) -> Array:
    """Return cross / √(square_x · square_y); NaN where there is nothing to divide by."""
    sound = (square_x > 0) & (square_y > 0)
    scale = np.sqrt(np.where(sound, square_x * square_y, 1.0))
    return np.where(sound, cross / scale, np.nan)


def _a_few_at_once(value: Callable[[Weights], Array], w: Weights) -> Array:
    """Return ``value`` of all rows of ``w``; what is computed on the way stays small."""
    rows = max(1, _AT_ONCE // max(1, w.shape[1]))
    return np.concatenate([value(w[i : i + rows]) for i in range(0, len(w), rows)])


@dataclass(frozen=True)
class _Blocks:
    """n items sorted by a value; those of equal value are a block."""

    order: Index  # (n,), the items as they are sorted
    ends: Index  # (blocks,), where the last item of each stands in this order
    block: Index  # (n,), the block of each item

    @classmethod
    def of(cls, x: Array) -> _Blocks:
        order = np.argsort(x, kind="stable")
        last = np.append(x[order][1:] != x[order][:-1], True)[: len(x)]
        block = np.empty_like(order)
        block[order] = np.cumsum(last) - last
        return cls(order, np.flatnonzero(last), block)

    def upto(self, values: Weights) -> Array:
        """Return the sums of sorted values, (k, n), up to the end of each block: (k, blocks)."""
        return np.cumsum(values, axis=1, dtype=np.float64).take(self.ends, axis=1)

    def halves(self) -> Iterator[tuple[Index, Index]]:
        """Yield the items of the lower and of the upper half of the blocks, then of each half."""
        bounds = np.append(0, self.ends + 1)
        parts = [(0, len(self.ends))]
        while parts:
            first, last = parts.pop()
            if last - first > 1:
                middle = (first + last) // 2
                parts += [(first, middle), (middle, last)]
                low, mid, high = bounds[[first, middle, last]]
                yield self.order[low:mid], self.order[mid:high]
