"""A metric's run beside another one of it: from another folder, or in another precision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pmbench.analysis.alignment import Drift, aligned, check_same_way, relative_moves
from pmbench.analysis.comparison import About, Duel, duel_of, statistic_of
from pmbench.results.run import USUAL_PRECISION, Run
from pmbench.results.signature import precision
from pmbench.results.store import find
from pmbench.scoring.bootstrap import USUAL, Resampling
from pmbench.scoring.protocols import Statistic
from pmbench.utils.errors import PmbenchError, unknown


@dataclass(frozen=True)
class Others:
    """The other runs: by dataset of the runs that they stand beside, and metric."""

    where: str  # a folder, or a precision
    runs: Mapping[str, Mapping[str, Run]]
    advice: str  # where there is none of them


@dataclass(frozen=True)
class Drifts:
    """Runs of metrics, each beside another run of the same metric."""

    where: str  # the others are
    duels: list[Duel]

    @property
    def about(self) -> About:
        """What is compared, and how."""
        return self.duels[0].about


def in_folder(folder: Path, datasets: Iterable[str]) -> Others:
    """Return the runs on these datasets in another folder of results."""
    found = {name: {run.metric: run for run in find(folder, name, False)} for name in datasets}
    return Others(
        str(folder),
        found,
        f"{folder} has no run of the same metrics on the same datasets; name a folder of "
        "results, such as one that an earlier `pmbench eval --results` has written",
    )


def measured_in(runs: Sequence[Run], wanted: str) -> list[Run]:
    """Return the runs whose networks computed in a precision. Raises where there is none."""
    found = [run for run in runs if precision(run) == wanted]
    if wanted == USUAL_PRECISION:
        raise PmbenchError(
            f"--precision {wanted} is what runs are held against; name another one, such as bf16"
        )
    if not found:
        others = {precision(run) for run in runs} - {USUAL_PRECISION}
        if not others:
            raise PmbenchError(
                f"there are no runs in {wanted}; make some with `pmbench eval --precision {wanted}`"
            )
        raise unknown("precision of a run", wanted, others)
    return found


def in_usual_precision(results: Path, datasets: Iterable[str]) -> Others:
    """Return the runs in float32 of the same items, of datasets in another precision."""
    found = {
        name: {run.metric: run for run in find(results, _usual(name), False)} for name in datasets
    }
    return Others(
        USUAL_PRECISION,
        found,
        "there are no runs of the same metrics in float32; make some with `pmbench eval` "
        "without --precision",
    )


def _usual(dataset: str) -> str:
    """Return what a dataset in another precision, which its variant ends with, is called in it."""
    name, _, variant = dataset.partition("@")
    return "@".join(filter(None, [name, variant.rpartition(",")[0]]))


def compared_with(
    others: Others,
    runs: Mapping[str, Sequence[Run]],
    statistic: str | None,
    how: Resampling = USUAL,
) -> tuple[list[Duel | Drifts], list[str]]:
    """Return runs, by dataset, beside the other ones of the same metrics.

    And a sentence for those that have none. Raises PmbenchError where none has.
    """
    found: list[Duel | Drifts] = []
    told = []
    failed = []
    for dataset, ours in runs.items():
        theirs = others.runs[dataset]
        if not theirs:
            told.append(f"{dataset}: left out, no runs of it in {others.where}")
        elif alone := [run.metric for run in ours if run.metric not in theirs]:
            told.append(f"{dataset}: left out, no run in {others.where}: {', '.join(alone)}")
        both = [run for run in ours if run.metric in theirs]
        chosen = statistic_of(ours[0], statistic)
        duels = []
        for run in both:
            try:
                duels.append(drifted(run, theirs[run.metric], others.where, chosen, how))
            except PmbenchError as error:
                failed.append(f"{dataset}/{run.metric}: left out, {error}")
        if duels:
            found.append(duels[0] if len(duels) == 1 else Drifts(others.where, duels))
    if not found:
        raise PmbenchError("\n".join(failed) or others.advice)
    return found, told + failed


def drift(ours: Run, theirs: Run) -> Drift:
    """Return how far a run is from another one of the metric on the same items."""
    items, (now, before) = aligned([ours, theirs])
    moves = relative_moves(before, now)
    worst = int(moves.max(axis=1).argmax())
    return Drift(float(moves.max()), str(items.id[worst]), int((moves > 0).sum()), moves.size)


def drifted(
    ours: Run, theirs: Run, where: str, statistic: Statistic, how: Resampling = USUAL
) -> Duel:
    """Return the comparison of one metric's run with another one of it, which is ``where``.

    They may differ in precision and in the version of pmbench: that is what is looked for.
    """
    check_same_way([ours, theirs], but=("version of pmbench", "precision"))
    names = (ours.metric, f"{ours.metric} ({where})")
    return replace(duel_of(ours, theirs, names, statistic, how), drift=drift(ours, theirs))
