"""Runs beside what papers report: rows of a leaderboard, and the check that they are reproduced.

A dataset's manifest holds rows of papers' tables (``Published``), each with scores by place. Where
a row has a counterpart here, a metric or a row about people, ``deviations`` says how far the
measured scores are from it, and whether the manifest allows that. A leaderboard shows the row below
its counterpart, with these differences; ``check_published`` says which rows are reproduced.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pmbench.analysis.check_results import Findings, Reproduction, Verdict
from pmbench.analysis.costs import with_shipped_times
from pmbench.analysis.leaderboard_rows import Board, Cell, Row
from pmbench.analysis.legends import OVERALL
from pmbench.datasets import manifest
from pmbench.datasets.manifest import ROUNDING, Manifest, Published
from pmbench.results.run import DEFAULT_PRECISION, Run
from pmbench.results.signature import in_latest_setup, precision
from pmbench.results.store import by_dataset, no_runs
from pmbench.scoring.protocols import PROTOCOLS
from pmbench.scoring.scores import score_at
from pmbench.utils.errors import PmbenchError

Entries = tuple[Published, ...]

_NAMED = 6  # metrics that were not run, by name; of more, how many there are


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


def _source_numbers(entries: Iterable[Published]) -> dict[str, int]:
    """Return a number for each source, in the order of their appearance, from 1."""
    return {name: i for i, name in enumerate(dict.fromkeys(e.source for e in entries), start=1)}


# --- rows of a leaderboard ------------------------------------------------------------------------


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
    numbers = _source_numbers(entries)
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
        legend.append(f"ms/pair: forward, {timed_on}; params: numbers in its networks and filters")
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
    numbers = _source_numbers(entries)
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
    lines = [f"[{i}] published: {source}" for source, i in _source_numbers(entries).items()]
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


# --- the check ------------------------------------------------------------------------------------


def check_published(
    entries: Sequence[Manifest], runs: Sequence[Run], metrics: Collection[str], results: Path
) -> Findings:
    """Compare the runs of datasets with what papers report on these.

    ``metrics`` are those to check; all, if empty. Raises PmbenchError where there is nothing to
    compare: no published scores, no runs, or only runs of a part or in another form.
    """
    with_scores = [entry for entry in entries if entry.published]
    if not with_scores:
        names = ", ".join(entry.name for entry in entries)
        raise PmbenchError(
            f"nobody has published scores on {names}, as far as known here; name a dataset such as "
            "bapps-2afc-val with --dataset"
        )
    comparable, reasons = _comparable([entry.name for entry in with_scores], runs, results)
    rows = [
        (entry.name, row)
        for entry in with_scores
        if entry.name in comparable
        for row in entry.published
    ]
    numbers = _source_numbers(row for _, row in rows)
    findings = [
        _reproduction(dataset, row, numbers[row.source], comparable[dataset])
        for dataset, row in rows
        if not metrics or (counterpart(row) or row.label) in metrics
    ]
    cited = {one.number: one.source for one in findings if one.measured is not None}
    return Findings(
        against="what papers report",
        findings=tuple(sorted(findings, key=lambda one: (one.dataset, one.name))),
        messages=(
            *_summary(findings),
            *reasons,
            *(f"[{number}] {source}" for number, source in sorted(cited.items())),
        ),
        failed=not _with_verdict(findings, "reproduced") or any(one.fails for one in findings),
    )


def _comparable(
    names: Sequence[str], runs: Sequence[Run], results: Path
) -> tuple[dict[str, list[Run]], list[str]]:
    """Return the runs on datasets that may be compared, by dataset, and why others may not."""
    on_these = [run for run in runs if run.dataset.partition("@")[0] in names]
    if not on_these:
        raise no_runs(f"on {' or '.join(names)} in {results}")
    reasons = [why_not_comparable(run) for run in on_these]
    refused = list(dict.fromkeys(filter(None, reasons)))
    if all(reasons):
        raise PmbenchError("; ".join(refused))
    kept = [run for run, reason in zip(on_these, reasons, strict=True) if not reason]
    return by_dataset(kept), refused


def _reproduction(dataset: str, entry: Published, number: int, runs: Sequence[Run]) -> Reproduction:
    """Return how a row of a paper compares with the run that computes the same, if there is one."""
    name = counterpart(entry)
    plain = Reproduction(
        dataset, name or entry.label, entry.label, entry.source, number, "not checked", False,
        published=entry.scores,
    )  # fmt: skip
    if not name:
        return replace(plain, message="pmbench has no counterpart of it")
    # people are the same in all runs
    run = next((run for run in runs if entry.human or run.metric == name), None)
    if run is None:
        return replace(plain, verdict="not run", message="there is no run of it")
    scores = _scores_of_people(run, name) if entry.human else _scores_of_all(run, entry.scores)
    by_place = deviations(entry, scores)
    if missing := [place for place, one in by_place.items() if math.isnan(one.measured)]:
        return replace(
            plain, message=f"the run has no score over all items in {', '.join(missing)}"
        )
    beyond = {place: one for place, one in by_place.items() if not one.allowed}
    worst = max(by_place, key=lambda place: abs(by_place[place].difference))
    return replace(
        plain,
        verdict="differs" if beyond else "reproduced",
        fails=bool(beyond),
        message=_in_words(entry, beyond) if beyond else "",
        measured={place: 100 * one.measured for place, one in by_place.items()},
        tolerance=entry.tolerance,
        worst=worst,
        difference=100 * by_place[worst].difference,
    )


def _scores_of_all(run: Run, places: Iterable[str]) -> dict[str, float]:
    """Return a run's main score by place; NaN where it is not one of all items."""
    items, distances = run.distances()
    main = run.protocol.main
    return {place: score_at(items, distances, main, place, whole=True) for place in places}


