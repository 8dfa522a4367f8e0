"""Listings, scores, times and forecasts -> tables for a terminal. Nothing is printed here."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.console import Group, RenderableType
from rich.text import Text

from pmbench.analysis.leaderboard_rows import Cell
from pmbench.analysis.legends import unreliable
from pmbench.reporting.columns import interval, many, number
from pmbench.reporting.tables import Table
from pmbench.results.timings import BACKWARD, FORWARD, Machine, Timing
from pmbench.scoring.protocols import Protocol

if TYPE_CHECKING:
    from pmbench.evaluation.estimate import (
        CostEstimate,
        SpeedEstimate,
        Workload,
    )  # would import torch


def to_json(table: pd.DataFrame) -> str:
    """Return a tidy table as JSON: a list of records, null where there is no number."""
    records = table.astype(object).where(table.notna(), None).to_dict("records")
    return json.dumps(records, indent=1, ensure_ascii=False)


_OPTIONAL = ("title", "group", "finished")  # fields that give way first where room is short


def listing_to_rich(table: pd.DataFrame, width: int) -> RenderableType:
    """Return a plain table for ``width`` columns of a terminal, a column a field."""
    if table.empty:
        return Text("none")
    plain = _plain_table(table)
    for field in _OPTIONAL:
        if not plain.fits(width) and field in table:
            table = table.drop(columns=field)
            plain = _plain_table(table)
    return plain.to_rich()


def _plain_table(table: pd.DataFrame) -> Table:
    head = [str(column).replace("_", " ") for column in table.columns]
    rows = [list(map(_value, row)) for row in table.itertuples(index=False)]
    return Table(head, rows, "lp")


def _value(value: Any) -> str:
    return "" if pd.isna(value) else f"{value:,}" if isinstance(value, Integral) else str(value)


_SHORT = {"hard_majority": "hard\nmaj.", "srcc": "SRCC", "krcc": "KRCC", "plcc": "PLCC"}


def scores_to_rich(table: pd.DataFrame, protocol: Protocol, assumption: str = "") -> RenderableType:
    """Return the scores of one set of distances: a row a sub-dataset, a column a statistic.

    ``assumption`` says which items count as independent.
    """
    records = {
        (str(r["name"] if r["kind"] == "human" else r["statistic"]), str(r["sub_dataset"])): r
        for r in table.to_dict("records")
    }
    main = protocol.main
    columns = [(s.name, _SHORT.get(s.name, s.title), s.percent) for s in protocol.statistics]
    columns += [
        (h.name, h.name.replace("-", "\n").replace("majority", "maj."), main.percent)
        for h in protocol.humans
    ]
    rows = []
    for place in dict.fromkeys(str(name) for name in table["sub_dataset"]):
        row = [place]
        for key, _, percent in columns:
            record = records[key, place]
            value, low, high = (float(record[name]) for name in ("value", "low", "high"))
            cell = Cell(value, low, high, unreliable=bool(record["unreliable"]))
            bounds = interval(cell, percent) if key == main.name else ""
            row.append(number(cell, percent) + f" ({bounds})" * bool(bounds))
        rows.append([*row, f"{records[main.name, place]['n']:,}"])
    head = ["sub-dataset", *(title for _, title, _ in columns), "n"]
    legend = [
        f"in brackets: 95 % interval{f'; {assumption}' * bool(assumption)}",
        "SRCC, KRCC, PLCC: Spearman, Kendall, Pearson",
    ]
    if table.loc[table["statistic"] == main.name, "unreliable"].any():
        legend.insert(1, unreliable(main))
    legend += [f"{h.name}: {h.title}" for h in protocol.humans]
    overall = protocol.overall
    legend += [
        f"{key}: {records[key, overall]['note']}"
        for key, _, _ in columns
        if records[key, overall]["note"]
    ]
    # a long name gives way to the numbers
    scores = Table(head, rows).to_rich(gap=1)
    return Group(scores, Text("\n".join(legend), style="dim"))


_SPREAD = "\nlow–high"
_HEADS = (
    "metric", "size", "pairs\n/s", "ms\n/pair", _SPREAD, "peak\nMB", "as a loss\nms/pair",
    _SPREAD, "peak\nMB", "\nparams",
)  # fmt: skip
_ROOMY = 110  # characters of a terminal that has room for everything


def speeds_to_rich(machine: Machine, timings: Sequence[Timing], width: int) -> RenderableType:
    """Return the times of one machine, and below them what is missing and why.

    A terminal of few columns has no room for how far the turns spread.
    """
    columns = [i for i, head in enumerate(_HEADS) if width >= _ROOMY or head != _SPREAD]
    directions: dict[tuple[str, int], dict[str, Timing]] = {}
    for timing in timings:
        directions.setdefault((timing.metric, timing.size), {})[timing.direction] = timing
    rows = []
    for (metric, size), both in directions.items():
        forward, loss = both.get(FORWARD), both.get(BACKWARD)
        pairs = forward.pairs_per_second if forward else math.nan
        count = forward.parameters if forward else -1
        cells = (
            metric, str(size), _number(pairs), *_cells(forward), *_cells(loss),
            many(count) if count >= 0 else "",
        )  # fmt: skip
        rows.append([cells[i] for i in columns])
    table = Table([_HEADS[i] for i in columns], rows)
    spread = ", and fastest to slowest," * (width >= _ROOMY)
    legend = [
        f"measured on {machine}",
        f"median{spread} of the turns; as a loss: with the gradient in the distorted image",
        "peak MB: what weights, packages and intermediates of the metric alone add",
    ]
    return Group(
        table.to_rich() if rows else Text("nothing was measured"),
        Text("\n".join(legend), style="dim"),
        *(Text(line, style="yellow") for line in _remarks(timings)),
    )


def _cells(timing: Timing | None) -> tuple[str, str, str]:
    if timing is None or timing.status != "measured":
        return "–", "", ""
    low, high = _number(timing.low), _number(timing.high)
    return _number(timing.ms), f"{low}–{high}", _number(timing.memory_mb)


def _number(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _remarks(timings: Iterable[Timing]) -> list[str]:
    """Return each remark once, with the metrics and the cells it is about."""
    notes: dict[str, dict[str, list[str]]] = {}
    for timing in timings:
        if timing.note:
            cell = f"{timing.size}{' as a loss' * (timing.direction == BACKWARD)}"
            notes.setdefault(timing.note, {}).setdefault(timing.metric, []).append(cell)
    return [
        "; ".join(f"{metric} ({', '.join(cells)})" for metric, cells in metrics.items())
        + f": {note}"
        for note, metrics in notes.items()
    ]


def speed_forecast(estimate: SpeedEstimate, seconds: float) -> str:
    """Return a line about what measuring speeds would take, of up to ``seconds`` a cell."""
    line = f"this takes about {_duration(estimate.seconds)}"
    if estimate.elsewhere:
        line += f"; {_metrics(estimate.elsewhere)} by the times of another machine or setup"
    if estimate.unknown:
        line += (
            f"; {_metrics(estimate.unknown)} of unknown time, with {seconds:g} s for each number"
        )
    return line


def _metrics(count: int) -> str:
    return f"{count:,} metric{'s' * (count != 1)}"


_ORIGINS = {
    "recorded": "recorded: by `pmbench speed` on this machine",
    "probed": "probed: a few pairs, just now",
    "elsewhere": "elsewhere: not measured here, but on a machine of ",
    "unknown": "`pmbench speed -m METRIC --size 64` records what is unknown",
}


def estimate_to_rich(estimate: CostEstimate) -> RenderableType:
    """Return what an evaluation would take."""
    names = [work.dataset for work in estimate.workloads]
    rows = [
        [metric, *(_duration(seconds[name]) for name in names), estimate.times[metric].origin]
        for metric, seconds in estimate.seconds.items()
    ]
    if len(rows) > 1:
        both = (map(_duration, estimate.together[name]) for name in names)
        rows.append(["in one pass", *map(" to ".join, map(dict.fromkeys, both)), ""])
    table = Table(["metric", *names, "from"], rows, bold=[len(rows) - 1] * (len(rows) > 1))
    origins = {times.origin for times in estimate.times.values()}
    legend = [
        "about, each metric alone; reading and scoring not included",
        "in one pass: all of known time; those with the same weights may share a network's work",
        *(text for origin, text in _ORIGINS.items() if origin in origins),
    ]
    legend = [line + str(estimate.elsewhere) * line.endswith(" of ") for line in legend]
    return Group(
        *(Text(_work(work)) for work in estimate.workloads), Text(), table.to_rich(),
        Text("\n".join(legend), style="dim"),
        *(Text(line, style="yellow") for line in _lacking(estimate)),
    )  # fmt: skip


def _work(work: Workload) -> str:
    """Return how much a dataset has to measure."""
    if work.items is None:
        nobody = f"{work.dataset}: its manifest does not say how many items it has"
        return nobody + f"; times are of {work.counted:,}" * bool(work.sizes)
    text = f"{work.dataset}: {work.items:,} items"
    if work.batches is None or work.images is None:
        return text + ", as its manifest says"
    again = work.passes - work.images
    return (
        f"{text}, {work.images:,} different images in {work.batches:,} batches; each network "
        f"passes over each image once" + f", over {again:,} again" * (again > 0)
    )


def _lacking(estimate: CostEstimate) -> list[str]:
    """Return what would have to be fetched, and whose time nobody knows, and why."""
    lines = []
    for work in estimate.workloads:
        if work.batches is None:
            size = f" ({work.gigabytes:g} GB)" if work.gigabytes else ""
            command = f"`pmbench download {work.dataset}`"
            lines.append(f"{work.dataset}: not on this machine{size}; get it with {command}")
        if not work.sizes:
            lines.append(f"{work.dataset}: nobody knows yet how large its images are")
    for file in estimate.missing:
        size = f"{file.megabytes:g} MB" if file.megabytes else "of unknown size"
        few = len(file.metrics) < 4
        metrics = ", ".join(file.metrics) if few else f"{len(file.metrics)} metrics"
        lines.append(f"to be fetched: {file.name}, {size}: for {metrics}")
    reasons: dict[str, list[str]] = {}
    for metric, times in estimate.times.items():
        if times.origin in ("unknown", "undefined"):
            reasons.setdefault(f"{times.origin}: {{}}: {times.note}", []).append(metric)
    return lines + [reason.format(", ".join(some)) for reason, some in reasons.items()]


def _duration(seconds: float) -> str:
    if math.isnan(seconds):
        return "unknown"
    if seconds == 0:
        return "n/a"
    if seconds < 90:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
