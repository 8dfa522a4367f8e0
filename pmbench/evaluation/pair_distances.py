"""Pairs of images × metrics -> distances, in memory: what ``pmbench distance`` prints.

A metric that fails on a batch is tried again pair by pair, so that one bad pair costs no other its
distance.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from pmbench.datasets.image_file import summary
from pmbench.datasets.image_pack import ROLES, Resizing, Size, open_pairs
from pmbench.datasets.image_pairs import Pair
from pmbench.datasets.pack import Pack
from pmbench.evaluation.batching import Batch, BatchLimits, plan
from pmbench.evaluation.loop import BatchResults, Result, measure
from pmbench.metrics.loading import LoadedMetric
from pmbench.scoring.protocols import Judgement, Protocol
from pmbench.utils.errors import PmbenchError
from pmbench.utils.progress import Reporter, Task

_TRIALS = 3  # single items on which a metric may fail before it is given up


@dataclass
class Distances:
    """What one metric gives, in its own direction: (items, pairs), NaN where there is a reason."""

    values: NDArray[np.float64]
    undefined: dict[int, str] = field(default_factory=dict)  # item -> why it is not defined there
    failed: dict[int, str] = field(default_factory=dict)  # item -> what went wrong


def measure_items(
    pack: Pack,
    protocol: Protocol,
    items: NDArray[np.int64],
    metrics: list[LoadedMetric],
    device: torch.device,
    reporter: Reporter,
) -> dict[str, Distances]:
    """Return the distances of every metric on the ``items`` of a pack, by name.

    Rows are in the order of ``items``. Where the pack cannot read an image, its items have failed
    for every metric; a metric that fails does so on its own.
    """
    with reporter.task("measuring", len(items), "items") as task:
        kept = _Kept(pack, protocol, items, metrics, task)
        kept.measure(plan(pack, items, BatchLimits()), device)
        if again := set().union(*kept.missing.values()):
            kept.measure(plan(pack, np.array(sorted(again)), _ONE), device)
    return kept.distances


_ONE = BatchLimits(items=1)


class _Kept:
    """Distances in memory, and what is still missing."""

    def __init__(
        self,
        pack: Pack,
        protocol: Protocol,
        items: NDArray[np.int64],
        metrics: list[LoadedMetric],
        task: Task,
    ) -> None:
        self.pack, self.protocol, self.task = pack, protocol, task
        self.metrics = {loaded.metric.name: loaded for loaded in metrics}
        self.row = {int(item): i for i, item in enumerate(items)}
        shape = (len(items), len(protocol.pairs))
        self.distances = {name: Distances(np.full(shape, np.nan)) for name in self.metrics}
        self.missing = {name: self._defined_on(name) for name in self.metrics}
        self.single_failures = Counter[str]()
        self.succeeded: set[str] = set()

    def _defined_on(self, name: str) -> set[int]:
        """Return the items on which a metric is defined, and say of the others why not."""
        metric = self.metrics[name].metric
        why = [metric.undefined_on(*size) for size in self.pack.sizes]
        for item, row in self.row.items():
            if (reason := why[self.pack.size[item]]) is not None:
                self.distances[name].undefined[row] = reason
        return {item for item, row in self.row.items() if row not in self.distances[name].undefined}

    def measure(self, batches: Iterable[Batch], device: torch.device) -> None:
        """Measure what is missing in each batch; one that cannot be read, item by item."""
        queue = deque(batches)
        while queue:
            try:
                # no prefetch: decoding changes the process's warnings, and a metric may its folder
                for batch, results in measure(
                    self.pack,
                    self.protocol,
                    list(queue),
                    self._metrics_for,
                    device,
                    prefetch=False,
                ):
                    queue.popleft()
                    self._take(batch, results)
            except PmbenchError as error:  # the first batch in the queue cannot be read
                batch = queue.popleft()
                if len(batch.items) > 1:
                    queue.extendleft(plan(self.pack, batch.items, _ONE))
                    continue
                for name in self.metrics:
                    self._fail(name, int(batch.items[0]), str(error))

    def _metrics_for(self, batch: Batch) -> list[LoadedMetric]:
        """Return the metrics that lack a distance of the batch."""
        items = set(batch.items.tolist())
        return [loaded for name, loaded in self.metrics.items() if items & self.missing[name]]

    def _take(self, batch: Batch, results: BatchResults) -> None:
        """Keep what metrics gave for a batch."""
        items = batch.items.tolist()
        for name, result in results.items():
            if isinstance(result, Result):
                sign = -1 if self.metrics[name].metric.higher_is_better else 1
                rows = [self.row[item] for item in items]
                self.distances[name].values[rows] = sign * result.distances
                self.missing[name] -= set(items)
                self.succeeded.add(name)
            elif len(items) == 1:
                self._fail(name, items[0], str(result))
                self.single_failures[name] += 1
                if name not in self.succeeded and self.single_failures[name] >= _TRIALS:
                    for item in list(self.missing[name]):
                        self._fail(name, item, str(result))
        self.task.advance(len(items))

    def _fail(self, name: str, item: int, why: str) -> None:
        if item in self.missing[name]:
            self.missing[name].remove(item)
            self.distances[name].failed[self.row[item]] = why


_PAIR = Protocol(
    name="pair",
    title="pairs of images",
    roles=ROLES,
    pairs=(ROLES,),
    task="rating",
    judgement=Judgement("", "nobody was asked"),
    unit="pairs",
    description="",
    convention="",
    statistics=(),
)


@dataclass(frozen=True)
class Column:
    """What one metric says of every pair: (n,) in its own direction, NaN where there is a reason.

    ``undefined`` are pairs on whose size the metric is not defined, ``failed`` those on which it
    failed or whose images cannot be read, each with the reason.
    """

    values: NDArray[np.float64]
    undefined: dict[int, str]
    failed: dict[int, str]


@dataclass(frozen=True)
class PairDistances:
    """Pairs, the size at which each was measured (None: it could not be read), and distances."""

    pairs: list[Pair]
    sizes: list[Size | None]
    columns: dict[str, Column]


def measure_pairs(
    pairs: Sequence[Pair],
    resizing: Resizing | None,
    metrics: list[LoadedMetric],
    device: torch.device,
    reporter: Reporter,
) -> PairDistances:
    """Return the distance of every pair under every metric; what fails, fails alone.

    One line says what was done to images that were not upright, opaque RGB of 8 bits.
    Raises PmbenchError where images of a pair differ in size and ``resizing`` is None, and where
    no pair can be read.
    """
    opened = open_pairs(pairs, resizing)
    pack, places = opened.pack, opened.places
    result = measure_items(pack, _PAIR, np.arange(len(pack)), metrics, device, reporter)
    if line := summary(opened.conversions):
        reporter.note(line)
    columns = {}
    for name, distances in result.items():
        values = np.full(len(pairs), np.nan)
        values[places] = distances.values[:, 0]
        undefined = {places[row]: why for row, why in distances.undefined.items()}
        failed = {places[row]: why for row, why in distances.failed.items()} | opened.unreadable
        columns[name] = Column(values, undefined, failed)
    sizes: list[Size | None] = [None] * len(pairs)
    for place, size in zip(places, pack.size, strict=True):
        height, width = pack.sizes[size]
        sizes[place] = (width, height)
    return PairDistances(list(pairs), sizes, columns)
