"""A run on disk: the distances of one metric on one dataset, and where they came from.

``results/<dataset>/<metric>/`` holds ``distances.h5`` (item ids, sub-datasets, votes and distances:
all that scoring needs), ``run.json`` (provenance), ``scores.csv``, and ``draws.npz`` (the resampled
scores that the intervals are made of). A dataset measured in another way than its default, or in
part, has a folder of its own: ``bapps-2afc-val@exact4``, ``…@first10``.
What a metric is called stands in ``run.json``; its folder is called like it where that is possible.
The digests of the other files stand there too, so that one that was changed, or belongs to another
run, is noticed.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pmbench.results.bootstrap_samples import read_bootstrap_samples, write_bootstrap_samples
from pmbench.results.distances import (
    DISTANCES,
    check_distances,
    read_distances,
    read_numbers,
    write_distances,
)
from pmbench.results.schema import MEASURE_AGAIN, Bootstrap, RunInfo, check_scores, read_run_info
from pmbench.scoring.bootstrap import BootstrapSamples
from pmbench.scoring.items import Items
from pmbench.scoring.protocols import Protocol
from pmbench.utils.errors import PmbenchError
from pmbench.utils.files import sha256_of, write_text
from pmbench.utils.locks import BusyError, exclusive
from pmbench.utils.text import check_printable

if TYPE_CHECKING:
    from pmbench.datasets.pack import Pack

RUN_FILE, CHECKPOINT_FILE = "run.json", "journal.bin"
SCORES_FILE, SAMPLES_FILE = "scores.csv", "draws.npz"
LOCK_FILE = ".lock"
# of a run's folder, the first one first to go: without it the others are no run
_FILES = (RUN_FILE, CHECKPOINT_FILE, SCORES_FILE, SAMPLES_FILE, DISTANCES, LOCK_FILE)
# of metrics, as folders: the same on file systems that ignore case, and Windows' devices left out
_PLAIN = re.compile(r"(?!(con|prn|aux|nul|com\d|lpt\d)(\.|$))[a-z0-9][a-z0-9._+-]{0,79}(?<!\.)")


@dataclass(frozen=True)
class Subset:
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


DEFAULT_PRECISION = "fp32"


def folder_name(
    dataset: str,
    resize_label: str,
    default_label: str,
    subset: Subset,
    precision: str = DEFAULT_PRECISION,
) -> str:
    """Return the name of the folder of a dataset's runs, with its variant after an @."""
    variant = [resize_label] * (resize_label != default_label) + [subset.label]
    variant += [precision] * (precision != DEFAULT_PRECISION)
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


