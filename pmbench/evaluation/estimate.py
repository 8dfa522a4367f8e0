"""What an evaluation, or a measurement of speed, would take. Nothing is fetched or written.

How long a pair takes is what ``pmbench speed`` has recorded on this machine; else what a few pairs
take now, while there is time for that; else what was recorded on another one. A dataset that is not
here is known from its manifest.
"""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from pmbench.datasets.manifest import Manifest
from pmbench.datasets.pack import Pack
from pmbench.evaluation.batching import BatchLimits, plan
from pmbench.evaluation.speed_worker import SHORTEST, TURNS, Cell, Trial, run
from pmbench.metrics import Metric
from pmbench.networks import weights
from pmbench.networks.manifest import weight_files
from pmbench.results import timings
from pmbench.results.run import Subset
from pmbench.results.timings import BACKWARD, FORWARD, Machine, Timing
from pmbench.scoring.protocols import PROTOCOLS
from pmbench.utils import paths

Size = tuple[int, int]  # height and width in pixels
Origin = Literal["recorded", "probed", "elsewhere", "unknown", "undefined"]

_PROBING = 10.0  # seconds after which no probe begins
_PIXELS, _SIDE = 8 * 64 * 64, 256  # of a probe's images, in a role and a side at most
_NO_TIME = f"not tried, since {_PROBING:g} s were over"
_SOME = 1000  # items of a dataset of which nobody knows how many it has
_LOADING = 4.0  # seconds of a process that ``pmbench speed`` starts, before it has loaded a metric
_GRADIENT = 3  # so many times a call without takes one with its gradient
_FETCHING = {"dreamsim", "pyiqa", "timm"}  # extras whose packages fetch weights by themselves


@dataclass(frozen=True)
class Workload:
    """What a dataset asks of every metric; ``batches`` and ``images`` where its pack is here.

    ``sizes`` is how many items have images of a size; empty where nobody knows yet. ``passes`` is
    how many images a network sees, those again that more items share than fit into a batch.
    """

    dataset: str
    items: int | None  # None: its manifest has no counts
    pairs: int  # of an item
    passes: int
    sizes: Mapping[Size, int]
    batches: int | None = None
    images: int | None = None  # different ones
    gigabytes: float | None = None  # of a download

    @property
    def counted(self) -> int:
        """How many items the times are of."""
        return sum(self.sizes.values())


@dataclass(frozen=True)
class PairTimes:
    """What is known of the time of a metric's pairs, at one or several sizes; nothing, and why."""

    timings: Sequence[Timing]
    origin: Origin
    note: str = ""

    def seconds(self, size: Size) -> float:
        """Return the seconds of a pair of that size, by pixels from the nearest known size."""
        pixels = math.prod(size)
        near = min(self.timings, key=lambda one: abs(math.log(one.size**2 / pixels)))
        return near.ms / 1000 * pixels / near.size**2


@dataclass(frozen=True)
class MissingFile:
    """A file of weights that an evaluation would fetch first, and the metrics that need it."""

    name: str
    megabytes: float | None
    metrics: list[str]


@dataclass
class CostEstimate:
    """What an evaluation would take: seconds by metric and dataset, NaN where nobody knows.

    ``together`` is by dataset, of all metrics whose time is known: where those with the same
    weights share one pass of the network, and where none do.
    """

    workloads: list[Workload]
    seconds: dict[str, dict[str, float]] = field(default_factory=dict)
    together: dict[str, tuple[float, float]] = field(default_factory=dict)
    times: dict[str, PairTimes] = field(default_factory=dict)
    elsewhere: Machine | None = None  # whose times are those of origin "elsewhere"
    missing: list[MissingFile] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)


