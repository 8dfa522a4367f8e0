"""What a section's numbers say, in sentences: which metric to use, and what to keep in mind.

Metrics' names stand between backticks; ``pages`` makes links of them.
"""

from __future__ import annotations

import math

from pmbench.analysis.leaderboard_rows import Cell, Row
from pmbench.reporting.columns import number
from pmbench.reporting.site.sections import FRESH, MAJORITY, Section, counted, front

_NAMED = 4  # metrics that a sentence lists by name
_SOUND = 0.9  # what a sound metric reaches where right and wrong follow from construction


def warning(section: Section) -> str:
    """Return what must be known before any number is believed, "" where there is nothing."""
    said = []
    if not section.judged:
        said.append(
            "A sanity check, which does not rank metrics: nobody judged these images, and what "
            "counts as right follows from how they were made. It finds metrics that are blind to "
            "something; among sound ones it says nothing about which agrees with people."
        )
    if section.partial:
        rows = [row for row in section.metrics if row.n is not None and row.of is not None]
        few = min(rows, key=lambda row: row.n or 0, default=None)
        count = f"{few.n:,} of {few.of:,} {section.board.unit}" if few else "a part of the data"
        said.append(
            f"Partial data, {count}: a sanity check, which does not rank metrics and does not "
            "compare with published scores. The intervals show how little so few items say."
        )
    return " ".join(said)


def in_short(section: Section) -> list[str]:
    """Return the sentences with which a reader should leave the section."""
    if not section.metrics:
        return ["No metric is defined on these data.", *_others(section)]
    if not section.judged:
        return [*_sanity(section), *_others(section)]
    said = [_best(section), *_others(section)]
    if len(section.metrics) > 1:
        said += [*_ties(section), *_cheaper(section)]
    return said + _people(section)


def _others(section: Section) -> list[str]:
    """Return that metrics were left out of all comparisons, where some were."""
    if not (n := section.not_compared):
        return []
    if n == 1:
        return [
            "1 other (†) was measured in another way and is not compared; measure it again, in the "
            "way of the latest run."
        ]
    return [
        f"{n:,} others (†) were measured in another way and are not compared; measure them again, "
        "in the way of the latest run."
    ]


def score(cell: Cell, section: Section, interval: bool = False) -> str:
    """Return a score of the section's statistic, such as "69.8 % (95 % interval 69.4 to 70.1)"."""
    percent = section.board.statistic.percent
    text = number(Cell(cell.value), percent) + " %" * percent
    if not interval or math.isnan(cell.low):
        return text
    low, high = (number(Cell(bound), percent) for bound in (cell.low, cell.high))
    return f"{text} (95 % interval {low} to {high}{', unreliable' * cell.unreliable})"


def speed(row: Row, section: Section) -> str:
    """Return the speed of a metric that has one, in words."""
    value = section.speeds[row.name]
    return (f"{value:.2g}" if value < 10 else f"{value:,.0f}") + f" {section.timed}/s"


def _best(section: Section) -> str:
    first = section.metrics[0]
    message = score(first.score, section, interval=True)
    title = section.board.statistic.title
    if len(section.metrics) == 1:
        which = "in the latest way" if section.not_compared else "here"
        return f"`{first.name}` is the only metric measured {which}: {title} {message}."
    if not section.ranks:
        return f"On these few, `{first.name}` has the highest {title} score: {message}."
    return f"`{first.name}` agrees best with people: {title} {message}."


def _ties(section: Section) -> list[str]:
    """Return which metrics may be as good as the best one, and which of them is fastest."""
    first, *others = section.metrics
    if first.rank_range is None:
        return []
    how = "paired tests, corrected for their number"
    tied = [row for row in others if row.rank_range is not None and row.rank_range.may_be_best]
    if not tied:
        whom = f"each of the {len(others)} others" if len(others) > 1 else f"`{others[0].name}`"
        return [f"It is better than {whom} beyond chance ({how})."]
    said = f"It cannot be told apart from {_listed(tied)} ({how})."
    speeds = section.speeds
    fastest = max([first, *tied], key=lambda row: speeds.get(row.name, 0))
    if first.name not in speeds:
        return [said]
    if fastest is first:
        return [said, "None of these is faster."]
    times = _times(speeds[fastest.name] / speeds[first.name])
    return [said, f"Of these `{fastest.name}` is the fastest: {speed(fastest, section)}, {times}."]


def _times(ratio: float) -> str:
    if ratio < 1.1:
        return "hardly more than the best one"
    return f"{ratio:.1f} times as fast" if ratio < 10 else f"{ratio:,.0f} times as fast"


def _cheaper(section: Section) -> list[str]:
    """Return the metrics of the Pareto front that are surely worse than the best, but faster."""
    by_name = {row.name: row for row in section.metrics}
    scores = {row.name: row.score.value for row in section.metrics}
    names = front({name: (rate, scores[name]) for name, rate in section.speeds.items()})
    worse = [row for name in names if _apart(row := by_name[name])]
    if not worse:
        return []
    shown = worse if len(worse) <= _NAMED else [*worse[: _NAMED - 1], worse[-1]]
    listed = [f"`{row.name}` {score(row.score, section)} at {speed(row, section)}" for row in shown]
    return [f"Faster ones agree less: {'; '.join(listed)}."]


def _apart(row: Row) -> bool:
    return row.rank_range is not None and not row.rank_range.may_be_best


def _people(section: Section) -> list[str]:
    """Return how far the best metric is from people."""
    said = []
    first = section.metrics[0]
    fresh, majority = (section.people.get(name) for name in (FRESH, MAJORITY))
    if fresh is not None and fresh.score.value == 1:
        every = f"every one of these {section.board.unit}"
        return [f"People agreed on {every}: the rows about them say nothing here."]
    if fresh is not None and not math.isnan(fresh.score.value):
        gap = 100 * (fresh.score.value - first.score.value)
        where = (
            f"{gap:.1f} points above `{first.name}`"
            if gap > 0
            else f"{-gap:.1f} points below `{first.name}`, which is no contradiction: a metric "
            "may side with the majority more often than a single person does"
        )
        message = score(fresh.score, section)
        said.append(f"One person agrees with another {message} of the time ({FRESH}), {where}.")
    if majority is not None and not math.isnan(majority.score.value):
        said.append(f"No metric can score more than {score(majority.score, section)} ({MAJORITY}).")
    return said


def _sanity(section: Section) -> list[str]:
    """Return which metrics a dataset without judgements gives reason to doubt."""
    rows = section.metrics
    low = [row for row in reversed(rows) if row.score.value < _SOUND]
    message = counted(len(rows), "metric")
    if not low and rows[-1].score.value == 1:
        return [f"Nothing to worry about: no mistake of {message}."]
    if not low:
        worst = rows[-1]
        return [
            f"Nothing to worry about: of {message} the lowest score is "
            f"{score(worst.score, section)}, of `{worst.name}`."
        ]
    named = ", ".join(f"`{row.name}` {score(row.score, section)}" for row in low[:_NAMED])
    more = f" and {len(low) - _NAMED} others" if len(low) > _NAMED else ""
    return [
        f"{len(rows) - len(low)} of {message} reach{'es' * (len(rows) == 1)} 90 %, as a sound "
        "metric does.",
        f"Look at the others before you use them: {named}{more}.",
    ]


def _listed(rows: list[Row]) -> str:
    names = [f"`{row.name}`" for row in rows]
    if len(names) > _NAMED + 1:
        return f"{', '.join(names[:_NAMED])} and {len(names) - _NAMED} others"
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
