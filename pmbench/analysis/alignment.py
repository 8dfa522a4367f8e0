"""How far distances moved from one measurement to the next, relative to what they were."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pmbench.analysis.joint import Joint, covariance_of_draws, joint, of_means
from pmbench.datasets.pack import Items
from pmbench.results.run import Run
from pmbench.results.signature import PARTS, way
from pmbench.scoring.bootstrap import USUAL, Draws, Resampling
from pmbench.scoring.protocols import PROTOCOLS, Protocol, Statistic
from pmbench.scoring.statistics import Array
from pmbench.utils.errors import PmbenchError


def check_same_way(runs: Sequence[Run], but: Collection[str] = ()) -> None:
    """Raise PmbenchError where runs were not measured in one way, so that no item has its equal.

    ``but`` are the parts (of ``PARTS``) that may differ.
    """
    for run in runs[1:]:
        ours, theirs = way(runs[0]).split("|"), way(run).split("|")
        differing = [
            f"{part} ({a} and {b})"
            for part, a, b in zip(PARTS, ours, theirs, strict=False)
            if a != b and part not in but
        ]
        if differing or len(ours) != len(theirs):
            what = ", ".join(differing) or f"{way(runs[0])} and {way(run)}"
            raise PmbenchError(
                f"{runs[0].dataset}/{runs[0].metric} and {run.dataset}/{run.metric} cannot be "
                f"compared: they differ in {what}; run `pmbench eval` again for the older one, "
                "with the same options"
            )


def same_order(runs: Sequence[Run]) -> bool:
    """Say whether the rows of runs of one way are the same items, as their votes show."""
    sub, p, _ = runs[0].numbers()
    others = [run.numbers()[:2] for run in runs[1:]]
    return all(np.array_equal(sub, s) and np.array_equal(p, q) for s, q in others)


def aligned(runs: Sequence[Run]) -> tuple[Items, list[Array]]:
    """Return the items, in the first run's order, and each run's distances (n, pairs) in it.

    Runs of one way hold the same items, in the order of their pack. Where that is another one, as
    votes and sub-datasets show, rows are matched by their ids. Raises PmbenchError where the items
    are not the same.
    """
    items, first = runs[0].distances()
    found = [first]
    for run in runs[1:]:
        sub, p, distances = run.numbers()
        if not (np.array_equal(sub, items.sub) and np.array_equal(p, items.p)):
            distances = distances[_matched(runs[0], items, run)]
        found.append(distances)
    return items, found


def _matched(first: Run, items: Items, other: Run) -> NDArray[np.int64]:
    """Return the row of ``other`` that holds each of the items."""
    its, _ = other.distances()
    row = {key: i for i, key in enumerate(_keys(its))}
    wanted = _keys(items)
    if len(row) != len(its) or set(row) != set(wanted) or len(its) != len(items):
        raise PmbenchError(
            f"{first.folder} and {other.folder} have the same signature but not the same items; "
            "one of them was changed by hand; delete it and run `pmbench eval` again"
        )
    return np.array([row[key] for key in wanted])


def _keys(items: Items) -> list[tuple[str, str, float]]:
    names = np.array(items.sub_names, object)[items.sub].tolist()
    return list(zip(names, items.id.tolist(), items.p.tolist(), strict=True))


_VALUES_ONLY = Resampling(count=1)  # the rest would take time
_MACRO = ("macro",)


def macro_scores(runs: Sequence[Run], statistic: Statistic, how: Resampling | None = None) -> Joint:
    """Return the macro scores of metrics together; of other places nothing.

    Left out are metrics that have no score on all items, or in a sub-dataset where others have one.
    Draws are as ``how`` says; without it as they lie beside the runs, or none where none is needed.
    Raises PmbenchError where the runs were not measured in one way.
    """
    check_same_way(runs)
    items, stack = aligned(runs)
    protocol = PROTOCOLS[str(runs[0].info["dataset"]["protocol"])]
    distances = {run.metric: d for run, d in zip(runs, stack, strict=True)}
    names = _complete(protocol, statistic, items, distances)
    if not names:
        nothing = np.empty((0, 1)), np.empty((1, 0, 0)), np.empty((0, 1, 0))
        return Joint((), _MACRO, *nothing, n=(0,), independent=(0,), freedom=(0,), widening=(1.0,))
    whole = {name: distances[name] for name in names}
    drawn = _stored([run for run in runs if run.metric in whole], statistic, how)
    if statistic.items is not None:
        again = how if drawn is None else None
        found = of_means(tuple(names), statistic, items, list(whole.values()), again, _MACRO)
        return found if drawn is None else replace(found, draws=drawn[:, None])
    if drawn is None:
        return _macro_of(joint(protocol, statistic, items, whole, how or USUAL))
    found = _macro_of(joint(protocol, statistic, items, whole, _VALUES_ONLY))
    covariance = covariance_of_draws(drawn, found.widening[0])
    return replace(found, draws=drawn[:, None], covariance=covariance[None])


def _macro_of(found: Joint) -> Joint:
    i = found.at("macro")
    return Joint(
        found.names,
        _MACRO,
        found.values[:, [i]],
        found.covariance[[i]],
        found.draws[:, [i]],
        (found.n[i],),
        (found.independent[i],),
        (found.freedom[i],),
        (found.widening[i],),
    )


def _complete(
    protocol: Protocol, statistic: Statistic, items: Items, distances: dict[str, Array]
) -> list[str]:
    """Return the metrics that are defined on all items, and wherever any of them has a value."""
    whole = {name: d for name, d in distances.items() if np.isfinite(d).all()}
    if statistic.items is not None or not whole:
        return list(whole)
    found = joint(protocol, statistic, items, whole, _VALUES_ONLY)
    undefined = np.isnan(found.values[:, : len(items.sub_names)])
    missing = undefined & ~undefined.all(axis=0)
    return [name for name, its in zip(whole, missing, strict=True) if not its.any()]


def _stored(runs: list[Run], statistic: Statistic, how: Resampling | None) -> Array | None:
    """Return the resampled macro scores (metrics, count) that lie beside the runs.

    None where a run has none that can be read, where they are not of the same resamples (those of
    ``how``), or not of the same order of items.
    """
    stored = [_readable(run) for run in runs]
    found = [draws for draws in stored if draws is not None and statistic.name in draws.values]
    hows = {draws.how for draws in found} | ({how} if how is not None else set())
    if len(found) < len(runs) or len(hows) > 1 or not same_order(runs):
        return None
    macro = found[0].places.index("macro")
    return np.stack([draws.values[statistic.name][macro] for draws in found])


def _readable(run: Run) -> Draws | None:
    """Return the draws beside a run; damaged ones are as good as none, they are drawn anew."""
    try:
        return run.draws()
    except PmbenchError:
        return None


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


def relative_moves(before: Array, now: Array) -> Array:
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
