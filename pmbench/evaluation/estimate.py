"""What an evaluation would take, from a short probe; nothing is written."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch

from pmbench.evaluation.batching import Batch, BatchLimits, plan
from pmbench.evaluation.config import EvalConfig
from pmbench.evaluation.loop import measure
from pmbench.evaluation.provenance import peak_memory_mb
from pmbench.metrics.loading import LoadedMetric
from pmbench.utils.errors import PmbenchError


@dataclass(frozen=True)
class CostEstimate:
    """What an evaluation would take."""

    items: int
    images: int  # different ones
    computed: int  # counting again those that are shared by more items than fit a batch
    batches: int
    pair_evaluations: int
    probe_items: int
    seconds: dict[str, float]  # by metric, as if alone
    together: float  # seconds for all metrics in one pass
    peak_memory_mb: float | None
    failures: dict[str, str]


def estimate_cost(
    config: EvalConfig, metrics: list[LoadedMetric], device: torch.device, limits: BatchLimits
) -> CostEstimate:
    """Measure one batch of each image size, write nothing, and say what the whole would take.

    Of a dataset with many sizes the ten with most pixels are measured, and stand for the others.
    """
    batches = plan(config.pack, config.chosen, limits)
    pixels = [len(b.images) * math.prod(config.pack.sizes[b.size]) for b in batches]
    largest: dict[int, int] = {}  # size -> its largest batch
    for i in sorted(range(len(batches)), key=lambda i: -pixels[i]):
        largest.setdefault(batches[i].size, i)
    probes = list(largest.values())[:10]
    probe = [batches[i] for i in probes]
    failures: dict[str, str] = {}
    _seconds(config, metrics, probe, device, failures)  # warms up
    start = time.perf_counter()
    seconds = _seconds(config, metrics, probe, device, failures)
    share = sum(pixels) / sum(pixels[i] for i in probes)
    together = (time.perf_counter() - start) * share
    used = {(b.size, int(image)) for b in batches for image in b.images}
    return CostEstimate(
        items=len(config.chosen),
        images=len(used),
        computed=sum(len(batch.images) for batch in batches),
        batches=len(batches),
        pair_evaluations=len(config.chosen) * len(config.protocol.pairs) * len(metrics),
        probe_items=sum(len(batches[i].items) for i in probes),
        seconds={name: value * share for name, value in seconds.items()},
        together=together,
        peak_memory_mb=peak_memory_mb(device),
        failures=failures,
    )


def _seconds(
    config: EvalConfig,
    metrics: list[LoadedMetric],
    batches: list[Batch],
    device: torch.device,
    failures: dict[str, str],
) -> dict[str, float]:
    """Return the seconds that each metric takes alone; ``failures`` gains those that fail."""
    seconds: dict[str, float] = {}

    def metrics_for(batch: Batch) -> list[LoadedMetric]:
        return [loaded for loaded in metrics if loaded.metric.name not in failures]

    for _, results in measure(config.pack, config.protocol, batches, metrics_for, device):
        for name, result in results.items():
            if isinstance(result, PmbenchError):
                failures[name] = str(result)
                seconds.pop(name, None)
            else:
                seconds[name] = seconds.get(name, 0.0) + result.seconds
    return seconds
