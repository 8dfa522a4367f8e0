"""Differences and relations in words: what a reader may conclude, and what not."""

from __future__ import annotations

import math

from pmbench.analysis.correlation import ProtocolCorrelation
from pmbench.analysis.paired import ALPHA, Difference
from pmbench.scoring.intervals import RELIABLE
from pmbench.scoring.protocols import Statistic

_MILLIONS = 10_000_000  # more items than anybody will judge


def verdict(result: Difference, statistic: Statistic, unit: str) -> str:
    """Return what a difference says. ``unit`` is what items are called: "triplets" or "pairs"."""
    if math.isnan(result.value):
        return f"{result.a} and {result.b} cannot be compared: one of them has no score"
    message = _sentence(result, statistic, unit)
    if result.independent < RELIABLE:
        reason = _only(result.independent, unit, result.place)
        message += f"; unreliable: {reason}, fewer than {RELIABLE}"
    return message


def _sentence(result: Difference, statistic: Statistic, unit: str) -> str:
    both = f"{result.a} and {result.b}"
    if result.p < ALPHA:
        better, worse = (result.a, result.b) if result.value > 0 else (result.b, result.a)
        sign = 1 if result.value > 0 else -1
        low, high = sorted((sign * result.low, sign * result.high))
        ends = f", 95 % interval {_span(low, high, statistic)}" if not math.isnan(low) else ""
        by = size(abs(result.value), statistic)
        return f"{better} is better than {worse} by {by}{ends} ({p_text(result.p)})"
    spread = result.low < result.high  # neither NaN nor all the same
    ends = f", {_span(result.low, result.high, statistic)}" if spread else ""
    if result.value == 0:
        return f"{both} cannot be told apart: no difference at all{ends}"
    difference = f"difference {size(result.value, statistic)}{ends}"
    if math.isnan(result.p):
        return f"{both} cannot be told apart: {difference}, and nothing to judge it by"
    needed = "" if result.more is None else f"; {more(result.more, unit)}"
    return f"{both} cannot be told apart: {difference}{needed}"


def unjudged(independent: int, unit: str) -> str:
    """Return why nothing is known of how macro scores vary, so that nobody can be ranked.

    ``independent`` are the independent items of the sub-dataset that has fewest of them.
    """
    if independent < 2:
        return f"{_only(independent, unit, 'macro')}, which does not say how scores vary"
    return "there are too few resamples in which all metrics have a score"


def _only(independent: int, unit: str, place: str) -> str:
    one = independent == 1
    where = "a sub-dataset has" if place == "macro" else "there is" if one else "there are"
    return f"{where} only {independent} independent {_called(unit, independent)}"


def _called(unit: str, count: int) -> str:
    """Return "triplet" or "triplets"."""
    return unit.removesuffix("s") if count == 1 else unit


def more(items: int, unit: str) -> str:
    """Return how many more items would be needed, to two digits: it is a rough number."""
    if items > _MILLIONS:
        return f"more than {_MILLIONS:,} more {unit} would be needed"
    rough = float(f"{items:.2g}")
    return f"about {rough:,.0f} more {_called(unit, items)} would be needed"


def size(value: float, statistic: Statistic) -> str:
    """Return a difference of scores: percentage points, or a correlation's as it is."""
    return f"{number(value, statistic)} points" if statistic.percent else number(value, statistic)


def number(value: float, statistic: Statistic, sign: bool = False) -> str:
    """Return a difference as digits: of points two decimals, of correlations three.

    What would be rounded to nothing keeps its first digit.
    """
    shown, decimals = (100 * value, 2) if statistic.percent else (value, 3)
    plus = "+" if sign else ""
    if abs(shown) < 1e-9:
        return f"{0:.{decimals}f}"
    if abs(shown) < 0.5 * 10**-decimals:
        return f"{shown:{plus}.0e}".replace("e-0", "e-")
    return f"{shown:{plus}.{decimals}f}"


def p_text(p: float) -> str:
    """Return ``p = 0.031``, ``p = 3e-7``."""
    return f"p = {p_number(p)}" if p > 0 else "p < 1e-300"


def p_number(p: float) -> str:
    """Return a p-value in few digits; n/a where there is none."""
    if math.isnan(p):
        return "n/a"
    if p == 0:
        return "<1e-300"
    return f"{p:.2g}" if p >= 0.001 else f"{p:.0e}".replace("e-0", "e-")


def _span(low: float, high: float, statistic: Statistic) -> str:
    return f"{number(low, statistic)} to {number(high, statistic)}"


def relation_in_words(result: ProtocolCorrelation | str) -> str:
    """Return how 2AFC and JND go together over metrics, or why that is not known."""
    if isinstance(result, str):
        return result
    return (
        f"2AFC against JND over {result.n} metrics: Pearson {result.pearson:.3f} "
        f"(95 % interval {result.low:.3f} to {result.high:.3f}, approximate: Fisher's z), "
        f"Spearman {result.spearman:.3f}"
    )
