"""The check against a baseline: have scores or distances changed, and for the worse?

A run is compared with its block of the baseline. A metric is worse or better where its score
changed by more than a tolerance and the paired interval of that change excludes zero; it is changed
where a distance moved by more than another machine may cause.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pmbench.analysis.alignment import relative_changes
from pmbench.analysis.baseline import Entry, RunScores
from pmbench.analysis.check_results import Change, Findings, Verdict
from pmbench.analysis.paired import difference
from pmbench.results.signature import PARTS, Signature, differing_parts
from pmbench.scoring.joint_scores import joint
from pmbench.scoring.scores import defined
from pmbench.scoring.statistics import Array
from pmbench.utils.errors import PmbenchError

TOLERANCE = 0.1  # points: the last digit that papers print
_ROUNDED = 1e-4  # points: twice what rounding takes from the scores of a baseline
_USUAL = 1e-5  # relative move of a distance that another machine may cause, where nobody says


@dataclass(frozen=True)
class Rules:
    """What is let pass: a change of scores up to ``tolerance`` points.

    Also, where allowed, distances that changed, and runs that are not of the code that is here.
    """

    tolerance: float = TOLERANCE
    allow_changed: bool = False
    allow_stale: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < math.inf:
            raise PmbenchError(
                f"--tolerance {self.tolerance:g}: expected points of a percent score, 0 or more"
            )

    def fails(self, verdict: Verdict) -> bool:
        """Say whether a verdict makes the check fail."""
        always = verdict in ("worse", "missing", "not comparable", "stale")
        return always or (verdict == "changed" and not self.allow_changed)


def check(
    against: str, known: Sequence[Entry], current: Sequence[RunScores], rules: Rules, accept: str
) -> Findings:
    """Compare runs with the blocks of a baseline, which is called ``against``.

    ``accept`` is the command that makes the runs the baseline.
    """
    by_key = {(now.dataset, now.metric): now for now in current}
    changes = [
        compare(entry, now, rules)
        if (now := by_key.pop((entry.dataset, entry.metric), None)) is not None
        else _missing(entry, against)
        for entry in known
    ]
    changes += [_new(now, against) for now in by_key.values()]
    changes.sort(key=lambda one: (one.dataset, one.name))
    return Findings(
        against,
        tuple(changes),
        _summary(changes, against, accept),
        any(one.fails for one in changes),
    )


def _missing(entry: Entry, against: str) -> Change:
    return Change(
        entry.dataset,
        entry.metric,
        "missing",
        True,
        f"it is in {against}, and there is no run of it; did it fail, or was it left out?",
        before=entry.overall,
    )


def _new(now: RunScores, against: str) -> Change:
    score = 100 * now.scores().get(now.protocol.overall, math.nan)
    reason = f"it is not in {against} yet"
    return Change(now.dataset, now.metric, "new", False, reason, now=_or_none(score))


def _summary(changes: Sequence[Change], against: str, accept: str) -> tuple[str, ...]:
    """Return what it all comes to, and what to do."""
    counts = Counter(one.verdict for one in changes)
    failing = Counter(one.verdict for one in changes if one.fails)
    if failing:
        why = ", ".join(f"{n:,} {verdict}" for verdict, n in failing.items())
        lines = [f"failed: {why}, of {len(changes):,} compared with {against}"]
        if set(failing) == {"changed"}:
            lines.append("no score is surely worse for it; --allow-changed lets that pass")
        if failing["stale"]:
            lines.append("measure what is stale again, with `pmbench eval`")
        if set(failing) != {"stale"}:
            lines.append(f"if that is as intended, accept it: `{accept}`")
        return tuple(lines)
    lines = ["passed: " + ", ".join(f"{n:,} {verdict}" for verdict, n in counts.items())]
    if counts["changed"]:
        lines.append("changed distances pass, as --allow-changed says")
    if counts["new"] or counts["better"] or counts["changed"]:
        lines.append(f"`{accept}` makes that the baseline")
    return tuple(lines)


# --- one metric, then and now ---------------------------------------------------------------------


def compare(entry: Entry, now: RunScores, rules: Rules) -> Change:
    """Return how a metric does beside its block in a baseline."""
    plain = Change(entry.dataset, entry.metric, "same", False, before=entry.overall)
    if (why := _why_not_comparable(entry, now)) is not None:
        return replace(plain, verdict="not comparable", fails=True, message=why)
    before = entry.distances.array()
    if (why := _does_not_follow(entry, replace(now, distances=before))) is not None:
        return replace(plain, verdict="not comparable", fails=True, message=why)
    allowed = next(t for t in (now.tolerance, entry.tolerance, _USUAL) if t is not None)
    moves = relative_changes(before, now.distances)
    moved = float(moves.max())
    score = _ScoreChange.of(now, before)
    # what no more than rounding did is no change, whichever way almost equal distances tip
    stirred = moved > min(allowed, _USUAL)
    verdict: Verdict = "changed" if moved > allowed else "same"
    lost = int((defined(before) & ~defined(now.distances)).sum())
    words = [_in_words(moves, now, allowed)] if moved > allowed and not lost else []
    if stirred and score.exceeds(rules.tolerance):
        verdict = "worse" if score.change < 0 else "better"
        words.insert(0, f"by {score}")
    if lost:
        verdict = "worse"
        items = f"{lost:,} item{'s' * (lost != 1)}"
        left = "" if now.defined else ", so that it has no score any more"
        words.insert(0, f"the metric is undefined on {items} on which it was defined{left}")
    words += _remarks(entry, now, changed=verdict != "same")
    if now.edited and not rules.allow_stale:
        verdict = "worse" if verdict == "worse" else "stale"
        words.insert(0, stale_message(now.edited))
    return replace(
        plain,
        verdict=verdict,
        fails=rules.fails(verdict),
        message="; ".join(words),
        now=_or_none(score.now),
        change=_or_none(score.change),
        low=_or_none(score.low),
        high=_or_none(score.high),
        moved=moved,
        allowed=allowed,
    )


def stale_message(edited: Sequence[str]) -> str:
    """Return the sentence about a run whose metric has other code now, in these files."""
    some = ", ".join(edited[:3]) + f" and {len(edited) - 3} more" * (len(edited) > 3)
    return (
        f"its code is not what was measured (edited or removed since: {some}); measure it again "
        "with `pmbench eval`, or let it pass with --allow-stale"
    )


def _why_not_comparable(entry: Entry, now: RunScores) -> str | None:
    """Return why distances are not of the same items in the same form, or None where they are."""
    then, today = Signature.parse(entry.signature).setup, Signature.parse(now.signature).setup
    # which version it was is no matter here: distances of both are scored by this one
    differing = [
        f"{part} ({a}, now {b})" for part, a, b in differing_parts(then, today) if part != PARTS[0]
    ]
    if then.count("|") != today.count("|"):
        differing = [f"signature ({then})"]
    statistic = now.protocol.main.name
    if not differing and entry.statistic != statistic:
        differing = [f"statistic ({entry.statistic}, now {statistic})"]
    if not differing and entry.ids != now.ids:
        differing = ["items (their ids)"]
    if not differing and entry.distances.shape != now.distances.shape:
        differing = [f"shape of distances {entry.distances.shape}"]
    if not differing:
        return None
    return (
        f"the baseline differs in {', '.join(differing)}; measure on the same data in the same "
        "way, or accept what is new with `pmbench baseline`"
    )


def _does_not_follow(entry: Entry, before: RunScores) -> str | None:
    """Return why the scores of a block are not those of its distances, or None.

    ``before`` is the current run with the block's distances: votes are not in a baseline.
    """
    scores = {place: 100 * value for place, value in before.scores().items()}
    for place in dict.fromkeys([*entry.scores, *scores]):
        stands, follows = entry.scores.get(place), scores.get(place)
        if stands is None or follows is None or abs(stands - follows) > _ROUNDED:
            return (
                "the baseline's scores do not follow from its distances "
                f"({place}: {_shown(stands)}, from the distances {_shown(follows)}): it was "
                f"edited, or {Signature.parse(entry.signature).pmbench} scored in another way; "
                "write it anew with `pmbench baseline`"
            )
    return None


def _shown(score: float | None) -> str:
    return "none" if score is None else f"{score:.4f}"


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


@dataclass(frozen=True)
class _ScoreChange:
    """The main score's change, now minus before, in points; NaN where one is undefined."""

    now: float
    change: float
    low: float
    high: float

    @classmethod
    def of(cls, now: RunScores, before: Array) -> _ScoreChange:
        score = 100 * now.scores().get(now.protocol.overall, math.nan)
        same = np.array_equal(before, now.distances, equal_nan=True)
        if same or not defined(before, now.distances).any():
            still = math.nan if math.isnan(score) else 0.0
            return cls(score, still, still, still)
        overall = now.protocol.overall
        both = joint(
            now.protocol, now.protocol.main, now.items,
            {"before": before, "now": now.distances}, where=[overall],
        )  # fmt: skip
        change = difference(both[overall], "now", "before")
        return cls(score, 100 * change.value, 100 * change.low, 100 * change.high)

    def exceeds(self, tolerance: float) -> bool:
        """Say whether it is beyond the tolerance, and its interval excludes zero."""
        return abs(self.change) > tolerance and (self.low > 0 or self.high < 0)

    def __str__(self) -> str:
        # the verdict says which way, so neither the number nor its interval has a sign
        low, high = sorted((abs(self.low), abs(self.high)))
        return f"{abs(self.change):.2f} points (95 % interval {low:.2f} to {high:.2f})"


def _in_words(moves: Array, now: RunScores, allowed: float) -> str:
    """Say which distances moved."""
    if np.isinf(moves).any():
        rows = int(np.isinf(moves).any(axis=1).sum())
        return f"the metric is now defined on other items than before ({rows:,} differ)"
    row = int(np.unravel_index(int(moves.argmax()), moves.shape)[0])
    return (
        f"{int((moves > allowed).sum()):,} of {moves.size:,} distances moved by more than "
        f"{allowed:g}, by up to {moves.max():.1e} (item {now.items.id[row]})"
    )


def _remarks(entry: Entry, now: RunScores, changed: bool) -> list[str]:
    """Return what else is not as it was, as far as it may explain something."""
    remarks = []
    then, today = Signature.parse(entry.signature), Signature.parse(now.signature)
    if then.metric != today.metric:
        remarks.append(f"another signature of the metric: {then.metric}, now {today.metric}")
    if changed and then.pmbench != today.pmbench:
        remarks.append(f"the baseline was made by {then.pmbench}")
    if changed and entry.made_with != now.made_with:
        remarks.append(f"the baseline was made with {entry.made_with}; now {now.made_with}")
    return remarks
