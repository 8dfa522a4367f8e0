"""How two maps of features differ: (N, C, h, w) each -> (N,).

Place by place (``l1``, ``l2``), or as distributions of the positions' vectors: Gram matrices
(Gatys et al. 2015), their diagonals, correlations, sliced Wasserstein, or the contextual loss
(Mechrez, Talmi, Zelnik-Manor 2018, equations 2 to 5: how well every position of one map finds one
of its kind in the other, wherever it is).

Differs from the code of Amir & Weiss (PerceptualLossExperiments): the contextual loss centres
features by the one image, not by all images of a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.functional import normalize

from pmbench.metrics.builtin.swd import directions, draw_directions, transport
from pmbench.metrics.chunking import MapDistance, blockwise
from pmbench.utils.color import precise

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


@blockwise
def l1(a: Tensor, b: Tensor) -> Tensor:
    """Return mean |a - b| of maps (N, C, h, w): (N,)."""
    return F.l1_loss(a, b, reduction="none").mean(dim=(1, 2, 3))


@blockwise
def l2(a: Tensor, b: Tensor) -> Tensor:
    """Return mean (a - b)² of maps (N, C, h, w): (N,)."""
    return F.mse_loss(a, b, reduction="none").mean(dim=(1, 2, 3))


@blockwise
def gram(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean squared difference of the Gram matrices F·Fᵀ / (h·w): (N,)."""
    return (_gram_matrix(a) - _gram_matrix(b)).square().mean(dim=(1, 2))


def _gram_matrix(maps: Tensor) -> Tensor:
    columns = maps.flatten(2)
    return columns @ columns.transpose(1, 2) / columns.shape[2]


@blockwise
def gram_trace(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean squared difference of the Gram matrices' diagonals: (N,)."""
    return (_powers(a) - _powers(b)).square().mean(dim=1)


def _powers(maps: Tensor) -> Tensor:
    return maps.square().mean(dim=(2, 3))


@blockwise
def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean squared difference of the channels' correlations over positions: (N,)."""
    return (_correlations(a) - _correlations(b)).square().mean(dim=(1, 2))


def _correlations(maps: Tensor) -> Tensor:
    """Return Pearson's correlation of any two channels, 0 with one that is constant: (N, C, C)."""
    columns = maps.flatten(2)
    centred = columns - columns.mean(dim=2, keepdim=True)
    unit = normalize(centred, dim=2)
    return unit @ unit.transpose(1, 2)


class SlicedWassersteinOfMaps(nn.Module):
    """Mean |difference of sorted projections| of the positions' vectors, on 5·C directions."""

    is_random = True
    seed: int | None = None

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the distances of maps (N, C, h, w): (N,)."""
        number, channels = 5 * a.shape[1], a.shape[1]
        along = directions(number, channels)
        if self.seed is not None:
            generator = np.random.default_rng((self.seed, channels))
            along = torch.from_numpy(draw_directions(generator, number, channels))
        return transport(a.flatten(2), b.flatten(2), along.to(a))

    def redraw(self, generator: np.random.Generator) -> None:
        """Draw the directions anew."""
        self.seed = int(generator.integers(1 << 62))


@dataclass(frozen=True)
class MapComparison:
    """A distance of two maps, and what is known of it.

    Where it is a mean of |Δ| or Δ², ``space`` says which and ``describe`` gives what Δ is of;
    where that is a mean over places, ``difference`` gives it at each of them.
    """

    distance: MapDistance
    space: Literal["", "l1", "l2"] = ""
    describe: Callable[[Tensor], Tensor] | None = None
    difference: Callable[..., Tensor] | None = None
    symmetric: bool = True


def _itself(maps: Tensor) -> Tensor:
    return maps


# by their names in addresses
COMPARISONS = {
    "l1": MapComparison(l1, "l1", _itself, F.l1_loss),
    "l2": MapComparison(l2, "l2", _itself, F.mse_loss),
    "gram": MapComparison(gram, "l2", _gram_matrix),
    "gram-trace": MapComparison(gram_trace, "l2", _powers),
    "corr": MapComparison(correlation, "l2", _correlations),
    "swd": MapComparison(SlicedWassersteinOfMaps()),
    "cx": MapComparison(contextual, symmetric=False),
}
