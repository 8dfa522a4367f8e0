"""One evaluation: datasets × metrics -> complete run folders, resumed where they were left.

Every metric has its own journal, so metrics that were interrupted at different batches go on
together, and a metric that fails takes no other with it.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pmbench import __version__, provenance
from pmbench.batches import Bounds, plan
from pmbench.devices import computing
from pmbench.errors import PmbenchError
from pmbench.evaluate import Result, measure
from pmbench.job import Job, locked
from pmbench.journal import Head, Journal, head_of
from pmbench.loading import Loaded
from pmbench.reporting import Reporter, Task
from pmbench.runs import JOURNAL, Run, open_run, save
from pmbench.scores import human_rows, score

__all__ = ["Job", "Outcome", "evaluate"]


@dataclass
class Outcome:
    """What came of an evaluation, by metric."""

    runs: list[Run] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)  # complete before
    resumed: dict[str, int] = field(default_factory=dict)  # batches that were done before
    failures: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Session:
    """What all metrics of one evaluation share."""

    job: Job
    device: torch.device
    reporter: Reporter
    environment: dict[str, Any]
    outcome: Outcome

    def head(self, loaded: Loaded, bounds: Bounds) -> Head:
        """Return what must be the same for an interrupted run to go on."""
        same = {name: str(self.environment[name]) for name in ("torch", "device", "threads")}
        return Head(self.job.signature(loaded.signature), {**same, "source": loaded.source}, bounds)


def evaluate(
    job: Job,
    metrics: list[Loaded],
    device: torch.device,
    bounds: Bounds,
    fresh: bool,
    reporter: Reporter,
) -> Outcome:
    """Measure and score what is not there yet; return all runs, the earlier ones included.

    ``fresh`` measures everything anew. Otherwise a complete run with the same signature and source
    is kept, and an interrupted one goes on with the batches it began with.
    """
    session = _Session(job, device, reporter, provenance.environment(device), Outcome())
    to_do: dict[Bounds, list[Loaded]] = {}
    with ExitStack() as locks:
        for loaded in metrics:
            name, folder = loaded.metric.name, job.folder(loaded.metric.name)
            try:
                locks.enter_context(locked(folder))
                if fresh:
                    (folder / JOURNAL).unlink(missing_ok=True)
                elif (run := _kept(session, loaded, folder)) is not None:
                    session.outcome.runs.append(run)
                    session.outcome.reused.append(name)
                    continue
            except PmbenchError as error:
                session.outcome.failures[name] = str(error)
                continue
            _warn_of_slowness(session, loaded)
            to_do.setdefault(_bounds(session, loaded, bounds), []).append(loaded)
        for its_bounds, group in to_do.items():
            _run_group(session, group, its_bounds)
    return session.outcome


def _warn_of_slowness(session: _Session, loaded: Loaded) -> None:
    """Say before starting that a metric will take long, if so."""
    metric, pairs = loaded.metric, len(session.job.chosen) * len(session.job.protocol.pairs)
    if (minutes := metric.seconds * pairs / 60) >= 5:
        session.reporter.note(
            f"{session.job.manifest.name}: {metric.name} takes about {metric.seconds:g} s for a "
            f"pair of 64×64 on two CPU cores: {_rounded(minutes)} for {pairs:,} pairs"
        )


def _rounded(minutes: float) -> str:
    return f"{minutes:.0f} minutes" if minutes < 90 else f"{minutes / 60:.0f} hours"


def _kept(session: _Session, loaded: Loaded, folder: Path) -> Run | None:
    """Return the complete run that need not be measured again, scored as this version does."""
    job = session.job
    run = open_run(folder)
    if run is not None and run.imported:
        raise PmbenchError(
            f"{folder} holds distances that were imported under this name; measure under another "
            "one, NAME=ADDRESS, or replace them with --fresh"
        )
    if run is None:
        return None
    if run.signature != job.signature(loaded.signature):
        session.reporter.note(
            f"{job.manifest.name}: replacing a run of {loaded.metric.name} that was measured on "
            f"other items or with another metric of that name ({run.signature})"
        )
        return None
    if run.info["metric"]["source"] != loaded.source:
        session.reporter.note(
            f"{job.manifest.name}: the source of {loaded.metric.name} changed; measuring it anew"
        )
        return None
    (folder / JOURNAL).unlink(missing_ok=True)  # of a run killed when it was complete
    about = provenance.of_dataset(job.manifest, job.pack, job.selection, len(job.chosen))
    same = run.info["dataset"] == about and run.info["pmbench"] == __version__
    if same and (draws := run.draws()) is not None and draws.how == job.how:
        return run
    _, distances = run.distances()
    facts = {name: run.info[name] for name in _MEASURED}
    humans = human_rows(job.protocol, job.pack.items.take(job.chosen), job.how)
    return _save(job, loaded, distances, humans, facts)


def _bounds(session: _Session, loaded: Loaded, bounds: Bounds) -> Bounds:
    """Return the bounds that an interrupted run began with, or ``bounds`` where none can go on."""
    head = head_of(session.job.folder(loaded.metric.name) / JOURNAL)
    if head is None:
        return bounds
    now = session.head(loaded, head.bounds)
    if head == now:
        return head.bounds
    others = [name for name, value in now.environment.items() if head.environment[name] != value]
    what = f"another {' and '.join(others)}" if others else "other items or another metric"
    session.reporter.note(
        f"{session.job.manifest.name}: what there was of an interrupted run of "
        f"{loaded.metric.name} was made with {what}; beginning anew"
    )
    return bounds


def _run_group(session: _Session, group: list[Loaded], bounds: Bounds) -> None:
    """Measure metrics that share one plan, in one pass over the data, and save their runs."""
    job, outcome = session.job, session.outcome
    batches = plan(job.pack, job.chosen, bounds)
    journals = {
        m.metric.name: Journal(job.folder(m.metric.name) / JOURNAL, session.head(m, bounds))
        for m in group
    }
    outcome.resumed |= {name: j.batches for name, j in journals.items() if j.batches}
    started = datetime.now(UTC)
    begun = min(journal.batches for journal in journals.values())
    names = ", ".join(m.metric.name for m in group[:3]) + ", …" * (len(group) > 3)
    total = float(len(job.chosen))
    with session.reporter.task(f"{job.manifest.name}: {names}", total, "items") as task:
        task.advance(sum(len(batch.items) for batch in batches[:begun]))
        sink = _Journals(group, journals, [len(b.items) for b in batches], task, outcome.failures)
        try:
            with computing(job.precision):
                measure(job.pack, job.protocol, batches, session.device, sink)
        finally:
            for journal in journals.values():
                journal.close()
    humans = human_rows(job.protocol, job.pack.items.take(job.chosen), job.how)
    order = np.concatenate([batch.items for batch in batches])
    with session.reporter.task("scoring", float(len(group)), "metrics") as task:
        for loaded in group:
            name = loaded.metric.name
            if name in outcome.failures:
                continue
            distances = _in_pack_order(job, journals[name], order)
            defined, seconds = int((~np.isnan(distances[:, 0])).sum()), journals[name].seconds
            facts = {
                "environment": session.environment,
                "command": shlex.join(["pmbench", *sys.argv[1:]]),
                "started": started.isoformat(timespec="seconds"),
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "seconds": round(seconds, 4),
                "items_per_second": round(defined / seconds, 2) if defined and seconds else None,
                "peak_memory_mb": provenance.peak_memory_mb(session.device),
                "batches": {"pixels": bounds.pixels, "items": bounds.items, "count": len(batches)},
                "measured_together": [m.metric.name for m in group],
            }
            outcome.runs.append(_save(job, loaded, distances, humans, facts))
            journals[name].discard()
            task.advance()


# facts about the measurement itself, which scoring anew leaves as they are
_MEASURED = (
    "environment", "command", "started", "finished", "seconds", "items_per_second",
    "peak_memory_mb", "batches", "measured_together",
)  # fmt: skip


class _Journals:
    """The sink of a group of metrics: a journal each."""

    def __init__(
        self,
        group: list[Loaded],
        journals: dict[str, Journal],
        sizes: Sequence[int],
        task: Task,
        failures: dict[str, str],
    ) -> None:
        self._group, self._journals, self._sizes = group, journals, sizes
        self._task, self._failures = task, failures

    def waiting(self, number: int) -> list[Loaded]:
        return [
            m
            for m in self._group
            if m.metric.name not in self._failures
            and self._journals[m.metric.name].batches == number
        ]

    def put(self, number: int, results: dict[str, Result | PmbenchError]) -> None:
        for name, result in results.items():
            if isinstance(result, PmbenchError):
                self._failures[name] = str(result)
            else:
                self._journals[name].append(result.distances, result.seconds)
        self._task.advance(self._sizes[number])


def _in_pack_order(job: Job, journal: Journal, order: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return a complete journal's distances (n, pairs), in the order of the chosen items."""
    found = np.concatenate(journal.values).reshape(len(order), len(job.protocol.pairs))
    return found[np.argsort(order)]  # the chosen items are in rising order


def _save(
    job: Job,
    loaded: Loaded,
    distances: NDArray[np.float64],
    humans: pd.DataFrame,
    facts: dict[str, Any],
) -> Run:
    items = job.pack.items.take(job.chosen)
    refused = provenance.refused_sizes(loaded.metric, job.pack)
    undefined = "; ".join(refused.values()) if np.isnan(distances).any() else ""
    name = loaded.metric.name
    scores = score(job.protocol, name, items, distances, undefined=undefined, how=job.how)
    info = {
        "signature": job.signature(loaded.signature),
        "dataset": provenance.of_dataset(job.manifest, job.pack, job.selection, len(items)),
        "metric": provenance.of_metric(loaded, job.pack),
        **facts,
    }
    table = pd.concat([scores.table, humans], ignore_index=True)
    return save(job.folder(name), info, items, distances, table, scores.draws)
