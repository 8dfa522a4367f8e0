"""What papers report, as rows below the measured ones that they are the same as."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pmbench.analysis.board import Cell, Row
from pmbench.analysis.regression import Findings, Reproduction
from pmbench.datasets import manifest
from pmbench.datasets.manifest import ROUNDING, Manifest, Published
from pmbench.results.run import USUAL_PRECISION, Run
from pmbench.results.signature import in_latest_way, precision
from pmbench.scoring.protocols import PROTOCOLS
from pmbench.scoring.statistics import ones
from pmbench.utils.errors import PmbenchError

_NAMED = 6  # metrics that were not run, by name; of more, how many there are

Score = Callable[[str], float]  # place -> percent, NaN where there is none


def reproduce(
    entries: Sequence[Manifest], runs: Sequence[Run], metrics: Collection[str], results: Path
) -> Findings:
    """Compare the runs of datasets with what papers report on these.

    ``metrics`` are those to check; all, if empty. Raises PmbenchError where there is nothing to
    compare: no published scores, no runs, or only runs of a part or in another form.
    """
    reported = [entry for entry in entries if entry.published]
    if not reported:
        names = ", ".join(entry.name for entry in entries)
        raise PmbenchError(
            f"nobody has published scores on {names}, as far as known here; name a dataset such as "
            "bapps-2afc-val with --dataset"
        )
    whole, left_out = _sorted_out(reported, runs, results)
    numbers: dict[str, int] = {}  # of sources, in the order of their appearance
    found = []
    for entry in reported:
        its_runs = {run.metric: run for run in whole if run.dataset == entry.name}
        if its_runs:
            for row in entry.published:
                number = numbers.setdefault(row.source, len(numbers) + 1)
                found.append(_compare(entry.name, row, number, its_runs))
    chosen = [one for one in found if not metrics or one.name in metrics]
    sources = {one.number: one.source for one in chosen if one.measured is not None}
    return Findings(
        against="what papers report",
        found=tuple(sorted(chosen, key=lambda one: (one.dataset, one.name))),
        told=(
            *_told(chosen),
            *left_out,
            *(f"[{n}] {source}" for n, source in sorted(sources.items())),
        ),
        failed=not any(one.verdict == "reproduced" for one in chosen)
        or any(one.fails for one in chosen),
    )


def _sorted_out(
    entries: Sequence[Manifest], runs: Sequence[Run], results: Path
) -> tuple[list[Run], list[str]]:
    """Return the runs that may be compared, and why others may not."""
    names = [entry.name for entry in entries]
    ours = [run for run in runs if run.dataset.partition("@")[0] in names]
    if not ours:
        raise PmbenchError(
            f"no runs on {' or '.join(names)} in {results}; make some with `pmbench eval`, or name "
            "another folder with --results"
        )
    reasons = {run.folder: _why_not(run, names) for run in ours}
    whole = [run for run in ours if not reasons[run.folder]]
    refused = list(dict.fromkeys(why for why in reasons.values() if why))
    if not whole:
        raise PmbenchError("; ".join(refused))
    return whole, refused


def _why_not(run: Run, names: Sequence[str]) -> str:
    """Return why a run cannot be compared with published scores, "" where it can."""
    facts = run.info["dataset"]
    dataset, _, variant = run.dataset.partition("@")
    if (rough := precision(run)) != USUAL_PRECISION:
        return (
            f"{run.dataset}: measured with networks in {rough}, and papers have measured in "
            f"float32, so published scores do not apply; measure {dataset} without --precision"
        )
    if variant and not variant.startswith("first"):
        return (
            f"{run.dataset}: measured with another resize mode ({facts['resize']}) than the papers "
            f"used, so published scores do not apply; measure {dataset} without --resize"
        )
    if facts["partial"]:
        return (
            f"{run.dataset}: partial, {facts['items']:,} of {facts['of']:,} items, and published "
            f"scores are of all; get the whole with `pmbench download {dataset}` and measure it "
            "without --limit"
        )
    return ""


def _compare(dataset: str, row: Published, number: int, runs: dict[str, Run]) -> Reproduction:
    """Return how one row of a paper compares with the run that computes the same, if there is."""
    name = row.metric or row.human or row.label
    plain = Reproduction(
        dataset, name, row.label, row.source, number, "not checked", False, published=row.scores
    )
    if row.metric is None and row.human is None:
        return replace(plain, told="pmbench has no counterpart of it")
    run = next(iter(runs.values())) if row.human else runs.get(str(row.metric))
    if run is None:
        return replace(plain, verdict="not run", told="there is no run of it")
    score = _of_people(run, name) if row.human else _of_metric(run)
    measured = {place: score(place) for place in row.scores}
    known = {place: value for place, value in measured.items() if not math.isnan(value)}
    if len(known) < len(measured):
        missing = ", ".join(place for place in measured if place not in known)
        return replace(plain, told=f"the run has no score over all items in {missing}")
    off = {place: value - row.scores[place] for place, value in known.items()}
    worst = max(off, key=lambda place: abs(off[place]))
    beyond = [place for place in off if not row.allows(off[place])]
    return replace(
        plain,
        verdict="differs" if beyond else "reproduced",
        fails=bool(beyond),
        told=_how_it_differs(row, known, beyond) if beyond else "",
        measured=known,
        tolerance=row.tolerance,
        worst=worst,
        difference=off[worst],
    )


def _how_it_differs(row: Published, measured: dict[str, float], beyond: list[str]) -> str:
    places = [
        f"{measured[place] - row.scores[place]:+.2f} points in {place} "
        f"({measured[place]:.2f}, published {row.scores[place]:g})"
        for place in beyond
    ]
    allowed = f"±{row.tolerance:g} is allowed, and {ROUNDING} for rounding"
    return "; ".join(filter(None, [", ".join(places), allowed, row.note]))


def _of_metric(run: Run) -> Score:
    """Return a run's main score in percent, in a place; NaN where it is not one of all items."""
    items, distances = run.distances()
    protocol = PROTOCOLS[str(run.info["dataset"]["protocol"])]
    statistic = protocol.statistics[0]

    def of(subs: Collection[str]) -> float:
        chosen = np.isin(items.sub, [items.sub_names.index(sub) for sub in subs])
        d, p = distances[chosen], items.p[chosen]
        if np.isnan(d).any():
            return math.nan
        return 100 * float(statistic.value(d, p, ones(len(p)))[0])

    def at(place: str) -> float:
        if place == "macro":
            return float(np.mean([of([sub]) for sub in items.sub_names]))
        return of(items.sub_names if place == "pooled" else place.split("+"))

    return at


