"""Runs -> boards: one table for each dataset, a row for each metric, people and published scores.

A board is plain values; ``render`` draws it.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pmbench.analysis.board import Board, Cell, Row, View
from pmbench.analysis.correlation import Relation, relation_of
from pmbench.analysis.costs import costs_of, with_costs
from pmbench.analysis.legends import cost_legend, legend
from pmbench.analysis.published import Entries, published_legend, published_rows, reported, unions
from pmbench.analysis.ranking import standings
from pmbench.datasets import manifest
from pmbench.results.merging import Results, called, gather
from pmbench.results.run import Run
from pmbench.results.signature import in_latest_way, marks, way
from pmbench.scoring.protocols import PROTOCOLS, Protocol, Statistic
from pmbench.scoring.statistics import ones
from pmbench.utils.errors import PmbenchError, unknown


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


_MANY = 16  # with more metrics than this a board is grouped by family


def boards(results: Results, view: View) -> list[Board]:
    """Return a board for each dataset that has runs.

    Raises PmbenchError where there are none, where the view names what is unknown, and where it is
    strict and a board would mix what was measured in different ways.
    """
    runs = chosen(results, view)
    if not runs:
        where = f" on {view.dataset}" if view.dataset else ""
        raise PmbenchError(
            f"no runs{where} in {called(results)}; make some with `pmbench eval`, or name another "
            "folder with --results"
        )
    _check(view, runs)
    made = [_board(its_runs, view) for its_runs in _by_dataset(runs).values()]
    return [board for board in made if board is not None]


def chosen(results: Results, view: View) -> list[Run]:
    """Return the runs that a view is of."""
    dataset, variants = view.dataset, view.variants
    if dataset is None:
        return gather(results).runs
    here = gather(
        results, dataset, variants
    ).runs  # even where its manifest is not at hand any more
    if here or dataset.partition("@")[0] in manifest.datasets():
        return here
    members = manifest.resolve([dataset])
    return [run for member in members for run in gather(results, member.name).runs]


def relations(results: Results, view: View) -> list[str]:
    """Return a line for each group of which boards of both protocols are shown.

    It says how 2AFC and JND go together over the metrics; too few metrics say nothing.
    """
    if view.statistic is not None:
        return []
    by_dataset = _by_dataset(chosen(results, view))
    comparable = [run for runs in by_dataset.values() for run in in_latest_way(runs)]
    return [
        f"2AFC and JND over {found.n} metrics of {group}: Pearson {found.pearson:.3f} "
        f"({found.low:.3f}–{found.high:.3f}), Spearman {found.spearman:.3f}"
        for group, found in relation_of(comparable).items()
        if isinstance(found, Relation)
    ]


def _by_dataset(runs: list[Run]) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.dataset, []).append(run)
    return found


def _check(view: View, runs: list[Run]) -> None:
    """Raise PmbenchError where a view asks for what none of the runs has."""
    protocols = {_protocol(run).name for run in runs}
    known = {s.name for name in protocols for s in PROTOCOLS[name].statistics}
    if view.statistic is not None and view.statistic not in known:
        raise unknown("statistic", view.statistic, known)
    subs = {str(name) for run in runs for name in run.info["dataset"]["sub_datasets"]}
    sortable = {"macro", "pooled", "name", "speed", "items/s", *subs}
    if view.sort not in sortable:
        raise unknown("column to sort by", view.sort, sortable)


def _protocol(run: Run) -> Protocol:
    return PROTOCOLS[str(run.info["dataset"]["protocol"])]


def _board(runs: list[Run], view: View) -> Board | None:
    latest = in_latest_way(runs)[0]
    facts, protocol = latest.info["dataset"], _protocol(latest)
    names = {s.name for s in protocol.statistics}
    if view.statistic is not None and view.statistic not in names:
        return None  # the statistic of another protocol
    statistic = protocol.statistic(view.statistic or protocol.statistics[0].name)
    if view.strict:
        _check_one_way(runs)
    entries, why_not = _reported(runs, view)
    of_each = [about["sub_datasets"] for about in (facts, *(run.info["dataset"] for run in runs))]
    subs = list(dict.fromkeys(str(name) for names in of_each for name in names))
    pooled = view.pooled or view.sort == "pooled"
    columns = ["macro", *["pooled"] * pooled, *(subs if len(subs) > 1 else []), *unions(entries)]
    ours, costs = measured(runs, statistic, columns), costs_of(runs)
    ours = replace(ours, rows=with_costs(ours.rows, costs))
    published = published_rows(entries, ours.rows, columns)
    lines = legend(protocol, ours.rows)
    lines += [*cost_legend(ours.rows, costs.timed_on), *costs.told] if view.cost else []
    if any(row.other_protocol for row in ours.rows):
        lines.append(
            f"† measured in another way, or on other items, than {ours.way}; not comparable"
        )
    lines += published_legend(entries, published) + [why_not] * bool(why_not)
    metrics = sum(row.kind == "metric" for row in ours.rows)
    grouped = metrics > _MANY if view.grouped is None else view.grouped
    return Board(
        dataset=runs[0].dataset,
        title=str(facts["title"]),
        marks=marks(runs, protocol.unit),
        statistic=statistic,
        unit=protocol.unit,
        columns=columns,
        headers={str(k): str(v) for k, v in dict(facts["short_names"]).items()},
        rows=in_order([*ours.rows, *published], view.sort, columns, grouped),
        grouped=grouped,
        legend=lines,
        signature=ours.way,
        intervals=view.intervals,
        cost=view.cost,
        timed_on=costs.timed_on,
    )


def _reported(runs: list[Run], view: View) -> tuple[Entries, str]:
    if not view.published:
        return (), ""
    main = _protocol(runs[0]).statistics[0].name
    return reported(runs, main=view.statistic in (None, main))


def _check_one_way(runs: list[Run]) -> None:
    """Raise PmbenchError unless all runs of a board were measured in one way."""
    by_way: dict[str, list[str]] = {}
    for run in runs:
        by_way.setdefault(way(run), []).append(run.metric)
    if len(by_way) > 1:
        mixed = "; ".join(f"{', '.join(names)}: {one}" for one, names in by_way.items())
        raise PmbenchError(
            f"{runs[0].dataset} mixes rows that were measured in different ways ({mixed}); measure "
            "the older ones again with `pmbench eval`, or leave --strict out to have them marked"
        )
