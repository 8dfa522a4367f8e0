"""Runs -> boards: one table for each dataset, a row for each metric, people and published scores.

``boards`` returns plain values, which ``reporting`` draws: which runs a view is of, the rows that
these hold with their ranks, costs and published counterparts, and the order they stand in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pmbench.analysis.correlation import ProtocolCorrelation, correlate_runs
from pmbench.analysis.costs import costs_of, with_costs
from pmbench.analysis.leaderboard_rows import Board, Cell, Row, View
from pmbench.analysis.legends import cost_legend, legend
from pmbench.analysis.published import (
    published_boards,
    published_entries,
    published_legend,
    published_rows,
    unions,
)
from pmbench.analysis.ranking import rank_ranges
from pmbench.datasets import manifest
from pmbench.results.merging import ResultFolders, folders, merge_runs
from pmbench.results.run import Run
from pmbench.results.signature import (
    dataset_warnings,
    in_latest_setup,
    metrics_by_setup,
    setup_of,
)
from pmbench.results.store import by_dataset, no_runs
from pmbench.scoring.protocols import PROTOCOLS, Statistic
from pmbench.scoring.scores import COLUMNS, score_at
from pmbench.utils.errors import PmbenchError, unknown

_MANY = 16  # with more metrics than this a board is grouped by family


def boards(results: ResultFolders, view: View) -> list[Board]:
    """Return a board for each dataset that has runs and, where asked for, published scores alone.

    Raises PmbenchError where there is nothing to show, and as ``measured_boards`` does.
    """
    runs = runs_in_view(results, view)
    measured = {run.dataset.partition("@")[0] for run in runs}
    of_papers = [board for board in _boards_of_papers(view) if board.dataset not in measured]
    if of_papers and not runs:
        known = {"macro", "pooled", "name", *(c for board in of_papers for c in board.columns)}
        if view.sort and view.sort not in known:
            raise unknown("column to sort by", view.sort, known)
        return of_papers
    return [*measured_boards(results, view), *of_papers]


def _boards_of_papers(view: View) -> list[Board]:
    """Return the boards of published scores that a view asks for, in its order."""
    if not view.published:
        return []
    grouped = view.grouped is not False
    return [
        replace(board, grouped=grouped, rows=_ordered(rows, view.sort, board.columns, grouped))
        for board in published_boards(view.dataset)
        if view.statistic in (None, board.statistic.name)
        and (rows := [row for row in board.rows if _is_chosen(row.counterpart, view)])
    ]


def _is_chosen(counterpart: str, view: View) -> bool:
    """Say whether a published row belongs to a view: all do, unless it names metrics."""
    return not view.metrics or counterpart in view.metrics


def measured_boards(results: ResultFolders, view: View) -> list[Board]:
    """Return a board for each dataset that has runs.

    Raises PmbenchError where there are none, where the view names what is unknown, and where it is
    strict and a board would mix what was measured in different ways.
    """
    runs = runs_in_view(results, view)
    if not runs:
        raise no_runs(
            folders(results), datasets_in_view(view), "see what papers report with --published"
        )
    _check_view(view, runs)
    made = [_board(on_dataset, view) for on_dataset in by_dataset(runs).values()]
    return [board for board in made if board is not None]


def runs_in_view(results: ResultFolders, view: View) -> list[Run]:
    """Return the runs that a view is of. Raises PmbenchError for a metric that has no run."""
    runs = _runs_on_dataset(results, view)
    if not view.metrics:
        return runs
    # of several folders, a name may have a digest behind it
    known = {run.metric.partition(" ")[0] for run in runs}
    if view.published:
        papers = [row for entry in manifest.datasets().values() for row in entry.published]
        known |= {row.metric for row in papers if row.metric}
    for name in view.metrics:
        if name not in known:
            raise unknown("run", name, known)
    return [run for run in runs if run.metric.partition(" ")[0] in view.metrics]


def _runs_on_dataset(results: ResultFolders, view: View) -> list[Run]:
    dataset, variants = view.dataset, view.variants
    if dataset is None:
        return merge_runs(results).runs
    # even where its manifest is not at hand any more
    runs = merge_runs(results, dataset, variants).runs
    names = [] if runs else datasets_in_view(view)
    return runs or [run for name in names for run in merge_runs(results, name).runs]


def datasets_in_view(view: View) -> list[str]:
    """Return the datasets that a view names, itself or by their group; none where it is of all."""
    if view.dataset is None:
        return []
    if view.dataset.partition("@")[0] in manifest.datasets():
        return [view.dataset]
    return [member.name for member in manifest.resolve([view.dataset])]


def relations(results: ResultFolders, view: View) -> list[str]:
    """Return a line for each group of which boards of both protocols are shown.

    It says how 2AFC and JND go together over the metrics; too few metrics say nothing.
    """
    if view.statistic is not None:
        return []
    return [
        f"2AFC and JND over {one.n} metrics of {group}: Pearson {one.pearson:.3f} "
        f"({one.certainty}), Spearman {one.spearman:.3f}"
        for group, one in correlate_runs(runs_in_view(results, view)).items()
        if isinstance(one, ProtocolCorrelation)
    ]


def _check_view(view: View, runs: list[Run]) -> None:
    """Raise PmbenchError where a view asks for what none of the runs has."""
    protocols = {run.protocol.name for run in runs}
    known = {s.name for name in protocols for s in PROTOCOLS[name].statistics}
    if view.statistic is not None and view.statistic not in known:
        raise unknown("statistic", view.statistic, known)
    subs = {name for run in runs for name in run.info.dataset.sub_datasets}
    sortable = {"macro", "pooled", "name", "speed", "items/s", *subs}
    if view.sort and view.sort not in sortable:
        raise unknown("column to sort by", view.sort, sortable)


def _check_one_way(runs: list[Run]) -> None:
    """Raise PmbenchError unless all runs of a board were measured in one way."""
    by_way = metrics_by_setup(runs)
    if len(by_way) > 1:
        mixed = "; ".join(f"{', '.join(names)}: {one}" for one, names in by_way.items())
        raise PmbenchError(
            f"{runs[0].dataset} mixes rows that were measured in different ways ({mixed}); measure "
            "the older ones again with `pmbench eval`, or leave --strict out to have them marked"
        )


def _board(runs: list[Run], view: View) -> Board | None:
    """Return the board of a dataset's runs; None where its protocol lacks the view's statistic."""
    latest = in_latest_setup(runs)[0]
    info, protocol = latest.info.dataset, latest.protocol
    if view.statistic not in (None, *(s.name for s in protocol.statistics)):
        return None
    statistic = protocol.statistic(view.statistic or protocol.main.name)
    if view.strict:
        _check_one_way(runs)
    entries, reason = (
        published_entries(runs, statistic == protocol.main) if view.published else ((), "")
    )
    entries = tuple(one for one in entries if one.human or _is_chosen(one.metric or "", view))
    of_each = [one.sub_datasets for one in (info, *(run.info.dataset for run in runs))]
    subs = list(dict.fromkeys(name for names in of_each for name in names))
    overall = protocol.overall
    (other,) = {"macro", "pooled"} - {overall}
    both = view.pooled or view.sort == other
    columns = [overall, *[other] * both, *(subs if len(subs) > 1 else []), *unions(entries)]
    costs = costs_of(runs)
    measured = with_costs(_measured_rows(runs, statistic, columns), costs)
    published = published_rows(entries, measured, columns)
    lines = legend(protocol, statistic, measured, info.clusters)
    lines += [*cost_legend(measured, costs.timed_on), *costs.messages] if view.cost else []
    if any(row.other_setup for row in measured):
        lines.append(
            f"† measured in another way, or on other items, than {setup_of(latest)}; not comparable"
        )
    lines += published_legend(entries, published) + [reason] * bool(reason)
    metrics = sum(row.kind == "metric" for row in measured)
    grouped = metrics > _MANY if view.grouped is None else view.grouped
    return Board(
        dataset=runs[0].dataset,
        title=info.title,
        warnings=dataset_warnings(runs, protocol.unit),
        statistic=statistic,
        unit=protocol.unit,
        overall=overall,
        columns=columns,
        headers=info.short_names,
        rows=_ordered([*measured, *published], view.sort, columns, grouped),
        grouped=grouped,
        legend=lines,
        signature=setup_of(latest),
        intervals=view.intervals,
        cost=view.cost,
        timed_on=costs.timed_on,
    )


# --- rows -----------------------------------------------------------------------------------------


def _measured_rows(runs: list[Run], statistic: Statistic, columns: list[str]) -> list[Row]:
    """Return the rows of metrics and people, with their rank ranges."""
    latest = in_latest_setup(runs)
    rows: dict[tuple[str, str], Row] = {}
    for run in runs:
        other = setup_of(run) != setup_of(latest[0])
        for row in _rows_of_run(run, statistic, columns):
            if other and row.kind == "human":  # other items, perhaps: not the people of this table
                continue
            rows[row.name, setup_of(run)] = replace(row, other_setup=other)
    judged = latest[0].info.dataset.human_votes
    ranks = rank_ranges(latest, statistic)
    return [
        replace(row, rank_range=ranks.get(row.name)) if _has_rank(row) else row
        for row in rows.values()
        if judged or row.kind != "human"
    ]


def _has_rank(row: Row) -> bool:
    """Say whether a row was measured as the latest one, and has an overall score."""
    return not (row.other_setup or math.isnan(row.score.value))


def _rows_of_run(run: Run, statistic: Statistic, columns: list[str]) -> list[Row]:
    """Return the rows that a run holds: of its metric and, for the main statistic, of people."""
    table = run.scores()
    by_name: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for values in zip(*(table[column].tolist() for column in COLUMNS), strict=True):
        record = dict(zip(COLUMNS, values, strict=True))
        if record["statistic"] == statistic.name:
            places = by_name.setdefault((record["kind"], record["name"]), {})
            places[str(record["sub_dataset"])] = record
    rows = []
    for (kind, name), places in by_name.items():
        cells = {column: _cell(places[column]) for column in columns if column in places}
        n, of = int(places[columns[0]]["n"]), run.info.dataset.of
        if kind == "human":
            rows.append(Row(name, "human", cells, n, of, family="people", overall=columns[0]))
            continue
        if joined := [c for c in columns if "+" in c and c not in places]:
            items, distances = run.distances()
            cells |= {c: Cell(score_at(items, distances, statistic, c)) for c in joined}
        rows.append(
            Row(
                run.metric,
                "metric",
                cells,
                n,
                of,
                speed=run.info.items_per_second,
                family=run.info.metric.family,
                peak_memory_mb=run.info.peak_memory_mb,
                parameters_count=run.info.metric.parameters_count,
                weights_mb=run.info.metric.weights_mb,
                overall=columns[0],
            )
        )
    return rows


def _cell(record: Mapping[str, Any]) -> Cell:
    return Cell(
        value=float(record["value"]),
        low=float(record["low"]),
        high=float(record["high"]),
        note=str(record["note"]),
        part=_in_part(record),
        unreliable=bool(record["unreliable"]),
    )


def _in_part(record: Mapping[str, Any]) -> bool:
    """Say whether a score lacks items, or a macro score sub-datasets, that others may have."""
    fewer = record["n"] < record["of"] or record["sub_dataset"] == "macro"
    return bool(record["note"]) and fewer and not math.isnan(record["value"])


def _ordered(rows: list[Row], sort: str, columns: list[str], grouped: bool) -> list[Row]:
    """Return the rows by falling score (n/a last), rising name, or falling speed.

    Grouped, a family stands where its first row would; people and papers come first and last. A
    published row stands below the measured one that it belongs to.
    """
    column = sort if sort in columns else columns[0]  # a sub-dataset of another board

    def key(row: Row) -> tuple[float, str]:
        if sort == "name":
            return 0.0, row.name
        if sort in ("speed", "items/s"):
            return -(row.speed or 0), ""
        value = row.cells.get(column, Cell(math.nan)).value
        return (math.inf if math.isnan(value) else -value), ""

    flat = sorted((row for row in rows if not row.beside), key=key)
    if grouped:
        ends = {"people": -1, "published": len(flat)}
        first = {row.family: i for i, row in reversed(list(enumerate(flat)))} | ends
        flat = sorted(flat, key=lambda row: first[row.family])
    below: dict[str, list[Row]] = {}
    for row in rows:
        if row.beside:
            below.setdefault(row.beside, []).append(row)
    return [
        one for row in flat for one in (row, *([] if row.other_setup else below.get(row.name, [])))
    ]
