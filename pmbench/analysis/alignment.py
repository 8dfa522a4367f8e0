"""Runs of the same items, side by side: their distances row by row, and what follows from these.

``align`` brings the distances of runs into one order of the items. ``overall_scores`` are the
overall scores of all of them, with how these vary together; ``drift`` is how far a metric's
distances moved from one run of it to another.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pmbench.results.run import Run
from pmbench.results.signature import differing_parts, setup_of
from pmbench.scoring.bootstrap import DEFAULT_RESAMPLING, BootstrapSamples, Resampling
from pmbench.scoring.items import Items
from pmbench.scoring.joint_scores import JointScores, joint
from pmbench.scoring.protocols import Statistic
from pmbench.scoring.scores import score_at
from pmbench.scoring.statistics import Array
from pmbench.utils.errors import PmbenchError


def check_same_way(runs: Sequence[Run], but: Collection[str] = ()) -> None:
    """Raise PmbenchError where runs were not measured in one way, so that no item has its equal.

    ``but`` are the parts (of ``PARTS``) that may differ.
    """
    first = setup_of(runs[0])
    for run in runs[1:]:
        differing = [
            f"{part} ({a} and {b})"
            for part, a, b in differing_parts(first, setup_of(run))
            if part not in but
        ]
        if differing or first.count("|") != setup_of(run).count("|"):
            what = ", ".join(differing) or f"{first} and {setup_of(run)}"
            raise PmbenchError(
                f"{runs[0].dataset}/{runs[0].metric} and {run.dataset}/{run.metric} cannot be "
                f"compared: they differ in {what}; run `pmbench eval` again for the older one, "
                "with the same options"
            )


def align(runs: Sequence[Run]) -> tuple[Items, list[Array]]:
    """Return the items, in the order of one of the runs, and each run's distances (n, pairs) in it.

    Runs of one way hold the same items, in the order of their pack. Where that is another one, as
    votes and sub-datasets show, rows are matched by their ids. Raises PmbenchError where the items
    are not the same.
    """
    items, rows = _rows(runs)
    return items, [distances for distances, _ in rows]


def _rows(runs: Sequence[Run]) -> tuple[Items, list[tuple[Array, bool]]]:
    """Return ``align``, and of each run whether its own order is that of the items."""
    # runs of earlier versions do not know which items share an image
    first = next((run for run in runs if run.info.dataset.clusters), runs[0])
    items, of_first = first.distances()
    rows = []
    for run in runs:
        if run is first:
            rows.append((of_first, True))
            continue
        sub, p, distances = run.numbers()
        same = np.array_equal(sub, items.sub) and np.array_equal(p, items.p)
        rows.append((distances if same else distances[_matched(first, items, run)], same))
    return items, rows


def _matched(first: Run, items: Items, other: Run) -> NDArray[np.int64]:
    """Return the row of ``other`` that holds each of the items."""
    others, _ = other.distances()
    row = {key: i for i, key in enumerate(_keys(others))}
    wanted = _keys(items)
    if len(row) != len(others) or set(row) != set(wanted) or len(others) != len(items):
        raise PmbenchError(
            f"{first.folder} and {other.folder} have the same signature but not the same items; "
            "one of them was changed by hand; delete it and run `pmbench eval` again"
        )
    return np.array([row[key] for key in wanted])


def _keys(items: Items) -> list[tuple[str, str, float]]:
    names = np.array(items.sub_names, object)[items.sub].tolist()
    return list(zip(names, items.id.tolist(), items.p.tolist(), strict=True))


# --- overall scores of all runs -------------------------------------------------------------------


def overall_scores(
    runs: Sequence[Run], statistic: Statistic, resampling: Resampling | None = None
) -> JointScores:
    """Return the overall scores of metrics together: macro or pooled, as their protocol has it.

    Left out are metrics that have no score on all items, or in a sub-dataset where others have one.
    Where resamples are needed and ``resampling`` is None, they are those that lie beside the runs.
    Raises PmbenchError where the runs were not measured in one way.
    """
    check_same_way(runs)
    items, rows = _rows(runs)
    protocol = runs[0].protocol
    whole = {run.metric: d for run, (d, _) in zip(runs, rows, strict=True) if np.isfinite(d).all()}
    kept = list(whole) if statistic.items is not None else _complete(statistic, items, whole)
    if not kept:
        return JointScores((), protocol.overall, np.empty(0), np.empty((0, 0)), 0.0, 0, 0.0)
    stored: dict[str, Array] = {}
    if all(same for run, (_, same) in zip(runs, rows, strict=True) if run.metric in kept):
        draws = _stored([run for run in runs if run.metric in kept], statistic, resampling)
        stored = {} if draws is None else {protocol.overall: draws}
    return joint(
        protocol,
        statistic,
        items,
        {name: whole[name] for name in kept},
        resampling or DEFAULT_RESAMPLING,
        where=[protocol.overall],
        stored=stored,
    )[protocol.overall]


def _complete(statistic: Statistic, items: Items, distances: Mapping[str, Array]) -> list[str]:
    """Return the metrics that have a value in each sub-dataset in which any of them has one."""
    defined = {
        name: [not math.isnan(score_at(items, d, statistic, sub)) for sub in items.sub_names]
        for name, d in distances.items()
    }
    anywhere = np.any([*defined.values(), [False] * len(items.sub_names)], axis=0).tolist()
    return [name for name, where in defined.items() if where == anywhere]


def _stored(
    runs: Sequence[Run], statistic: Statistic, resampling: Resampling | None
) -> Array | None:
    """Return the resampled overall scores (metrics, count) that lie beside the runs.

    None where a run has none that can be read, or where they are not of the same resamples (those
    of ``resampling``), of the same clusters.
    """
    stored = [_readable(run) for run in runs]
    sound = [draws for draws in stored if draws is not None and statistic.name in draws.values]
    resamplings = {draws.resampling for draws in sound} | ({resampling} if resampling else set())
    clusters = {run.info.dataset.clusters for run in runs}
    if len(sound) < len(runs) or len(resamplings) > 1 or len(clusters) > 1:
        return None
    place = sound[0].places.index(runs[0].protocol.overall)
    return np.stack([draws.values[statistic.name][place] for draws in sound])


def _readable(run: Run) -> BootstrapSamples | None:
    """Return the draws beside a run; damaged ones are as good as none, they are drawn anew."""
    try:
        return run.draws()
    except PmbenchError:
        return None


# --- how far distances moved ----------------------------------------------------------------------

# A distance below this share of the typical one is measured by that instead: what rounding leaves
# of a difference of almost equal features does not shrink with it.
_FLOOR = 0.1


@dataclass(frozen=True)
class Drift:
    """How far a run is from another one of the metric: how far distances moved, relative to it."""

    largest: float
    item: str
    moved: int  # distances that are not the same to the last bit
    of: int


def drift(run: Run, before: Run) -> Drift:
    """Return how far a run is from another one of the metric on the same items."""
    items, (now, then) = align([run, before])
    moves = relative_changes(then, now)
    worst = int(moves.max(axis=1).argmax())
    return Drift(float(moves.max()), str(items.id[worst]), int((moves > 0).sum()), moves.size)


def relative_changes(before: Array, now: Array) -> Array:
    """Return how far each distance (n, pairs) moved, relative to what it was; ∞ where it is new.

    Distances below a tenth of the typical (median) one are measured by that tenth.
    """
    gone, come = np.isnan(before), np.isnan(now)
    sizes = np.abs(before[~gone])
    floor = _FLOOR * float(np.median(sizes)) if len(sizes) else 0.0
    step = np.abs(now - before)
    with np.errstate(divide="ignore", invalid="ignore"):
        moves = step / np.maximum(np.abs(before), floor)
    moves[step == 0] = 0.0  # also of distances that are all zero
    moves[gone & come] = 0.0
    moves[gone != come] = np.inf
    return moves
