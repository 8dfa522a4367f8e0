"""How far distances moved from one measurement to the next, relative to what they were."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pmbench.agreement import Array

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
