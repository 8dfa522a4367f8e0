"""Runs -> boards: one table for each dataset, a row for each metric, people and published scores.

A board is plain values; ``render`` draws it. Nothing is computed here that a run does not hold.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pandas as pd

from pmbench import manifest
from pmbench.board import Board, Cell, Row, View
from pmbench.errors import PmbenchError, unknown
from pmbench.protocols import PROTOCOLS, Protocol, Statistic
from pmbench.published import published_legend, published_rows, published_table
from pmbench.runs import Run, find

_MANY = 16  # with more metrics than this a board is grouped by family
SYNTHETIC = "synthetic, no human votes"


def boards(results: Path, view: View) -> list[Board]:
    """Return a board for each dataset that has runs. Raises PmbenchError where there are none."""
    runs = _runs(results, view.dataset, view.variants)
    if not runs:
        where = f" on {view.dataset}" if view.dataset else ""
        raise PmbenchError(
            f"no runs{where} in {results}; make some with `pmbench eval`, or name another folder "
            "with --results"
        )
    by_dataset: dict[str, list[Run]] = {}
    for run in runs:
        by_dataset.setdefault(run.dataset, []).append(run)
    protocols = {PROTOCOLS[str(r.info["dataset"]["protocol"])].name for r in runs}
    known = {s.name for name in protocols for s in PROTOCOLS[name].statistics}
    if view.statistic is not None and view.statistic not in known:
        raise unknown("statistic", view.statistic, known)
    subs = {str(name) for run in runs for name in run.info["dataset"]["sub_datasets"]}
    sortable = {"macro", "pooled", "name", "speed", "items/s", *subs}
    if view.sort not in sortable:
        raise unknown("column to sort by", view.sort, sortable)
    made = [_board(dataset, its_runs, view) for dataset, its_runs in by_dataset.items()]
    return [board for board in made if board is not None]


def tidy(results: Path, view: View) -> pd.DataFrame:
    """Return every score of every run as one table: what ``scores`` says, and where it is from.

    Of a view, the dataset, the statistic and the published rows (kind "published") count.
    """
    runs = _runs(results, view.dataset)
    tables = [published_table(runs)] if view.published else []
    for run in runs:
        table = run.scores()
        table.insert(0, "dataset", run.dataset)
        table["family"] = _family(run)
        table["partial"] = bool(run.info["dataset"]["partial"])
        table["human_votes"] = bool(run.info["dataset"]["human_votes"])
        speed = run.info["items_per_second"]
        table["items_per_second"] = math.nan if speed is None else float(speed)
        table["signature"] = run.signature
        people = table["kind"] == "human"  # the same in every run, and not the metric's
        table.loc[people, "signature"] = _way(run)
        table.loc[people, "items_per_second"] = math.nan
        table.loc[people, "family"] = "people"
        tables.append(table[table["human_votes"] | (table["kind"] == "metric")])
    tables = [table for table in tables if len(table)]
    if not tables:
        return pd.DataFrame()
    whole = pd.concat(tables, ignore_index=True)
    if view.statistic is not None:
        whole = whole[whole["statistic"] == view.statistic]
    keys = ["dataset", "kind", "name", "statistic", "sub_dataset", "signature"]
    return whole.drop_duplicates(keys, ignore_index=True)


def _runs(results: Path, dataset: str | None, variants: bool = True) -> list[Run]:
    if dataset is None:
        return find(results)
    here = find(results, dataset, variants)  # even where its manifest is not at hand any more
    if here or dataset.partition("@")[0] in manifest.datasets():
        return here
    return [run for member in manifest.resolve([dataset]) for run in find(results, member.name)]


def _board(dataset: str, runs: list[Run], view: View) -> Board | None:
    facts = runs[0].info["dataset"]
    protocol = PROTOCOLS[str(facts["protocol"])]
    names = {s.name for s in protocol.statistics}
    if view.statistic is not None and view.statistic not in names:
        return None  # the statistic of another protocol
    statistic = protocol.statistic(view.statistic or protocol.statistics[0].name)
    subs = list(dict.fromkeys(str(s) for run in runs for s in run.info["dataset"]["sub_datasets"]))
    pooled = view.pooled or view.sort == "pooled"
    columns = ["macro", *["pooled"] * pooled, *(subs if len(subs) > 1 else [])]
    rows, usual = _measured(runs, statistic, columns)
    legend = _legend(protocol, rows, statistic)
    if any(row.other_protocol for row in rows):
        legend.append(f"† measured in another way, or on other items, than {usual}; not comparable")
    shown = rows
    if view.published:
        published, why_not = published_rows(runs, columns, statistic is protocol.statistics[0])
        shown = rows + published
        legend += [why_not] if why_not else published_legend(published, runs)
    metrics = sum(row.kind == "metric" for row in shown)
    grouped = metrics > _MANY if view.grouped is None else view.grouped
    return Board(
        dataset=dataset,
        title=str(facts["title"]),
        marks=_marks(runs, _unit(protocol)),
        statistic=statistic,
        unit=_unit(protocol),
        columns=columns,
        headers={str(k): str(v) for k, v in dict(facts["short_names"]).items()},
        rows=_sorted(shown, view.sort, columns, grouped),
        grouped=grouped,
        legend=legend,
        signature=usual,
    )


def _way(run: Run) -> str:
    """Return the protocol part of a run's signature."""
    return run.signature.partition(" || ")[0]


