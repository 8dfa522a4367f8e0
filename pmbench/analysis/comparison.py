"""Runs -> comparisons: two metrics item by item, or many with one another.

A comparison is plain values; ``comparison_text`` draws it. Nobody's distances are computed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from pmbench.analysis.alignment import Drift, aligned, check_same_way, macro_scores
from pmbench.analysis.correlation import Relation, relation_of
from pmbench.analysis.joint import Joint, joint
from pmbench.analysis.paired import Difference, difference
from pmbench.analysis.ranking import Standing, holm, pairwise, ranked
from pmbench.analysis.verdicts import unjudged
from pmbench.datasets.pack import Items
from pmbench.results.run import Run
from pmbench.results.signature import in_latest_way, marks, way
from pmbench.scoring.bootstrap import USUAL, Resampling
from pmbench.scoring.protocols import PROTOCOLS, Protocol, Statistic
from pmbench.scoring.protocols.base import Mask
from pmbench.scoring.statistics import Array
from pmbench.utils.errors import PmbenchError, unknown


@dataclass(frozen=True)
class Opponents:
    """The runs to be compared, a list for each dataset, and what is left out in sentences."""

    by_dataset: dict[str, list[Run]]
    told: list[str]


def opponents(runs: Sequence[Run], names: Sequence[str], fewest: int = 2) -> Opponents:
    """Return which of ``runs`` are meant by ``names``: METRIC, or DATASET/METRIC; all if no name.

    Datasets on which fewer than ``fewest`` are left, or one of the names has no run, are left out.
    Raises PmbenchError for an unknown name, one that is given twice, and where nothing is left.
    """
    if not names:
        by_dataset = _grouped(runs)
        small = [dataset for dataset, its in by_dataset.items() if len(its) < fewest]
        left = {dataset: its for dataset, its in by_dataset.items() if dataset not in small}
        if not left:
            raise PmbenchError(
                f"there is one run only on {', '.join(small)}; a comparison needs two; "
                "measure another metric with `pmbench eval`"
            )
        return Opponents(left, [f"{name}: one run only, nothing to compare" for name in small])
    if len(names) < fewest:
        raise PmbenchError(
            f"'{names[0]}' alone cannot be compared; name another metric, or none to compare all "
            "runs, or another folder of results with --against"
        )
    meant = {name: {run.dataset: run for run in _meant(runs, name)} for name in names}
    everywhere = list(dict.fromkeys(run.dataset for run in runs))
    common = [place for place in everywhere if all(place in its for its in meant.values())]
    if not common:
        where = "; ".join(f"{name} on {', '.join(its)}" for name, its in meant.items())
        raise PmbenchError(
            f"{' and '.join(names)} have no dataset in common ({where}); scores on different "
            "items cannot be compared; measure them on the same one with `pmbench eval`"
        )
    chosen = {place: [its[place] for its in meant.values()] for place in common}
    folders = [run.folder for run in chosen[common[0]]]
    if len(set(folders)) < len(folders) or len(set(names)) < len(names):
        raise PmbenchError(
            f"{' and '.join(names)} name one run twice; name different metrics, or compare it with "
            "another folder of results by --against"
        )
    told = []
    for place in everywhere:
        if place not in common and (here := [name for name, its in meant.items() if place in its]):
            gone = [name for name in names if name not in here]
            told.append(f"{place}: left out, no run of {', '.join(gone)} there")
    return Opponents(chosen, told)


def _meant(runs: Sequence[Run], name: str) -> list[Run]:
    """Return the runs called ``name``; as in ``results.pick``, a metric's name may have a slash."""
    found = [run for run in runs if run.metric == name]
    if not found and "/" in name:
        dataset, _, metric = name.partition("/")
        found = [run for run in runs if (run.dataset, run.metric) == (dataset, metric)]
    if not found:
        known = {run.metric for run in runs}
        if "/" in name:
            known |= {f"{run.dataset}/{run.metric}" for run in runs}
        raise unknown("run", name, known)
    return found