def workload(
    manifest: Manifest, pack: Pack | None, subset: Subset, limits: BatchLimits
) -> Workload:
    """Return what a dataset asks of every metric: from its pack, or from its manifest."""
    protocol = PROTOCOLS[manifest.protocol]
    pairs, roles = len(protocol.pairs), len(protocol.roles)
    if pack is None:
        most = math.inf if subset.limit is None else subset.limit
        items = int(sum(min(count, most) for count in manifest.sub_datasets.values())) or None
        side = manifest.enlarged.patch if manifest.enlarged else manifest.size
        count = items or _SOME
        sizes = {(side, side): count} if side else {}
        gigabytes = manifest.source.gigabytes if manifest.source else None
        passes = count * roles
        return Workload(manifest.name, items, pairs, passes, sizes, gigabytes=gigabytes)
    chosen = subset.index(pack)
    batches = plan(pack, chosen, limits)
    counts = np.bincount(pack.size[chosen], minlength=len(pack.sizes))
    return Workload(
        manifest.name,
        len(chosen),
        pairs,
        passes=sum(len(batch.images) for batch in batches),
        sizes={size: int(n) for size, n in zip(pack.sizes, counts, strict=True) if n},
        batches=len(batches),
        images=len({(batch.size, int(image)) for batch in batches for image in batch.images}),
    )


def estimate_cost(
    metrics: Sequence[Metric],
    workloads: list[Workload],
    here: Machine,
    device: torch.device,
    results: Path,
) -> CostEstimate:
    """Return what an evaluation of the metrics would take on ``device`` of the machine ``here``.

    Times that were recorded are read in the folder ``results``. Raises PmbenchError where their
    file is damaged.
    """
    estimate = CostEstimate(workloads, missing=_missing_files(metrics))
    own, others, estimate.elsewhere = recorded_times({m.name for m in metrics}, here, results)
    sizes = Counter[Size]()
    for one in workloads:
        sizes.update(one.sizes)
    usual = sizes.most_common(1)[0][0] if sizes else (64, 64)
    end = time.perf_counter() + _PROBING
    networks = {metric.family for metric in metrics if metric.weights}

    def later(metric: Metric) -> tuple[bool, bool]:
        return metric.name in others, metric.family in networks  # which take long to load

    for metric in sorted(metrics, key=later):
        name, why = metric.name, _why_not_probed(metric, usual)
        origin: Origin = "elsewhere" if name in others else "unknown"
        times = PairTimes(others.get(name, ()), origin, why or _NO_TIME)
        if name in own:
            times = PairTimes(own[name], "recorded")
        elif sizes and all(metric.undefined_on(*size) for size in sizes):
            times = PairTimes((), "undefined", why)
        elif not why and time.perf_counter() < end:
            timing = _probe(metric, usual, here.precision, device)
            if timing.status == "failed":
                estimate.failures[name] = timing.note
                continue
            times = PairTimes([timing], "probed") if timing.status == "measured" else times
        estimate.times[name] = times
    done = [metric for metric in metrics if metric.name in estimate.times]
    for metric in done:
        estimate.seconds[metric.name] = {
            work.dataset: _seconds(metric, estimate.times[metric.name], work) for work in workloads
        }
    for one in workloads:
        estimate.together[one.dataset] = _together(done, estimate.seconds, one.dataset)
    return estimate


@dataclass(frozen=True)
class SpeedEstimate:
    """What ``pmbench speed`` would take, and how many metrics' times are not of this machine."""

    seconds: float
    elsewhere: int
    unknown: int


def estimate_speed(
    metrics: Sequence[Metric], trial: Trial, here: Machine, results: Path
) -> SpeedEstimate:
    """Return about what it takes to measure the cells of a trial with each of the metrics.

    One whose time is not known counts with all the seconds that it may have.
    """
    own, others, _ = recorded_times({metric.name for metric in metrics}, here, results)
    seconds = 0.0
    for metric in metrics:
        known = own.get(metric.name) or others.get(metric.name)
        seconds += _LOADING + sum(_cell_seconds(cell, trial, known) for cell in trial.cells)
    names = [metric.name for metric in metrics if metric.name not in own]
    elsewhere = sum(name in others for name in names)
    return SpeedEstimate(seconds, elsewhere, len(names) - elsewhere)


def _cell_seconds(cell: Cell, trial: Trial, known: Sequence[Timing] | None) -> float:
    if not known:
        return trial.seconds
    pair = PairTimes(known, "recorded").seconds((cell.size, cell.size))
    call = pair * trial.pairs(cell.size) * (_GRADIENT if cell.direction == BACKWARD else 1)
    return min(max(call, trial.seconds), (TURNS + 2) * max(call, SHORTEST))


