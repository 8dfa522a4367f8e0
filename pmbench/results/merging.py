"""Folders of results, such as those of several machines, read as one.

Where two of them hold a run of one metric on one dataset, the signatures say whether it is the
same measurement. If it is, and the scores agree, the later one is kept. What is left out, and what
is kept twice under names that tell it apart, is said.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from pmbench.results.run import Run
from pmbench.results.signature import Signature, setup_of
from pmbench.results.store import find_runs
from pmbench.utils.errors import PmbenchError
from pmbench.utils.text import one_line

ResultFolders = Path | Sequence[Path]  # one folder, or several that are read as one

ROUNDING = 0.0005  # half of the last digit shown: of 69.8 %, and of a correlation of 0.123
_KEYS = ["name", "statistic", "sub_dataset"]


@dataclass(frozen=True)
class MergedRuns:
    """The runs of several folders, and a sentence for what had to be decided between them."""

    runs: list[Run]
    messages: list[str]


def folders(results: ResultFolders) -> list[Path]:
    """Return the folders, each once."""
    given = [results] if isinstance(results, Path) else list(results)
    return list({folder.resolve(): folder for folder in given}.values())


def merge_runs(
    results: ResultFolders, dataset: str | None = None, variants: bool = True
) -> MergedRuns:
    """Return the runs of all folders, of one dataset or of all, sorted by dataset.

    Raises PmbenchError where one of several folders does not exist.
    """
    several = folders(results)
    if len(several) == 1:
        return MergedRuns(find_runs(several[0], dataset, variants), [])
    for folder in several:
        if not folder.is_dir():
            raise PmbenchError(
                f"{folder}: expected a folder of results to merge, and there is none; "
                "name folders that `pmbench eval` has written"
            )
    twins: dict[tuple[str, str], list[Run]] = {}
    for run in (run for folder in several for run in find_runs(folder, dataset, variants)):
        twins.setdefault((run.dataset, run.metric), []).append(run)
    kept, messages, left_out = [], [], dict[tuple[Path, Path], list[str]]()
    for key in sorted(twins):
        same: dict[str, list[Run]] = {}
        for run in twins[key]:
            same.setdefault(run.signature, []).append(run)
        different = []
        for runs in same.values():
            sound, sentences = _one_of(runs, left_out)
            different.append(sound)
            messages += sentences
        messages += _note_different(different)
        kept += _renamed(different)
    return MergedRuns(kept, [*_note_left_out(left_out), *messages])


def _one_of(
    runs: list[Run], left_out: dict[tuple[Path, Path], list[str]]
) -> tuple[list[Run], list[str]]:
    """Return the latest of runs with one signature, and those whose scores are others than its."""
    latest, *earlier = sorted(runs, key=lambda run: run.info.finished, reverse=True)
    kept, messages = [latest], []
    for run in earlier:
        gap, where = _largest_gap(run, latest)
        if gap <= ROUNDING:
            pair = (_folder(run), _folder(latest))
            left_out.setdefault(pair, []).append(f"{run.dataset}/{run.metric}")
            continue
        kept.append(run)
        messages.append(
            f"{run.dataset}/{run.metric}: {where}, although the signatures are the same; both are "
            "shown, each with its folder; measure it again to see which is right"
        )
    return kept, messages


def _largest_gap(run: Run, other: Run) -> tuple[float, str]:
    """Return how far the scores of two runs are apart, at most, and where that is, in words."""
    tables = []
    for one in (run, other):
        table = one.scores()
        tables.append(table[table["kind"] == "metric"].set_index(_KEYS)["value"])
    both = pd.concat(tables, axis=1, keys=["run", "other"]).astype(float)
    gaps = (both["run"] - both["other"]).abs()
    gaps[both.isna().any(axis=1)] = math.inf
    gaps[both.isna().all(axis=1)] = 0.0
    if not len(gaps):
        return 0.0, ""
    values = both.iloc[int(np.argmax(gaps))]
    _, statistic, place = both.index[int(np.argmax(gaps))]
    return float(gaps.max()), (
        f"{statistic}, {place} is {values['run']:.4f} in {_folder(run)} "
        f"and {values['other']:.4f} in {_folder(other)}"
    )


def _renamed(different: list[list[Run]]) -> list[Run]:
    """Return all runs of one metric, with names that tell apart what no other mark does.

    Runs of different ways to measure are marked on a board. What differs in the metric alone gets
    the metric's digest behind its name; what differs in nothing but the scores, its folder.
    """
    setups = [setup_of(runs[0]) for runs in different]
    named = []
    for runs, setup in zip(different, setups, strict=True):
        for run in runs:
            tags = [f"#{Signature.parse(run.signature).digest}"] * (setups.count(setup) > 1)
            tags += [f"({_folder(run)})"] * (len(runs) > 1)
            named.append(_called(run, " ".join([run.metric, *tags])))
    return named


def _called(run: Run, name: str) -> Run:
    return replace(run, info=run.info.with_metric_name(one_line(name)))


def _note_different(different: list[list[Run]]) -> list[str]:
    """Return a sentence where runs of one metric have several signatures."""
    if len(different) == 1:
        return []
    run = different[0][0]
    where = ", ".join(str(_folder(runs[0])) for runs in different)
    return [
        f"{run.dataset}/{run.metric}: measured in {len(different)} ways ({where}), of which the "
        "signatures differ; all are shown"
    ]


def _note_left_out(left_out: dict[tuple[Path, Path], list[str]]) -> list[str]:
    return [
        f"measured in {there} and in {here} with the same scores, the later one is shown, of "
        f"{here}: {', '.join(names)}"
        for (there, here), names in left_out.items()
    ]


def _folder(run: Run) -> Path:
    """Return the folder of results that a run lies in."""
    return run.folder.parent.parent
