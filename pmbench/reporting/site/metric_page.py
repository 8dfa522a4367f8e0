"""What stands on a metric's page: its card, every number it has, and where these came from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pmbench.analysis.leaderboard_rows import Cell
from pmbench.reporting.columns import interval, number
from pmbench.reporting.site.gallery import ExampleSection
from pmbench.reporting.site.sections import FRESH, Section, counted
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
    rank_range: str
    facts: Facts
    recipe: Recipe
    strips: list[ExampleSection]
    why_no_images: str


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
    metric = run.info.metric
    count, size = metric.parameters_count, metric.weights_mb
    settings = [f"{name} {_plain(value)}" for name, value in metric.parameters.items()]
    facts = [
        ("family", metric.family),
        ("paper", metric.paper),
        ("code", metric.code),
        ("licence", metric.licence),
        (
            "direction",
            "larger is more alike" if metric.higher_is_better else "smaller is more alike",
        ),
        ("symmetric", "yes" if metric.symmetric else "no"),
        ("version", metric.version),
        ("settings", ", ".join(settings)),
        ("parameters", None if count is None else f"{count:,}"),
        ("size", f"{size:,.4g} MB" if size else None),
        *[("weights", f"{name}: {file}") for name, file in metric.weights.items()],
        *[("undefined on", f"{side}: {why}") for side, why in metric.undefined_on.items()],
    ]
    return [(label, str(value)) for label, value in facts if value not in (None, "")]


def measured(section: Section, name: str, strips: list[ExampleSection], why_not: str) -> Measured:
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
        marks=section.board.warnings,
        statistics=[s.title for s in statistics],
        places=[
            _place(section, name, place, [(cells[place, s.name], s.percent) for s in statistics])
            for place in ordered
        ],
        rank_range=_rank_sentence(section, name),
        facts=_provenance(run),
        recipe=recipe(run),
        strips=strips,
        why_no_images=why_not,
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


def _rank_sentence(section: Section, name: str) -> str:
    """Return the metric's place among the others, in a sentence; "" where there is none."""
    order = [row.name for row in section.metrics]
    if name not in order:
        return "It has no score that compares with those of the other metrics."
    row = section.metrics[order.index(name)]
    score = number(row.score, section.board.statistic.percent)
    if row.rank_range is None:
        return f"{section.board.statistic.title} {row.overall} {score}."
    low, high = row.rank_range.low, row.rank_range.high
    where = f"rank {low}" if low == high else f"rank {low} to {high}"
    metrics = counted(len(order), "metric")
    message = f"{section.board.statistic.title} {row.overall} {score}: {where} of {metrics}"
    if name == order[0]:
        return f"{message}, the highest score."
    if row.rank_range.may_be_best:
        return f"{message}; it cannot be told apart from {order[0]}, which has the highest score."
    return f"{message}; {low - 1} of them {'is' if low == 2 else 'are'} better beyond chance."


def _provenance(run: Run) -> Facts:
    info, dataset, environment = run.info, run.info.dataset, run.info.environment
    memory = info.peak_memory_mb
    facts = [
        ("signature", run.signature),
        ("items", f"{dataset.items:,} of {dataset.of:,} ({dataset.selection})"),
        ("resize", dataset.resize),
        ("finished", info.finished),
        ("device", environment.device),
        ("alone", None if info.seconds is None else f"{info.seconds:,.3g} s"),
        ("peak memory", None if memory is None else f"{memory:,.0f} MB, of the whole process"),
        ("pmbench", info.pmbench),
        ("python", environment.python),
        ("torch", environment.torch),
        ("torchvision", environment.torchvision),
        ("numpy", environment.numpy),
        ("pillow", environment.pillow),
        ("platform", environment.platform),
        ("command", info.command),
    ]
    return [(label, str(value)) for label, value in facts if value not in (None, "")]


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
