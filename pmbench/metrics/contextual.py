"""The contextual loss: Mechrez, Talmi, Zelnik-Manor 2018, equations 2 to 5.

How well every position of one map of features finds one of its kind in another, wherever it is.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pmbench.color import precise

_BANDWIDTH = 0.5
_EPSILON = 1e-5
_AT_ONCE = 1 << 18  # elements of the matrix of positions: 2 MB, which stay in the cache


def contextual(x: Tensor, y: Tensor) -> Tensor:
    """Return -log CX(x, y) of maps (N, C, h, w): (N,), float32; computed in float64.

    A pair and some rows at a time, since its matrix has (h·w)² elements. Centred by the mean of y
    over its positions, of the one image.
    """
    pairs = zip(x.flatten(2), y.flatten(2), strict=True)
    return torch.stack([_one(precise(a), precise(b)) for a, b in pairs]).to(torch.float32)


def _one(x: Tensor, y: Tensor) -> Tensor:
    """Return -log CX of two (C, positions)."""
    centre = y.mean(dim=1, keepdim=True)
    x, y = (normalize(values - centre, dim=0) for values in (x, y))
    rows = max(1, (_AT_ONCE if y.device.type == "cpu" else 64 * _AT_ONCE) // y.shape[1])
    best = [_affinity(some.t() @ y).amax(dim=0) for some in torch.split(x, rows, dim=1)]
    return -torch.log(torch.stack(best).amax(dim=0).mean() + _EPSILON)


def _affinity(cosine: Tensor) -> Tensor:
    """Return how much each position of x prefers each of y, of sum 1 over y: (some of x, all y)."""
    distance = 1 - cosine
    relative = distance / (distance.amin(dim=1, keepdim=True) + _EPSILON)
    # exp((1 - d̃) / h) over its sum: the 1 cancels, and the smallest d̃ is at most 1
    return torch.softmax(-relative / _BANDWIDTH, dim=1)
