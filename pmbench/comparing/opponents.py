"""Names of metrics -> the runs that are compared, by dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pmbench.errors import PmbenchError, unknown
from pmbench.protocols import PROTOCOLS
from pmbench.runs import Run


@dataclass(frozen=True)
class Opponents:
    """The runs to be compared, a list for each dataset, and what is left out in sentences."""

    by_dataset: dict[str, list[Run]]
    told: list[str]


def opponents(runs: Sequence[Run], names: Sequence[str], fewest: int = 2) -> Opponents:
    """Return which of ``runs`` are meant by ``names``: METRIC, or DATASET/METRIC; all if no name.

    Datasets on which fewer than ``fewest`` are left, or one of the names has no run, are left out.
    Raises PmbenchError for an unknown name, one that is given twice, and where nothing is left.
    """
    if not names:
        by_dataset = _grouped(runs)
        small = [dataset for dataset, its in by_dataset.items() if len(its) < fewest]
        left = {dataset: its for dataset, its in by_dataset.items() if dataset not in small}
        if not left:
            raise PmbenchError(
                f"there is one run only on {', '.join(small)}; a comparison needs two; "
                "measure another metric with `pmbench eval`"
            )
        return Opponents(left, [f"{name}: one run only, nothing to compare" for name in small])
    if len(names) < fewest:
        raise PmbenchError(
            f"'{names[0]}' alone cannot be compared; name another metric, or none to compare all "
            "runs, or another folder of results with --against"
        )
    meant = {name: {run.dataset: run for run in _meant(runs, name)} for name in names}
    everywhere = list(dict.fromkeys(run.dataset for run in runs))
    common = [place for place in everywhere if all(place in its for its in meant.values())]
    if not common:
        where = "; ".join(f"{name} on {', '.join(its)}" for name, its in meant.items())
        raise PmbenchError(
            f"{' and '.join(names)} have no dataset in common ({where}); scores on different "
            "items cannot be compared; measure them on the same one with `pmbench eval`"
        )
    chosen = {place: [its[place] for its in meant.values()] for place in common}
    folders = [run.folder for run in chosen[common[0]]]
    if len(set(folders)) < len(folders) or len(set(names)) < len(names):
        raise PmbenchError(
            f"{' and '.join(names)} name one run twice; name different metrics, or compare it with "
            "another folder of results by --against"
        )
    told = []
    for place in everywhere:
        if place not in common and (here := [name for name, its in meant.items() if place in its]):
            gone = [name for name in names if name not in here]
            told.append(f"{place}: left out, no run of {', '.join(gone)} there")
    return Opponents(chosen, told)


def _meant(runs: Sequence[Run], name: str) -> list[Run]:
    """Return the runs called ``name``; as in ``results.pick``, a metric's name may have a slash."""
    found = [run for run in runs if run.metric == name]
    if not found and "/" in name:
        dataset, _, metric = name.partition("/")
        found = [run for run in runs if (run.dataset, run.metric) == (dataset, metric)]
    if not found:
        known = {run.metric for run in runs}
        if "/" in name:
            known |= {f"{run.dataset}/{run.metric}" for run in runs}
        raise unknown("run", name, known)
    return found


def with_statistic(found: Opponents, statistic: str | None) -> Opponents:
    """Return only the datasets whose protocol has the statistic. Raises where there is none."""
    if statistic is None:
        return found
    protocols = {
        dataset: PROTOCOLS[str(runs[0].info["dataset"]["protocol"])]
        for dataset, runs in found.by_dataset.items()
    }
    having = {
        dataset: [s.name for s in protocol.statistics] for dataset, protocol in protocols.items()
    }
    left = {d: runs for d, runs in found.by_dataset.items() if statistic in having[d]}
    if not left:
        raise unknown("statistic", statistic, {s for names in having.values() for s in names})
    gone = [f"{d}: left out, it has no {statistic}" for d in found.by_dataset if d not in left]
    return Opponents(left, [*found.told, *gone])


def _grouped(runs: Sequence[Run]) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.dataset, []).append(run)
    return found
