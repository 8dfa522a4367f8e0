"""How 2AFC and JND agree over metrics: do metrics that win one also win the other?

The LPIPS paper (Zhang et al. 2018, section 4) reports a correlation of .928 over its metrics.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pmbench.datasets import manifest
from pmbench.results.run import Run
from pmbench.scoring.protocols import JND, PROTOCOLS, TWO_AFC
from pmbench.scoring.statistics import ones, pearson, spearman
from pmbench.utils.errors import PmbenchError

FEWEST = 4  # metrics: Fisher's interval divides by √(n-3)
_HALF_WIDTH = 1.959964  # of a standard normal distribution's middle 95 %


@dataclass(frozen=True)
class Relation:
    """The correlation of macro scores over the metrics that have both."""

    metrics: tuple[str, ...]
    two_afc: tuple[float, ...]  # shares, in the order of metrics
    jnd: tuple[float, ...]
    pearson: float
    low: float  # of Pearson's, 95 %, approximate: Fisher's z, as if metrics were drawn at random
    high: float
    spearman: float

    @property
    def n(self) -> int:
        """How many metrics it rests on."""
        return len(self.metrics)


def relation(two_afc: Mapping[str, float], jnd: Mapping[str, float]) -> Relation:
    """Return how the macro scores of two protocols, by metric, go together.

    Metrics with only one of them, or NaN, are left out. Raises PmbenchError where fewer than four
    are left, or where all of these score the same.
    """
    both = [
        name for name in two_afc
        if name in jnd and math.isfinite(two_afc[name]) and math.isfinite(jnd[name])
    ]  # fmt: skip
    if len(both) < FEWEST:
        raise PmbenchError(
            f"the relation of 2AFC and JND needs {FEWEST} metrics that have both scores; "
            f"there {'is' if len(both) == 1 else 'are'} {len(both)}"
        )
    x, y = (np.array([scores[name] for name in both]) for scores in (two_afc, jnd))
    r, rho = (float(f(x, y, ones(len(both)))[0]) for f in (pearson, spearman))
    if math.isnan(r):
        raise PmbenchError(
            "the relation of 2AFC and JND is undefined: all metrics have the same score in one"
        )
    low, high = _fisher(r, len(both))
    return Relation(tuple(both), tuple(x.tolist()), tuple(y.tolist()), r, low, high, rho)


def _fisher(r: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a correlation of n pairs: atanh is about normal, sd 1/√(n-3)."""
    if abs(r) >= 1:
        return r, r
    middle, half = math.atanh(r), _HALF_WIDTH / math.sqrt(n - 3)
    return math.tanh(middle - half), math.tanh(middle + half)


def relation_of(runs: Sequence[Run]) -> dict[str, Relation | str]:
    """Return the relation within each group that has runs of both protocols, or why there is none.

    By the group's name, with what its datasets have after an @: ``bapps``, ``bapps@exact4``. What
    is compared are the macro scores of both protocols' main statistics. Runs of one dataset are to
    be of one way.
    """
    found: dict[str, Relation | str] = {}
    for group, members in manifest.groups().items():
        names = {member.name for member in members}
        its = [run for run in runs if str(run.info["dataset"]["name"]) in names]
        for variant in dict.fromkeys(run.dataset.partition("@")[2] for run in its):
            here = [run for run in its if run.dataset.partition("@")[2] == variant]
            by_protocol = [
                [run for run in here if run.info["dataset"]["protocol"] == protocol.name]
                for protocol in (TWO_AFC, JND)
            ]
            if not all(by_protocol):
                continue
            try:
                two_afc, jnd = ({run.metric: _macro(run) for run in some} for some in by_protocol)
                told: Relation | str = relation(two_afc, jnd)
            except PmbenchError as error:
                told = str(error)
            found["@".join(filter(None, [group, variant]))] = told
    return found


def _macro(run: Run) -> float:
    """Return the macro score of a run's main statistic; NaN where it has none."""
    table = run.scores()
    protocol = PROTOCOLS[str(run.info["dataset"]["protocol"])]
    main = (table["kind"] == "metric") & (table["statistic"] == protocol.statistics[0].name)
    return float(table.loc[main & (table["sub_dataset"] == "macro"), "value"].iloc[0])
