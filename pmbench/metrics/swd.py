"""Sliced Wasserstein distance between the patches of two images (Rabin et al. 2011).

All patches are projected on random directions; in one dimension the optimal transport between two
sets is found by sorting. ``window-swd-…`` does so in 32×32 windows of stride 16, and averages. As
in PerceptualLossExperiments (Amir & Weiss 2021), on values in [-1, 1]. Differs from the authors'
code: the directions are drawn once, by a recipe that is part of the metric.
"""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pmbench.color import signed
from pmbench.images import Images
from pmbench.metrics import Metric, register

_WINDOW, _STRIDE = 32, 16
_DIRECTIONS = 256


def directions(number: int, dimensions: int) -> Tensor:
    """Return random directions, each divided by its (unbiased) deviation: (number, dimensions).

    Standard normal, from ``numpy.random.default_rng(number)``, float32.
    """
    return torch.tensor(_drawn(number, dimensions))  # a copy: the drawn ones are kept


@functools.cache  # the array, since a tensor made in inference mode could not be trained with
def _drawn(number: int, dimensions: int) -> NDArray[np.float32]:
    drawn = np.random.default_rng(number).standard_normal((number, dimensions)).astype(np.float32)
    scaled: NDArray[np.float32] = drawn / drawn.std(axis=1, ddof=1, keepdims=True)
    return scaled


def rising(values: Tensor) -> Tensor:
    """Return values sorted along the last dimension."""
    if values.requires_grad or values.device.type != "cpu":
        return values.sort(dim=-1).values
    # NumPy sorts with vector instructions and without indices, a part of the rows in each thread
    rows = values.reshape(-1, values.shape[-1]).contiguous().numpy().copy()
    parts = np.array_split(rows, torch.get_num_threads())
    if len(parts) == 1:
        rows.sort(axis=-1)
    else:
        with ThreadPoolExecutor(len(parts)) as pool:
            list(pool.map(lambda part: part.sort(axis=-1), parts))
    return torch.from_numpy(rows).view(values.shape)


class SortedProjections(nn.Module):
    """Pixels -> the projections of their p×p×3 patches, sorted along each direction.

    ``forward`` takes (N, 3, H, W) in [0, 1] and returns (N, windows, directions, patches); without
    ``windowed`` the whole image is the one window.
    """

    def __init__(self, patch: int, windowed: bool) -> None:
        super().__init__()
        drawn = directions(_DIRECTIONS, 3 * patch**2).view(_DIRECTIONS, 3, patch, patch)
        self.register_buffer("directions", drawn)
        self.windowed = windowed

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the sorted projections."""
        filters = self.get_buffer("directions")
        # one image at a time, since its projections are 256 maps of its size
        return torch.cat([self._one(F.conv2d(signed(i), filters)) for i in torch.split(pixels, 1)])

    def _one(self, maps: Tensor) -> Tensor:
        if not self.windowed:
            return rising(maps.flatten(2)).unsqueeze(1)
        # the patches that lie inside a window
        side = _WINDOW - self.get_buffer("directions").shape[-1] + 1
        windows = maps.unfold(2, side, _STRIDE).unfold(3, side, _STRIDE)
        by_window = windows.flatten(2, 3).flatten(3).transpose(1, 2)
        return rising(by_window)


class SlicedWasserstein(nn.Module):
    """Mean over windows, directions and ranks of |difference of the sorted projections|."""

    def __init__(self, projections: SortedProjections) -> None:
        super().__init__()
        self.projections = projections

    def forward(self, x: Images, y: Images) -> Tensor:
        """Return the distances: (N,)."""
        difference: Tensor = x.derive(self.projections) - y.derive(self.projections)
        return difference.abs().mean(dim=(1, 2, 3))


def _register(patch: int, windowed: bool) -> None:
    register(
        Metric(
            name=f"{'window' if windowed else 'patch'}-swd-{patch}",
            load=lambda device: SlicedWasserstein(SortedProjections(patch, windowed)).to(device),
            title=f"sliced Wasserstein distance of {patch}×{patch} patches"
            + ", 32×32 windows" * windowed,
            family="patches",
            paper="Amir, Weiss: Understanding and Simplifying Perceptual Distances, CVPR 2021",
            code="https://github.com/ariel415el/PerceptualLossExperiments",
            min_size=_WINDOW if windowed else patch,
            parameters={"patch": patch, "directions": _DIRECTIONS},
            pixels_at_once=4 * 64 * 64,
        )
    )


for _patch in (3, 7):
    _register(_patch, windowed=False)
    _register(_patch, windowed=True)