def recorded_times(
    metrics: set[str], here: Machine, results: Path
) -> tuple[dict[str, list[Timing]], dict[str, list[Timing]], Machine | None]:
    """Return the forward times of metrics on this machine, and on another one, which it names.

    Those on this machine are in ``results``. The other one is of the same kind of device and
    precision, and knows most of the metrics.
    """
    measured = timings.read(results)
    on_this_machine = _forward_times(measured.pop(here, []), metrics)
    times: dict[Machine, dict[str, list[Timing]]] = {}
    for speeds in (measured, timings.read(paths.DATA)):
        for machine, some in speeds.items():
            for name, more in _forward_times(some, metrics).items():
                times.setdefault(machine, {}).setdefault(name, []).extend(more)
    kind = (here.device, here.precision)
    alike = [machine for machine in times if (machine.device, machine.precision) == kind]
    elsewhere = max(alike, key=lambda one: (len(times[one]), one == here), default=None)
    return on_this_machine, times[elsewhere] if elsewhere else {}, elsewhere


def _forward_times(some: Iterable[Timing], metrics: set[str]) -> dict[str, list[Timing]]:
    times: dict[str, list[Timing]] = {}
    for one in some:
        if (one.status, one.direction) == ("measured", FORWARD) and one.metric in metrics:
            times.setdefault(one.metric, []).append(one)
    return times


def _why_not_probed(metric: Metric, size: Size) -> str:
    """Return why a metric cannot be tried without fetching anything, "" where it can."""
    if metric.extra in _FETCHING:
        return f"not tried, since {metric.extra} fetches weights by itself"
    if (why := metric.undefined_on(*size)) is not None:
        return why
    absent = any(weights.find(name) is None for name in metric.weights)
    return "not tried, since its weights are not here" if absent else ""


def _probe(metric: Metric, size: Size, precision: str, device: torch.device) -> Timing:
    """Return the time of a few pairs of about that size, in this process."""
    side = min(_SIDE, round(math.sqrt(math.prod(size))))
    trial = Trial(
        metric.address or metric.name, (Cell(side, FORWARD),), str(device), precision,
        seconds=0.2, pixels=_PIXELS,
    )  # fmt: skip
    with redirect_stdout(sys.stderr):  # foreign code may print
        (timing,) = run(trial)
    return timing


def _seconds(metric: Metric, times: PairTimes, work: Workload) -> float:
    """Return how long a metric takes alone, 0 where it is not defined; NaN: nobody knows."""
    defined = {size: n for size, n in work.sizes.items() if metric.undefined_on(*size) is None}
    if work.sizes and not defined:
        return 0.0
    if not defined or not times.timings:
        return math.nan
    seconds = sum(n * work.pairs * times.seconds(size) for size, n in defined.items())
    if metric.weights:  # a network sees an image once, however many pairs it is in
        seconds *= work.passes / (2 * work.counted * work.pairs)
    return seconds


def _together(
    metrics: Iterable[Metric], seconds: Mapping[str, Mapping[str, float]], dataset: str
) -> tuple[float, float]:
    """Return the seconds of all metrics, with one pass for those of the same weights, and without.

    A pass takes no longer than the quickest of them. NaN where no metric's time is known.
    """
    networks: dict[str, list[float]] = {}
    for metric in metrics:
        if not math.isnan(one := seconds[metric.name][dataset]):
            networks.setdefault(next(iter(metric.weights), metric.name), []).append(one)
    alone = sum(map(sum, networks.values())) if networks else math.nan
    return alone - sum(min(some) * (len(some) - 1) for some in networks.values()), alone


def _missing_files(metrics: Iterable[Metric]) -> list[MissingFile]:
    """Return the files of weights that are not here, each once."""
    missing: dict[str, list[str]] = {}
    for metric in metrics:
        for name in metric.weights:
            if weights.find(name) is None:
                missing.setdefault(name, []).append(metric.name)
    return [
        MissingFile(name, weight_files()[name].megabytes, some) for name, some in missing.items()
    ]
