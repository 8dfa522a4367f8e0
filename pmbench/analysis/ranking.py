"""Which metrics can be told apart: Holm's correction, rank ranges, and letters.

Of k metrics every pair is compared, and Holm's step-down procedure keeps the chance of any false
alarm among all pairs at 5 %. A metric's rank range says the best and the worst place it may have:
one below those that are significantly better, one above those that are significantly worse. Two
metrics share a letter exactly where they cannot be told apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_lowercase

import numpy as np
from numpy.typing import NDArray

from pmbench.analysis.alignment import overall_scores
from pmbench.analysis.paired import ALPHA, pairwise
from pmbench.results.run import Run
from pmbench.scoring.joint_scores import JointScores
from pmbench.scoring.protocols import Statistic
from pmbench.scoring.statistics import Array

Pairs = NDArray[np.bool_]  # (k, k), symmetric


@dataclass(frozen=True)
class RankRange:
    """What can be said of one metric's place among others, at 5 % over all pairs (Holm)."""

    low: int  # the best rank it may have, from 1
    high: int  # the worst
    letters: str  # metrics that share one cannot be told apart

    @property
    def may_be_best(self) -> bool:
        """Whether no other is significantly better, nor then the one with the highest score."""
        return self.low == 1


def rank_ranges(runs: list[Run], statistic: Statistic) -> dict[str, RankRange]:
    """Return the rank range of each metric by its overall score, by name; {} where fewer than two.

    Left out are metrics that have no score on all items, or in a sub-dataset where others have one.
    {} too where nothing is known of how scores vary.
    Raises PmbenchError where the runs were not measured in one way.
    """
    if len(runs) < 2:
        return {}
    result = overall_scores(runs, statistic)
    if len(result.names) < 2:
        return {}
    return ranked(result)


def ranked(scores: JointScores) -> dict[str, RankRange]:
    """Return the rank ranges of metrics.

    {} where nothing is known of how scores vary: nobody can be told apart then, which says nothing
    of anybody.
    """
    _, p = pairwise(scores)
    if np.isnan(p).any():
        return {}
    names, values = scores.names, scores.values
    apart = holm(p) < ALPHA
    better = apart & (values[:, None] > values[None, :])  # row better than column
    order = np.argsort(-values, kind="stable")
    letters = dict(zip(order.tolist(), letter_display(apart[np.ix_(order, order)]), strict=True))
    return {
        name: RankRange(
            low=1 + int(better[:, i].sum()),
            high=len(names) - int(better[i].sum()),
            letters=letters[i],
        )
        for i, name in enumerate(names)
    }


def holm(p: Array) -> Array:
    """Return the adjusted p of all pairs, from symmetric p (k, k); 1 on the diagonal.

    The i-th smallest of m is multiplied by m - i + 1, is at least its predecessor and at most 1
    (Holm 1979). A p that is NaN, since nothing is known, counts as 1 and stays NaN.
    """
    upper = np.triu_indices(len(p), 1)
    plain = np.nan_to_num(p[upper], nan=1.0)
    order = np.argsort(plain, kind="stable")
    adjusted = np.empty_like(plain)
    stepped = plain[order] * np.arange(len(plain), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    adjusted[np.isnan(p[upper])] = np.nan
    whole = np.ones_like(p)
    whole[upper] = adjusted
    whole.T[upper] = adjusted
    return whole


def letter_display(apart: Pairs) -> list[str]:
    """Return each metric's letters: two share one if and only if they are not ``apart``.

    Metrics come by falling score. Each pair that shares no letter yet, and is to share one, gets a
    new one, which is then given to every further metric that none of its holders is apart from
    ("clique growing", Gramm et al. 2007; Piepho's insert-and-absorb of 2004 gives such a display
    too, but may take exponential time). At last letters that say nothing new are taken away.
    """
    together = ~apart
    np.fill_diagonal(together, True)
    letters = [""] * len(apart)
    for i, holders in enumerate(sorted(_swept(_cliques(together)))):
        for k in holders:
            letters[k] += _letter(i)
    return letters


def _cliques(together: Pairs) -> list[list[int]]:
    """Return groups without anyone apart in them, which cover all pairs that are together."""
    results: list[list[int]] = []
    covered = np.zeros_like(together)
    for i, j in np.argwhere(np.triu(together)).tolist():
        if covered[i, j] or (i == j and together[i].sum() > 1):
            continue
        group = sorted({i, j})
        for k in range(len(together)):
            if k not in group and together[k, group].all():
                group.append(k)
        covered[np.ix_(group, group)] = True
        results.append(group)
    return results


def _swept(groups: list[list[int]]) -> list[list[int]]:
    """Return the groups without the members all of whose pairs are in other groups too."""
    size = 1 + max(k for group in groups for k in group)
    times = np.zeros((size, size), np.int64)  # how many groups each pair is in
    for group in groups:
        times[np.ix_(group, group)] += 1
    left = []
    for group in reversed(groups):
        kept = list(group)
        for k in group:
            if (times[k, kept] > 1).all():
                times[k, kept] -= 1
                times[kept, k] = times[k, kept]
                kept.remove(k)
        left.append(sorted(kept))
    return [group for group in left if group]


def _letter(i: int) -> str:
    """Return a, b, … z, a1, b1, …"""
    turn, place = divmod(i, len(ascii_lowercase))
    return ascii_lowercase[place] + (str(turn) if turn else "")
