"""Metrics × pack -> distances: the only loop over data.

``measure`` is the loop. Around it: letting go of features that no metric will ask for any more,
halving what does not fit into memory, and checking what comes back.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from itertools import zip_longest

import numpy as np
import torch
from numpy.typing import NDArray

from pmbench.datasets.pack import Pack
from pmbench.evaluation.batching import Batch, halves
from pmbench.evaluation.prefetch import Prefetcher
from pmbench.metrics import Metric
from pmbench.metrics.global_state import preserve_global_state
from pmbench.metrics.images import Images
from pmbench.metrics.loading import LoadedMetric, group_by_backbone, not_finite, to_float64
from pmbench.scoring.protocols import Protocol
from pmbench.utils.errors import PmbenchError, describe
from pmbench.utils.memory import free_memory, is_out_of_memory, keep_freed_memory


@dataclass(frozen=True)
class Result:
    """One metric on one batch: distances (items, pairs), and the seconds it would take alone.

    ``fitting`` is how many items at a time fit into memory, where it was too small for a batch.
    """

    distances: NDArray[np.float64]
    seconds: float
    fitting: int | None = None


BatchResults = dict[str, Result | PmbenchError]


def measure(
    pack: Pack,
    protocol: Protocol,
    batches: Sequence[Batch],
    metrics_for: Callable[[Batch], Sequence[LoadedMetric]],
    device: torch.device,
    *,
    prefetch: bool = True,
) -> Iterator[tuple[Batch, BatchResults]]:
    """Yield each batch with what every metric gives on it, by the metric's name.

    Which metrics a batch is measured with is asked when its turn comes, so that what the caller
    learns from one batch counts for the next: a metric that has failed, or has been there before,
    need not be measured again. Metrics on one backbone share its pass over the images. With
    ``prefetch`` the next batch is read meanwhile. Raises PmbenchError where the images of a batch
    cannot be read; what a metric does wrong is a result.
    """
    keep_freed_memory()
    with Prefetcher(pack, device) as prefetcher:
        loop = _BatchMeasurer(pack, protocol, device, prefetcher)
        for batch, following in zip_longest(batches, batches[1:]):
            # foreign code may print, and stdout is for results
            with torch.inference_mode(), redirect_stdout(sys.stderr):
                metrics = group_by_backbone(metrics_for(batch))
                ahead = following if prefetch else None
                results = loop.results(metrics, batch, ahead) if metrics else {}
            yield batch, results


class _BatchMeasurer:
    """Metrics on one batch after another, and what is known of how much fits into memory."""

    def __init__(
        self, pack: Pack, protocol: Protocol, device: torch.device, prefetcher: Prefetcher
    ) -> None:
        self._pack, self._protocol = pack, protocol
        self._device, self._prefetcher = device, prefetcher
        self._fitting: dict[str, int] = {}  # items, by the names of metrics whose batch did not fit

    def results(
        self, metrics: list[LoadedMetric], batch: Batch, following: Batch | None
    ) -> BatchResults:
        """Return what the metrics give on a batch; where it does not fit, on its halves.

        Those that need halves go through them together, so that they share what is derived.
        """
        n = len(batch.items)
        trying = [m for m in metrics if self._fitting.get(m.metric.name, n) >= n]
        results = self._at_once(trying, batch, following) if trying else {}
        left = [m for m in metrics if m.metric.name not in results]
        if not left:
            return results
        free_memory(self._device)
        if n == 1:
            return results | {m.metric.name: self._too_large(m, batch) for m in left}
        for metric in trying:
            if metric.metric.name not in results:
                self._fitting[metric.metric.name] = (n + 1) // 2
        for name, result in self._in_halves(left, batch).items():
            if isinstance(result, Result):
                result = replace(result, fitting=self._fitting[name])
            results[name] = result
        return results

    def _in_halves(self, metrics: list[LoadedMetric], batch: Batch) -> BatchResults:
        first, second = halves(self._pack, batch)
        one = self.results(metrics, first, None)
        sound = [m for m in metrics if isinstance(one[m.metric.name], Result)]
        other = self.results(sound, second, None) if sound else {}
        return one | {name: _joined(one[name], result) for name, result in other.items()}

    def _at_once(
        self, metrics: list[LoadedMetric], batch: Batch, following: Batch | None
    ) -> BatchResults:
        """Return what the metrics give on a whole batch; those for which it is too large lack."""
        results: BatchResults = {}
        try:
            everything = Images.of_bytes(self._prefetcher.images(batch, following))
            places = torch.from_numpy(batch.place)
            images = {r: everything.pick(places[:, i]) for i, r in enumerate(self._protocol.roles)}
        except Exception as error:
            if is_out_of_memory(error):
                return results
            raise
        for i, metric in enumerate(metrics):
            result = _measure_metric(metric, images, self._protocol, self._pack, batch)
            if everything.restore_if_modified(closely=metric.metric.external):
                result = _input_changed(metric)
            if result is not None:
                results[metric.metric.name] = result
            if metric.metric.external:
                everything.release_requested()
            still_asked = {module for later in metrics[i + 1 :] for module in later.modules}
            everything.release(set(metric.modules) - still_asked)
        return results

    def _too_large(self, loaded: LoadedMetric, batch: Batch) -> PmbenchError:
        height, width = self._pack.sizes[batch.size]
        return PmbenchError(
            f"{loaded.metric.name}: the {len(batch.images)} images of {width}×{height} of item "
            f"{self._pack.items.id[batch.items[0]]} alone do not fit into the memory of the "
            f"{self._device.type}; measure it where there is more, or smaller images (`size` in "
            "the dataset's manifest)"
        )


def _joined(one: Result | PmbenchError, other: Result | PmbenchError) -> Result | PmbenchError:
    """Return the results on two parts as one."""
    if not isinstance(one, Result):
        return one
    if not isinstance(other, Result):
        return other
    distances = np.concatenate([one.distances, other.distances])
    return Result(distances, one.seconds + other.seconds)


def _input_changed(loaded: LoadedMetric) -> PmbenchError:
    return PmbenchError(
        f"{loaded.metric.name}: changes its input images, which are other metrics' too; "
        "let it compute on x.pixels.clone()"
    )


def _measure_metric(
    loaded: LoadedMetric, images: dict[str, Images], protocol: Protocol, pack: Pack, batch: Batch
) -> Result | PmbenchError | None:
    """Return one metric's distances, or what is wrong with them: it must not stop the others.

    None where memory is not enough.
    """
    metric = loaded.metric
    if metric.undefined_on(*pack.sizes[batch.size]):
        return Result(np.full((len(batch.items), len(protocol.pairs)), np.nan), 0.0)
    anyone = images[protocol.roles[0]]
    anyone.start_timing()
    start = time.perf_counter()
    rows: list[NDArray[np.float64]] = []
    ids = [str(pack.items.id[item]) for item in batch.items]
    try:
        for portion in _portions(metric, images):
            item_ids = [ids.pop(0) for _ in range(len(portion[protocol.roles[0]]))]
            rows.append(
                np.stack([_column(loaded, portion, pair, item_ids) for pair in protocol.pairs], 1)
            )
    except PmbenchError as error:
        return error
    except _OutOfMemoryError:
        return None
    seconds = time.perf_counter() - start + anyone.seconds_saved
    return Result(np.concatenate(rows), seconds)


class _OutOfMemoryError(Exception):
    """Memory was not enough for a metric."""


def _portions(metric: Metric, images: dict[str, Images]) -> Iterator[dict[str, Images]]:
    """Yield the items of a batch, all at once or as few at a time as the metric asks for."""
    if metric.pixels_at_once is None:
        yield images
        return
    n, _, height, width = next(iter(images.values())).pixels.shape
    size = metric.portion(height, width, n)
    for start in range(0, n, size):
        part = slice(start, start + size)
        yield {role: Images(whole.pixels[part]) for role, whole in images.items()}


def _column(
    loaded: LoadedMetric, images: dict[str, Images], pair: tuple[str, str], ids: list[str]
) -> NDArray[np.float64]:
    """Return the distances (n,) of one pair of roles. Raises PmbenchError where they are none."""
    name = loaded.metric.name
    try:
        with preserve_global_state():
            column = to_float64(loaded.distance(images[pair[0]], images[pair[1]]), len(ids))
    except PmbenchError as error:
        raise PmbenchError(f"{name}: {error}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a metric is foreign code and fails alone
        if is_out_of_memory(error):
            raise _OutOfMemoryError from error
        what = describe(error)
        hint = "; the pixels of images x are x.pixels, (N, 3, H, W)" * ("'Images'" in what)
        raise PmbenchError(f"{name} failed on the batch of item {ids[0]}: {what}{hint}") from error
    if len(bad := np.flatnonzero(~np.isfinite(column))):
        which = f"distance of {pair[0]} and {pair[1]} of item {ids[bad[0]]}"
        raise not_finite(loaded.metric, which, column[bad[0]])
    return -column if loaded.metric.higher_is_better else column
