"""Runs -> comparisons: two metrics item by item, or many with one another.

What a comparison is, plain values that ``reporting`` draws; then how it is made. No distances are
computed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from pmbench.analysis.alignment import Drift, align, check_same_way, overall_scores
from pmbench.analysis.paired import ALL_THE_SAME, Difference, difference, pairwise
from pmbench.analysis.ranking import RankRange, holm, ranked
from pmbench.results.run import Run
from pmbench.results.signature import (
    dataset_warnings,
    in_latest_setup,
    metrics_by_setup,
    setup_of,
)
from pmbench.scoring.bootstrap import DEFAULT_RESAMPLING, Resampling
from pmbench.scoring.items import Items
from pmbench.scoring.joint_scores import JointScores, joint
from pmbench.scoring.protocols import Protocol, Statistic
from pmbench.scoring.scores import defined
from pmbench.scoring.statistics import Array
from pmbench.utils.errors import PmbenchError

# --- what a comparison is -------------------------------------------------------------------------


@dataclass(frozen=True)
class Wins:
    """On how many items each of two metrics is nearer to people, and on how many neither is."""

    a: int
    b: int
    ties: int


@dataclass(frozen=True)
class Line:
    """Two metrics in one place: their scores, on the statistic's own scale, and what differs."""

    place: str
    score_a: float
    score_b: float
    difference: Difference
    wins: Wins


@dataclass(frozen=True)
class About:
    """What is compared, and how."""

    dataset: str
    title: str
    warnings: list[str]  # what must be known before any number is believed
    protocol: Protocol
    statistic: Statistic
    unit: str  # "triplets" | "pairs"
    resampling: Resampling
    signature: str  # the protocol part
    clusters: str = ""  # which items count as independent, in a sentence


@dataclass(frozen=True)
class PairComparison:
    """Two metrics."""

    about: About
    a: str
    b: str
    lines: list[Line]  # sub-datasets, macro, pooled
    drift: Drift | None = None
    messages: list[str] = field(default_factory=list)  # what is left out, and why

    @property
    def overall(self) -> Difference:
        """The difference that counts."""
        place = self.about.protocol.overall
        return next(line.difference for line in self.lines if line.place == place)


@dataclass(frozen=True)
class MultiComparison:
    """Many metrics, by falling overall score."""

    about: About
    names: list[str]
    scores: list[float]  # overall
    rank_ranges: dict[str, RankRange]  # {} where nothing is known of how scores vary
    p: Array  # (k, k), adjusted by Holm over all pairs; NaN where nothing is known
    differences: dict[tuple[str, str], Difference]  # overall, of each with each that scores less
    messages: list[str] = field(default_factory=list)


# --- how it is made -------------------------------------------------------------------------------


def compare_datasets(
    runs: Mapping[str, Sequence[Run]],
    statistic: str | None,
    resampling: Resampling = DEFAULT_RESAMPLING,
) -> tuple[list[PairComparison | MultiComparison], list[str]]:
    """Return the comparison of the runs of each dataset, and a sentence for those without one.

    Raises PmbenchError where none of the datasets has one.
    """
    comparisons: list[PairComparison | MultiComparison] = []
    failed: dict[str, PmbenchError] = {}
    for dataset, on_dataset in runs.items():
        try:
            comparisons.append(compare_runs(on_dataset, statistic, resampling))
        except PmbenchError as error:
            failed[dataset] = error
    if not comparisons:
        raise PmbenchError("\n".join(map(str, failed.values())))
    return comparisons, [f"{dataset}: left out, {error}" for dataset, error in failed.items()]


def compare_runs(
    runs: Sequence[Run], statistic: str | None, resampling: Resampling = DEFAULT_RESAMPLING
) -> PairComparison | MultiComparison:
    """Return the comparison of two or more runs on one dataset, by the main statistic if None."""
    chosen = statistic_of(runs[0], statistic)
    if len(runs) == 2:
        return compare_pair(runs[0], runs[1], chosen, resampling)
    return compare_many(runs, chosen, resampling)


def statistic_of(run: Run, name: str | None) -> Statistic:
    """Return the statistic of that name of the run's protocol, its main one for None."""
    return run.protocol.main if name is None else run.protocol.statistic(name)


def _about(run: Run, statistic: Statistic, resampling: Resampling) -> About:
    protocol = run.protocol
    return About(
        run.dataset,
        run.info.dataset.title,
        dataset_warnings([run], protocol.unit),
        protocol,
        statistic,
        protocol.unit,
        resampling,
        setup_of(run),
        run.info.dataset.clusters,
    )


# --- of two metrics -------------------------------------------------------------------------------


