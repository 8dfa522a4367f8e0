"""Three charts: scores in each sub-dataset, scores against cost, and 2AFC against JND.

Every point says its values as a tooltip and leads to its metric's page.
"""

from __future__ import annotations

import math

import altair as alt
import pandas as pd

from pmbench.analysis.correlation import ProtocolCorrelation
from pmbench.analysis.leaderboard_rows import Cell, Row
from pmbench.reporting.site.charts import (
    DIGITS,
    TOP,
    Figure,
    Layers,
    around,
    drawn,
    encodings,
    framed,
    known,
    logarithmic,
    names,
    people_line,
)  # fmt: skip
from pmbench.reporting.site.sections import (
    FRESH,
    MAJORITY,
    Section,
    counted,
    front,
    page_of,
    varied,
)
from pmbench.reporting.site.summary import score, speed

_ROWS = 20  # metrics in the chart of sub-datasets
_FIRST, _REST, _LETTER = 170, 600, 6.6  # pixels: its first column, all others, a letter of a name
_COLUMNS = ["metric", "value", "low", "high", "said", "page", "colour"]


# --- scores in each sub-dataset -------------------------------------------------------------------


def by_sub_dataset(section: Section) -> Figure:
    """Return the scores of the best of each family and the next best."""
    rows = varied(section, _ROWS)
    places = [section.board.overall, *section.sub_datasets]
    panels = [_panel(section, rows, place, first=i == 0) for i, place in enumerate(places)]
    which = (
        f"The best metric of each family and the next best, {len(rows)} of {len(section.metrics)}; "
        if len(rows) < len(section.metrics)
        else ""
    )
    lines = {FRESH: "line: human-fresh", MAJORITY: "dotted line: human-majority"}
    people = ", ".join(said for name, said in lines.items() if name in section.people)
    subs, overall = len(section.sub_datasets), section.board.overall
    ends = (
        f"{rows[0].name} is first with {score(rows[0].score, section)}, {rows[-1].name} last with "
        f"{score(rows[-1].score, section)}."
        if len(rows) > 1
        else f"{rows[0].name} has {score(rows[0].score, section)}."
    )
    places_text = f"{overall} and in {counted(subs, 'sub-dataset')}" if subs else overall
    alternative = (
        f"Dot plot of the {section.board.statistic.title} scores of {counted(len(rows), 'metric')} "
        f"with their intervals, {places_text}. {ends}{_without_others(section)}"
    )
    return Figure(
        title="In each sub-dataset",
        svg=drawn(alt.hconcat(*panels, spacing=18, bounds="flush"), alternative),
        caption=f"{which}{_unit(section)}, with 95 % intervals. Each column has a scale of its "
        f"own.{f' Vertical {people}.' if people else ''}{_without_others(section)}",
        wide=True,
    )


def _without_others(section: Section) -> str:
    """Say which metrics no chart shows, "" where all are in it."""
    if not (n := section.not_compared):
        return ""
    return (
        f" Not shown: {counted(n, 'other metric')} (†), which {'was' if n == 1 else 'were'} "
        "measured in another way."
    )


def _panel(section: Section, rows: list[Row], place: str, first: bool) -> Layers:
    points = _points(section, rows, place)
    people = {
        name: section.people[name].cells.get(place, Cell(math.nan)).value * _scale(section)
        for name in (FRESH, MAJORITY)
        if name in section.people
    }
    axis = around("", [*points["low"], *points["high"], *people.values()])
    across = alt.Axis(
        tickCount=3, grid=False, format=DIGITS, labelFlush=True, labelOverlap=True,
        labelSeparation=8,
    )  # fmt: skip
    x = alt.X("low:Q", title=None, axis=across, scale=axis.scale)
    order = [row.name for row in rows]
    y = alt.Y(
        "metric:N",
        title=None,
        scale=alt.Scale(domain=order),
        axis=alt.Axis(
            labels=first, ticks=False, domain=False, grid=True, gridDash=[1, 3],
            labelColor="var(--ink)", minExtent=_LETTER * max(map(len, order)) if first else 0,
        ),
    )  # fmt: skip
    base = alt.Chart(points)
    layers = [_vertical(name, value, x) for name, value in people.items() if not math.isnan(value)]
    layers += [
        base.mark_rule(color="var(--soft)", strokeWidth=2, aria=False).encode(
            x=x, x2="high:Q", y=y
        ),
        base.mark_point(filled=True, size=36, opacity=1).encode(
            x=alt.X("value:Q", title=None, axis=across, scale=axis.scale),
            y=y,
            color=alt.Color("colour:N", scale=None),
            href="page:N",
            description="said:N",
        ),
    ]
    return alt.layer(*layers).properties(
        width=_FIRST if first else min(_REST / len(section.sub_datasets), _FIRST),
        height=alt.Step(17),
        title=alt.TitleParams(
            place, anchor="start", frame="group", fontWeight="bold" if first else "normal"
        ),
    )


def _points(section: Section, rows: list[Row], place: str) -> pd.DataFrame:
    scale = _scale(section)
    results = []
    for row in rows:
        cell = row.cells.get(place, Cell(math.nan))
        if math.isnan(cell.value):
            continue
        results.append(
            {
                "metric": row.name,
                "value": cell.value * scale,
                "low": known(cell.low, cell.value) * scale,
                "high": known(cell.high, cell.value) * scale,
                "said": f"{row.name}, {place}: {score(cell, section, interval=True)}",
                "page": TOP + page_of(row.name),
                "colour": "var(--accent)" if row is rows[0] else "var(--ink)",
            }
        )
    return pd.DataFrame(results, columns=_COLUMNS)


