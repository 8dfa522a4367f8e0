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
from pmbench.results.signature import in_latest_setup
from pmbench.results.store import by_dataset
from pmbench.scoring.bootstrap import resamples
from pmbench.scoring.clusters import effective
from pmbench.scoring.intervals import interval
from pmbench.scoring.protocols import JND, TWO_AFC
from pmbench.scoring.statistics import ones, pearson, spearman
from pmbench.utils.errors import PmbenchError

FEWEST = 4  # metrics
FEWEST_FAMILIES = 5  # for an interval; that of fewer goes from -1 to 1


@dataclass(frozen=True)
class ProtocolCorrelation:
    """The correlation of macro scores over the metrics that have both."""

    metrics: tuple[str, ...]
    two_afc: tuple[float, ...]  # shares, in the order of metrics
    jnd: tuple[float, ...]
    pearson: float
    low: float  # of Pearson's, 95 %, whole families of metrics resampled; NaN: too few of them
    high: float
    spearman: float
    families: int

    @property
    def n(self) -> int:
        """How many metrics it rests on."""
        return len(self.metrics)

    @property
    def certainty(self) -> str:
        """Return what is known of Pearson's: its interval, or why there is none."""
        if math.isnan(self.low):
            return f"no interval: too few families of metrics ({self.families})"
        return (
            f"95 % interval {self.low:.3f} to {self.high:.3f}, by {self.families} families of "
            "metrics"
        )


def correlate_protocols(
    two_afc: Mapping[str, float], jnd: Mapping[str, float], families: Mapping[str, str]
) -> ProtocolCorrelation:
    """Return how the macro scores of two protocols, by metric, go together.

    ``families`` are the metrics' families: those of one are alike, and not independent. Metrics
    with only one score, or NaN, are left out. Raises PmbenchError where fewer than four are left,
    or where all of these score the same.
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
    names, family, sizes = np.unique(
        [families[name] for name in both], return_inverse=True, return_counts=True
    )
    low, high = math.nan, math.nan
    if (count := effective(sizes)) >= FEWEST_FAMILIES:
        weights = resamples(np.zeros_like(family), family)
        draws = np.concatenate([pearson(x, y, w) for w in weights])
        # resamples of F families vary by (F - 1)/F of what families do
        error = float(np.nanstd(draws)) * math.sqrt(len(names) / (len(names) - 1))
        low, high = interval(r, error, (-1, 1), count - 1)
    return ProtocolCorrelation(
        tuple(both), tuple(x.tolist()), tuple(y.tolist()), r, low, high, rho, len(names)
    )


def correlate_runs(runs: Sequence[Run]) -> dict[str, ProtocolCorrelation | str]:
    """Return the relation within each group that has runs of both protocols, or why there is none.

    By the group's name, with what its datasets have after an @: ``bapps``, ``bapps@exact4``. What
    is compared are the macro scores of both protocols' main statistics. Of each dataset the runs
    that were measured as the latest one count.
    """
    latest = [run for some in by_dataset(runs).values() for run in in_latest_setup(some)]
    result: dict[str, ProtocolCorrelation | str] = {}
    if not {TWO_AFC.name, JND.name} <= {run.protocol.name for run in latest}:
        return result  # without the manifests, which take time to read
    for group, members in manifest.groups().items():
        names = {member.name for member in members}
        in_group = [run for run in latest if run.info.dataset.name in names]
        for variant in dict.fromkeys(_variant(run) for run in in_group):
            here = [run for run in in_group if _variant(run) == variant]
            of_both = [
                [run for run in here if run.protocol.name == protocol.name]
                for protocol in (TWO_AFC, JND)
            ]
            if not all(of_both):
                continue
            name = "@".join(filter(None, [group, variant]))
            try:
                two_afc, jnd = ({run.metric: _macro(run) for run in some} for some in of_both)
                families = {run.metric: family_of(run) for run in here}
                result[name] = correlate_protocols(two_afc, jnd, families)
            except PmbenchError as error:
                result[name] = str(error)
    return result


def _variant(run: Run) -> str:
    return run.dataset.partition("@")[2]


def family_of(run: Run) -> str:
    """Return a metric's family; one that says of none is a family of its own."""
    family = run.info.metric.family
    return run.metric if family in ("", "other", "imported") else family


def _macro(run: Run) -> float:
    """Return the macro score of a run's main statistic; NaN where it has none."""
    table = run.scores()
    main = (table["kind"] == "metric") & (table["statistic"] == run.protocol.main.name)
    return float(table.loc[main & (table["sub_dataset"] == "macro"), "value"].iloc[0])
