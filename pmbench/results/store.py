"""A folder of results: which of its runs count, why others do not, and which one is meant."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from pmbench.results.distances import DISTANCES
from pmbench.results.run import RUN_FILE, SAMPLES_FILE, SCORES_FILE, Run, metric_folder, open_run
from pmbench.results.schema import read_run_info
from pmbench.utils.errors import PmbenchError, unknown


def find_runs(results: Path, dataset: str | None = None, variants: bool = True) -> list[Run]:
    """Return the sound runs under ``results``, of one dataset or of all, sorted by folder.

    ``dataset`` without an @ stands for its variants too, unless ``variants`` is false. There is one
    run of a metric on a dataset; ``damaged_runs`` tells of what is left out.
    """
    return _survey(results, dataset, variants).runs


def damaged_runs(results: Path) -> list[str]:
    """Return a sentence for each run that is left out: it cannot be read, or is there twice."""
    return _survey(results, None, True).left_out


def flawed_runs(results: Path) -> list[str]:
    """Return a sentence for each run that counts, but lacks what its intervals were made of."""
    return _survey(results, None, True).flaws


class _OnDataset(Protocol):
    @property
    def dataset(self) -> str: ...


_Any = TypeVar("_Any", bound=_OnDataset)


def by_dataset(runs: Iterable[_Any]) -> dict[str, list[_Any]]:
    """Return runs, or what is said of them, by the dataset that they are on."""
    results: dict[str, list[_Any]] = {}
    for run in runs:
        results.setdefault(run.dataset, []).append(run)
    return results


class _Survey(NamedTuple):
    runs: list[Run]  # those that count, sorted by folder
    left_out: list[str]  # why each other one does not
    flaws: list[str]


def _survey(results: Path, dataset: str | None, variants: bool) -> _Survey:
    sound: dict[tuple[str, str], list[Run]] = {}
    message, flaws = [], []
    for path in sorted(results.glob("*/*/run.json")):
        name = path.parent.parent.name
        if dataset not in (None, name, name.partition("@")[0] if variants else name):
            continue
        run, why, flaw = _examined(path.parent, _stamps(path.parent))
        message += [why] * bool(why)
        if run is not None:
            sound.setdefault((run.dataset, run.metric), []).append(run)
            flaws += [flaw] * bool(flaw)
    kept = []
    for runs in sound.values():
        *others, counts = sorted(runs, key=_precedence)
        kept.append(counts)
        message += [
            f"{run.folder}: another run of {run.metric} on {run.dataset}, of which that in "
            f"{counts.folder} counts; delete one of them, or move it to other results"
            for run in others
        ]
    return _Survey(sorted(kept, key=lambda run: run.folder), message, flaws)


def _precedence(run: Run) -> tuple[bool, str]:
    """Return which of several runs of a metric counts: the folder called like it, or the latest."""
    return run.folder.name == metric_folder(run.metric), run.info.finished


def _stamps(folder: Path) -> tuple[tuple[int, int] | None, ...]:
    """Return what changes when one of a run's files does."""
    stamps: list[tuple[int, int] | None] = []
    for name in (RUN_FILE, SCORES_FILE, DISTANCES, SAMPLES_FILE):
        try:
            stat = (folder / name).stat()
            stamps.append((stat.st_mtime_ns, stat.st_size))
        except OSError:
            stamps.append(None)
    return tuple(stamps)


class _Examined(NamedTuple):
    run: Run | None  # a sound one
    why: str  # why it cannot be used, "" where it can
    flaw: str  # what else is wrong with it


@lru_cache(maxsize=4096)  # one command asks several times which runs there are
def _examined(folder: Path, stamps: tuple[tuple[int, int] | None, ...]) -> _Examined:
    """Return the run in a folder whose files are as they were at ``stamps``, or what is wrong."""
    try:
        if (run := open_run(folder)) is None:
            return _Examined(None, "", "")
        run.scores()
        run.check_distances()
    except PmbenchError as error:
        return _Examined(None, str(error), "")
    try:
        run.check_bootstrap_samples()
    except PmbenchError as error:
        return _Examined(run, "", str(error))
    return _Examined(run, "", "")


def run_folders(results: Path, name: str, dataset: str | None) -> list[Path]:
    """Return the folders of the runs that are called so: METRIC, or DATASET/METRIC.

    A run that cannot be read is called as its folder is. ``dataset`` without an @ stands for its
    variants too. Raises PmbenchError where nothing is called so.
    """
    named: dict[Path, str] = {}
    for path in sorted(results.glob(f"*/*/{RUN_FILE}")):
        folder = path.parent
        if dataset in (None, folder.parent.name, folder.parent.name.partition("@")[0]):
            try:
                named[folder] = read_run_info(path).metric.name
            except PmbenchError:
                named[folder] = folder.name
    full = {folder: f"{folder.parent.name}/{metric}" for folder, metric in named.items()}
    if not named:
        raise PmbenchError(f"no runs in {results}{f' on {dataset}' if dataset else ''}")
    meant = [folder for folder in named if name in (named[folder], full[folder])]
    if not meant:
        raise unknown("run", name, [*named.values(), *(full.values() if "/" in name else [])])
    return meant


def no_runs(
    folders: Sequence[Path], datasets: Sequence[str] = (), *others: str, make: str = "make some"
) -> PmbenchError:
    """Return the error that there are no runs in these folders, on these datasets or on any.

    It says how many are left out, and what to do; ``others`` are further ways out, where a command
    has any.
    """
    where = f"in {' and '.join(map(str, folders))}"
    if datasets:
        where = f"on {' or '.join(datasets)} {where}"
    left_out = sum(
        len(_survey(folder, dataset, True).left_out)
        for folder in folders
        for dataset in datasets or (None,)
    )
    if left_out:
        count = "1 is" if left_out == 1 else f"{left_out:,} are"
        where += f": {count} left out (`pmbench list runs` says why)"
    ways = [f"{make} with `pmbench eval`", "name another folder with --results", *others]
    return PmbenchError(f"no runs {where}; {', '.join(ways[:-1])}, or {ways[-1]}")


def find_run(results: Path, name: str, dataset: str | None, command: str = "show") -> Run:
    """Return the one run that the user means by a metric's name, or by ``dataset/metric``.

    A metric's name may have a slash in it too. Raises PmbenchError where there is no such run, or
    several; then it says how ``command`` is given one of them.
    """
    runs = find_runs(results, dataset)
    if "/" in name and not any(run.metric == name for run in runs):
        first, _, rest = name.partition("/")
        if there := find_runs(results, first):
            dataset, name, runs = first, rest, there
    if not runs:
        raise no_runs([results], [dataset] if dataset else [], make="make one")
    meant = [run for run in runs if run.metric == name]
    if not meant:
        known = {run.metric for run in runs}
        if "/" in name and dataset is None:  # perhaps another dataset was meant
            known |= {f"{run.dataset}/{run.metric}" for run in runs}
        raise unknown("run", name, known)
    if len(meant) > 1:  # a dataset's name stands for its variants too, but for itself first
        meant = [run for run in meant if run.dataset == dataset] or meant
    if len(meant) > 1:
        choices = [f"{run.dataset}/{run.metric}" for run in meant]
        raise PmbenchError(
            f"'{name}' was run on several datasets; say which of {', '.join(choices)}, as in "
            f"`pmbench {command} {shlex.quote(choices[0])}`"
        )
    return meant[0]
