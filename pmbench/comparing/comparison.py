"""Runs -> comparisons: two metrics item by item, or many with one another.

A comparison is plain values; ``comparison_text`` draws it. Nobody's distances are computed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from pmbench.agreement import Array
from pmbench.bootstrap import USUAL, Resampling
from pmbench.comparing.joint import Joint, joint
from pmbench.comparing.many import macro_scores
from pmbench.comparing.moves import relative_moves
from pmbench.comparing.paired import Difference, difference
from pmbench.comparing.ranking import Standing, holm, pairwise, ranked
from pmbench.comparing.relation import Relation, relation_of
from pmbench.comparing.together import aligned, check_same_way
from pmbench.comparing.verdicts import unjudged
from pmbench.comparing.way import in_latest_way, marks, way
from pmbench.errors import PmbenchError
from pmbench.pack import Items
from pmbench.protocols import PROTOCOLS, Mask, Protocol, Statistic
from pmbench.runs import Run, find


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
class Drift:
    """How far a run is from another one of the metric: how far distances moved, relative to it."""

    largest: float
    item: str
    moved: int  # distances that are not the same to the last bit
    of: int


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
class Drifts:
    """Runs of metrics, each beside another run of the same metric."""

    folder: Path  # where the others are
    duels: list[Duel]

    @property
    def about(self) -> About:
        """What is compared, and how."""
        return self.duels[0].about


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
    chosen = _statistic(runs[0], statistic)
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


def compared_with(
    folder: Path, runs: Mapping[str, Sequence[Run]], statistic: str | None, how: Resampling = USUAL
) -> tuple[list[Duel | Drifts], list[str]]:
    """Return runs beside those of the same metrics in another folder, for each dataset.

    And a sentence for those that have none there. Raises PmbenchError where none has.
    """
    found: list[Duel | Drifts] = []
    told = []
    failed = []
    for dataset, ours in runs.items():
        theirs = {run.metric: run for run in find(folder, dataset, variants=False)}
        if not theirs:
            told.append(f"{dataset}: left out, no runs of it in {folder}")
        elif alone := [run.metric for run in ours if run.metric not in theirs]:
            told.append(f"{dataset}: left out, no run in {folder}: {', '.join(alone)}")
        both = [run for run in ours if run.metric in theirs]
        chosen = _statistic(ours[0], statistic)
        duels = []
        for run in both:
            try:
                duels.append(drifted(run, theirs[run.metric], chosen, how))
            except PmbenchError as error:
                failed.append(f"{dataset}/{run.metric}: left out, {error}")
        if duels:
            found.append(duels[0] if len(duels) == 1 else Drifts(folder, duels))
    if not found and failed:
        raise PmbenchError("\n".join(failed))
    if not found:
        raise PmbenchError(
            f"{folder} has no run of the same metrics on the same datasets; name a folder of "
            "results, such as one that an earlier `pmbench eval --results` has written"
        )
    return found, told + failed


def _statistic(run: Run, name: str | None) -> Statistic:
    protocol = PROTOCOLS[str(run.info["dataset"]["protocol"])]
    return protocol.statistic(name or protocol.statistics[0].name)


def duel(a: Run, b: Run, statistic: Statistic, how: Resampling = USUAL) -> Duel:
    """Return the comparison of two runs, on the items on which both metrics are defined.

    Raises PmbenchError where they were not measured in one way.
    """
    check_same_way([a, b])
    return _duel(a, b, (a.metric, b.metric), statistic, how)


def _duel(a: Run, b: Run, names: tuple[str, str], statistic: Statistic, how: Resampling) -> Duel:
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


def drift(ours: Run, theirs: Run) -> Drift:
    """Return how far a run is from another one of the metric on the same items."""
    items, (now, before) = aligned([ours, theirs])
    moves = relative_moves(before, now)
    worst = int(moves.max(axis=1).argmax())
    return Drift(float(moves.max()), str(items.id[worst]), int((moves > 0).sum()), moves.size)


def drifted(ours: Run, theirs: Run, statistic: Statistic, how: Resampling = USUAL) -> Duel:
    """Return the comparison of one metric's run with another one of it, from another folder.

    They may differ in precision and in the version of pmbench: that is what is looked for.
    """
    check_same_way([ours, theirs], but=("version of pmbench", "precision"))
    names = (ours.metric, f"{ours.metric} ({theirs.folder.parent.parent})")
    found = _duel(ours, theirs, names, statistic, how)
    return replace(found, drift=drift(ours, theirs))


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
