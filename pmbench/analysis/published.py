"""Runs beside what papers report, as rows of a leaderboard.

A dataset's manifest holds rows of papers' tables (``Published``), each with scores by place. Where
a row has a counterpart here, a metric or a row about people, ``deviations`` says how far the
measured scores are from it, and whether the manifest allows that. A leaderboard shows the row below
its counterpart, with these differences.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pmbench.analysis.costs import with_shipped_times
from pmbench.analysis.leaderboard_rows import Board, Cell, Row
from pmbench.analysis.legends import OVERALL
from pmbench.datasets import manifest
from pmbench.datasets.manifest import Manifest, Published
from pmbench.results.run import DEFAULT_PRECISION, Run
from pmbench.results.signature import in_latest_setup, precision
from pmbench.scoring.protocols import PROTOCOLS

Entries = tuple[Published, ...]


@dataclass(frozen=True)
class Deviation:
    """A measured score beside the published one of a place, both on the statistic's own scale."""

    measured: float  # NaN where there is none
    published: float
    difference: float  # measured minus published
    allowed: bool  # as far as the manifest says; never where nothing was measured


def deviations(entry: Published, measured: Mapping[str, float]) -> dict[str, Deviation]:
    """Return how far measured scores, by place, are from a published row in each of its places."""
    result = {}
    for place, percent in entry.scores.items():
        score, published = measured.get(place, math.nan), percent / 100
        difference = score - published
        allowed = entry.allows(100 * difference)
        result[place] = Deviation(score, published, difference, allowed)
    return result


def counterpart(entry: Published) -> str:
    """Return the name of the metric, or of the row about people, that is the same; "" for none."""
    return entry.metric or entry.human or ""


def why_not_comparable(run: Run) -> str:
    """Return why a run cannot be compared with published scores, "" where it can."""
    dataset, _, variant = run.dataset.partition("@")
    if (rough := precision(run)) != DEFAULT_PRECISION:
        return (
            f"{run.dataset}: measured with networks in {rough}, and papers have measured in "
            f"float32, so published scores do not apply; measure {dataset} without --precision"
        )
    if variant and not variant.startswith("first"):
        return (
            f"{run.dataset}: measured with another resize mode ({run.info.dataset.resize}) than "
            f"the papers used, so published scores do not apply; measure {dataset} without --resize"
        )
    if (info := run.info.dataset).partial:
        return (
            f"{run.dataset}: partial, {info.items:,} of {info.of:,} items, and published "
            f"scores are of all; get the whole with `pmbench download {dataset}` and measure it "
            "without --limit"
        )
    return ""


def source_numbers(entries: Iterable[Published]) -> dict[str, int]:
    """Return a number for each source, in the order of their appearance, from 1."""
    return {name: i for i, name in enumerate(dict.fromkeys(e.source for e in entries), start=1)}


def published_entries(runs: Sequence[Run], main: bool) -> tuple[Entries, str]:
    """Return what papers report on the runs' dataset, or why that is not shown.

    ``main``: the statistic is the protocol's main one.
    """
    latest = in_latest_setup(runs)  # others have no published row beside them
    entry = manifest.datasets().get(latest[0].info.dataset.name)
    if entry is None or not entry.published:
        return (), "published: nobody has published scores on this dataset, as far as known here"
    if not main:
        return (), "published: not shown, since papers report no other statistic than the main one"
    if runs[0].dataset != entry.name or any(map(why_not_comparable, latest)):
        return (
            (),
            "published: not shown beside a partial dataset, or in another resize mode or precision",
        )
    return entry.published, ""


def unions(entries: Entries) -> list[str]:
    """Return the places that pool several sub-datasets, such as "traditional+cnn"."""
    return list(dict.fromkeys(place for e in entries for place in e.scores if "+" in place))