def _vertical(name: str, value: float, x: alt.X) -> alt.Chart:
    dash = [2, 3] if name == MAJORITY else [1, 0]
    line = alt.Chart(pd.DataFrame([{"low": value}]))
    drawn_line: alt.Chart = line.mark_rule(
        color="var(--people)", strokeDash=dash, aria=False
    ).encode(x=x)
    return drawn_line


# --- agreement against cost -----------------------------------------------------------------------


def against_cost(section: Section) -> Figure | str:
    """Return the scores against speed, with the Pareto front, or why it is not drawn.

    Speeds are those of the one machine that the board names, or else those of the runs.
    """
    machine, speeds = section.board.timed_on, section.speeds
    rows = [row for row in section.metrics if row.name in speeds]
    if not rows:
        return "Agreement against cost is not shown: no run has a speed."
    first = front({row.name: (speeds[row.name], row.score.value) for row in rows})
    points = pd.DataFrame(
        [
            {
                "metric": row.name,
                "x": speeds[row.name],
                "y": row.score.value * _scale(section),
                "said": f"{row.name}: {score(row.score, section, interval=True)} "
                f"at {speed(row, section)}",
                "page": TOP + page_of(row.name),
                "first": row.name in first,
            }
            for row in rows
        ]
    )
    fresh = [row.score.value * _scale(section) for row in [section.people.get(FRESH)] if row]
    x = logarithmic(f"{section.timed} a second, the metric alone →", points["x"])
    y = around(f"{_unit(section)}, {section.board.overall} →", [*points["y"], *fresh])
    across, up = encodings(x, y)
    edge = points[points["first"]].sort_values("x")
    marks = alt.Chart(points).encode(x=across, y=up, href="page:N", description="said:N")
    layers = [
        *(people_line(value, FRESH, y) for value in fresh),
        alt.Chart(edge)
        .mark_line(interpolate="step-before", color="var(--accent)", strokeWidth=1, aria=False)
        .encode(x=across, y=up),
        marks.transform_filter("!datum.first").mark_point(
            filled=True, size=34, opacity=0.5, color="var(--ink)"
        ),
        marks.transform_filter("datum.first").mark_point(
            filled=True, size=56, opacity=1, color="var(--accent)"
        ),
        names(edge, x, y),
    ]
    without = len(section.metrics) - len(rows)
    return Figure(
        title="Agreement against cost",
        svg=drawn(
            framed(layers),
            f"Scatter plot of {counted(len(rows), 'metric')}, score against speed. "
            + (
                f"On the Pareto front are, from the best to the fastest: {', '.join(first)}."
                if len(first) > 1
                else f"On the Pareto front is {first[0]} alone."
            )
            + _without_others(section),
        ),
        caption="Up and to the right is better. The line is the Pareto front: no metric is both "
        f"faster and better than those on it. Speeds are of {machine or _devices(section)}."
        + _without_speed(without, bool(machine))
        + _without_others(section),
    )


def _without_speed(count: int, on_one_machine: bool) -> str:
    """Return a sentence about the metrics that the chart leaves out, "" where there are none."""
    if not count:
        return ""
    if on_one_machine:
        return (
            f" {counted(count, 'metric')} not timed there {'is' if count == 1 else 'are'} missing."
        )
    return f" {count} of the metrics came as distances, without a speed."


def _devices(section: Section) -> str:
    infos = [section.runs[row.name].info for row in section.metrics if row.speed]
    results = {info.environment.device or "a device not told" for info in infos}
    if len(results) == 1:
        return results.pop()
    return f"different devices, and do not compare: {'; '.join(sorted(results))}"


# --- 2AFC against JND -----------------------------------------------------------------------------


def two_afc_against_jnd(two_afc: Section, jnd: Section, result: ProtocolCorrelation) -> Figure:
    """Return the overall scores of the same metrics under both protocols."""
    points = pd.DataFrame(
        [
            {
                "metric": name,
                "x": 100 * a,
                "y": 100 * b,
                "said": f"{name}: 2AFC {100 * a:.1f} %, JND mAP {100 * b:.1f} %",
                "page": TOP + page_of(name),
            }
            for name, a, b in zip(result.metrics, result.two_afc, result.jnd, strict=True)
        ]
    )
    x = around(f"2AFC, {two_afc.board.overall}, % →", points["x"])
    y = around(f"JND mAP, {jnd.board.overall}, % →", points["y"])
    across, up = encodings(x, y)
    ends = pd.concat(
        [
            points.nlargest(2, "x"), points.nlargest(2, "y"),
            points.nsmallest(1, "x"), points.nsmallest(1, "y"),
        ]
    ).drop_duplicates("metric")  # fmt: skip
    layers = [
        alt.Chart(points)
        .mark_point(filled=True, size=40, opacity=0.7, color="var(--ink)")
        .encode(x=across, y=up, href="page:N", description="said:N"),
        names(ends, x, y),
    ]
    message = (
        f"Over {result.n} metrics Pearson's correlation is {result.pearson:.3f} "
        f"({result.certainty}), Spearman's {result.spearman:.3f}."
    )
    paper = (
        " The LPIPS paper reports .928 over its metrics, on the whole of BAPPS. Where two ways of "
        "asking people agree on the metrics, it is less likely that either measures an artefact of "
        "its own."
    )
    both = two_afc.judged and jnd.judged
    return Figure(
        title="2AFC against JND",
        svg=drawn(
            framed(layers),
            f"Scatter plot of {result.n} metrics, 2AFC against JND scores. {message}",
        ),
        caption=message + paper * both,
    )


def _scale(section: Section) -> float:
    return 100.0 if section.board.statistic.percent else 1.0


def _unit(section: Section) -> str:
    return section.board.statistic.title + ", %" * section.board.statistic.percent