def _unit(protocol: Protocol) -> str:
    return "triplets" if len(protocol.pairs) == 2 else "pairs"


def _marks(runs: list[Run], unit: str) -> list[str]:
    facts = runs[0].info["dataset"]
    marks = [] if facts["human_votes"] else [SYNTHETIC]
    if partial := [run.info["dataset"] for run in runs if run.info["dataset"]["partial"]]:
        least = min(partial, key=lambda its: int(its["items"]))
        marks.append(
            f"partial: {least['items']:,} of {least['of']:,} {unit}, "
            "not comparable with published scores"
        )
    return marks


def _measured(runs: list[Run], statistic: Statistic, columns: list[str]) -> tuple[list[Row], str]:
    """Return the rows of metrics and people, and the protocol part of the latest signature."""
    ways = Counter(_way(run) for run in runs)
    # what was measured last is what there is now; older runs may be of items that have changed
    last: dict[str, str] = {}
    for run in runs:
        last[_way(run)] = max(last.get(_way(run), ""), str(run.info.get("finished", "")))
    usual = max(ways, key=lambda way: (last[way], ways[way]))
    rows: dict[tuple[str, str], Row] = {}
    for run in runs:
        way = _way(run)
        table = run.scores()
        table = table[table["statistic"] == statistic.name]
        if way != usual:  # other items, perhaps: its people are not those of this table
            table = table[table["kind"] == "metric"]
        for (kind, name), part in table.groupby(["kind", "name"], sort=False):
            places = {str(record["sub_dataset"]): record for record in part.to_dict("records")}
            cells = {
                column: Cell(
                    value=float(record["value"]),
                    low=float(record["low"]),
                    high=float(record["high"]),
                    note=str(record["note"]),
                    part=_in_part(record),
                )
                for column in columns
                if (record := places.get(column)) is not None
            }
            rows[str(name), way] = Row(
                name=str(name),
                kind=str(kind),
                cells=cells,
                n=int(places["macro"]["n"]),
                of=int(run.info["dataset"]["of"]),
                speed=run.info["items_per_second"] if kind == "metric" else None,
                family=_family(run) if kind == "metric" else "people",
                other_protocol=way != usual,
            )
    if not runs[0].info["dataset"]["human_votes"]:
        return [row for row in rows.values() if row.kind != "human"], usual
    return list(rows.values()), usual


def _in_part(record: dict[Hashable, Any]) -> bool:
    """Say whether a score lacks items, or a macro score sub-datasets, that others may have."""
    fewer = record["n"] < record["of"] or record["sub_dataset"] == "macro"
    return bool(record["note"]) and fewer and not math.isnan(record["value"])


def _legend(protocol: Protocol, rows: list[Row], statistic: Statistic) -> list[str]:
    lines = ["macro: plain mean of the sub-datasets"]
    lines[0] += "; 95 % bootstrap intervals" if statistic.interval else "; has no intervals"
    cells = [cell for row in rows for cell in row.cells.values()]
    if statistic.interval and any(math.isnan(c.low) and not math.isnan(c.value) for c in cells):
        lines.append("no interval where all items are of one cluster: there is nothing to draw")
    shown = {row.name for row in rows}
    lines += [f"{human.name}: {human.title}" for human in protocol.humans if human.name in shown]
    if any(cell.part for cell in cells):
        lines.append("* over a part of the items only; the reasons:")
    by_note: dict[str, list[str]] = {}
    for row in rows:
        if note := row.cells["macro"].note:  # says what the notes of the other columns say
            by_note.setdefault(note, []).append(row.name)
    return lines + [f"{', '.join(names)}: {note}" for note, names in by_note.items()]


def _family(run: Run) -> str:
    return str(run.info["metric"].get("family", "other"))


def _sorted(rows: list[Row], sort: str, columns: list[str], grouped: bool) -> list[Row]:
    """Return the rows by falling score (n/a last), rising name, or falling speed.

    Grouped, a family stands where its first row would; people and papers come first and last.
    """
    column = sort if sort in columns else "macro"  # a sub-dataset of another board

    def place(row: Row) -> tuple[float, str]:
        if sort == "name":
            return 0.0, row.name
        if sort in ("speed", "items/s"):
            return -(row.speed or 0), ""
        value = row.cells.get(column, Cell(math.nan)).value
        return (math.inf if math.isnan(value) else -value), ""

    flat = sorted(rows, key=place)
    if not grouped:
        return flat
    ends = {"people": -1, "published": len(flat)}
    first = {row.family: i for i, row in reversed(list(enumerate(flat)))} | ends
    return sorted(flat, key=lambda row: first[row.family])
