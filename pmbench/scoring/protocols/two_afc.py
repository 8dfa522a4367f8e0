"""Two alternative forced choice: which of two images is closer to the reference?

Zhang et al. 2018 (the LPIPS paper), section 4. p is the share of people who preferred p1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pmbench.scoring import statistics
from pmbench.scoring.protocols.base import (
    HumanBaseline,
    Judgement,
    Mask,
    Protocol,
    Statistic,
    correlations,
    mean_of,
)
from pmbench.scoring.statistics import Array, weighted_mean


def _difference(d: Array) -> Array:
    return d[:, 0] - d[:, 1]


def _is_decided(d: Array, p: Array) -> Mask:
    decided: Mask = p != 0.5
    return decided


def _two_afc_items(d: Array, p: Array) -> Array:
    return statistics.two_afc_items(d[:, 0], d[:, 1], p)


def _hard_majority_items(d: Array, p: Array) -> Array:
    items = statistics.hard_majority_items(d[:, 0], d[:, 1], p)
    return np.where(_is_decided(d, p), items, np.nan)


def _mean_human(
    name: str, title: str, items: Callable[[Array, Array], Array], **others: Any
) -> HumanBaseline:
    """Return a row about people that is the mean of the items'."""
    return HumanBaseline(
        name, title, lambda p, n, w: weighted_mean(items(p, n), w), items=items, **others
    )


TWO_AFC = Protocol(
    name="2afc",
    title="two alternative forced choice",
    roles=("ref", "p0", "p1"),
    pairs=(("ref", "p0"), ("ref", "p1")),
    task="choice",
    judgement=Judgement("p", "share of people who preferred p1"),
    unit="triplets",
    description=(
        "People saw a reference and two distorted versions of it, and said which is closer. The "
        "score is the share of people who agree with the metric’s choice, in percent; guessing "
        "gives 50."
    ),
    convention="soft",
    statistics=(
        Statistic(
            "2afc",
            "2AFC",
            mean_of(_two_afc_items),
            percent=True,
            items=_two_afc_items,
        ),
        Statistic(
            "hard_majority",
            "hard majority",
            mean_of(_hard_majority_items),
            percent=True,
            undefined="nobody made up a majority",
            counts=_is_decided,
            items=_hard_majority_items,
        ),
        *correlations(_difference, lambda p: p),
    ),
    humans=(
        _mean_human(
            "human-paper",
            "Human, the paper's row: p²+(1-p)²",
            lambda p, n: statistics.human_self_agreement(p),
        ),
        _mean_human(
            "human-fresh",
            "Human, one person against the others",
            # who was asked alone has nobody to agree with
            statistics.human_fresh,
            undefined="fewer than two people were asked, or nobody says how many",
            counts=lambda n: n > 1,
        ),
        _mean_human(
            "human-majority",
            "Upper bound: always with the majority",
            lambda p, n: statistics.human_majority(p),
        ),
    ),
)
