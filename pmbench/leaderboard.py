"""Runs -> boards: one table for each dataset, a row for each metric, people and published scores.

A board is plain values; ``render`` draws it. Nothing is computed here that a run does not hold.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from pmbench import manifest
from pmbench.errors import PmbenchError, unknown
from pmbench.protocols import PROTOCOLS, Protocol, Statistic
from pmbench.runs import Run, find

SYNTHETIC = "synthetic, no human votes"


@dataclass(frozen=True)
class Cell:
    """One number, on the scale it is computed on, and its interval; NaN where there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan
    note: str = ""
    part: bool = False  # it covers less than it seems to; the note says why


@dataclass(frozen=True)
class Row:
    """One line of a board; ``cells`` by column."""

    name: str
    kind: str  # "metric" | "human" | "published"
    cells: dict[str, Cell]
    n: int | None = None
    of: int | None = None
    speed: float | None = None  # items/s
    other_protocol: bool = False  # measured in another way than most rows


@dataclass(frozen=True)
class Board:
    """One table. ``columns`` are "macro", perhaps "pooled", and the sub-datasets."""

    dataset: str
    title: str
    marks: list[str]  # what must be known before any number is believed
    statistic: Statistic
    unit: str  # "triplets" | "pairs"
    columns: list[str]
    headers: dict[str, str]  # short names of columns, for narrow tables
    rows: list[Row]
    legend: list[str] = field(default_factory=list)
    signature: str = ""  # the protocol part, which most rows share


@dataclass(frozen=True)
class View:
    """What a leaderboard shows."""

    dataset: str | None = None  # a dataset or a group; None: all there are
    statistic: str | None = None  # None: each protocol's main one
    pooled: bool = False
    published: bool = False
    sort: str = "macro"
    variants: bool = True  # a dataset's name stands for its variants, such as …@exact4, too


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
    tables = [_published_table(runs)] if view.published else []
    for run in runs:
        table = run.scores()
        table.insert(0, "dataset", run.dataset)
        table["partial"] = bool(run.info["dataset"]["partial"])
        table["human_votes"] = bool(run.info["dataset"]["human_votes"])
        speed = run.info["items_per_second"]
        table["items_per_second"] = math.nan if speed is None else float(speed)
        table["signature"] = run.signature
        people = table["kind"] == "human"  # the same in every run, and not the metric's
        table.loc[people, "signature"] = _way(run)
        table.loc[people, "items_per_second"] = math.nan
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
        published, why_not = _published(runs, columns, statistic is protocol.statistics[0])
        shown = rows + published
        legend += [why_not] if why_not else _published_legend(published, runs)
    return Board(
        dataset=dataset,
        title=str(facts["title"]),
        marks=_marks(runs, _unit(protocol)),
        statistic=statistic,
        unit=_unit(protocol),
        columns=columns,
        headers={str(k): str(v) for k, v in dict(facts["short_names"]).items()},
        rows=_sorted(shown, view.sort, columns),
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
    for row in rows:
        if note := row.cells["macro"].note:  # says what the notes of the other columns say
            lines.append(f"{row.name}: {note}")
    return lines


def _published(runs: list[Run], columns: list[str], main: bool) -> tuple[list[Row], str]:
    """Return the dataset's published rows, or why they are not shown."""
    entry = manifest.datasets().get(str(runs[0].info["dataset"]["name"]))
    if entry is None or not entry.published:
        return [], "published: nobody has published scores on this dataset, as far as known here"
    if not main:
        return [], "published: not shown, since papers report no other statistic than the main one"
    if runs[0].dataset != entry.name or any(run.info["dataset"]["partial"] for run in runs):
        return [], "published: not shown beside a partial dataset or another resize mode"
    rows = []
    for published in entry.published:
        name = " ".join(filter(None, [published.metric, f"[{published.label}]"]))
        cells = {c: Cell(v / 100) for c, v in published.scores.items() if c in columns}
        rows.append(Row(name=name, kind="published", cells=cells))
    return rows, ""


def _published_table(runs: list[Run]) -> pd.DataFrame:
    """Return the published scores of the runs' datasets as tidy rows; their source is the note."""
    records = []
    for name in dict.fromkeys(run.dataset for run in runs):
        its_runs = [run for run in runs if run.dataset == name]
        main = PROTOCOLS[str(its_runs[0].info["dataset"]["protocol"])].statistics[0].name
        subs = [str(sub) for sub in its_runs[0].info["dataset"]["sub_datasets"]]
        rows, _ = _published(its_runs, ["macro", *subs], main=True)
        entry = manifest.datasets().get(name)
        sources = [published.source for published in entry.published] if entry else []
        for row, source in zip(rows, sources, strict=False):
            records += [
                {
                    "dataset": name, "kind": "published", "name": row.name, "statistic": main,
                    "sub_dataset": place, "value": cell.value, "note": source,
                    "partial": False, "human_votes": True, "signature": "",
                }
                for place, cell in row.cells.items()
            ]  # fmt: skip
    return pd.DataFrame(records)


def _published_legend(rows: list[Row], runs: list[Run]) -> list[str]:
    entry = manifest.datasets()[str(runs[0].info["dataset"]["name"])]
    sources = dict.fromkeys(published.source for published in entry.published)
    return [f"[…]: published, {'; '.join(sources)}"] if rows else []


def _sorted(rows: list[Row], sort: str, columns: list[str]) -> list[Row]:
    """Return the rows by falling score (n/a last), rising name, or falling speed."""
    if sort == "name":
        return sorted(rows, key=lambda row: row.name)
    if sort in ("speed", "items/s"):
        return sorted(rows, key=lambda row: -(row.speed or 0))
    column = sort if sort in columns else "macro"  # a sub-dataset of another board

    def falling(row: Row) -> float:
        value = row.cells.get(column, Cell(math.nan)).value
        return math.inf if math.isnan(value) else -value

    return sorted(rows, key=falling)
