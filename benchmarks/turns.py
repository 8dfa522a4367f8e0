"""What a row of the table is: two sides in turn, the ratio of each turn, and the goal it has.

Machines drift, and are shared; a ratio of two measurements that follow one another hardly does.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

Run = Callable[[], object]


@dataclass(frozen=True)
class Goal:
    """What a row is to reach."""

    value: float
    unit: str  # "×", "s", "MB"
    at_least: bool  # or else at most

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {shown(self.value, self.unit)}"

    def reached(self, value: float) -> bool:
        """Say whether a value is as good."""
        return value >= self.value if self.at_least else value <= self.value


def at_least(value: float, unit: str = "×") -> Goal:
    """Return a goal of that value or more."""
    return Goal(value, unit, at_least=True)


def at_most(value: float, unit: str = "×") -> Goal:
    """Return a goal of that value or less."""
    return Goal(value, unit, at_least=False)


@dataclass(frozen=True)
class Measured:
    """What came of a row: a value for each turn, and what they are made of."""

    values: list[float]
    sides: Mapping[str, list[float]] = field(default_factory=dict)  # seconds, or MB, of each turn
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """One line of the table. ``goal`` is None where there is only something to tell."""

    name: str
    what: str
    against: str
    goal: Goal | None
    measure: Callable[[], Measured]


def in_turn(sides: Mapping[str, Run], turns: int) -> dict[str, list[float]]:
    """Return the seconds that each side took in each turn; one more, the first, warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(turns + 1):
        for name, run in sides.items():
            start = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def times_as_fast(usual: Run, ours: Run, turns: int, notes: Iterable[str] = ()) -> Measured:
    """Return how many times as fast ``ours`` is as ``usual``: seconds of usual over ours."""
    seconds = in_turn({"against": usual, "what": ours}, turns)
    ratios = [a / b for a, b in zip(seconds["against"], seconds["what"], strict=True)]
    return Measured(ratios, seconds, tuple(notes))


def times_as_long(usual: Run, ours: Run, turns: int, notes: Iterable[str] = ()) -> Measured:
    """Return how many times as long ``ours`` takes as ``usual``: seconds of ours over usual."""
    faster = times_as_fast(usual, ours, turns, notes)
    return Measured([1 / ratio for ratio in faster.values], faster.sides, faster.notes)


def verdict(row: Row, found: Measured) -> str:
    """Return whether the median reached the goal, in a word."""
    if row.goal is None:
        return ""
    return "reached" if row.goal.reached(statistics.median(found.values)) else "short"


def shown(value: float, unit: str) -> str:
    """Return a value with its unit, three digits."""
    if unit == "MB":
        return f"{value:,.0f} MB"
    return f"{value:.2f} {unit}" if value < 100 else f"{value:.0f} {unit}"
