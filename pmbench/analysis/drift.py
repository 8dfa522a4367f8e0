"""A metric's run beside another one of it: from another folder, or in another precision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pmbench.analysis.alignment import check_same_way, drift
from pmbench.analysis.comparison import About, PairComparison, compare_named, statistic_of
from pmbench.results.run import DEFAULT_PRECISION, Run
from pmbench.results.signature import precision
from pmbench.results.store import find_runs
from pmbench.scoring.bootstrap import DEFAULT_RESAMPLING, Resampling
from pmbench.scoring.protocols import Statistic
from pmbench.utils.errors import PmbenchError, unknown


@dataclass(frozen=True)
class OtherRuns:
    """The other runs: by dataset of the runs that they stand beside, and metric."""

    where: str  # a folder, or a precision
    runs: Mapping[str, Mapping[str, Run]]
    advice: str  # where there is none of them


@dataclass(frozen=True)
class DriftComparison:
    """Runs of metrics, each beside another run of the same metric."""

    where: str  # the others are
    pairs: list[PairComparison]

    @property
    def about(self) -> About:
        """What is compared, and how."""
        return self.pairs[0].about


def in_folder(folder: Path, datasets: Iterable[str]) -> OtherRuns:
    """Return the runs on these datasets in another folder of results.

    Raises PmbenchError where there is no such folder.
    """
    if not folder.is_dir():
        raise PmbenchError(
            f"{folder}: there is no such folder; expected a folder of results, such as one that an "
            "earlier `pmbench eval --results` has written"
        )
    return OtherRuns(
        str(folder),
        {name: _by_metric(folder, name) for name in datasets},
        f"{folder} has no run of the same metrics on the same datasets; name a folder of "
        "results, such as one that an earlier `pmbench eval --results` has written",
    )


def measured_in(runs: Sequence[Run], wanted: str) -> list[Run]:
    """Return the runs whose networks computed in a precision. Raises where there is none."""
    measured = [run for run in runs if precision(run) == wanted]
    if wanted == DEFAULT_PRECISION:
        raise PmbenchError(
            f"--precision {wanted} is what runs are held against; name another one, such as bf16"
        )
    if not measured:
        others = {precision(run) for run in runs} - {DEFAULT_PRECISION}
        if not others:
            raise PmbenchError(
                f"there are no runs in {wanted}; make some with `pmbench eval --precision {wanted}`"
            )
        raise unknown("precision of a run", wanted, others)
    return measured


def in_usual_precision(results: Path, datasets: Iterable[str]) -> OtherRuns:
    """Return the runs in float32 of the same items, of datasets in another precision."""
    return OtherRuns(
        DEFAULT_PRECISION,
        {name: _by_metric(results, _usual(name)) for name in datasets},
        "there are no runs of the same metrics in float32; make some with `pmbench eval` "
        "without --precision",
    )


def _by_metric(results: Path, dataset: str) -> dict[str, Run]:
    return {run.metric: run for run in find_runs(results, dataset, variants=False)}


def _usual(dataset: str) -> str:
    """Return what a dataset in another precision, which its variant ends with, is called in it."""
    name, _, variant = dataset.partition("@")
    return "@".join(filter(None, [name, variant.rpartition(",")[0]]))


def compared_with(
    others: OtherRuns,
    runs: Mapping[str, Sequence[Run]],
    statistic: str | None,
    resampling: Resampling = DEFAULT_RESAMPLING,
) -> tuple[list[PairComparison | DriftComparison], list[str]]:
    """Return runs, by dataset, beside the other ones of the same metrics.

    And a sentence for those that have none. Raises PmbenchError where none has.
    """
    comparisons: list[PairComparison | DriftComparison] = []
    sentences = []
    failed = []
    for dataset, on_dataset in runs.items():
        before = others.runs[dataset]
        if not before:
            sentences.append(f"{dataset}: left out, no runs of it in {others.where}")
        elif lonely := [run.metric for run in on_dataset if run.metric not in before]:
            sentences.append(f"{dataset}: left out, no run in {others.where}: {', '.join(lonely)}")
        chosen = statistic_of(on_dataset[0], statistic)
        pairs = []
        for run in on_dataset:
            if run.metric not in before:
                continue
            try:
                pairs.append(
                    compare_drift(run, before[run.metric], others.where, chosen, resampling)
                )
            except PmbenchError as error:
                failed.append(f"{dataset}/{run.metric}: left out, {error}")
        if pairs:
            comparisons.append(
                pairs[0] if len(pairs) == 1 else DriftComparison(others.where, pairs)
            )
    if not comparisons:
        raise PmbenchError("\n".join(failed) or others.advice)
    return comparisons, sentences + failed


def compare_drift(
    run: Run,
    before: Run,
    where: str,
    statistic: Statistic,
    resampling: Resampling = DEFAULT_RESAMPLING,
) -> PairComparison:
    """Return the comparison of one metric's run with another one of it, which is ``where``.

    They may differ in precision and in the version of pmbench: that is what is looked for.
    """
    check_same_way([run, before], but=("version of pmbench", "precision"))
    names = (run.metric, f"{run.metric} ({where})")
    return replace(
        compare_named(run, before, names, statistic, resampling), drift=drift(run, before)
    )
