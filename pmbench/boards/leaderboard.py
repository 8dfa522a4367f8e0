"""Runs -> boards: one table for each dataset, a row for each metric, people and published scores.

A board is plain values; ``render`` draws it.
"""

from __future__ import annotations

from dataclasses import replace

from pmbench import manifest
from pmbench.boards.board import Board, View
from pmbench.boards.costs import costs_of, with_costs
from pmbench.boards.legends import cost_legend, legend
from pmbench.boards.merging import Results, called, gather
from pmbench.boards.published import (
    Entries,
    published_legend,
    published_rows,
    reported,
    unions,
)  # fmt: skip
from pmbench.boards.rows import in_order, measured
from pmbench.comparing.relation import Relation, relation_of
from pmbench.comparing.way import in_latest_way, marks, way
from pmbench.errors import PmbenchError, unknown
from pmbench.protocols import PROTOCOLS, Protocol
from pmbench.runs import Run

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