def _scores_of_people(run: Run, name: str) -> dict[str, float]:
    """Return the scores of a row about people by place."""
    table = run.scores()
    rows = table[(table["kind"] == "human") & (table["name"] == name)]
    return dict(zip(rows["sub_dataset"], rows["value"].astype(float), strict=True))


def _in_words(entry: Published, beyond: Mapping[str, Deviation]) -> str:
    """Return where a row is not reproduced, by how much, and what would be allowed."""
    places = [
        f"{100 * one.difference:+.2f} points in {place} "
        f"({100 * one.measured:.2f}, published {entry.scores[place]:g})"
        for place, one in beyond.items()
    ]
    allowed = f"±{entry.tolerance:g} is allowed, and {ROUNDING} for rounding"
    return "; ".join(filter(None, [", ".join(places), allowed, entry.note]))


def _summary(findings: Sequence[Reproduction]) -> list[str]:
    """Return what it all comes to, and what to do."""
    reproduced, differing = (_with_verdict(findings, v) for v in ("reproduced", "differs"))
    checked = len(reproduced) + len(differing)
    if not checked:
        lines = ["failed: nothing could be compared"]
    elif differing:
        lines = [
            f"failed: {len(differing):,} of {checked:,} published rows not reproduced; "
            "`pmbench verify` says whether the distances are the authors'"
        ]
    else:
        lines = [f"passed: {checked:,} published row{'s' * (checked > 1)} reproduced"]
    for dataset, some in by_dataset(_with_verdict(findings, "not run")).items():
        names = list(dict.fromkeys(one.name for one in some))
        few = ",".join(names[:_NAMED]) + ",…" * (len(names) > _NAMED)
        lines.append(f"not run, {len(names):,} of {dataset}: `pmbench eval -m {few} -d {dataset}`")
    by_reason: dict[str, list[str]] = {}
    for one in _with_verdict(findings, "not checked"):
        by_reason.setdefault(one.message, []).append(one.paper)
    return lines + [f"not checked, {why}: {', '.join(them)}" for why, them in by_reason.items()]


def _with_verdict(findings: Sequence[Reproduction], verdict: Verdict) -> list[Reproduction]:
    return [one for one in findings if one.verdict == verdict]
