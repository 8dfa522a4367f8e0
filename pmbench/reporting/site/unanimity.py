"""The chart of agreement against how unanimous people were."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pmbench.analysis.paired import RELIABLE
from pmbench.datasets.pack import Items
from pmbench.reporting.site.charts import (
    HEIGHT,
    LABEL,
    TOP,
    WIDTH,
    Axis,
    Figure,
    Layers,
    apart,
    around,
    drawn,
    framed,
    known,
    upright,
)
from pmbench.reporting.site.sections import FRESH, MAJORITY, Section, page_of, varied
from pmbench.scoring import statistics
from pmbench.scoring.bootstrap import Estimand
from pmbench.scoring.intervals import interval
from pmbench.scoring.joint_scores import joint_scores
from pmbench.scoring.statistics import Array

_MOST = 9  # votes an item up to which every count of votes has a bin of its own
_TENTHS = [0.5, 0.6, 0.7, 0.8, 0.9]


@dataclass(frozen=True)
class Bin:
    """Items on which people were equally unanimous."""

    label: str  # "4 of 5", "80–90 %", "all"
    index: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True)
class Mean:
    """A mean over the items of one bin, and its 95 % interval."""

    value: float
    low: float
    high: float
    n: int
    unreliable: bool = False  # the interval rests on too few independent items


def majorities(items: Items) -> list[Bin]:
    """Return the items by the share of raters in the majority, from divided to unanimous."""
    share = np.maximum(items.p, 1 - items.p)
    return _bins(share, items.votes, _TENTHS)


def agreements(items: Items) -> list[Bin]:
    """Return the items by the share of people p itself, from nobody to all."""
    return _bins(items.p.copy(), items.votes, [0.0, 0.2, 0.4, 0.6, 0.8])


def _bins(share: Array, votes: NDArray[np.int32], edges: list[float]) -> list[Bin]:
    if len(set(votes.tolist())) == 1 and 0 < votes[0] <= _MOST:
        n = int(votes[0])
        counts = np.rint(share * n).astype(int)
        groups = [(f"{k} of {n}", counts == k) for k in sorted(set(counts.tolist()))]
    else:
        uppers = [*edges[1:], 1.0]
        groups = [
            (f"{100 * low:.0f}–{100 * high:.0f} %", (share >= low) & (share < high))
            for low, high in zip(edges, uppers, strict=True)
        ]
        groups.append(("all", share >= 1))
    return [Bin(label, np.flatnonzero(mask)) for label, mask in groups if mask.any()]


def mean(values: Array, items: Items, group: Bin) -> Mean | None:
    """Return the mean of per-item ``values`` (n,) over a bin; None where all of them are NaN.

    ``values`` are shares, from 0 to 1. The interval is as those of scores; where the bin holds a
    single cluster there is none: NaN.
    """
    index = group.index[np.isfinite(values[group.index])]
    if len(index) == 0:
        return None
    x, within = values[index], items.take(index)
    estimand = Estimand(
        lambda index, w: statistics.weighted_mean(x[index], w), np.ones(len(x), bool), x
    )
    one = joint_scores([""], within, [estimand], where=["pooled"])["pooled"]
    middle = float(one.values[0])
    low, high = interval(middle, math.sqrt(one.covariance[0, 0]), (0, 1), one.freedom)
    few = one.independent < RELIABLE and not math.isnan(low)
    return Mean(middle, low, high, len(index), few)


def over(bins: list[Bin], items: Items, values: Array) -> list[Mean | None]:
    """Return the mean of per-item ``values`` (n,) in each bin."""
    return [mean(values, items, group) for group in bins]


def distance_rank(d: Array) -> Array:
    """Return the share of items that are nearer, ties by halves: (n,) from 0, the nearest, to 1.

    Distances of metrics have no common unit; their ranks have. NaN stays NaN.
    """
    sound = np.isfinite(d)
    result = np.full(len(d), np.nan)
    x = d[sound]
    if len(x):
        order = np.sort(x)
        below = np.searchsorted(order, x, "left")
        upto = np.searchsorted(order, x, "right")
        result[sound] = (below + (upto - below - 1) / 2) / max(len(x) - 1, 1)
    return result


_LINES = 5  # metrics
_BUILT = {"0 of 1": "different", "1 of 1": "the same"}  # where nobody was asked
_ROOM = 110  # pixels to the right of the frame, for names
Lines = dict[str, list[Mean | None]]
_NOT_SHOWN = "Agreement against how unanimous people were is not shown"


def against_unanimity(section: Section) -> Figure | str:
    """Return agreement by unanimity: 2AFC scores, or how far apart JND pairs are put.

    Or why it is not drawn.
    """
    task = section.protocol.task
    if task == "rating":
        return f"{_NOT_SHOWN}: people gave ratings, and no votes."
    items, distances = section.measured
    two = task == "choice"
    bins = majorities(items) if two else agreements(items)
    if not section.judged:
        bins = [replace(group, label=_BUILT.get(group.label, group.label)) for group in bins]
    if len(bins) < 2:
        return _all_alike(section)
    lines: Lines = {}
    for row in varied(section, _LINES):
        d = distances[row.name]
        values = _agreement(d, items.p) if two else distance_rank(d[:, 0])
        lines[row.name] = over(bins, items, values)
    if two and section.judged:
        fresh = statistics.human_fresh(items.p, items.votes.astype(float))
        lines[FRESH] = over(bins, items, fresh)
        lines[MAJORITY] = over(bins, items, statistics.human_majority(items.p))
    lines = {name: means for name, means in lines.items() if any(means)}
    title = "Where people agree with one another" if two else "How far apart pairs are put"
    return Figure(
        title=title,
        svg=drawn(
            _chart(bins, lines, two, _asked(two, section.judged)), _alternative(bins, lines, two)
        ),
        caption=_caption(two, section) + _doubt(lines),
    )


def _all_alike(section: Section) -> str:
    if not section.judged:
        return f"{_NOT_SHOWN}: nobody was asked."
    return f"{_NOT_SHOWN}: they were equally unanimous on all of the {section.board.unit}."


def _agreement(d: Array, p: Array) -> Array:
    scores = statistics.two_afc_items(d[:, 0], d[:, 1], p)
    return np.where(np.isfinite(d).all(axis=1), scores, np.nan)


def _asked(two: bool, judged: bool) -> str:
    if not judged:
        return "by construction"
    return "raters in the majority" if two else 'raters who said "same"'


def _chart(bins: list[Bin], lines: Lines, two: bool, asked: str) -> Layers:
    points = _points(bins, lines)
    what = "agreement, %" if two else "% of all pairs that are nearer"
    y = around(f"{what} →", [*points["low"], *points["high"]])
    across = alt.X(
        "x:N",
        title=f"{asked} →",
        sort=[_label(group) for group in bins],
        axis=alt.Axis(labelAngle=0, grid=False, labelExpr="split(datum.label, '|')"),
        scale=alt.Scale(type="point", padding=0.3),
    )
    up = upright(y, "y:Q")
    colour = alt.Color("colour:N", scale=None)
    base = alt.Chart(points)
    layers: list[alt.Chart] = [
        base.transform_filter(alt.datum.metric == name)
        .mark_line(strokeWidth=1.5, strokeDash=[2, 3] if name == MAJORITY else [1, 0], aria=False)
        .encode(x=across, y=up, color=colour)
        for name in lines
    ]
    metrics = base.transform_filter("datum.page != ''")
    layers += [
        metrics.transform_filter(alt.datum.unreliable == unreliable)
        .mark_rule(strokeWidth=1, opacity=0.45, strokeDash=dash, aria=False)
        .encode(x=across, y=upright(y, "low:Q"), y2="high:Q", color=colour)
        for unreliable, dash in ((False, [1, 0]), (True, [2, 3]))
    ]
    layers += [
        metrics.mark_point(filled=True, size=36, opacity=1).encode(
            x=across, y=up, color=colour, href="page:N", description="said:N"
        ),
        _ends(points, _label(bins[-1]), across, y),
    ]
    return framed(layers, WIDTH - _ROOM)


def _points(bins: list[Bin], lines: Lines) -> pd.DataFrame:
    metrics = [name for name in lines if name not in (FRESH, MAJORITY)]
    return pd.DataFrame(
        [
            {
                "metric": name,
                "x": _label(group),
                "y": 100 * one.value,
                "low": max(100 * known(one.low, one.value), 0.0),
                "high": min(100 * known(one.high, one.value), 100.0),
                "unreliable": one.unreliable,
                "said": f"{name}, {group.label}: {100 * one.value:.1f} %, n = {one.n:,}"
                + ", interval unreliable" * one.unreliable,
                "colour": f"var(--line-{metrics.index(name) + 1})"
                if name in metrics
                else "var(--people)",
                "page": TOP + page_of(name) if name in metrics else "",
            }
            for name, means in lines.items()
            for group, one in zip(bins, means, strict=True)
            if one is not None
        ]
    )


def _label(group: Bin) -> str:
    return f"{group.label}|n = {len(group):,}"


def _ends(points: pd.DataFrame, last_bin: str, across: alt.X, y: Axis) -> alt.Chart:
    """Return the names of lines at their right ends, apart from one another."""
    last = points[points["x"] == last_bin].copy()
    last["at"] = apart(last["y"].tolist(), LABEL * (y.high - y.low) / HEIGHT)
    drawn_names: alt.Chart = (
        alt.Chart(last)
        .mark_text(align="left", dx=9, fontSize=11, aria=False)
        .encode(
            x=across,
            y=upright(y, "at:Q"),
            text="metric:N",
            color=alt.Color("colour:N", scale=None),
        )
    )
    return drawn_names


def _alternative(bins: list[Bin], lines: Lines, two: bool) -> str:
    name, means = next(iter(lines.items()))
    what = "agreement with people" if two else "distances"
    said = f"Line chart of the {what} of {', '.join(lines)}, by how people voted."
    if means[0] is None or means[-1] is None:
        return said
    return (
        f"{said} Of {name} it goes from {100 * means[0].value:.0f} % at {bins[0].label} "
        f"to {100 * means[-1].value:.0f} % at {bins[-1].label}."
    )


def _doubt(lines: Lines) -> str:
    """Say which intervals are not to be trusted, where there are such."""
    if not any(one is not None and one.unreliable for means in lines.values() for one in means):
        return ""
    return f" Dotted intervals rest on fewer than {RELIABLE} independent items: unreliable."


def _caption(two: bool, section: Section) -> str:
    which = "Good metrics of different families, over all sub-datasets at once. "
    if not two:
        what = "people tell apart" if section.judged else "differs"
        return (
            f"{which}Distances have no common unit, so a pair stands where the share of all pairs "
            f"puts it that are nearer. The steeper the fall, the better a metric tells apart what "
            f"{what}."
        )
    people = (
        " One person agrees with the others as human-fresh does (100 % on the right, where "
        "all did); nobody can be above human-majority."
    )
    return (
        f"{which}Where people are divided nobody can agree with all of them; it is the errors on "
        f"the right that count against a metric.{people * section.judged}"
    )
