"""A run on disk: the distances of one metric on one dataset, and where they came from.

``results/<dataset>/<metric>/`` holds ``distances.h5`` (item ids, sub-datasets, votes and distances:
all that scoring needs), ``run.json`` (provenance), ``scores.csv``, and ``draws.npz`` (the resampled
scores that the intervals are made of). A dataset measured in another way than its default, or in
part, has a folder of its own: ``bapps-2afc-val@exact4``, ``…@first10``.
What a metric is called stands in ``run.json``; its folder is called like it where that is possible.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pmbench import __version__
from pmbench.draws import Draws, read_draws, write_draws
from pmbench.errors import PmbenchError, unknown
from pmbench.files import replacing, write_text
from pmbench.pack import Items, Pack
from pmbench.soundness import FORMAT, check_facts, check_scores

JOURNAL, DRAWS = "journal.bin", "draws.npz"
_PER_ITEM = ("id", "sub", "p", "votes", "cluster")
# of metrics, as folders: the same on file systems that ignore case, and Windows' devices left out
_PLAIN = re.compile(r"(?!(con|prn|aux|nul|com\d|lpt\d)(\.|$))[a-z0-9][a-z0-9._+-]{0,79}(?<!\.)")


@dataclass(frozen=True)
class Selection:
    """Which items of a pack are measured: all, or the first ones of each sub-dataset."""

    limit: int | None = None

    def index(self, pack: Pack) -> NDArray[np.int64]:
        """Return the chosen items, in the pack's order."""
        if self.limit is None:
            return np.arange(len(pack))
        subs = range(len(pack.items.sub_names))
        parts = [np.flatnonzero(pack.items.sub == sub)[: self.limit] for sub in subs]
        return np.sort(np.concatenate(parts))

    @property
    def label(self) -> str:
        """How folder names call it: "" or ``first10``."""
        return "" if self.limit is None else f"first{self.limit}"


USUAL_PRECISION = "fp32"


def folder_name(
    dataset: str,
    resize_label: str,
    default_label: str,
    selection: Selection,
    precision: str = USUAL_PRECISION,
) -> str:
    """Return the name of the folder of a dataset's runs, with its variant after an @."""
    variant = [resize_label] * (resize_label != default_label) + [selection.label]
    variant += [precision] * (precision != USUAL_PRECISION)
    return "@".join([dataset, *filter(None, [",".join(filter(None, variant))])])


def metric_folder(metric: str) -> str:
    """Return the name of the folder of a metric's run: the metric's own, if it is a plain one.

    Other names (``net:timm/x``, very long ones, capital letters) become something readable that
    every file system takes, and a digest that keeps them apart: ``net_timm_x~1f9c03ab``.
    """
    if _PLAIN.fullmatch(metric):
        return metric
    readable = re.sub(r"[^a-z0-9.+-]+", "_", metric.lower())[:60].strip("_.+-") or "metric"
    return f"{readable}~{hashlib.sha256(metric.encode()).hexdigest()[:8]}"


def protocol_signature(
    pack: Pack,
    chosen: int,
    selection: Selection,
    convention: str,
    precision: str = USUAL_PRECISION,
) -> str:
    """Return the part of the signature that all metrics of one table share."""
    whole = pack.expected or len(pack)
    count = str(chosen) if chosen == whole else f"{chosen}of{whole}"
    items = ":".join(filter(None, [str(pack.attributes["dataset"]), selection.label, count]))
    version = ".".join(__version__.split(".")[:2])
    resize = pack.attributes["resize"]
    return f"pmbench:{version}|{items}#{pack.digest[:8]}|{resize}|{convention}|macro|{precision}"


