"""What an evaluation would take, from a short probe; nothing is written."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch

from pmbench.evaluation.batching import Bounds, plan
from pmbench.evaluation.config import Job
from pmbench.evaluation.loop import Result, measure
from pmbench.evaluation.provenance import peak_memory_mb
from pmbench.metrics.loading import Loaded
from pmbench.utils.errors import PmbenchError


@dataclass(frozen=True)
class Forecast:
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


def forecast(job: Job, metrics: list[Loaded], device: torch.device, bounds: Bounds) -> Forecast:
    """Measure one batch of each image size, write nothing, and say what the whole would take.

    Of a dataset with many sizes the ten with most pixels are measured, and stand for the others.
    """
    batches = plan(job.pack, job.chosen, bounds)
    pixels = [len(b.images) * math.prod(job.pack.sizes[b.size]) for b in batches]
    largest: dict[int, int] = {}  # size -> its largest batch
    for i in sorted(range(len(batches)), key=lambda i: -pixels[i]):
        largest.setdefault(batches[i].size, i)
    probes = list(largest.values())[:10]
    sink = _Probe(metrics)
    measure(job.pack, job.protocol, [batches[i] for i in probes], device, sink)  # warms up
    sink.seconds.clear()
    start = time.perf_counter()
    measure(job.pack, job.protocol, [batches[i] for i in probes], device, sink)
    share = sum(pixels) / sum(pixels[i] for i in probes)
    together = (time.perf_counter() - start) * share
    used = {(b.size, int(image)) for b in batches for image in b.images}
    return Forecast(
        items=len(job.chosen),
        images=len(used),
        computed=sum(len(batch.images) for batch in batches),
        batches=len(batches),
        pair_evaluations=len(job.chosen) * len(job.protocol.pairs) * len(metrics),
        probe_items=sum(len(batches[i].items) for i in probes),
        seconds={name: seconds * share for name, seconds in sink.seconds.items()},
        together=together,
        peak_memory_mb=peak_memory_mb(device),
        failures=sink.failures,
    )


class _Probe:
    """A sink that keeps the seconds only."""

    def __init__(self, metrics: list[Loaded]) -> None:
        self._metrics = metrics
        self.seconds: dict[str, float] = {}
        self.failures: dict[str, str] = {}

    def waiting(self, number: int) -> list[Loaded]:
        return [m for m in self._metrics if m.metric.name not in self.failures]

    def put(self, number: int, results: dict[str, Result | PmbenchError]) -> None:
        for name, result in results.items():
            if isinstance(result, PmbenchError):
                self.failures[name] = str(result)
                self.seconds.pop(name, None)
            else:
                self.seconds[name] = self.seconds.get(name, 0.0) + result.seconds
