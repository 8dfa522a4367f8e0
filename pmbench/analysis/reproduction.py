"""The check that published scores are reproduced: runs beside the rows of papers' tables."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pmbench.analysis.check_results import Findings, Reproduction, Verdict
from pmbench.analysis.published import (
    Deviation,
    counterpart,
    deviations,
    source_numbers,
    why_not_comparable,
)
from pmbench.analysis.regression import stale_message
from pmbench.datasets.manifest import ROUNDING, Manifest, Published
from pmbench.results.run import Run
from pmbench.results.store import by_dataset, no_runs
from pmbench.scoring.scores import score_at
from pmbench.utils.errors import PmbenchError
from pmbench.utils.source_code import edited_files

_NAMED = 6  # metrics that were not run, by name; of more, how many there are


def check_published(
    entries: Sequence[Manifest],
    runs: Sequence[Run],
    metrics: Collection[str],
    results: Path,
    allow_stale: bool = False,
) -> Findings:
    """Compare the runs of datasets with what papers report on these.

    ``metrics`` are those to check; all, if empty. A run whose metric has other code now fails,
    unless ``allow_stale``. Raises PmbenchError where there is nothing to
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
    numbers = source_numbers(row for _, row in rows)
    findings = [
        _reproduction(dataset, row, numbers[row.source], comparable[dataset], allow_stale)
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
        raise no_runs([results], names)
    reasons = [why_not_comparable(run) for run in on_these]
    refused = list(dict.fromkeys(filter(None, reasons)))
    if all(reasons):
        raise PmbenchError("; ".join(refused))
    kept = [run for run, reason in zip(on_these, reasons, strict=True) if not reason]
    return by_dataset(kept), refused


def _reproduction(
    dataset: str, entry: Published, number: int, runs: Sequence[Run], allow_stale: bool
) -> Reproduction:
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
    edited = [] if entry.human or allow_stale else edited_files(run.info.metric.source_files)
    if edited:
        return replace(plain, verdict="stale", fails=True, message=stale_message(edited))
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
    reproduced, differing, stale = (
        _with_verdict(findings, v) for v in ("reproduced", "differs", "stale")
    )
    checked = len(reproduced) + len(differing)
    if stale:
        lines = [f"failed: {len(stale):,} published rows whose metric has other code now"]
    elif not checked:
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
