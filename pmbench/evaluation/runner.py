"""Metrics that go over the data together: measured, each into its own journal, scored, saved."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pmbench.evaluation import provenance
from pmbench.evaluation.batching import Batch, Bounds, plan
from pmbench.evaluation.checkpoint import Head, Journal
from pmbench.evaluation.config import Job
from pmbench.evaluation.loop import Results, measure
from pmbench.metrics.loading import Loaded
from pmbench.results.run import JOURNAL, Run, save
from pmbench.scoring.scores import human_rows, score
from pmbench.utils.devices import computing
from pmbench.utils.errors import PmbenchError
from pmbench.utils.progress import Reporter, Task


@dataclass
class Outcome:
    """What came of an evaluation, by metric."""

    runs: list[Run] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)  # complete before
    resumed: dict[str, int] = field(default_factory=dict)  # batches that were done before
    failures: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Session:
    """What all metrics of one evaluation share."""

    job: Job
    device: torch.device
    reporter: Reporter
    environment: dict[str, Any]
    outcome: Outcome

    def head(self, loaded: Loaded, bounds: Bounds) -> Head:
        """Return what must be the same for an interrupted run to go on."""
        names = ("torch", "numpy", "processor", "device", "threads")
        same = {name: str(self.environment[name]) for name in names}
        return Head(self.job.signature(loaded.signature), {**same, "source": loaded.source}, bounds)


def run_group(session: Session, group: list[Loaded], bounds: Bounds) -> None:
    """Measure metrics that share one plan, in one pass over the data, and save their runs."""
    job, outcome = session.job, session.outcome
    batches = plan(job.pack, job.chosen, bounds)
    sizes = [len(batch.items) * len(job.protocol.pairs) for batch in batches]
    journals = {
        m.metric.name: Journal(job.folder(m.metric.name) / JOURNAL, session.head(m, bounds), sizes)
        for m in group
    }
    _tell_lost(session, journals)
    outcome.resumed |= {name: j.batches for name, j in journals.items() if j.batches}
    started = datetime.now(UTC)
    provenance.forget_peak(session.device)
    _measure(session, group, journals, batches)
    humans = human_rows(job.protocol, job.pack.items.take(job.chosen), job.how)
    order = np.concatenate([batch.items for batch in batches])
    with session.reporter.task("scoring", float(len(group)), "metrics") as task:
        for loaded in group:
            name = loaded.metric.name
            if name in outcome.failures:
                continue
            pairs = len(job.protocol.pairs)
            facts = {
                "environment": session.environment,
                "command": shlex.join(["pmbench", *sys.argv[1:]]),
                "started": started.isoformat(timespec="seconds"),
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "seconds": round(sum(journals[name].seconds), 4),
                **_rate(journals[name], pairs),
                "peak_memory_mb": provenance.peak_memory_mb(session.device),
                "batches": {"pixels": bounds.pixels, "items": bounds.items, "count": len(batches)},
                "measured_together": [m.metric.name for m in group],
            }
            distances = _in_pack_order(journals[name], pairs, order)
            outcome.runs.append(save_run(job, loaded, distances, humans, facts))
            journals[name].discard()
            task.advance()


def _measure(
    session: Session, group: list[Loaded], journals: dict[str, Journal], batches: list[Batch]
) -> None:
    """Measure what the journals have not got yet."""
    job = session.job
    begun = min(journal.batches for journal in journals.values())
    names = ", ".join(m.metric.name for m in group[:3]) + ", …" * (len(group) > 3)
    total = float(len(job.chosen))
    with session.reporter.task(f"{job.manifest.name}: {names}", total, "items") as task:
        task.advance(sum(len(batch.items) for batch in batches[:begun]))
        sink = _Journals(session, group, journals, [len(b.items) for b in batches], task)
        try:
            with computing(job.precision):
                measure(job.pack, job.protocol, batches, session.device, sink)
        finally:
            for journal in journals.values():
                journal.close()


def _tell_lost(session: Session, journals: dict[str, Journal]) -> None:
    """Say where a part of an interrupted run is damaged, and so is measured again."""
    for name, journal in journals.items():
        if journal.lost:
            session.reporter.note(
                f"{session.job.manifest.name}: {journal.lost:,} bytes of what there was of an "
                f"interrupted run of {name} are damaged; going on after batch {journal.batches}"
            )


# facts about the measurement itself, which scoring anew leaves as they are
MEASURED = (
    "environment", "command", "started", "finished", "seconds", "items_per_second", "rate",
    "peak_memory_mb", "batches", "measured_together",
)  # fmt: skip


class _Journals:
    """The sink of a group of metrics: a journal each."""

    def __init__(
        self,
        session: Session,
        group: list[Loaded],
        journals: dict[str, Journal],
        sizes: Sequence[int],
        task: Task,
    ) -> None:
        self._session, self._failures = session, session.outcome.failures
        self._group, self._journals, self._sizes, self._task = group, journals, sizes, task
        self._fitting: dict[str, int] = {}

    def waiting(self, number: int) -> list[Loaded]:
        return [
            m
            for m in self._group
            if m.metric.name not in self._failures
            and self._journals[m.metric.name].batches == number
        ]

    def put(self, number: int, results: Results) -> None:
        halved: dict[int, list[str]] = {}
        for name, result in results.items():
            if isinstance(result, PmbenchError):
                self._failures[name] = str(result)
                continue
            self._journals[name].append(result.distances, result.seconds)
            if result.fitting is not None and result.fitting != self._fitting.get(name):
                self._fitting[name] = result.fitting
                halved.setdefault(result.fitting, []).append(name)
        for items, names in halved.items():
            self._session.reporter.note(
                f"{self._session.job.manifest.name}: a batch of {self._sizes[number]} items does "
                f"not fit into memory for {', '.join(names)}; going on with batches of "
                f"{items} item{'s' * (items != 1)}"
            )
        self._task.advance(self._sizes[number])


def _rate(journal: Journal, pairs: int) -> dict[str, Any]:
    """Return the metric's items a second, and what they rest on.

    Those are the batches after the first one of this process and of the run, with which everything
    is loaded and warmed up; or all there are, where there is no other.
    """
    defined = [int(np.isfinite(values[::pairs]).sum()) for values in journal.values]
    measured = [i for i, items in enumerate(defined) if items]
    here = [i for i in measured if i >= journal.before]
    cold = {*measured[:1], *here[:1]}
    counted = [i for i in measured if i not in cold] or measured
    items, seconds = sum(defined[i] for i in counted), sum(journal.seconds[i] for i in counted)
    return {
        "items_per_second": round(items / seconds, 2) if items and seconds else None,
        "rate": {
            "items": items,
            "batches": len(counted),
            "seconds": round(seconds, 4),
            "warm": not cold & set(counted),
        },
    }


def _in_pack_order(journal: Journal, pairs: int, order: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return a complete journal's distances (n, pairs), in the order of the chosen items."""
    found = np.concatenate(journal.values).reshape(len(order), pairs)
    return found[np.argsort(order)]  # the chosen items are in rising order


def save_run(
    job: Job,
    loaded: Loaded,
    distances: NDArray[np.float64],
    humans: pd.DataFrame,
    facts: dict[str, Any],
) -> Run:
    """Score distances (n, pairs) and write the run; ``facts`` are those of MEASURED."""
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
