"""What a check found: plain values, which ``findings_text`` draws and exit codes are made of."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from pmbench.analysis.alignment import relative_moves
from pmbench.analysis.baseline import Entry, Measured
from pmbench.analysis.joint import joint
from pmbench.analysis.paired import difference
from pmbench.results.signature import PARTS
from pmbench.scoring.statistics import Array
from pmbench.utils.errors import PmbenchError

Verdict = Literal[
    "worse", "better", "changed", "same", "new", "missing", "not comparable",
    "reproduced", "differs", "not run", "not checked",
]  # fmt: skip


@dataclass(frozen=True)
class Change:
    """One metric on one dataset, then and now. Scores are in percent, changes in points."""

    dataset: str
    name: str
    verdict: Verdict
    fails: bool
    told: str = ""  # a sentence; "" where there is nothing to say
    before: float | None = None  # the macro score
    now: float | None = None
    change: float | None = None
    low: float | None = None  # 95 % interval of the change, paired
    high: float | None = None
    moved: float | None = None  # largest relative move of a distance; infinite: it came or went
    allowed: float | None = None  # what another machine may cause of that

    @property
    def label(self) -> str:
        """What it is called in lists."""
        return self.name


@dataclass(frozen=True)
class Reproduction:
    """One row of a paper beside the run that computes the same. Scores are in percent."""

    dataset: str
    name: str  # the metric, or the row about people
    paper: str  # the paper's name for it
    source: str
    number: int  # of the source, in what is told of all
    verdict: Verdict
    fails: bool
    told: str = ""
    published: Mapping[str, float] | None = None  # by place
    measured: Mapping[str, float] | None = None
    tolerance: float | None = None  # points
    worst: str | None = None  # the place with the largest difference
    difference: float | None = None  # there, measured minus published

    @property
    def label(self) -> str:
        """What it is called in lists."""
        return f"{self.name} [{self.number}: {self.paper}]"


Finding = Change | Reproduction


@dataclass(frozen=True)
class Findings:
    """All that one check found, and what it comes to."""

    against: str  # what was compared with
    found: tuple[Finding, ...]
    told: tuple[str, ...]  # in words: what failed and what to do, and remarks
    failed: bool


TOLERANCE = 0.1  # points: the last digit that papers print
_ROUNDED = 1e-4  # points: twice what rounding takes from the scores of a baseline
_USUAL = 1e-5  # relative move of a distance that another machine may cause, where nobody says


@dataclass(frozen=True)
class Rules:
    """What is let pass: a change of scores up to ``tolerance`` points, and perhaps of distances."""

    tolerance: float = TOLERANCE
    allow_changed: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < math.inf:
            raise PmbenchError(
                f"--tolerance {self.tolerance:g}: expected points of a percent score, 0 or more"
            )

    def fails(self, verdict: Verdict) -> bool:
        """Say whether a verdict makes the check fail."""
        always = verdict in ("worse", "missing", "not comparable")
        return always or (verdict == "changed" and not self.allow_changed)


def check(
    against: str, known: Sequence[Entry], current: Sequence[Measured], rules: Rules, accept: str
) -> Findings:
    """Compare runs with the blocks of a baseline, which is called ``against``.

    ``accept`` is the command that makes the runs the baseline.
    """
    by_key = {(its.dataset, its.metric): its for its in current}
    found = [
        compare(entry, now, rules)
        if (now := by_key.pop((entry.dataset, entry.metric), None)) is not None
        else _missing(entry, against)
        for entry in known
    ]
    found += [_new(its, against) for its in by_key.values()]
    found.sort(key=lambda one: (one.dataset, one.name))
    return Findings(
        against, tuple(found), _told(found, against, accept), any(f.fails for f in found)
    )


def compare(entry: Entry, now: Measured, rules: Rules) -> Change:
    """Return how a metric does beside its block in a baseline."""
    sign = _Sign(entry, now)
    plain = Change(entry.dataset, entry.metric, "same", False, before=entry.scores.get("macro"))
    if (why := sign.not_comparable()) is not None:
        return replace(plain, verdict="not comparable", fails=True, told=why)
    before = entry.distances.array()
    if (why := _does_not_follow(entry, replace(now, distances=before))) is not None:
        return replace(plain, verdict="not comparable", fails=True, told=why)
    allowed = next(t for t in (now.tolerance, entry.tolerance, _USUAL) if t is not None)
    moves = relative_moves(before, now.distances)
    moved = float(moves.max())
    score = _Score.of(now, before)
    # what no more than rounding did is no change, whichever way almost equal distances tip
    stirred = moved > min(allowed, _USUAL)
    verdict: Verdict = "changed" if moved > allowed else "same"
    lost = _lost(before, now.distances)
    words = [_moves_in_words(moves, now, allowed)] if moved > allowed and not lost else []
    if stirred and score.exceeds(rules.tolerance):
        verdict = "worse" if score.change < 0 else "better"
        words.insert(0, f"by {score}")
    if lost:
        verdict = "worse"
        items = f"{lost:,} item{'s' * (lost != 1)}"
        left = "" if now.defined else ", so that it has no score any more"
        words.insert(0, f"the metric is undefined on {items} on which it was defined{left}")
    words += sign.remarks(changed=verdict != "same")
    return replace(
        plain,
        verdict=verdict,
        fails=rules.fails(verdict),
        told="; ".join(words),
        now=_number(score.now),
        change=_number(score.change),
        low=_number(score.low),
        high=_number(score.high),
        moved=moved,
        allowed=allowed,
    )


def _lost(before: Array, now: Array) -> int:
    """Return on how many items the metric was defined and is no longer."""
    return int((np.isfinite(before).all(axis=1) & ~np.isfinite(now).all(axis=1)).sum())


def _does_not_follow(entry: Entry, before: Measured) -> str | None:
    """Return why the scores of a block are not those of its distances, or None.

    ``before`` is the current run with the block's distances: votes are not in a baseline.
    """
    found = {place: 100 * value for place, value in before.scores().items()}
    for place in dict.fromkeys([*entry.scores, *found]):
        stands, follows = entry.scores.get(place), found.get(place)
        if stands is None or follows is None or abs(stands - follows) > _ROUNDED:
            return (
                "the baseline's scores do not follow from its distances "
                f"({place}: {_shown(stands)}, from the distances {_shown(follows)}): it was "
                f"edited, or {entry.way.split('|')[0]} scored in another way; write it anew with "
                "`pmbench baseline`"
            )
    return None


def _shown(score: float | None) -> str:
    return "none" if score is None else f"{score:.4f}"


@dataclass(frozen=True)
class _Score:
    """The main score's change, now minus before, in points; NaN where one is undefined."""

    now: float
    change: float
    low: float
    high: float

    @classmethod
    def of(cls, its: Measured, before: Array) -> _Score:
        statistic = its.protocol.statistics[0]
        both = np.isfinite(before).all(axis=1) & np.isfinite(its.distances).all(axis=1)
        now = 100 * its.scores().get("macro", math.nan)
        if np.array_equal(before, its.distances, equal_nan=True) or not both.any():
            still = math.nan if math.isnan(now) else 0.0
            return cls(now, still, still, still)
        sides = {"before": before, "now": its.distances}
        found = difference(joint(its.protocol, statistic, its.items, sides), "now", "before")
        return cls(now, 100 * found.value, 100 * found.low, 100 * found.high)

    def exceeds(self, tolerance: float) -> bool:
        """Say whether it is beyond the tolerance, and its interval excludes zero."""
        return abs(self.change) > tolerance and (self.low > 0 or self.high < 0)

    def __str__(self) -> str:
        return f"{abs(self.change):.2f} points (95 % interval {self.low:+.2f} to {self.high:+.2f})"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _moves_in_words(moves: Array, now: Measured, allowed: float) -> str:
    """Say which distances moved."""
    beyond = moves > allowed
    if np.isinf(moves).any():
        rows = int(np.isinf(moves).any(axis=1).sum())
        return f"the metric is now defined on other items than before ({rows:,} differ)"
    row = int(np.unravel_index(int(moves.argmax()), moves.shape)[0])
    return (
        f"{int(beyond.sum()):,} of {moves.size:,} distances moved by more than {allowed:g}, "
        f"by up to {moves.max():.1e} (item {now.items.id[row]})"
    )


