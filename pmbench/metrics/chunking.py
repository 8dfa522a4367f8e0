"""A few images at a time: what is computed of them is still in the cache when it is read again.

The features of a batch are larger than any cache. An operation that writes what the next one reads
goes to memory and back for it, unless both work on a few images, and then on the next few.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from pmbench.utils.tracking import is_tracked

_ELEMENTS = 1 << 18  # of one tensor: 1 MB, a core's cache

MapDistance = Callable[[Tensor, Tensor], Tensor]  # two (N, C, h, w) -> (N, ...)


def by_blocks(distance: MapDistance, a: Tensor, b: Tensor) -> Tensor:
    """Return ``distance(a, b)``, computed a few images at a time.

    On a GPU, and where a derivative is asked for, of all images at once.
    """
    few = max(1, _ELEMENTS // max(1, a[:1].numel()))
    if a.device.type != "cpu" or len(a) <= few or is_tracked(a, b):
        return distance(a, b)
    pairs = zip(torch.split(a, few), torch.split(b, few), strict=True)
    return torch.cat([distance(p, q) for p, q in pairs])


def blockwise(distance: MapDistance) -> MapDistance:
    """Let a distance be computed a few images at a time."""
    return functools.wraps(distance)(functools.partial(by_blocks, distance))
