"""Which items are worth looking at: those where a metric and raters, or two metrics, disagree.

Everything here is an index into the items.

Of 2AFC the clearness of a choice is |d0-d1| in units of the metric's usual difference (the root of
the mean of (d0-d1)²), so that metrics of different units compare. Of JND it is where the pair
stands among all pairs when they are sorted by distance, from 0 (nearest) to 1 (farthest).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pmbench.datasets.pack import Items
from pmbench.reporting.site.unanimity import distance_rank
from pmbench.scoring.statistics import Array

Index = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Mistakes:
    """Where one metric disagrees with unanimous raters."""

    asked: int  # items on which people were unanimous, and the metric is defined
    wrong: int  # on how many of them the metric says otherwise
    worst: Index  # of these, the clearest first


@dataclass(frozen=True)
class Disagreements:
    """Where two metrics disagree."""

    a: str
    b: str
    asked: int  # items on which both are defined
    apart: int  # on how many they choose differently
    with_a: int  # on how many of those most people side with a
    with_b: int
    clearest: Index


def unanimous(items: Items) -> Mask:
    """Return which items everybody judged alike, with at least the usual number of votes."""
    counts, times = np.unique(items.votes, return_counts=True)
    usual = counts[times.argmax()]
    alike: Mask = np.isin(items.p, (0.0, 1.0)) & (items.votes >= usual)
    return alike


def choices(d: Array) -> Array:
    """Return d0-d1 in units of its usual size, above 0 where p1 is the closer one; (n,) or NaN."""
    difference: Array = d[:, 0] - d[:, 1]
    sound = difference[np.isfinite(difference)]
    usual = float(np.sqrt((sound**2).mean())) if len(sound) else 0.0
    return difference / usual if usual > 0 else difference  # without any, all of them are 0


def mistakes_2afc(items: Items, d: Array, most: int) -> Mistakes:
    """Return the triplets where the metric chooses what nobody chose, the clearest first."""
    z = choices(d)
    asked = unanimous(items) & np.isfinite(z)
    against = np.where(items.p == 1, -z, z)  # how clearly the metric sides with nobody
    wrong = asked & (against > 0)
    return Mistakes(int(asked.sum()), int(wrong.sum()), _highest(against, wrong, most))


def too_far(items: Items, d: Array, most: int) -> Mistakes:
    """Return the pairs that everybody calls the same and the metric sets far apart.

    Where everybody calls k pairs the same, these should be the k nearest of those on which people
    are unanimous. Beyond is too far; the farthest first.
    """
    same, _, order = _unanimous_pairs(items, d)
    k = int(same.sum())
    wrong = same & (d[:, 0] > order[k - 1]) if k else same
    return Mistakes(k, int(wrong.sum()), _highest(d[:, 0], wrong, most))


def too_near(items: Items, d: Array, most: int) -> Mistakes:
    """Return the pairs that everybody calls different and the metric has among the k nearest.

    The nearest first.
    """
    same, different, order = _unanimous_pairs(items, d)
    k = int(same.sum())
    wrong = different & (d[:, 0] < order[k]) if different.any() else different
    return Mistakes(int(different.sum()), int(wrong.sum()), _highest(-d[:, 0], wrong, most))


def _unanimous_pairs(items: Items, d: Array) -> tuple[Mask, Mask, Array]:
    """Return which pairs everybody calls the same, which different, and their sorted distances."""
    clear = unanimous(items) & np.isfinite(d[:, 0])
    same: Mask = clear & (items.p == 1)
    return same, clear & ~same, np.sort(d[clear, 0])


def hardest(items: Items, distances: Mapping[str, Array], most: int) -> tuple[Index, Index]:
    """Return the unanimous triplets that most metrics get wrong, and how many do (2AFC)."""
    z = np.stack([choices(d) for d in distances.values()])
    against = np.where(items.p == 1, -z, z)
    count = (against > 0).sum(axis=0)
    clearness = np.nan_to_num(against).mean(axis=0)
    candidates = np.flatnonzero(unanimous(items) & (count > 0))
    order = np.lexsort((-clearness[candidates], -count[candidates]))
    index = candidates[order][:most]
    return index, count[index]


def disagreements_2afc(
    items: Items, distances: Mapping[str, Array], a: str, b: str, most: int
) -> Disagreements:
    """Return the triplets on which two metrics choose differently.

    First those on which even the less decided of the two is clear.
    """
    za, zb = choices(distances[a]), choices(distances[b])
    both = np.isfinite(za) & np.isfinite(zb)
    apart = both & (za * zb < 0)
    people = np.sign(items.p - 0.5)
    return Disagreements(
        a, b, int(both.sum()), int(apart.sum()),
        with_a=int((apart & (np.sign(za) == people)).sum()),
        with_b=int((apart & (np.sign(zb) == people)).sum()),
        clearest=_highest(np.minimum(abs(za), abs(zb)), apart, most),
    )  # fmt: skip


def disagreements_jnd(
    items: Items, distances: Mapping[str, Array], a: str, b: str, most: int
) -> Disagreements:
    """Return the pairs that one metric has in its nearer half and the other in its farther one.

    First those whose places in the two orders differ most. Raters agree with whoever calls near
    what most of them call the same.
    """
    fa, fb = distance_rank(distances[a][:, 0]), distance_rank(distances[b][:, 0])
    both = np.isfinite(fa) & np.isfinite(fb)
    apart = both & ((fa - 0.5) * (fb - 0.5) < 0)
    people = np.sign(0.5 - items.p)  # above 0: they see a difference
    return Disagreements(
        a, b, int(both.sum()), int(apart.sum()),
        with_a=int((apart & (np.sign(fa - 0.5) == people)).sum()),
        with_b=int((apart & (np.sign(fb - 0.5) == people)).sum()),
        clearest=_highest(abs(fa - fb), apart, most),
    )  # fmt: skip


def _highest(values: Array, among: Mask, most: int) -> Index:
    """Return the indices of the highest values, first ones first among equals."""
    index = np.flatnonzero(among)
    return index[np.argsort(-values[index], kind="stable")][:most]