def published_rows(entries: Entries, measured: Sequence[Row], columns: Sequence[str]) -> list[Row]:
    """Return a row for each entry that has a score in one of ``columns``.

    Where its counterpart is among the ``measured`` rows it belongs to that, and each of its numbers
    says how far the measured one is above it.
    """
    by_name = {row.name: row for row in measured if not row.other_setup}
    labels = _labels(entries)
    rows = []
    for entry, label in zip(entries, labels, strict=True):
        row = by_name.get(counterpart(entry))
        scores = {place: cell.value for place, cell in row.cells.items()} if row else {}
        cells = {
            place: _cell(entry, deviation)
            for place, deviation in deviations(entry, scores).items()
            if place in columns
        }
        if cells:
            rows.append(
                Row(
                    name=label,
                    kind="published",
                    cells=cells,
                    family=row.family if row else "published",
                    beside=row.name if row else "",
                    counterpart=counterpart(entry),
                    trained_on=entry.trained_on,
                )
            )
    return rows


def published_boards(dataset: str | None) -> list[Board]:
    """Return a board of what papers report on each dataset, or on that one or that group.

    Where pmbench has the metric, its time on one pair and its parameters stand beside it.
    """
    return [
        _published_board(entry)
        for entry in manifest.datasets().values()
        if entry.published and (dataset is None or dataset in (entry.name, *entry.groups))
    ]


def _published_board(entry: Manifest) -> Board:
    protocol, entries = PROTOCOLS[entry.protocol], entry.published
    places = dict.fromkeys(place for e in entries for place in e.scores)
    usual = [place for place in (protocol.overall, *entry.sub_datasets) if place in places]
    columns = [*usual, *(place for place in places if place not in usual)]
    rows, timed_on = with_shipped_times(published_rows(entries, (), columns))
    numbers = source_numbers(entries)
    headings = {
        label: f"[{numbers[e.source]}] {re.split(' ?[,(]', e.source)[0]}"
        for label, e in zip(_labels(entries), entries, strict=True)
    }
    order = list(dict.fromkeys(headings.values()))
    rows = [
        replace(row, family=headings[row.name], overall=protocol.overall)
        for row in sorted(rows, key=lambda row: (order.index(headings[row.name]), -_highest(row)))
    ]
    legend = [f"[{i}] {source}" for source, i in numbers.items()] + [OVERALL[protocol.overall]]
    if unions(entries):
        legend.append("columns with +: pooled over the items of all their sub-datasets")
    if len(numbers) > 1:
        legend.append("papers measure in different ways: compare rows of one paper")
    legend.append("metric of pmbench: the one that computes the same")
    if any(row.ms for row in rows):
        legend.append(f"ms/pair: forward, {timed_on}; params: of its networks and filters")
    return Board(
        dataset=entry.name,
        title=entry.title,
        warnings=["scores that papers report; none is measured here"],
        statistic=protocol.main,
        unit=protocol.unit,
        overall=protocol.overall,
        columns=columns,
        headers=entry.short_names,
        rows=rows,
        legend=legend,
        grouped=True,
        cost=True,
    )


def _highest(row: Row) -> float:
    """Return a row's overall score, or that of its only column."""
    return next(iter(row.cells.values())).value if math.isnan(row.score.value) else row.score.value


def _labels(entries: Entries) -> list[str]:
    """Return what the entries' rows are called: "Alex-lin [1]"."""
    numbers = source_numbers(entries)
    return [f"{entry.label} [{numbers[entry.source]}]" for entry in entries]


def _cell(entry: Published, deviation: Deviation) -> Cell:
    note = "; ".join(filter(None, [entry.source, entry.note]))
    if math.isnan(deviation.measured):
        return Cell(deviation.published, note=note)
    return Cell(
        deviation.published,
        note=note,
        difference=deviation.difference,
        off=not deviation.allowed,
    )


def published_legend(entries: Entries, rows: Sequence[Row]) -> list[str]:
    """Return what the rows' marks mean, and why those that are off may be so."""
    lines = [f"[{i}] published: {source}" for source, i in source_numbers(entries).items()]
    if any(row.beside for row in rows):
        lines.append(
            "↳ published for the row above, and how far the number measured here is above it"
        )
    off = {row.name for row in rows for cell in row.cells.values() if cell.off}
    if off:
        lines[-1] += "; ! farther apart than expected"
    by_note: dict[str, list[str]] = {}
    for entry, label in zip(entries, _labels(entries), strict=True):
        if entry.note and label in off:
            by_note.setdefault(entry.note, []).append(label)
    return lines + [f"{', '.join(labels)}: {note}" for note, labels in by_note.items()]
