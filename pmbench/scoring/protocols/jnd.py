"""Just noticeable differences: are the two images of a pair the same?

Zhang et al. 2018 (the LPIPS paper), section 4. p is the share of raters who said "same".
"""

from __future__ import annotations

import numpy as np

from pmbench.scoring.protocols.base import (
    HumanBaseline,
    Judgement,
    Protocol,
    Statistic,
    correlations,
)
from pmbench.scoring.statistics import Array, average_precision

_NOBODY = 'nobody said "same"'


def _best_ranking(same: Array) -> Array:
    """Return distances that rank by the votes; all differ, since ties could be bettered."""
    ranks = np.empty(len(same))
    ranks[np.argsort(-same, kind="stable")] = np.arange(len(same))
    return ranks


JND = Protocol(
    name="jnd",
    title="just noticeable differences",
    roles=("p0", "p1"),
    pairs=(("p0", "p1"),),
    task="discrimination",
    judgement=Judgement("same", 'share of raters who said "same"'),
    unit="pairs",
    description=(
        "People saw two images for a moment and said whether they are the same. The score is how "
        "well small distances pick out the pairs that people call the same: mean average "
        "precision, in percent."
    ),
    convention="voc-ap",
    statistics=(
        Statistic(
            "map",
            "JND mAP",
            lambda d, p, w: average_precision(d[:, 0], p, w),
            percent=True,
            undefined=_NOBODY,
            reliable=100,  # where few pairs were called the same; 20 where many were
        ),
        *correlations(lambda d: d[:, 0], lambda same: 1 - same),
    ),
    humans=(
        HumanBaseline(
            "human-majority",
            "Upper bound: ranked by the votes themselves",
            lambda p, n, w: average_precision(_best_ranking(p), p, w),
            undefined=_NOBODY,
        ),
    ),
)