@dataclass(frozen=True)
class Run:
    """A complete run."""

    folder: Path
    info: RunInfo  # what run.json says

    @property
    def dataset(self) -> str:
        """The dataset, with its variant after an @."""
        return self.folder.parent.name

    @property
    def metric(self) -> str:
        """The metric's name."""
        return self.info.metric.name

    @property
    def imported(self) -> bool:
        """Whether its distances were computed elsewhere, and came in a file."""
        return bool(self.info.environment.imported)

    @property
    def protocol(self) -> Protocol:
        """The protocol that its dataset is scored by."""
        return self.info.protocol

    @property
    def signature(self) -> str:
        """Everything that makes the numbers what they are, in one line."""
        return self.info.signature

    def distances(self) -> tuple[Items, NDArray[np.float64]]:
        """Return the items and their distances (n, pairs); NaN where the metric is not defined."""
        self._check(DISTANCES)
        return read_distances(self.folder / DISTANCES, self.protocol.judgement)

    def numbers(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Return sub-datasets (n,), votes p (n,) and distances (n, pairs): all but the slow ids."""
        self._check(DISTANCES)
        return read_numbers(self.folder / DISTANCES)

    def scores(self) -> pd.DataFrame:
        """Return the tidy table of the run's scores, as its file was when first asked for it.

        Raises PmbenchError where a score is not there, or is no number.
        """
        return self._scores.copy()

    @cached_property
    def _scores(self) -> pd.DataFrame:
        path = self.folder / SCORES_FILE
        try:
            text = path.read_text(encoding="utf-8")
            table = pd.read_csv(
                io.StringIO(text), keep_default_na=False, na_values=["nan"], converters=_EXACT
            )
            check_printable(text, lines=True)
            if not text.endswith("\n"):
                raise ValueError("its last line is cut off")
            check_scores(table, self.info.dataset)
        except (OSError, ValueError) as error:
            raise PmbenchError(
                f"{path}: expected the scores of a run ({error}); {self._again}"
            ) from error
        self._check(SCORES_FILE)
        # a run written before there was such a column says nothing about its intervals
        return table if "unreliable" in table else table.assign(unreliable=False)

    def draws(self) -> BootstrapSamples | None:
        """Return what its intervals are made of; None for a run written before that was kept."""
        path = self.folder / SAMPLES_FILE
        if not path.exists() and SAMPLES_FILE not in self.info.files:
            return None
        self.check_bootstrap_samples()
        return read_bootstrap_samples(path)

    def check_distances(self) -> None:
        """Raise PmbenchError where its distances are damaged, or not what they were."""
        self._check(DISTANCES)
        check_distances(self.folder / DISTANCES, self.info.dataset)

    def check_bootstrap_samples(self) -> None:
        """Raise PmbenchError where its resampled scores are not what they were."""
        self._check(SAMPLES_FILE)

    def damage(self) -> str:
        """Return what is wrong with what was made of its distances, "" where nothing is."""
        try:
            self.scores()
            self.draws()
        except PmbenchError as error:
            return str(error)
        return ""

    @property
    def _again(self) -> str:
        """What brings its scores back."""
        if self.imported:
            return "run the same `pmbench import` again"
        return "run the same `pmbench eval` again, which scores the kept distances anew"

    def _check(self, name: str) -> None:
        """Raise PmbenchError where a file is another than ``run.json`` was written for."""
        path, expected = self.folder / name, self.info.files.get(name)
        if expected is None or not path.is_file():  # whoever reads it says that it is not there
            return
        if (digest := sha256_of(path)) != expected:
            meanwhile = open_run(self.folder)  # another process may have scored it anew
            if meanwhile is not None and meanwhile.info.files.get(name) == digest:
                return
            raise PmbenchError(
                f"{path}: not what pmbench wrote (expected sha256 {expected[:8]}…, got "
                f"{digest[:8]}…); {MEASURE_AGAIN if name == DISTANCES else self._again}"
            )


def save(
    folder: Path,
    info: RunInfo,
    items: Items,
    distances: NDArray[np.float64],
    scores: pd.DataFrame,
    draws: BootstrapSamples | None = None,
) -> Run:
    """Write a complete run; ``run.json`` comes last, so that a folder with it is complete.

    ``scores`` are the tidy rows of the metric and of people, ``draws`` what the metric's intervals
    were made of; how they were drawn goes into ``run.json``.
    """
    if not _is_of(folder, info.signature):
        (folder / RUN_FILE).unlink(missing_ok=True)
    write_distances(folder / DISTANCES, items, distances)
    write_text(folder / SCORES_FILE, scores.to_csv(index=False, na_rep="nan"))
    bootstrap = None
    if draws is not None:
        write_bootstrap_samples(folder / SAMPLES_FILE, draws)
        bootstrap = Bootstrap(resamples=draws.resampling.count, seed=draws.resampling.seed)
    else:
        (folder / SAMPLES_FILE).unlink(missing_ok=True)
    written = [DISTANCES, SCORES_FILE, *[SAMPLES_FILE] * (draws is not None)]
    files = {name: sha256_of(folder / name) for name in written}
    info = info.model_copy(update={"bootstrap": bootstrap, "files": files})
    write_text(folder / RUN_FILE, info.to_json())
    return Run(folder, info)


def _number(text: str) -> float | str:
    """Return the number that is written, or the text where it is none."""
    try:
        return float(text)
    except ValueError:
        return text


# pandas before 3.1 misses the last digit
_EXACT = dict.fromkeys(("value", "low", "high"), _number)


def _is_of(folder: Path, signature: str) -> bool:
    """Return whether the facts in a folder fit other scores of the same distances.

    Then they may stay until the new ones are there, and the distances are not lost in between.
    """
    try:
        run = open_run(folder)
    except PmbenchError:
        return False
    return run is not None and run.signature == signature


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a second process from measuring the same thing into the same folder."""
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive(folder / LOCK_FILE))
        except BusyError as error:
            raise PmbenchError(
                f"{error} is measuring into {folder}; wait for it, or choose another folder with "
                "--results"
            ) from error
        yield


def remove(folder: Path) -> list[Path]:
    """Remove what pmbench has written into a run's folder, complete or not.

    Returns the files that are not pmbench's, which stay; without any the folder goes too.
    """
    for name in _FILES:
        (folder / name).unlink(missing_ok=True)
    if left := sorted(folder.iterdir()):
        return left
    folder.rmdir()
    return []


def open_run(folder: Path) -> Run | None:
    """Return the run in ``folder``, or None where there is no complete one.

    Raises PmbenchError where it is damaged, or where its folder has a name that cannot be shown.
    """
    path = folder / RUN_FILE
    if not path.exists():
        return None
    try:
        check_printable(f"{folder.parent.name}/{folder.name}")
    except ValueError as error:
        raise PmbenchError(f"{folder}: {error}") from error
    return Run(folder, read_run_info(path))
