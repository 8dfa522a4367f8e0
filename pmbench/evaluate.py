"""Metrics × pack -> distances: the only loop over data.

``measure`` is the loop. Around it: moving batches to the device, letting go of features that no
metric will ask for any more, and checking what comes back.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Protocol as Interface

import numpy as np
import torch
from numpy.typing import NDArray

from pmbench.batches import Batch
from pmbench.errors import PmbenchError, told
from pmbench.images import Images
from pmbench.loading import Loaded, by_trunk, wrong_output
from pmbench.metrics import Metric
from pmbench.pack import Pack
from pmbench.protocols import Protocol


class Sink(Interface):
    """Where distances go, batch by batch."""

    def waiting(self, number: int) -> list[Loaded]:
        """Return the metrics that batch ``number`` has still to be measured with."""

    def put(self, number: int, results: dict[str, Result | PmbenchError]) -> None:
        """Take the results of one batch, by metric name."""


@dataclass(frozen=True)
class Result:
    """One metric on one batch: distances (items, pairs), and the seconds it would take alone."""

    distances: NDArray[np.float64]
    seconds: float


def measure(
    pack: Pack, protocol: Protocol, batches: Iterable[Batch], device: torch.device, sink: Sink
) -> None:
    """Measure every batch with every metric that waits for it, and hand the results on."""
    # foreign code may print, and stdout is for results
    with torch.inference_mode(), redirect_stdout(sys.stderr):
        for number, batch in enumerate(batches):
            metrics = by_trunk(sink.waiting(number))
            if metrics:
                images = on_device(pack, protocol, batch, device)
                anyone = images[protocol.roles[0]]
                anyone.mended()
                results = {}
                for i, metric in enumerate(metrics):
                    result = _attempt(metric, images, protocol, pack, batch)
                    results[metric.metric.name] = _harmful(metric) if anyone.mended() else result
                    still_asked = {module for later in metrics[i + 1 :] for module in later.modules}
                    anyone.let_go(set(metric.modules) - still_asked)
                sink.put(number, results)


def _harmful(loaded: Loaded) -> PmbenchError:
    return PmbenchError(
        f"{loaded.metric.name}: changes its input images, which are other metrics' too; "
        "let it compute on x.pixels.clone()"
    )


def on_device(
    pack: Pack, protocol: Protocol, batch: Batch, device: torch.device
) -> dict[str, Images]:
    """Return the images of a batch by role; they share one ``Images``, each image once."""
    stored = torch.from_numpy(pack.images(batch.size, batch.images)).to(device)
    everything = Images(stored.permute(0, 3, 1, 2).to(torch.float32) / 255)
    places = torch.from_numpy(batch.place).to(device)
    return {role: everything.pick(places[:, i]) for i, role in enumerate(protocol.roles)}


def _attempt(
    loaded: Loaded, images: dict[str, Images], protocol: Protocol, pack: Pack, batch: Batch
) -> Result | PmbenchError:
    """Return one metric's distances, or what is wrong with them: it must not stop the others."""
    metric = loaded.metric
    if metric.undefined_on(*pack.sizes[batch.size]):
        return Result(np.full((len(batch.items), len(protocol.pairs)), np.nan), 0.0)
    anyone = images[protocol.roles[0]]
    anyone.open_account()
    start = time.perf_counter()
    rows: list[NDArray[np.float64]] = []
    ids = [str(pack.items.id[item]) for item in batch.items]
    try:
        for portion in _portions(metric, images):
            theirs = [ids.pop(0) for _ in range(len(portion[protocol.roles[0]]))]
            rows.append(
                np.stack([_column(loaded, portion, pair, theirs) for pair in protocol.pairs], 1)
            )
    except PmbenchError as error:
        return error
    alone = time.perf_counter() - start + anyone.seconds_saved
    return Result(np.concatenate(rows), alone)


def _portions(metric: Metric, images: dict[str, Images]) -> Iterator[dict[str, Images]]:
    """Yield the items of a batch, all at once or as few at a time as the metric asks for."""
    if metric.pixels_at_once is None:
        yield images
        return
    n, _, height, width = next(iter(images.values())).pixels.shape
    size = metric.portion(height, width, n)
    for start in range(0, n, size):
        part = slice(start, start + size)
        yield {role: Images(its.pixels[part]) for role, its in images.items()}


def _column(
    loaded: Loaded, images: dict[str, Images], pair: tuple[str, str], ids: list[str]
) -> NDArray[np.float64]:
    """Return the distances (n,) of one pair of roles. Raises PmbenchError where they are none."""
    name = loaded.metric.name
    try:
        value = loaded.distance(images[pair[0]], images[pair[1]])
    except PmbenchError as error:
        raise PmbenchError(f"{name}: {error}") from error
    except (Exception, SystemExit) as error:  # a metric is foreign code and fails alone
        raise PmbenchError(f"{name} failed on the batch of item {ids[0]}: {told(error)}") from error
    if (wrong := wrong_output(value, len(ids))) is not None:
        raise PmbenchError(f"{name}: {wrong}")
    column: NDArray[np.float64] = value.detach().cpu().double().numpy()
    if len(bad := np.flatnonzero(~np.isfinite(column))):
        raise PmbenchError(
            f"{name}: the distance of {pair[0]} and {pair[1]} of item {ids[bad[0]]} is "
            f"{column[bad[0]]}; expected a finite number; mend the metric, or say in its "
            "`min_size` where it is not defined"
        )
    return -column if loaded.metric.higher_is_better else column
