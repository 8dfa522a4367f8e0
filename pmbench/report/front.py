"""The Pareto front of agreement against speed: what no other metric beats in both."""

from __future__ import annotations

import math
from collections.abc import Mapping


def front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Return the names that nothing dominates, by falling score.

    ``points`` are (speed, score) by name, of both more is better. A point is dominated by one that
    is no worse in either and better in one; equal points stand or fall together. Points that are
    not numbers take no part.
    """
    sound = {name: point for name, point in points.items() if all(map(math.isfinite, point))}

    def dominated(name: str) -> bool:
        speed, score = sound[name]
        return any(
            other_speed >= speed
            and other_score >= score
            and (other_speed, other_score) != (speed, score)
            for other_speed, other_score in sound.values()
        )

    kept = [name for name in sound if not dominated(name)]
    return sorted(kept, key=lambda name: (-sound[name][1], name))
