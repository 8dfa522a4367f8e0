"""Runs -> the rows of a board, and their order."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pmbench.agreement import ones
from pmbench.boards.board import Cell, Row
from pmbench.comparing.ranking import standings
from pmbench.comparing.way import in_latest_way, way
from pmbench.protocols import Statistic
from pmbench.runs import Run


@dataclass(frozen=True)
class Measured:
    """The rows of metrics and people."""

    rows: list[Row]
    way: str  # the protocol part of the latest signature, which rows are marked for not having


def measured(runs: list[Run], statistic: Statistic, columns: list[str]) -> Measured:
    """Return the rows of metrics and people, with their standings."""
    latest = in_latest_way(runs)
    its_way = way(latest[0])
    rows: dict[tuple[str, str], Row] = {}
    for run in runs:
        for row in _rows(run, statistic, columns):
            other = way(run) != its_way
            if other and row.kind == "human":  # other items, perhaps: not the people of this table
                continue
            rows[row.name, way(run)] = replace(row, other_protocol=other)
    if not latest[0].info["dataset"]["human_votes"]:
        rows = {key: row for key, row in rows.items() if row.kind != "human"}
    places = standings(latest, statistic)
    ranked = [
        replace(
            row, standing=None if row.other_protocol or _unscored(row) else places.get(row.name)
        )
        for row in rows.values()
    ]
    return Measured(ranked, its_way)


def _unscored(row: Row) -> bool:
    """Say whether a row has no macro score."""
    return math.isnan(row.cells["macro"].value)


def _rows(run: Run, statistic: Statistic, columns: list[str]) -> list[Row]:
    """Return the rows that a run holds: of its metric and, for the main statistic, of people."""
    table = run.scores()
    of_each: dict[tuple[str, str], dict[str, Any]] = {}
    for record in table[table["statistic"] == statistic.name].to_dict("records"):
        of_each.setdefault((record["kind"], record["name"]), {})[str(record["sub_dataset"])] = (
            record
        )
    rows = []
    for (kind, name), places in of_each.items():
        cells = {column: _cell(places[column]) for column in columns if column in places}
        n, of = int(places["macro"]["n"]), int(run.info["dataset"]["of"])
        if kind == "human":
            rows.append(Row(str(name), "human", cells, n, of, family="people"))
            continue
        cells |= {
            column: Cell(pooled_over(run, statistic, column.split("+")))
            for column in columns
            if column not in places and "+" in column
        }
        facts = run.info["metric"]
        rows.append(
            Row(
                run.metric,
                "metric",
                cells,
                n,
                of,
                speed=run.info["items_per_second"],
                family=family(run),
                peak_memory_mb=run.info.get("peak_memory_mb"),
                parameters_count=facts.get("parameters_count"),
                weights_mb=facts.get("weights_mb"),
            )
        )
    return rows


def _cell(record: dict[Hashable, Any]) -> Cell:
    return Cell(
        value=float(record["value"]),
        low=float(record["low"]),
        high=float(record["high"]),
        note=str(record["note"]),
        part=_in_part(record),
        unreliable=bool(record.get("unreliable", False)),  # older runs do not say
    )


def _in_part(record: dict[Hashable, Any]) -> bool:
    """Say whether a score lacks items, or a macro score sub-datasets, that others may have."""
    fewer = record["n"] < record["of"] or record["sub_dataset"] == "macro"
    return bool(record["note"]) and fewer and not math.isnan(record["value"])


def pooled_over(run: Run, statistic: Statistic, subs: Sequence[str]) -> float:
    """Return a statistic over the items of several sub-datasets at once, NaN where there are none.

    Items on which the metric is not defined are left out.
    """
    items, distances = run.distances()
    here = np.isin(np.array(items.sub_names, object)[items.sub], list(subs))
    here &= np.isfinite(distances).all(axis=1)
    if not here.any():
        return math.nan
    return float(statistic.value(distances[here], items.p[here], ones(int(here.sum())))[0])


def family(run: Run) -> str:
    """Return what a run's metric is grouped with."""
    return str(run.info["metric"].get("family", "other"))


def in_order(rows: list[Row], sort: str, columns: list[str], grouped: bool) -> list[Row]:
    """Return the rows by falling score (n/a last), rising name, or falling speed.

    Grouped, a family stands where its first row would; people and papers come first and last. A
    published row stands below the measured one that it belongs to.
    """
    column = sort if sort in columns else "macro"  # a sub-dataset of another board

    def place(row: Row) -> tuple[float, str]:
        if sort == "name":
            return 0.0, row.name
        if sort in ("speed", "items/s"):
            return -(row.speed or 0), ""
        value = row.cells.get(column, Cell(math.nan)).value
        return (math.inf if math.isnan(value) else -value), ""

    flat = sorted((row for row in rows if not row.beside), key=place)
    if grouped:
        ends = {"people": -1, "published": len(flat)}
        first = {row.family: i for i, row in reversed(list(enumerate(flat)))} | ends
        flat = sorted(flat, key=lambda row: first[row.family])
    below: dict[str, list[Row]] = {}
    for row in rows:
        if row.beside:
            below.setdefault(row.beside, []).append(row)
    return [
        one
        for row in flat
        for one in (row, *(() if row.other_protocol else below.get(row.name, ())))
    ]
