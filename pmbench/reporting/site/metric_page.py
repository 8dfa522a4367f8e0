"""What stands on a metric's page: its card, every number it has, and where these came from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pmbench.analysis.board import Cell
from pmbench.reporting.columns import interval, number
from pmbench.reporting.site.gallery import Strip
from pmbench.reporting.site.sections import FRESH, Section, counted, macro
from pmbench.results.reproduce import Recipe, recipe
from pmbench.results.run import Run

Facts = list[tuple[str, str]]


@dataclass(frozen=True)
class Place:
    """One row of a metric's numbers: a sub-dataset, macro or pooled."""

    name: str
    n: str
    of: str
    values: list[tuple[str, str]]  # number and interval, by statistic
    note: str
    comparison: str  # with the best metric and with people


@dataclass(frozen=True)
class Measured:
    """What one metric did on one dataset."""

    dataset: str
    title: str
    marks: list[str]
    statistics: list[str]
    places: list[Place]
    standing: str
    facts: Facts
    recipe: Recipe
    strips: list[Strip]
    why_no_pictures: str


@dataclass(frozen=True)
class Page:
    """A metric's page."""

    name: str
    title: str
    address: str
    card: Facts
    measured: list[Measured]


def card_of(run: Run) -> Facts:
    """Return what a metric says of itself; what it does not say is left out."""
    metric = run.info["metric"]
    higher = bool(metric.get("higher_is_better"))
    parameters = dict(metric.get("parameters", {}))
    count = metric.get("parameters_count")
    size = metric.get("weights_mb")
    facts = [
        ("family", metric.get("family")),
        ("paper", metric.get("paper")),
        ("code", metric.get("code")),
        ("licence", metric.get("licence")),
        ("direction", "larger is more alike" if higher else "smaller is more alike"),
        ("symmetric", {True: "yes", False: "no"}.get(metric.get("symmetric", ""))),
        ("version", metric.get("version")),
        ("parameters", ", ".join(f"{name} {_plain(value)}" for name, value in parameters.items())),
        ("numbers", None if count is None else f"{count:,} in its networks and filters"),
        ("size", f"{size:,.4g} MB" if size else None),
        *[("weights", f"{name}: {file}") for name, file in metric.get("weights", {}).items()],
        *[("undefined on", f"{s}: {why}") for s, why in metric.get("undefined_on", {}).items()],
    ]
    return [(label, str(value)) for label, value in facts if value not in (None, "")]


def measured(section: Section, name: str, strips: list[Strip], why_not: str) -> Measured:
    """Return what a metric did on the section's dataset."""
    run = section.runs[name]
    statistics = section.protocol.statistics
    table = run.scores()
    own = table[table["kind"] == "metric"]
    cells = {(str(r["sub_dataset"]), str(r["statistic"])): r for r in own.to_dict("records")}
    places = list(dict.fromkeys(place for place, _ in cells))
    last = [place for place in ("macro", "pooled") if place in places]
    ordered = [*last, *(place for place in places if place not in last)]
    return Measured(
        dataset=section.name,
        title=section.board.title,
        marks=section.board.marks,
        statistics=[s.title for s in statistics],
        places=[
            _place(section, name, place, [(cells[place, s.name], s.percent) for s in statistics])
            for place in ordered
        ],
        standing=_standing(section, name),
        facts=_provenance(run),
        recipe=recipe(run),
        strips=strips,
        why_no_pictures=why_not,
    )


def _place(
    section: Section, metric: str, name: str, records: list[tuple[Mapping[Any, Any], bool]]
) -> Place:
    first = records[0][0]
    return Place(
        name=name,
        n=f"{int(first['n']):,}",
        of=f"{int(first['of']):,}" if first["n"] != first["of"] else "",
        values=[
            (number(cell, percent), interval(cell, percent))
            for cell, percent in ((_cell(record), percent) for record, percent in records)
        ],
        note=str(first["note"]),
        comparison=_comparison(section, metric, name),
    )


def _cell(record: Mapping[Any, Any]) -> Cell:
    value, low, high = (float(record[key]) for key in ("value", "low", "high"))
    return Cell(value, low, high, unreliable=bool(record["unreliable"]))


def _comparison(section: Section, metric: str, place: str) -> str:
    """Return the highest score of a place with whose it is, and what a person scores there."""
    percent = section.board.statistic.percent
    scored = [
        (row.cells[place], row.name)
        for row in section.metrics
        if place in row.cells and not (math.isnan(row.cells[place].value) or row.cells[place].part)
    ]
    said = []
    if len(scored) > 1:
        cell, name = max(scored, key=lambda pair: pair[0].value)
        said.append(f"best {number(cell, percent)}" + f" ({name})" * (name != metric))
    fresh = section.people.get(FRESH)
    if fresh is not None and place in fresh.cells:
        said.append(f"{FRESH} {number(fresh.cells[place], percent)}")
    return ", ".join(said)


def _standing(section: Section, name: str) -> str:
    """Return the metric's place among the others, in a sentence; "" where there is none."""
    order = [row.name for row in section.metrics]
    if name not in order:
        return "It has no score that compares with those of the other metrics."
    row = section.metrics[order.index(name)]
    score = number(macro(row), section.board.statistic.percent)
    if row.standing is None:
        return f"{section.board.statistic.title} macro {score}."
    low, high = row.standing.low, row.standing.high
    where = f"rank {low}" if low == high else f"rank {low} to {high}"
    told = (
        f"{section.board.statistic.title} macro {score}: {where} of {counted(len(order), 'metric')}"
    )
    if name == order[0]:
        return f"{told}, the highest score."
    if row.standing.may_be_best:
        return f"{told}; it cannot be told apart from {order[0]}, which has the highest score."
    return f"{told}; {low - 1} of them {'is' if low == 2 else 'are'} better beyond chance."


def _provenance(run: Run) -> Facts:
    info = run.info
    dataset, environment = info["dataset"], info.get("environment", {})
    seconds, memory = info.get("seconds"), info.get("peak_memory_mb")
    facts = [
        ("signature", run.signature),
        ("items", f"{dataset['items']:,} of {dataset['of']:,} ({dataset.get('selection', '')})"),
        ("resize", dataset.get("resize")),
        ("finished", info.get("finished")),
        ("device", environment.get("device")),
        ("alone", None if seconds is None else f"{seconds:,.3g} s"),
        ("peak memory", None if memory is None else f"{memory:,.0f} MB, of the whole process"),
        ("pmbench", info.get("pmbench")),
        *[
            (name, environment.get(name))
            for name in ("python", "torch", "torchvision", "numpy", "pillow", "platform")
        ],
        ("command", info.get("command")),
    ]
    return [(label, str(value)) for label, value in facts if value not in (None, "")]


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
