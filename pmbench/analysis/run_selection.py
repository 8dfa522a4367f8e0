"""Which runs are compared, of what a user names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pmbench.results.run import Run
from pmbench.results.store import by_dataset
from pmbench.utils.errors import PmbenchError, unknown


@dataclass(frozen=True)
class RunSelection:
    """The runs to be compared, a list for each dataset, and what is left out in sentences."""

    by_dataset: dict[str, list[Run]]
    messages: list[str]


def select_runs(runs: Sequence[Run], names: Sequence[str], fewest: int = 2) -> RunSelection:
    """Return which of ``runs`` are meant by ``names``: METRIC, or DATASET/METRIC; all if no name.

    Datasets on which fewer than ``fewest`` are left, or one of the names has no run, are left out.
    Raises PmbenchError for an unknown name, one that is given twice, and where nothing is left.
    """
    if not names:
        return _all_runs(runs, fewest)
    if len(names) < fewest:
        raise PmbenchError(
            f"'{names[0]}' alone cannot be compared; name another metric, or none to compare all "
            "runs, or another folder of results with --against"
        )
    by_name = {name: {run.dataset: run for run in _called(runs, name)} for name in names}
    datasets = list(dict.fromkeys(run.dataset for run in runs))
    common = [dataset for dataset in datasets if all(dataset in on for on in by_name.values())]
    if not common:
        where = "; ".join(f"{name} on {', '.join(on)}" for name, on in by_name.items())
        raise PmbenchError(
            f"{' and '.join(names)} have no dataset in common ({where}); scores on different "
            "items cannot be compared; measure them on the same one with `pmbench eval`"
        )
    selected = {dataset: [on[dataset] for on in by_name.values()] for dataset in common}
    folders = [run.folder for run in selected[common[0]]]
    if len(set(folders)) < len(folders) or len(set(names)) < len(names):
        raise PmbenchError(
            f"{' and '.join(names)} name one run twice; name different metrics, or compare it with "
            "another folder of results by --against"
        )
    absent = {d: [name for name, on in by_name.items() if d not in on] for d in datasets}
    return RunSelection(
        selected,
        [
            f"{dataset}: left out, no run of {', '.join(gone)} there"
            for dataset, gone in absent.items()
            if 0 < len(gone) < len(names)
        ],
    )


def _all_runs(runs: Sequence[Run], fewest: int) -> RunSelection:
    """Return all runs, but for datasets with fewer than ``fewest``."""
    on = by_dataset(runs)
    small = [dataset for dataset, some in on.items() if len(some) < fewest]
    if len(small) == len(on):
        raise PmbenchError(
            f"there is one run only on {', '.join(small)}; a comparison needs two; "
            "measure another metric with `pmbench eval`"
        )
    selected = {dataset: some for dataset, some in on.items() if dataset not in small}
    return RunSelection(selected, [f"{name}: one run only, nothing to compare" for name in small])


def _called(runs: Sequence[Run], name: str) -> list[Run]:
    """Return the runs called ``name``; a metric's name may have a slash, as in ``find_run``."""
    called = [run for run in runs if run.metric == name]
    if not called and "/" in name:
        dataset, _, metric = name.partition("/")
        called = [run for run in runs if (run.dataset, run.metric) == (dataset, metric)]
    if not called:
        known = {run.metric for run in runs}
        if "/" in name:
            known |= {f"{run.dataset}/{run.metric}" for run in runs}
        raise unknown("run", name, known)
    return called


def with_statistic(selection: RunSelection, name: str | None) -> RunSelection:
    """Return only the datasets whose protocol has the statistic. Raises where there is none."""
    if name is None:
        return selection
    statistics = {
        dataset: [s.name for s in runs[0].protocol.statistics]
        for dataset, runs in selection.by_dataset.items()
    }
    kept = {d: runs for d, runs in selection.by_dataset.items() if name in statistics[d]}
    if not kept:
        raise unknown("statistic", name, {s for names in statistics.values() for s in names})
    gone = [
        f"{dataset}: left out, it has no {name}" for dataset in statistics if dataset not in kept
    ]
    return RunSelection(kept, [*selection.messages, *gone])