def with_statistic(found: Opponents, statistic: str | None) -> Opponents:
    """Return only the datasets whose protocol has the statistic. Raises where there is none."""
    if statistic is None:
        return found
    protocols = {
        dataset: PROTOCOLS[str(runs[0].info["dataset"]["protocol"])]
        for dataset, runs in found.by_dataset.items()
    }
    having = {
        dataset: [s.name for s in protocol.statistics] for dataset, protocol in protocols.items()
    }
    left = {d: runs for d, runs in found.by_dataset.items() if statistic in having[d]}
    if not left:
        raise unknown("statistic", statistic, {s for names in having.values() for s in names})
    gone = [f"{d}: left out, it has no {statistic}" for d in found.by_dataset if d not in left]
    return Opponents(left, [*found.told, *gone])


def _grouped(runs: Sequence[Run]) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.dataset, []).append(run)
    return found


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
    marks: list[str]  # what must be known before any number is believed
    protocol: Protocol
    statistic: Statistic
    unit: str  # "triplets" | "pairs"
    how: Resampling
    signature: str  # the protocol part


@dataclass(frozen=True)
class Duel:
    """Two metrics."""

    about: About
    a: str
    b: str
    lines: list[Line]  # sub-datasets, macro, pooled
    drift: Drift | None = None
    told: list[str] = field(default_factory=list)  # what is left out, and why

    @property
    def macro(self) -> Difference:
        """The difference that counts."""
        return next(line.difference for line in self.lines if line.place == "macro")


@dataclass(frozen=True)
class Field:
    """Many metrics, by falling macro score."""

    about: About
    names: list[str]
    scores: list[float]  # macro
    standings: dict[str, Standing]  # {} where nothing is known of how scores vary
    p: Array  # (k, k), adjusted by Holm over all pairs; NaN where nothing is known
    differences: dict[tuple[str, str], Difference]  # macro, of each with each that scores less
    told: list[str] = field(default_factory=list)


def compared(runs: Sequence[Run], statistic: str | None, how: Resampling = USUAL) -> Duel | Field:
    """Return the comparison of two or more runs on one dataset, by the main statistic if None."""
    chosen = statistic_of(runs[0], statistic)
    if len(runs) == 2:
        return duel(runs[0], runs[1], chosen, how)
    return contest(runs, chosen, how)


def compared_everywhere(
    runs: Mapping[str, Sequence[Run]], statistic: str | None, how: Resampling = USUAL
) -> tuple[list[Duel | Field], list[str]]:
    """Return the comparison of the runs of each dataset, and a sentence for those without one.

    Raises PmbenchError where none of the datasets has one.
    """
    found: list[Duel | Field] = []
    failed: dict[str, PmbenchError] = {}
    for dataset, its in runs.items():
        try:
            found.append(compared(its, statistic, how))
        except PmbenchError as error:
            failed[dataset] = error
    if not found:
        raise PmbenchError("\n".join(map(str, failed.values())))
    return found, [f"{dataset}: left out, {error}" for dataset, error in failed.items()]


def statistic_of(run: Run, name: str | None) -> Statistic:
    """Return the statistic of that name of the run's protocol, its main one for None."""
    protocol = PROTOCOLS[str(run.info["dataset"]["protocol"])]
    return protocol.statistic(name or protocol.statistics[0].name)


def duel(a: Run, b: Run, statistic: Statistic, how: Resampling = USUAL) -> Duel:
    """Return the comparison of two runs, on the items on which both metrics are defined.

    Raises PmbenchError where they were not measured in one way.
    """
    check_same_way([a, b])
    return duel_of(a, b, (a.metric, b.metric), statistic, how)


def duel_of(a: Run, b: Run, names: tuple[str, str], statistic: Statistic, how: Resampling) -> Duel:
    """Return the comparison of two runs of the same items, called ``names``."""
    about = _about(a, statistic, how)
    items, stack = aligned([a, b])
    distances = dict(zip(names, stack, strict=True))
    found = joint(about.protocol, about.statistic, items, distances, about.how)
    nearer = _nearer(about, items, *distances.values())
    lines = []
    for i, place in enumerate(found.places):
        inside = slice(None) if i >= len(items.sub_names) else items.sub == i
        lines.append(
            Line(
                place,
                float(found.values[0, i]),
                float(found.values[1, i]),
                difference(found, *names, place),
                _wins(nearer[inside]),
            )
        )
    left_out = int((~_defined(distances)).sum())
    are = "is" if left_out == 1 else "are"
    told = (
        f"{left_out:,} of {len(items):,} {about.unit} {are} left out, on which not both metrics "
        "are defined"
    )
    return Duel(about, *names, lines, told=[told] * bool(left_out))