def compare_pair(
    a: Run, b: Run, statistic: Statistic, resampling: Resampling = DEFAULT_RESAMPLING
) -> PairComparison:
    """Return the comparison of two runs, on the items on which both metrics are defined.

    Raises PmbenchError where they were not measured in one way.
    """
    check_same_way([a, b])
    return compare_named(a, b, (a.metric, b.metric), statistic, resampling)


def compare_named(
    a: Run, b: Run, names: tuple[str, str], statistic: Statistic, resampling: Resampling
) -> PairComparison:
    """Return the comparison of two runs of the same items, called ``names``."""
    about = _about(a, statistic, resampling)
    items, stack = align([a, b])
    distances = dict(zip(names, stack, strict=True))
    scores = joint(about.protocol, about.statistic, items, distances, about.resampling)
    nearer = _nearer(about, items, *stack)
    lines = []
    for i, (place, here) in enumerate(scores.items()):
        inside = slice(None) if i >= len(items.sub_names) else items.sub == i
        lines.append(
            Line(
                place,
                float(here.values[0]),
                float(here.values[1]),
                difference(here, *names),
                _wins(nearer[inside]),
            )
        )
    left_out = int((~defined(*stack)).sum())
    are = "is" if left_out == 1 else "are"
    sentence = (
        f"{left_out:,} of {len(items):,} {about.unit} {are} left out, on which not both metrics "
        "are defined"
    )
    return PairComparison(about, *names, lines, messages=[sentence] * bool(left_out))


def _nearer(about: About, items: Items, a: Array, b: Array) -> Array:
    """Return 1 where a is nearer to people, -1 where b is, 0 on ties, NaN where nobody counts.

    By the items' scores where the statistic, or the protocol's main one, has such. Else, within
    each sub-dataset, by how far the mid-rank of the distance is from that of the votes.
    """
    scored = about.statistic if about.statistic.items else about.protocol.main
    both = defined(a, b)
    nearer = np.full(len(items), np.nan)
    if scored.items is not None:
        nearer[both] = np.sign(
            scored.items(a[both], items.p[both]) - scored.items(b[both], items.p[both])
        )
        return nearer
    from scipy.stats import rankdata  # a second of import

    for s in range(len(items.sub_names)):
        here = np.flatnonzero(both & (items.sub == s))
        people = rankdata(1 - items.p[here])
        off_a, off_b = (np.abs(rankdata(d[here, 0]) - people) for d in (a, b))
        nearer[here] = np.sign(off_b - off_a)
    return nearer


def _wins(nearer: Array) -> Wins:
    return Wins(*(int((nearer == side).sum()) for side in (1, -1, 0)))


# --- of many --------------------------------------------------------------------------------------


def compare_many(
    runs: Sequence[Run], statistic: Statistic, resampling: Resampling = DEFAULT_RESAMPLING
) -> MultiComparison:
    """Return the comparison of many metrics, all pairs of them, by overall score.

    Runs that were not measured as the latest, and metrics without a whole overall score, are left
    out, and it is said which. Raises PmbenchError where fewer than two are left.
    """
    latest = in_latest_setup(runs)
    about = _about(latest[0], statistic, resampling)
    sentences = _measured_otherwise(runs, about.signature)
    scores = overall_scores(latest, statistic, resampling)
    if gone := [run.metric for run in latest if run.metric not in scores.names]:
        sentences.append(f"left out, without a score on all {about.unit}: {', '.join(gone)}")
    if len(scores.names) < 2:
        have = "has" if len(scores.names) == 1 else "have"
        raise PmbenchError(
            f"{about.dataset}: {len(scores.names)} of {len(runs)} runs {have} a {statistic.name} "
            f"score on the same {about.unit}, and a comparison needs two; measure more with "
            f"`pmbench eval` ({'; '.join(sentences)})"
        )
    return _field(about, scores, sentences)


def _measured_otherwise(runs: Sequence[Run], latest: str) -> list[str]:
    """Return a sentence for each way but the latest: who is left out for it."""
    return [
        f"{names[0]} is left out: it was measured as {one}"
        if len(names) == 1
        else f"{', '.join(names)} are left out: they were measured as {one}"
        for one, names in metrics_by_setup(runs).items()
        if one != latest
    ]


def _field(about: About, scores: JointScores, sentences: list[str]) -> MultiComparison:
    order = np.argsort(-scores.values, kind="stable")
    names = [scores.names[i] for i in order]
    _, p = pairwise(scores)
    if scores.unknown:
        sentences = [*sentences, f"no rank and no p: {scores.unknown}"]
    elif np.isnan(p).any():
        sentences = [*sentences, f"no rank: a difference has no p, since {ALL_THE_SAME}"]
    return MultiComparison(
        about,
        names,
        scores.values[order].tolist(),
        ranked(scores),
        holm(p[np.ix_(order, order)]),
        {(a, b): difference(scores, a, b) for a, b in combinations(names, 2)},
        sentences,
    )
