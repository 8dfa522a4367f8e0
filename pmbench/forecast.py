"""What an evaluation would take, from a short probe; nothing is written."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from pmbench.batches import Bounds, plan
from pmbench.errors import PmbenchError
from pmbench.evaluate import Loaded, Result, measure
from pmbench.provenance import peak_memory_mb
from pmbench.session import Job


@dataclass(frozen=True)
class Forecast:
    """What an evaluation would take."""

    items: int
    images: int
    batches: int
    pair_evaluations: int
    probe_items: int
    seconds: dict[str, float]  # by metric, as if alone
    together: float  # seconds for all metrics in one pass
    peak_memory_mb: float | None


def forecast(job: Job, metrics: list[Loaded], device: torch.device, bounds: Bounds) -> Forecast:
    """Measure one batch, write nothing, and say what the whole would take."""
    batches = plan(job.pack, job.chosen, bounds)
    probe = max(batches, key=lambda batch: len(batch.images))
    sink = _Probe(metrics)
    measure(job.pack, job.protocol, [probe], device, sink)  # the first pass warms up
    start = time.perf_counter()
    measure(job.pack, job.protocol, [probe], device, sink)
    together = time.perf_counter() - start
    images = sum(len(batch.images) for batch in batches)
    share = images / len(probe.images)
    return Forecast(
        items=len(job.chosen),
        images=images,
        batches=len(batches),
        pair_evaluations=len(job.chosen) * len(job.protocol.pairs) * len(metrics),
        probe_items=len(probe.items),
        seconds={name: seconds * share for name, seconds in sink.seconds.items()},
        together=together * share,
        peak_memory_mb=peak_memory_mb(device),
    )


class _Probe:
    """A sink that keeps the seconds only."""

    def __init__(self, metrics: list[Loaded]) -> None:
        self._metrics = metrics
        self.seconds: dict[str, float] = {}

    def waiting(self, number: int) -> list[Loaded]:
        return self._metrics

    def put(self, number: int, results: dict[str, Result | PmbenchError]) -> None:
        for name, result in results.items():
            if isinstance(result, PmbenchError):
                raise result
            self.seconds[name] = result.seconds