def _of_people(run: Run, name: str) -> Score:
    """Return the score in percent of a row about people, in a place."""
    table = run.scores()
    rows = table[(table["kind"] == "human") & (table["name"] == name)]
    by_place = dict(zip(rows["sub_dataset"], rows["value"], strict=True))
    return lambda place: 100 * float(by_place.get(place, math.nan))


def _told(found: Sequence[Reproduction]) -> list[str]:
    """Return what it all comes to, and what to do."""
    reproduced, differing = (_those(found, verdict) for verdict in ("reproduced", "differs"))
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
    for dataset, some in _by_dataset(_those(found, "not run")):
        names = list(dict.fromkeys(one.name for one in some))
        few = ",".join(names[:_NAMED]) + ",…" * (len(names) > _NAMED)
        lines.append(f"not run, {len(names):,} of {dataset}: `pmbench eval -m {few} -d {dataset}`")
    unchecked = _those(found, "not checked")
    for told in dict.fromkeys(one.told for one in unchecked):
        labels = ", ".join(one.paper for one in unchecked if one.told == told)
        lines.append(f"not checked, {told}: {labels}")
    return lines


def _those(found: Sequence[Reproduction], verdict: str) -> list[Reproduction]:
    return [one for one in found if one.verdict == verdict]


def _by_dataset(found: Sequence[Reproduction]) -> list[tuple[str, list[Reproduction]]]:
    names = dict.fromkeys(one.dataset for one in found)
    return [(name, [one for one in found if one.dataset == name]) for name in names]


Entries = tuple[Published, ...]


def reported(runs: Sequence[Run], main: bool) -> tuple[Entries, str]:
    """Return what papers report on the runs' dataset, or why that is not shown.

    ``main``: the statistic is the protocol's main one.
    """
    latest = in_latest_way(runs)  # others have no published row beside them
    entry = manifest.datasets().get(str(latest[0].info["dataset"]["name"]))
    if entry is None or not entry.published:
        return (), "published: nobody has published scores on this dataset, as far as known here"
    if not main:
        return (), "published: not shown, since papers report no other statistic than the main one"
    if runs[0].dataset != entry.name or any(run.info["dataset"]["partial"] for run in latest):
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
    usual = {row.name: row for row in measured if not row.other_protocol}
    number = {source: i for i, source in enumerate(sources(entries), start=1)}
    rows = []
    for entry in entries:
        ours = usual.get(entry.metric or entry.human or "")
        cells = {
            place: _cell(entry, score / 100, ours.cells.get(place) if ours else None)
            for place, score in entry.scores.items()
            if place in columns
        }
        if cells:
            rows.append(
                Row(
                    name=f"{entry.label} [{number[entry.source]}]",
                    kind="published",
                    cells=cells,
                    family=ours.family if ours else "published",
                    beside=ours.name if ours else "",
                )
            )
    return rows


def _cell(entry: Published, score: float, ours: Cell | None) -> Cell:
    note = "; ".join(filter(None, [entry.source, entry.note]))
    if ours is None or math.isnan(ours.value):
        return Cell(score, note=note)
    difference = ours.value - score
    return Cell(score, note=note, difference=difference, off=not entry.allows(100 * difference))


def sources(entries: Entries) -> list[str]:
    """Return where the entries are from, each once."""
    return list(dict.fromkeys(entry.source for entry in entries))


def published_legend(entries: Entries, rows: Sequence[Row]) -> list[str]:
    """Return what the rows' marks mean, and why those that are off may be so."""
    lines = [f"[{i}] published: {source}" for i, source in enumerate(sources(entries), start=1)]
    if any(row.beside for row in rows):
        lines.append(
            "↳ published for the row above, and how far the number measured here is above it"
        )
    off = {row.name for row in rows for cell in row.cells.values() if cell.off}
    if off:
        lines[-1] += "; ! farther apart than expected"
    number = {source: i for i, source in enumerate(sources(entries), start=1)}
    by_note: dict[str, list[str]] = {}
    for entry in entries:
        name = f"{entry.label} [{number[entry.source]}]"
        if entry.note and name in off:
            by_note.setdefault(entry.note, []).append(name)
    return lines + [f"{', '.join(names)}: {note}" for note, names in by_note.items()]
