"""Evaluations on the built-in ladder: jobs, metrics made of functions, results, interruptions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pmbench.datasets.download import pack_for
from pmbench.datasets.manifest import datasets
from pmbench.datasets.pack import Pack
from pmbench.datasets.resize import resize_for
from pmbench.evaluation.batching import Batch, BatchLimits, plan
from pmbench.evaluation.evaluator import EvalConfig, EvalResult, evaluate
from pmbench.evaluation.loop import BatchResults, Result, measure
from pmbench.metrics import Metric, registered
from pmbench.metrics.images import Images
from pmbench.metrics.loading import LoadedMetric, load_metrics, metric_digest
from pmbench.results.run import Subset
from pmbench.scoring.protocols import Protocol
from pmbench.utils.errors import PmbenchError
from pmbench.utils.progress import Silent

CPU = torch.device("cpu")
SMALL = BatchLimits(
    pixels=45 * 64 * 64
)  # several batches on the ladder, each with whole components


def job(name: str, results: Path, limit: int | None = None) -> EvalConfig:
    manifest = datasets()[name]
    pack = pack_for(manifest, resize_for(manifest, None), Silent())
    assert pack is not None
    return EvalConfig(manifest, pack, Subset(limit), results)


def load_named(*names: str) -> list[LoadedMetric]:
    loaded, failures = load_metrics([registered()[n] for n in names], CPU, Silent())
    assert not failures
    return loaded


def run(
    config: EvalConfig, metrics: list[LoadedMetric], bounds: BatchLimits = SMALL, **options: object
) -> EvalResult:
    reporter = options.pop("reporter", Silent())
    return evaluate(config, metrics, CPU, bounds, bool(options.pop("fresh", False)), reporter)  # type: ignore[arg-type]


def distances(outcome: EvalResult) -> dict[str, np.ndarray]:
    return {r.metric: r.distances()[1] for r in outcome.runs}


class Interrupting(Silent):
    """A user who presses Ctrl-C after some batches."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    @contextmanager
    def task(self, what: str, total: float | None, unit: str) -> Iterator[Interrupting]:  # type: ignore[override]
        yield self

    def describe(self, text: str) -> None: ...

    def expect(self, total: float | None, done: float = 0) -> None: ...

    def advance(self, amount: float = 1) -> None:
        if amount:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt


def results_of(
    pack: Pack,
    protocol: Protocol,
    batches: list[Batch],
    metrics: list[LoadedMetric],
    after: Callable[[int], None] = lambda number: None,
) -> list[BatchResults]:
    """Return what metrics give on each batch; ``after`` is called with the batch's number."""
    results = []
    for batch, one in measure(pack, protocol, batches, lambda batch: metrics, CPU):
        results.append(one)
        after(batch.number)
    return results


def in_one_batch(config: EvalConfig, *metrics: LoadedMetric) -> dict[str, Result | PmbenchError]:
    (results,) = results_of(config.pack, config.protocol, [only_batch(config)], list(metrics))
    return results


def only_batch(config: EvalConfig) -> Batch:
    (batch,) = plan(config.pack, config.chosen, BatchLimits())
    return batch


def metric_of(name: str, distance: object, **card: object) -> LoadedMetric:
    metric = Metric(name=name, load=lambda device: distance, title=name, **card)  # type: ignore[arg-type, return-value]
    return LoadedMetric(metric, distance, metric_digest(metric, distance))  # type: ignore[arg-type]


def difference(x: Images, y: Images) -> Tensor:
    return (x.pixels - y.pixels).abs().mean(dim=(1, 2, 3))
