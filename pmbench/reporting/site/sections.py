"""Runs -> the sections of a report: one for each dataset, as plain values that pages show."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pmbench.analysis.alignment import align
from pmbench.analysis.leaderboard import measured_boards
from pmbench.analysis.leaderboard_rows import Board, Row, View
from pmbench.datasets import manifest
from pmbench.datasets.pack import Items
from pmbench.results.run import Run, metric_folder
from pmbench.results.schema import DatasetInfo
from pmbench.results.signature import in_latest_setup
from pmbench.results.store import find_runs
from pmbench.scoring.protocols import PROTOCOLS, Protocol
from pmbench.scoring.statistics import Array


def front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Return the names that nothing dominates, by falling score.

    ``points`` are (speed, score) by name, of both more is better. A point is dominated by one that
    is no worse in either and better in one; equal points stand or fall together. Points that are
    not numbers take no part.
    """
    sound = {name: point for name, point in points.items() if all(map(math.isfinite, point))}

    def dominated(name: str) -> bool:
        speed, score = sound[name]
        return any(
            other_speed >= speed
            and other_score >= score
            and (other_speed, other_score) != (speed, score)
            for other_speed, other_score in sound.values()
        )

    kept = [name for name in sound if not dominated(name)]
    return sorted(kept, key=lambda name: (-sound[name][1], name))


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: "1 metric", "1,200 metrics"."""
    return f"{number:,} {noun}" + "s" * (number != 1)


FRESH, MAJORITY = "human-fresh", "human-majority"


@dataclass(frozen=True)
class Section:
    """One dataset of the report: its board, and the runs that stand in it."""

    board: Board
    runs: dict[str, Run]  # by metric's name

    @property
    def name(self) -> str:
        """The dataset, with its variant after an @."""
        return self.board.dataset

    @property
    def protocol(self) -> Protocol:
        """What was compared with what."""
        return PROTOCOLS[self._info.protocol]

    @property
    def judged(self) -> bool:
        """Whether people said what is right."""
        return self._info.human_votes

    @property
    def partial(self) -> bool:
        """Whether any of the runs that count covers less than the dataset."""
        return any(run.info.dataset.partial for run in in_latest_setup([*self.runs.values()]))

    @property
    def ranks(self) -> bool:
        """Whether the scores say which metric to use."""
        return self.judged and not self.partial

    @cached_property
    def metrics(self) -> list[Row]:
        """The metrics that have a score and were measured in the latest way, best first."""
        scored = [
            row
            for row in self.board.rows
            if row.kind == "metric" and not row.other_setup and not math.isnan(row.score.value)
        ]
        return sorted(scored, key=lambda row: (-row.score.value, row.name))

    @cached_property
    def not_compared(self) -> int:
        """How many metrics were measured in another way than the latest one."""
        return sum(row.kind == "metric" and row.other_setup for row in self.board.rows)

    @cached_property
    def people(self) -> dict[str, Row]:
        """The rows about people, by name."""
        return {row.name: row for row in self.board.rows if row.kind == "human"}

    @cached_property
    def speeds(self) -> dict[str, float]:
        """How many a second each metric does alone, by name: of what ``timed`` says.

        Where the board names one machine, pairs on that one; else items, in each one's own run.
        """
        if self.board.timed_on:
            return {row.name: 1000 / row.ms for row in self.metrics if row.ms}
        return {row.name: row.speed for row in self.metrics if row.speed}

    @property
    def timed(self) -> str:
        """What ``speeds`` count."""
        return "pairs" if self.board.timed_on else "items"

    @property
    def sub_datasets(self) -> list[str]:
        """The sub-datasets that have a column."""
        return [name for name in self._info.sub_datasets if name in self.board.columns]

    @cached_property
    def measured(self) -> tuple[Items, dict[str, Array]]:
        """The items, and the distances (n, pairs) of each of ``metrics`` in their order."""
        names = [row.name for row in self.metrics]
        items, distances = align([self.runs[name] for name in names])
        return items, dict(zip(names, distances, strict=True))

    @property
    def _info(self) -> DatasetInfo:
        return in_latest_setup([*self.runs.values()])[0].info.dataset


def sections(results: Path, datasets: Sequence[str], metrics: Sequence[str] = ()) -> list[Section]:
    """Return a section for each dataset that has runs: those that rank metrics come first.

    ``datasets`` are datasets or groups, ``metrics`` names; none stands for all there are. Raises
    PmbenchError where there are no runs, or none of one of the metrics.
    """
    result: dict[str, Section] = {}
    names: list[str | None] = [*datasets] or [None]
    for name in names:
        view = View(name, published=True, grouped=False, metrics=tuple(metrics))
        for board in measured_boards(results, view):
            runs = find_runs(results, board.dataset, variants=False)
            here = {run.metric: run for run in runs if not metrics or run.metric in metrics}
            result[board.dataset] = Section(board, here)
    return sorted(result.values(), key=lambda one: (not one.judged, one.partial))


def varied(section: Section, most: int) -> list[Row]:
    """Return at most so many metrics, best first: the best of each family, then the next best.

    The best metrics alone are often variants of one another.
    """
    firsts: dict[str, Row] = {}
    for row in section.metrics:
        firsts.setdefault(row.family, row)
    chosen = {row.name for row in list(firsts.values())[:most]}
    for row in section.metrics:
        if len(chosen) < most:
            chosen.add(row.name)
    return [row for row in section.metrics if row.name in chosen]


def matched(results: Iterable[Section]) -> list[tuple[Section, Section]]:
    """Return the 2AFC and JND sections that belong together: of one group, in one variant."""
    by_place: dict[tuple[str, str], dict[str, Section]] = {}
    for section in results:
        name, _, variant = section.name.partition("@")
        entry = manifest.datasets().get(name)
        for group in entry.groups if entry else ():
            by_place.setdefault((group, variant), {}).setdefault(section.protocol.name, section)
    return [(both["2afc"], both["jnd"]) for both in by_place.values() if len(both) == 2]


def page_of(metric: str) -> str:
    """Return the address of a metric's page, from the top of the site."""
    return f"metrics/{metric_folder(metric)}.html"
