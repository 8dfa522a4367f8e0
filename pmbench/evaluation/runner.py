"""Metrics that go over the data together: measured, each into its own checkpoint, scored, saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pmbench.evaluation import provenance
from pmbench.evaluation.batching import Batch, BatchLimits, plan
from pmbench.evaluation.checkpoint import Checkpoint, CheckpointHeader
from pmbench.evaluation.config import EvalConfig
from pmbench.evaluation.loop import BatchResults, measure
from pmbench.metrics.loading import LoadedMetric
from pmbench.results.run import CHECKPOINT_FILE, Run, save
from pmbench.results.schema import Batches, Environment, Rate, RunInfo
from pmbench.scoring.scores import human_rows, score
from pmbench.utils.devices import network_precision
from pmbench.utils.errors import PmbenchError
from pmbench.utils.progress import Reporter


@dataclass
class EvalResult:
    """What came of an evaluation, by metric."""

    runs: list[Run] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)  # complete before
    upgraded: list[str] = field(default_factory=list)  # of these, by an earlier pmbench
    resumed: dict[str, int] = field(default_factory=dict)  # batches that were done before
    failures: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EvalContext:
    """What all metrics of one evaluation share."""

    config: EvalConfig
    device: torch.device
    reporter: Reporter
    environment: Environment
    result: EvalResult

    def header(self, loaded: LoadedMetric, limits: BatchLimits) -> CheckpointHeader:
        """Return what must be the same for an interrupted run to go on."""
        names = ("torch", "numpy", "processor", "device", "threads")
        same = {name: str(getattr(self.environment, name)) for name in names}
        return CheckpointHeader(
            self.config.signature(loaded.signature), {**same, "source": loaded.source}, limits
        )

    def note(self, text: str) -> None:
        """Report a fact about this dataset."""
        self.reporter.note(f"{self.config.manifest.name}: {text}")


def run_group(context: EvalContext, metrics: list[LoadedMetric], limits: BatchLimits) -> None:
    """Measure metrics that share one plan, in one pass over the data, and save their runs."""
    config, result = context.config, context.result
    batches = plan(config.pack, config.chosen, limits)
    checkpoints = _open_checkpoints(context, metrics, limits, batches)
    started = provenance.now()
    provenance.reset_peak_memory(context.device)
    measure_group(context, metrics, checkpoints, batches)
    human = human_rows(config.protocol, config.pack.items.take(config.chosen), config.resampling)
    measured = [loaded for loaded in metrics if loaded.metric.name not in result.failures]
    with context.reporter.task("scoring", float(len(measured)), "metrics") as task:
        for loaded in measured:
            checkpoint = checkpoints[loaded.metric.name]
            items_per_second, rate = _rate(checkpoint, len(config.protocol.pairs))
            info = provenance.run_info(
                config,
                loaded.signature,
                provenance.metric_info(loaded, config.pack),
                context.environment,
                started=started,
                finished=provenance.now(),
                seconds=round(sum(checkpoint.seconds), 4),
                items_per_second=items_per_second,
                rate=rate,
                peak_memory_mb=provenance.peak_memory_mb(context.device),
                batches=Batches(pixels=limits.pixels, items=limits.items, count=len(batches)),
                measured_together=tuple(m.metric.name for m in metrics),
            )
            distances = _in_pack_order(checkpoint, batches, len(config.protocol.pairs))
            result.runs.append(save_run(config, info, distances, human))
            checkpoint.discard()
            task.advance()


def measure_group(
    context: EvalContext,
    metrics: Sequence[LoadedMetric],
    checkpoints: Mapping[str, Checkpoint],
    batches: Sequence[Batch],
) -> None:
    """Measure what the checkpoints have not got yet, batch by batch; a metric fails alone."""
    config, failures = context.config, context.result.failures
    begin = min(checkpoint.batches for checkpoint in checkpoints.values())
    names = ", ".join(m.metric.name for m in metrics[:3]) + ", …" * (len(metrics) > 3)

    def metrics_for(batch: Batch) -> list[LoadedMetric]:
        return [
            loaded
            for loaded in metrics
            if loaded.metric.name not in failures
            and checkpoints[loaded.metric.name].batches == batch.number
        ]

    fitting: dict[str, int] = {}
    total = float(len(config.chosen))
    with context.reporter.task(f"{config.manifest.name}: {names}", total, "items") as task:
        task.advance(sum(len(batch.items) for batch in batches[:begin]))
        try:
            with network_precision(config.precision):
                for batch, results in measure(
                    config.pack, config.protocol, batches[begin:], metrics_for, context.device
                ):
                    _keep(context, checkpoints, batch, results, fitting)
                    task.advance(len(batch.items))
        finally:
            for checkpoint in checkpoints.values():
                checkpoint.close()


def _keep(
    context: EvalContext,
    checkpoints: Mapping[str, Checkpoint],
    batch: Batch,
    results: BatchResults,
    fitting: dict[str, int],
) -> None:
    """Put the results of a batch into the checkpoints, and say for which metrics it was too large.

    ``fitting`` says how many items fit into memory, of metrics of which that has been said.
    """
    halved: dict[int, list[str]] = {}
    for name, result in results.items():
        if isinstance(result, PmbenchError):
            context.result.failures[name] = str(result)
            continue
        checkpoints[name].append(result.distances, result.seconds)
        if result.fitting is not None and result.fitting != fitting.get(name):
            fitting[name] = result.fitting
            halved.setdefault(result.fitting, []).append(name)
    for items, names in halved.items():
        context.note(
            f"a batch of {len(batch.items)} items does not fit into memory for "
            f"{', '.join(names)}; going on with batches of {items} item{'s' * (items != 1)}"
        )


def save_run(
    config: EvalConfig, info: RunInfo, distances: NDArray[np.float64], human: pd.DataFrame
) -> Run:
    """Score distances (n, pairs), in the order of the chosen items, and write the run.

    ``human`` are the rows about people, which all metrics share.
    """
    items = config.pack.items.take(config.chosen)
    undefined = "; ".join(info.metric.undefined_on.values()) if np.isnan(distances).any() else ""
    name = info.metric.name
    scores = score(
        config.protocol, name, items, distances, undefined=undefined, resampling=config.resampling
    )
    table = pd.concat([scores.table, human], ignore_index=True) if len(human) else scores.table
    return save(config.folder(name), info, items, distances, table, scores.draws)


def _open_checkpoints(
    context: EvalContext,
    metrics: Sequence[LoadedMetric],
    limits: BatchLimits,
    batches: Sequence[Batch],
) -> dict[str, Checkpoint]:
    """Return each metric's checkpoint, and say what is damaged in it or was there before."""
    config = context.config
    sizes = [len(batch.items) * len(config.protocol.pairs) for batch in batches]
    checkpoints = {}
    for loaded in metrics:
        name = loaded.metric.name
        path = config.folder(name) / CHECKPOINT_FILE
        checkpoint = Checkpoint(path, context.header(loaded, limits), sizes)
        if checkpoint.lost:
            context.note(
                f"{checkpoint.lost:,} bytes of what there was of an interrupted run of {name} are "
                f"damaged; going on after batch {checkpoint.batches}"
            )
        if checkpoint.batches:
            context.result.resumed[name] = checkpoint.batches
        checkpoints[name] = checkpoint
    return checkpoints