@dataclass(frozen=True)
class Run:
    """A complete run."""

    folder: Path
    info: dict[str, Any]  # run.json

    @property
    def dataset(self) -> str:
        """The dataset, with its variant after an @."""
        return self.folder.parent.name

    @property
    def metric(self) -> str:
        """The metric's name."""
        return str(self.info["metric"]["name"])

    @property
    def imported(self) -> bool:
        """Whether its distances were computed elsewhere, and came in a file."""
        return bool(self.info.get("environment", {}).get("imported"))

    @property
    def signature(self) -> str:
        """Everything that makes the numbers what they are, in one line."""
        return str(self.info["signature"])

    def distances(self) -> tuple[Items, NDArray[np.float64]]:
        """Return the items and their distances (n, pairs); NaN where the metric is not defined."""
        return read_distances(self.folder / "distances.h5")

    def numbers(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Return sub-datasets (n,), votes p (n,) and distances (n, pairs): all but the slow ids."""
        with _readable(self.folder / "distances.h5") as file:
            return file["sub"][:], file["p"][:], file["distances"][:]

    def scores(self) -> pd.DataFrame:
        """Return the tidy table of the run's scores.

        Raises PmbenchError where a score is not there, or is no number.
        """
        path = self.folder / "scores.csv"
        try:
            text = path.read_text(encoding="utf-8")
            table = pd.read_csv(io.StringIO(text), keep_default_na=False, na_values=["nan"])
            if not text.endswith("\n"):
                raise ValueError("its last line is cut off")
            check_scores(table, self.info["dataset"])
        except (OSError, ValueError) as error:
            raise PmbenchError(
                f"{path}: expected the scores of a run ({error}); "
                "delete its folder and run `pmbench eval` again"
            ) from error
        # a run written before there was such a column says nothing about its intervals
        return table if "unreliable" in table else table.assign(unreliable=False)

    def draws(self) -> Draws | None:
        """Return what its intervals are made of; None for a run written before that was kept."""
        path = self.folder / DRAWS
        return read_draws(path) if path.exists() else None


def save(
    folder: Path,
    info: dict[str, Any],
    items: Items,
    distances: NDArray[np.float64],
    scores: pd.DataFrame,
    draws: Draws | None = None,
) -> Run:
    """Write a complete run; ``run.json`` comes last, so that a folder with it is complete.

    ``scores`` are the tidy rows of the metric and of people, ``draws`` what the metric's intervals
    were made of; how they were drawn goes into ``run.json``.
    """
    (folder / "run.json").unlink(missing_ok=True)
    (folder / DRAWS).unlink(missing_ok=True)
    write_distances(folder / "distances.h5", items, distances)
    write_text(folder / "scores.csv", scores.to_csv(index=False, na_rep="nan"))
    whole = {"format": FORMAT, "pmbench": __version__, **info}
    if draws is not None:
        write_draws(folder / DRAWS, draws)
        whole["bootstrap"] = {"resamples": draws.how.count, "seed": draws.how.seed}
    write_text(folder / "run.json", json.dumps(whole, indent=1) + "\n")
    return Run(folder, whole)


def open_run(folder: Path) -> Run | None:
    """Return the run in ``folder``, or None where there is no complete one."""
    path = folder / "run.json"
    if not path.exists():
        return None
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        check_facts(info)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PmbenchError(
            f"{path}: expected a run written by pmbench ({error}); "
            "delete its folder and run `pmbench eval` again"
        ) from error
    return Run(folder, info)


def find(results: Path, dataset: str | None = None, variants: bool = True) -> list[Run]:
    """Return the sound runs under ``results``, of one dataset or of all, sorted by folder.

    ``dataset`` without an @ stands for its variants too, unless ``variants`` is false. There is one
    run of a metric on a dataset; ``damaged`` tells of what is left out.
    """
    return _survey(results, dataset, variants)[0]


def damaged(results: Path) -> list[str]:
    """Return a sentence for each run that is left out: it cannot be read, or is there twice."""
    return _survey(results, None, True)[1]


def _survey(results: Path, dataset: str | None, variants: bool) -> tuple[list[Run], list[str]]:
    """Return the runs that count, sorted by folder, and why each other one is left out."""
    sound: dict[tuple[str, str], list[Run]] = {}
    told = []
    for path in sorted(results.glob("*/*/run.json")):
        name = path.parent.parent.name
        if dataset not in (None, name, name.partition("@")[0] if variants else name):
            continue
        if why := _why_unsound(path.parent, _stamps(path.parent)):
            told.append(why)
        elif run := open_run(path.parent):
            sound.setdefault((run.dataset, run.metric), []).append(run)
    kept = []
    for runs in sound.values():
        *others, counts = sorted(runs, key=_precedence)
        kept.append(counts)
        told += [
            f"{run.folder}: another run of {run.metric} on {run.dataset}, of which that in "
            f"{counts.folder} counts; delete one of them, or move it to other results"
            for run in others
        ]
    return sorted(kept, key=lambda run: run.folder), told


def _precedence(run: Run) -> tuple[bool, str]:
    """Return which of several runs of a metric counts: the folder called like it, or the latest."""
    return run.folder.name == metric_folder(run.metric), str(run.info.get("finished", ""))


def _stamps(folder: Path) -> tuple[tuple[int, int] | None, ...]:
    """Return what changes when one of a run's files does."""
    stamps: list[tuple[int, int] | None] = []
    for name in ("run.json", "scores.csv", "distances.h5"):
        try:
            stat = (folder / name).stat()
            stamps.append((stat.st_mtime_ns, stat.st_size))
        except OSError:
            stamps.append(None)
    return tuple(stamps)


@lru_cache(maxsize=4096)  # one command asks several times which runs there are
def _why_unsound(folder: Path, stamps: tuple[tuple[int, int] | None, ...]) -> str:
    """Return why a run cannot be used, "" where it can: its files as they were at ``stamps``."""
    try:
        if run := open_run(folder):
            run.scores()
            _check_distances(folder / "distances.h5")
    except PmbenchError as error:
        return str(error)
    return ""


def _check_distances(path: Path) -> None:
    """Raise PmbenchError unless a file of distances opens and all is there; nothing is read."""
    with _readable(path) as file:
        lengths = {name: len(file[name]) for name in (*_PER_ITEM, "distances")}
        if "sub_names" not in file.attrs or len(set(lengths.values())) > 1:
            raise KeyError(f"lengths {lengths}")


def pick(results: Path, name: str, dataset: str | None) -> Run:
    """Return the one run that the user means by a metric's name, or by ``dataset/metric``.

    A metric's name may have a slash in it too. Raises PmbenchError where there is no such run, or
    several.
    """
    runs = find(results, dataset)
    if "/" in name and not any(run.metric == name for run in runs):
        first, _, rest = name.partition("/")
        if there := find(results, first):
            dataset, name, runs = first, rest, there
    if not runs:
        raise PmbenchError(
            f"no runs in {results}" + (f" on {dataset}" if dataset else "")
            + "; make one with `pmbench eval`, or name another folder with --results"
        )  # fmt: skip
    meant = [run for run in runs if run.metric == name]
    if not meant:
        known = {run.metric for run in runs}
        if "/" in name and dataset is None:  # perhaps another dataset was meant
            known |= {f"{run.dataset}/{run.metric}" for run in runs}
        raise unknown("run", name, known)
    if len(meant) > 1:  # a dataset's name stands for its variants too, but for itself first
        meant = [run for run in meant if run.dataset == dataset] or meant
    if len(meant) > 1:
        choices = ", ".join(f"{run.dataset}/{run.metric}" for run in meant)
        raise PmbenchError(f"'{name}' was run on several datasets; say which: {choices}")
    return meant[0]


def write_distances(path: Path, items: Items, distances: NDArray[np.float64]) -> None:
    """Write items, votes and distances (n, pairs), whole or not at all."""
    with replacing(path) as draft, h5py.File(draft, "w") as file:
        file.attrs["format"] = FORMAT
        file.attrs["sub_names"] = list(items.sub_names)
        file["id"] = list(items.id)
        for name in _PER_ITEM[1:]:
            file[name] = getattr(items, name)
        file["distances"] = distances


def read_distances(path: Path) -> tuple[Items, NDArray[np.float64]]:
    """Return what ``write_distances`` wrote. Raises PmbenchError where the file is damaged."""
    with _readable(path) as file:
        items = Items(
            id=file["id"].asstr()[:],
            sub=file["sub"][:],
            sub_names=tuple(str(name) for name in file.attrs["sub_names"]),
            p=file["p"][:],
            votes=file["votes"][:],
            cluster=file["cluster"][:],
        )
        return items, file["distances"][:]


@contextmanager
def _readable(path: Path) -> Iterator[h5py.File]:
    """Open the distances of a run. Raises PmbenchError where the file is none or is damaged."""
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, TypeError) as error:
        raise PmbenchError(
            f"{path}: expected the distances of a run, got a file that is none or is damaged "
            f"({error}); delete its folder and run `pmbench eval` again"
        ) from error