@dataclass(frozen=True)
class _Sign:
    """The signatures of a block and of a run, side by side."""

    entry: Entry
    now: Measured

    def not_comparable(self) -> str | None:
        """Return why the distances are not of the same items in the same form, or None."""
        then, today = self.entry.way.split("|"), self.now.signature.partition(" || ")[0].split("|")
        parts = zip(PARTS, then, today, strict=False)
        # which version it was is no matter here: distances of both are scored by this one
        differing = [
            f"{part} ({a}, now {b})" for part, a, b in parts if a != b and part != PARTS[0]
        ]
        if len(then) != len(today):
            differing = [f"signature ({self.entry.way})"]
        statistic = self.now.protocol.statistics[0].name
        if not differing and self.entry.statistic != statistic:
            differing = [f"statistic ({self.entry.statistic}, now {statistic})"]
        if not differing and self.entry.ids != self.now.ids:
            differing = ["items (their ids)"]
        if not differing and self.entry.distances.shape != self.now.distances.shape:
            differing = [f"shape of distances {self.entry.distances.shape}"]
        if not differing:
            return None
        return (
            f"the baseline differs in {', '.join(differing)}; measure on the same data in the same "
            "way, or accept what is new with `pmbench baseline`"
        )

    def remarks(self, changed: bool) -> list[str]:
        """Return what else is not as it was, as far as it may explain something."""
        (theirs, its), (ours, our) = (s.partition(" || ")[::2] for s in self._both())
        said = []
        if its != our:
            said.append(f"another signature of the metric: {its}, now {our}")
        if changed and theirs.split("|")[0] != ours.split("|")[0]:
            said.append(f"the baseline was made by {theirs.split('|')[0]}")
        if changed and self.entry.made_with != self.now.made_with:
            said.append(
                f"the baseline was made with {self.entry.made_with}; now {self.now.made_with}"
            )
        return said

    def _both(self) -> tuple[str, str]:
        return self.entry.signature, self.now.signature