def _nearer(about: About, items: Items, a: Array, b: Array) -> Array:
    """Return 1 where a is nearer to people, -1 where b is, 0 on ties, NaN where nobody counts.

    By the items' scores where the statistic, or the protocol's main one, has such. Else, within
    each sub-dataset, by how far the mid-rank of the distance is from that of the votes.
    """
    scored = about.statistic if about.statistic.items else about.protocol.statistics[0]
    defined = _defined({"a": a, "b": b})
    found = np.full(len(items), np.nan)
    if scored.items is not None:
        found[defined] = np.sign(
            scored.items(a[defined], items.p[defined]) - scored.items(b[defined], items.p[defined])
        )
        return found
    from scipy.stats import rankdata  # a second of import

    for s in range(len(items.sub_names)):
        here = np.flatnonzero(defined & (items.sub == s))
        people = rankdata(1 - items.p[here])
        off_a, off_b = (np.abs(rankdata(d[here, 0]) - people) for d in (a, b))
        found[here] = np.sign(off_b - off_a)
    return found


def _defined(distances: dict[str, Array]) -> Mask:
    everywhere: Mask = np.all([np.isfinite(d).all(axis=1) for d in distances.values()], axis=0)
    return everywhere


def _wins(nearer: Array) -> Wins:
    return Wins(*(int((nearer == side).sum()) for side in (1, -1, 0)))


def contest(runs: Sequence[Run], statistic: Statistic, how: Resampling = USUAL) -> Field:
    """Return the comparison of many metrics, all pairs of them, by macro score.

    Runs that were not measured as the latest, and metrics that have no whole macro score, are left
    out, and it is said which. Raises PmbenchError where fewer than two are left.
    """
    kept = in_latest_way(runs)
    told = _measured_otherwise(runs, way(kept[0]))
    about = _about(kept[0], statistic, how)
    found = macro_scores(kept, statistic, how)
    if gone := [run.metric for run in kept if run.metric not in found.names]:
        told.append(f"left out, without a score on all {about.unit}: {', '.join(gone)}")
    if len(found.names) < 2:
        have = "has" if len(found.names) == 1 else "have"
        raise PmbenchError(
            f"{about.dataset}: {len(found.names)} of {len(runs)} runs {have} a {statistic.name} "
            f"score on the same {about.unit}, and a comparison needs two; measure more with "
            f"`pmbench eval` ({'; '.join(told)})"
        )
    return _field(about, found, told)


def _measured_otherwise(runs: Sequence[Run], latest: str) -> list[str]:
    """Return a sentence for each way but the latest: who is left out for it."""
    by_way: dict[str, list[str]] = {}
    for run in runs:
        by_way.setdefault(way(run), []).append(run.metric)
    return [
        f"{names[0]} is left out: it was measured as {one}"
        if len(names) == 1
        else f"{', '.join(names)} are left out: they were measured as {one}"
        for one, names in by_way.items()
        if one != latest
    ]


def related(runs: Sequence[Run]) -> dict[str, Relation | str]:
    """Return how 2AFC and JND go together in each group that has both, by its latest runs."""
    by_dataset: dict[str, list[Run]] = {}
    for run in runs:
        by_dataset.setdefault(run.dataset, []).append(run)
    return relation_of([run for its in by_dataset.values() for run in in_latest_way(its)])


def _field(about: About, found: Joint, told: list[str]) -> Field:
    order = np.argsort(-found.values[:, 0], kind="stable")
    names = [found.names[i] for i in order]
    scores = found.values[order, 0]
    covariance = found.covariance[0][np.ix_(order, order)]
    _, p = pairwise(scores, covariance, found.freedom[0])
    if np.isnan(p).any():
        told = [*told, f"no rank and no p: {unjudged(found.independent[0], about.unit)}"]
    return Field(
        about,
        names,
        scores.tolist(),
        ranked(names, scores, covariance, found.freedom[0]),
        holm(p),
        {(a, b): difference(found, a, b) for a, b in combinations(names, 2)},
        told,
    )


def _about(run: Run, statistic: Statistic, how: Resampling) -> About:
    protocol = PROTOCOLS[str(run.info["dataset"]["protocol"])]
    return About(
        run.dataset,
        str(run.info["dataset"]["title"]),
        marks([run], protocol.unit),
        protocol,
        statistic,
        protocol.unit,
        how,
        way(run),
    )