def _rate(checkpoint: Checkpoint, pairs: int) -> tuple[float | None, Rate]:
    """Return the metric's items a second, and what they rest on.

    Those are the batches after the first one of this process and of the run, with which everything
    is loaded and warmed up; or all there are, where there is no other.
    """
    defined = [int(np.isfinite(values[::pairs]).sum()) for values in checkpoint.values]
    measured = [i for i, items in enumerate(defined) if items]
    here = [i for i in measured if i >= checkpoint.before]
    cold = {*measured[:1], *here[:1]}
    counted = [i for i in measured if i not in cold] or measured
    items, seconds = sum(defined[i] for i in counted), sum(checkpoint.seconds[i] for i in counted)
    rate = Rate(
        items=items,
        batches=len(counted),
        seconds=round(seconds, 4),
        warm=not cold & set(counted),
    )
    return round(items / seconds, 2) if items and seconds else None, rate


def _in_pack_order(
    checkpoint: Checkpoint, batches: Sequence[Batch], pairs: int
) -> NDArray[np.float64]:
    """Return a complete checkpoint's distances (n, pairs), in the order of the chosen items."""
    order = np.concatenate([batch.items for batch in batches])
    distances = np.concatenate(checkpoint.values).reshape(len(order), pairs)
    return distances[np.argsort(order)]  # the chosen items are in rising order
