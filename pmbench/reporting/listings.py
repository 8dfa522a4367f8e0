"""What an evaluation would take -> a table for a terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import TYPE_CHECKING

import pandas as pd
from rich.console import Group, RenderableType
from rich.text import Text

from pmbench.analysis.board import Cell
from pmbench.analysis.legends import UNRELIABLE
from pmbench.reporting.columns import interval, many, number
from pmbench.reporting.tables import bare_table
from pmbench.results.timings import BACKWARD, FORWARD, Machine, Timing
from pmbench.scoring.protocols import Protocol


def to_json(table: pd.DataFrame) -> str:
    """Return a tidy table as JSON: a list of records, null where there is no number."""
    records = table.astype(object).where(table.notna(), None).to_dict("records")
    return json.dumps(records, indent=1, ensure_ascii=False)


def listing_to_rich(table: pd.DataFrame) -> RenderableType:
    """Return a plain table, a column a field."""
    drawn = bare_table()
    for i, column in enumerate(table.columns):
        drawn.add_column(str(column).replace("_", " "), no_wrap=i == 0, overflow="fold")
    for row in table.itertuples(index=False):
        drawn.add_row(
            *(
                Text("" if pd.isna(v) else f"{v:,}" if isinstance(v, Integral) else str(v))
                for v in row
            )
        )
    return drawn if len(table) else Text("none")


_SHORT = {"hard_majority": "hard\nmaj.", "srcc": "SRCC", "krcc": "KRCC", "plcc": "PLCC"}


def scores_to_rich(table: pd.DataFrame, protocol: Protocol) -> RenderableType:
    """Return the scores of one set of distances: a row a sub-dataset, a column a statistic."""
    cells = {
        (str(r["name"] if r["kind"] == "human" else r["statistic"]), str(r["sub_dataset"])): r
        for r in table.to_dict("records")
    }
    main = protocol.statistics[0]
    columns = [(s.name, _SHORT.get(s.name, s.title), s.percent) for s in protocol.statistics]
    columns += [
        (h.name, h.name.replace("-", "\n").replace("majority", "maj."), main.percent)
        for h in protocol.humans
    ]
    drawn = bare_table(gap=1)
    drawn.add_column("sub-dataset", overflow="fold")  # a long name gives way to the numbers
    for _, title, _ in columns:
        drawn.add_column(title, justify="right", no_wrap=True)
    drawn.add_column("n", justify="right", no_wrap=True)
    for place in dict.fromkeys(str(name) for name in table["sub_dataset"]):
        row = []
        for key, _, percent in columns:
            record = cells[key, place]
            cell = Cell(
                float(record["value"]),
                float(record["low"]),
                float(record["high"]),
                unreliable=bool(record["unreliable"]),
            )
            drawn_from = interval(cell, percent) if key == main.name else ""
            row.append(number(cell, percent) + f" ({drawn_from})" * bool(drawn_from))
        drawn.add_row(Text(place), *row, f"{cells[main.name, place]['n']:,}")
    legend = [
        "in brackets: 95 % bootstrap interval",
        "SRCC, KRCC, PLCC: Spearman, Kendall, Pearson",
    ]
    if table.loc[table["statistic"] == main.name, "unreliable"].any():
        legend.insert(1, UNRELIABLE)
    legend += [f"{h.name}: {h.title}" for h in protocol.humans]
    legend += [
        f"{key}: {cells[key, 'macro']['note']}"
        for key, _, _ in columns
        if cells[key, "macro"]["note"]
    ]
    return Group(drawn, Text("\n".join(legend), style="dim"))


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
    table = bare_table()
    shown = [i for i, head in enumerate(_HEADS) if width >= _ROOMY or head != _SPREAD]
    for i in shown:
        name = _HEADS[i] == "metric"
        table.add_column(
            _HEADS[i],
            justify="left" if name else "right",
            overflow="fold" if name else "ellipsis",
            no_wrap=not name,
        )
    lines: dict[tuple[str, int], dict[str, Timing]] = {}
    for one in timings:
        lines.setdefault((one.metric, one.size), {})[one.direction] = one
    for (metric, size), both in lines.items():
        forward, loss = both.get(FORWARD), both.get(BACKWARD)
        pairs = forward.pairs_per_second if forward else math.nan
        count = forward.parameters if forward else -1
        cells = (
            metric, str(size), _number(pairs), *_cells(forward), *_cells(loss),
            many(count) if count >= 0 else "",
        )  # fmt: skip
        table.add_row(*(Text(cells[i]) for i in shown))
    spread = ", and fastest to slowest," * (width >= _ROOMY)
    legend = [
        f"measured on {machine}",
        f"median{spread} of the turns; as a loss: with the gradient in the distorted image",
        "peak MB: what weights, packages and intermediates of the metric alone add",
    ]
    return Group(
        table if lines else Text("nothing was measured"),
        Text("\n".join(legend), style="dim"),
        *(Text(line, style="yellow") for line in _remarks(timings)),
    )


def _cells(one: Timing | None) -> tuple[str, str, str]:
    if one is None or one.status != "measured":
        return "–", "", ""
    return _number(one.ms), f"{_number(one.low)}–{_number(one.high)}", _number(one.memory_mb)


def _number(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _remarks(timings: Iterable[Timing]) -> list[str]:
    """Return each remark once, with the metrics and the cells it is about."""
    found: dict[str, dict[str, list[str]]] = {}
    for one in timings:
        if one.note:
            cell = f"{one.size}{' as a loss' * (one.direction == BACKWARD)}"
            found.setdefault(one.note, {}).setdefault(one.metric, []).append(cell)
    return [
        "; ".join(f"{metric} ({', '.join(cells)})" for metric, cells in metrics.items())
        + f": {note}"
        for note, metrics in found.items()
    ]


if TYPE_CHECKING:
    from pmbench.evaluation.estimate import Forecast  # would import torch


def forecast_to_rich(dataset: str, forecast: Forecast) -> RenderableType:
    """Return what an evaluation would take."""
    table = bare_table()
    table.add_column("metric")
    table.add_column("alone", justify="right")
    for name, seconds in forecast.seconds.items():
        table.add_row(name, _duration(seconds))
    table.add_row("all in one pass", _duration(forecast.together), style="bold")
    memory = f", {forecast.peak_memory_mb:,.0f} MB at its peak" if forecast.peak_memory_mb else ""
    again = forecast.computed - forecast.images
    passes = "each network passes over each image once" + f", over {again:,} again" * (again > 0)
    head = (
        f"{dataset}: {forecast.items:,} items, {forecast.images:,} different images in "
        f"{forecast.batches:,} batches; {passes}; "
        f"{forecast.pair_evaluations:,} distances{memory}"
    )
    probe = f"from a probe of {forecast.probe_items} items; reading and scoring not included"
    return Group(Text(head), Text(), table, Text(probe, style="dim"))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
