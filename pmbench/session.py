"""One evaluation: datasets × metrics -> complete run folders, resumed where they were left.

Every metric has its own journal, so metrics that were interrupted at different batches go on
together, and a metric that fails takes no other with it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pmbench import provenance
from pmbench.batches import Bounds, plan
from pmbench.errors import PmbenchError
from pmbench.evaluate import Loaded, Result, measure
from pmbench.journal import Head, Journal, head_of
from pmbench.manifest import Manifest
from pmbench.pack import Pack
from pmbench.protocols import PROTOCOLS, Protocol
from pmbench.reporting import Reporter, Task
from pmbench.resize import resize_for
from pmbench.runs import JOURNAL, Run, Selection, folder_name, open_run, protocol_signature, save
from pmbench.scores import human_rows, score


@dataclass(frozen=True)
class Job:
    """One dataset, as it is to be measured."""

    manifest: Manifest
    pack: Pack
    selection: Selection
    results: Path

    @property
    def protocol(self) -> Protocol:
        """How the dataset is scored."""
        return PROTOCOLS[self.manifest.protocol]

    @property
    def chosen(self) -> NDArray[np.int64]:
        """The items that are measured, as indices into the pack."""
        return self.selection.index(self.pack)

    @property
    def folder_name(self) -> str:
        """The dataset's name, with an @ and what is not as usual about it."""
        usual = resize_for(self.manifest, None).label
        resize = str(self.pack.attributes["resize"])
        return folder_name(self.manifest.name, resize, usual, self.selection)

    def folder(self, metric: str) -> Path:
        """Return where the run of a metric is, or will be."""
        return self.results / self.folder_name / metric

    def signature(self, loaded: Loaded) -> str:
        """Return the line that names everything a run's numbers depend on."""
        convention = self.protocol.convention
        shared = protocol_signature(self.pack, len(self.chosen), self.selection, convention)
        return f"{shared} || {loaded.signature}"


@dataclass
class Outcome:
    """What came of an evaluation, by metric."""

    runs: list[Run] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)  # complete before
    resumed: dict[str, int] = field(default_factory=dict)  # batches that were done before
    failures: dict[str, str] = field(default_factory=dict)


def evaluate(
    job: Job,
    metrics: list[Loaded],
    device: torch.device,
    bounds: Bounds,
    fresh: bool,
    reporter: Reporter,
) -> Outcome:
    """Measure and score what is not there yet; return all runs, the earlier ones included.

    ``fresh`` measures everything anew. Otherwise a complete run with the same signature is kept,
    and an interrupted one goes on with the batches it began with.
    """
    outcome = Outcome()
    to_do: dict[Bounds, list[Loaded]] = {}
    environment = provenance.environment(device)
    for loaded in metrics:
        folder, signature = job.folder(loaded.metric.name), job.signature(loaded)
        if (run := open_run(folder)) and run.signature == signature and not fresh:
            outcome.runs.append(run)
            outcome.reused.append(run.metric)
            (folder / JOURNAL).unlink(missing_ok=True)  # of a run killed when it was complete
            continue
        if fresh:
            (folder / JOURNAL).unlink(missing_ok=True)
        head = head_of(folder / JOURNAL)
        goes_on = head and (head.signature, head.environment) == (signature, str(environment))
        to_do.setdefault(head.bounds if head and goes_on else bounds, []).append(loaded)
    for its_bounds, group in to_do.items():
        _run_group(job, group, device, its_bounds, environment, outcome, reporter)
    return outcome


def _run_group(
    job: Job,
    group: list[Loaded],
    device: torch.device,
    bounds: Bounds,
    environment: dict[str, Any],
    outcome: Outcome,
    reporter: Reporter,
) -> None:
    """Measure metrics that share one plan, in one pass over the data, and save their runs."""
    batches = plan(job.pack, job.chosen, bounds)
    journals = {
        m.metric.name: Journal(
            job.folder(m.metric.name) / JOURNAL,
            Head(job.signature(m), str(environment), bounds),
        )
        for m in group
    }
    for name, journal in journals.items():
        if journal.batches:
            outcome.resumed[name] = journal.batches
    started = datetime.now(UTC)
    begun = min(journal.batches for journal in journals.values())
    names = ", ".join(m.metric.name for m in group[:3]) + ", …" * (len(group) > 3)
    with reporter.task(f"{job.manifest.name}: {names}", float(len(job.chosen)), "items") as task:
        task.advance(sum(len(batch.items) for batch in batches[:begun]))
        sink = _Journals(group, journals, [len(b.items) for b in batches], task, outcome.failures)
        try:
            measure(job.pack, job.protocol, batches, device, sink)
        finally:
            for journal in journals.values():
                journal.close()
    humans = human_rows(job.protocol, job.pack.items.take(job.chosen))
    order = np.concatenate([batch.items for batch in batches])
    with reporter.task("scoring", float(len(group)), "metrics") as task:
        for loaded in group:
            name = loaded.metric.name
            if name in outcome.failures:
                continue
            distances = _in_pack_order(job, journals[name], order)
            facts = {
                "environment": environment,
                "command": " ".join(["pmbench", *sys.argv[1:]]),
                "started": started.isoformat(timespec="seconds"),
                "seconds": round(journals[name].seconds, 4),
                "items_per_second": round(len(order) / max(journals[name].seconds, 1e-9), 2),
                "peak_memory_mb": provenance.peak_memory_mb(device),
                "batches": {"pixels": bounds.pixels, "items": bounds.items, "count": len(batches)},
                "measured_together": [m.metric.name for m in group],
            }
            outcome.runs.append(_save(job, loaded, distances, humans, facts))
            journals[name].discard()
            task.advance()


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
    table = score(job.protocol, loaded.metric.name, items, distances, undefined=undefined)
    info = {
        "signature": job.signature(loaded),
        "dataset": provenance.of_dataset(job.manifest, job.pack, job.selection, len(items)),
        "metric": provenance.of_metric(loaded, job.pack),
        **facts,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    scores = pd.concat([table, humans], ignore_index=True)
    return save(job.folder(loaded.metric.name), info, items, distances, scores)
