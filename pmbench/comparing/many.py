"""Many runs of the same items -> their macro scores and how these vary together, at once.

What lies beside the runs is used where it fits, so that a leaderboard need not resample anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pmbench.agreement import Array
from pmbench.bootstrap import USUAL, Resampling
from pmbench.comparing.joint import Joint, covariance_of_draws, joint, of_means
from pmbench.comparing.together import aligned, check_same_way, same_order
from pmbench.draws import Draws
from pmbench.errors import PmbenchError
from pmbench.pack import Items
from pmbench.protocols import PROTOCOLS, Protocol, Statistic
from pmbench.runs import Run

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
