"""Other people's metrics on trial: is the distance of a pair a matter of that pair alone?

A few items are measured together, together once more, and each by itself. Where the numbers differ,
a score would depend on chance or on the size of a batch, and could not be had again.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from pmbench.datasets.pack import Pack
from pmbench.evaluation.batching import BatchLimits, plan
from pmbench.evaluation.loop import measure
from pmbench.metrics.loading import LoadedMetric
from pmbench.scoring.protocols import Protocol
from pmbench.utils.devices import network_dtype
from pmbench.utils.errors import PmbenchError

_ITEMS = 3
_SLACK = {torch.float32: 1e-3}  # of the largest distance: what rounding may do
_ROUGH = 5e-2  # the same in fewer bits


def check_determinism(
    loaded: LoadedMetric,
    pack: Pack,
    protocol: Protocol,
    chosen: NDArray[np.int64],
    limits: BatchLimits,
    device: torch.device,
) -> str | None:
    """Return why a metric's distances cannot be trusted, or None where nothing speaks against them.

    ``chosen`` are the items that it will be measured on, in batches within ``limits``. pmbench's
    own metrics are not tried, since tests do that; one that fails on the trial will fail again and
    be told then.
    """
    if not loaded.metric.external:
        return None
    items = chosen[pack.size[chosen] == pack.size[chosen[0]]][:_ITEMS]
    first, second, single = (
        _distances(loaded, pack, protocol, items, batch_limits, device)
        for batch_limits in (limits, limits, BatchLimits(items=1))
    )
    if first is None or second is None or single is None:
        return None
    slack = _SLACK.get(network_dtype(), _ROUGH) * float(np.abs(first).max())
    if (where := _farthest(first, second, slack)) is not None:
        return (
            f"depends on chance: {_named(pack, protocol, items, where)} was "
            f"{first[where]:.6g}, and {second[where]:.6g} the second time; let it draw random "
            "numbers from a generator that is seeded at each call"
        )
    if (where := _farthest(first, single, slack)) is not None:
        return (
            f"depends on what else is in the batch: {_named(pack, protocol, items, where)} was "
            f"{first[where]:.6g} together with others, and {single[where]:.6g} alone; let it treat "
            "each pair by itself"
        )
    return None


def _distances(
    loaded: LoadedMetric,
    pack: Pack,
    protocol: Protocol,
    items: NDArray[np.int64],
    limits: BatchLimits,
    device: torch.device,
) -> NDArray[np.float64] | None:
    """Return the distances (items, pairs), or None where there are none."""
    batches = plan(pack, items, limits)
    rows = []
    for _, results in measure(pack, protocol, batches, lambda batch: [loaded], device):
        result = results[loaded.metric.name]
        if isinstance(result, PmbenchError):
            return None
        rows.append(result.distances)
    order = np.concatenate([batch.items for batch in batches])
    values = np.concatenate(rows)[np.argsort(order)]
    return values if np.isfinite(values).all() else None


def _farthest(
    one: NDArray[np.float64], other: NDArray[np.float64], slack: float
) -> tuple[int, int] | None:
    """Return (item, pair) where they differ most, or None where they are the same but for slack."""
    apart = np.abs(one - other)
    item, pair = np.unravel_index(int(apart.argmax()), apart.shape)
    return (int(item), int(pair)) if apart[item, pair] > slack else None


def _named(pack: Pack, protocol: Protocol, items: NDArray[np.int64], where: tuple[int, int]) -> str:
    item, (one, other) = items[where[0]], protocol.pairs[where[1]]
    return f"the distance of {one} and {other} of item {pack.items.id[item]}"