def _missing(entry: Entry, against: str) -> Change:
    return Change(
        entry.dataset,
        entry.metric,
        "missing",
        True,
        f"it is in {against}, and there is no run of it; did it fail, or was it left out?",
        before=entry.scores.get("macro"),
    )


def _new(its: Measured, against: str) -> Change:
    score = its.scores().get("macro")
    now = None if score is None else 100 * score
    return Change(its.dataset, its.metric, "new", False, f"it is not in {against} yet", now=now)


def _told(found: Sequence[Change], against: str, accept: str) -> tuple[str, ...]:
    """Return what it all comes to, and what to do."""
    counts = Counter(one.verdict for one in found)
    failing = Counter(one.verdict for one in found if one.fails)
    each = ", ".join(f"{n:,} {verdict}" for verdict, n in counts.items())
    if failing:
        why = ", ".join(f"{n:,} {verdict}" for verdict, n in failing.items())
        lines = [f"failed: {why}, of {len(found):,} compared with {against}"]
        if set(failing) == {"changed"}:
            lines.append("no score is surely worse for it; --allow-changed lets that pass")
        return (*lines, f"if that is as intended, accept it: `{accept}`")
    lines = [f"passed: {each}"]
    if counts["changed"]:
        lines.append("changed distances pass, as --allow-changed says")
    if counts["new"] or counts["better"] or counts["changed"]:
        lines.append(f"`{accept}` makes that the baseline")
    return tuple(lines)
