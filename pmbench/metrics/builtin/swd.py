"""Sliced Wasserstein distance between the patches of two images (Rabin et al. 2011).

All patches are projected on random directions; in one dimension the optimal transport between two
sets is found by sorting. ``window-swd-…`` does so in 32×32 windows of stride 16, and averages. As
in PerceptualLossExperiments (Amir & Weiss 2021), on values in [-1, 1]. Differs from the authors'
code: the directions are drawn once, by a recipe that is part of the metric.

Sorting takes the time. With AVX-512, NumPy sorts up to 512 numbers by a fixed network of
comparisons, and cuts longer rows by an instruction that some processors (AMD's Zen 4) take very
long for. There, a row is dealt to as many hands as keep each below 512, as cards are, and each hand
is sorted; put together again as it was dealt, the row is nearly sorted, since hands of an image's
values are alike. Two more rounds of short sorts, the second half a length further, mend what is
within their reach. Whether all is sorted is looked at; a row that is not is sorted in the common
way.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pmbench.metrics import Metric, register
from pmbench.metrics.images import Images
from pmbench.metrics.threads import is_plain, spread
from pmbench.utils.color import signed

Rows = NDArray[np.float32]

_SHORT = 512  # the longest row that NumPy's network sorts
_LENGTHS = range(2 * _SHORT + 1, 16 * _SHORT + 1)  # that are worth it: measured on Zen 4
_SORTED_AT_ONCE = 1 << 18  # numbers: 1 MB, a core's cache


def sort_rows(rows: Rows) -> None:
    """Sort each row of a table (rows, n), or of several (tables, rows, n), in place."""
    n = rows.shape[-1]
    if n not in _LENGTHS or rows.dtype != np.float32 or not _dealing_pays():
        rows.sort(axis=-1)
        return
    if rows.ndim > 2:
        for table in rows:
            sort_rows(table)
        return
    some = max(1, _SORTED_AT_ONCE // n)
    for start in range(0, len(rows), some):
        deal_and_sort(rows[start : start + some])


def deal_and_sort(rows: Rows) -> None:
    """Sort each row of a table (rows, n) in place, n > 512, by dealing."""
    count, n = rows.shape
    hands = -(-n // _SHORT)
    padded = -(-n // hands) * hands
    work = rows
    if padded > n or not rows.flags.c_contiguous:
        work = np.full((count, padded), np.inf, np.float32)
        work[:, :n] = rows
    work.reshape(count, -1, hands).sort(axis=1)
    for first in (0, _SHORT // 2):
        for start in range(first, padded, _SHORT):
            work[:, start : start + _SHORT].sort(axis=-1)
    wrong = ~(work[:, 1:] >= work[:, :-1]).all(axis=1)  # also where a number is none
    work[wrong] = np.sort(work[wrong], axis=-1)
    if work is not rows:
        rows[:] = work[:, :n]


@functools.cache
def _dealing_pays() -> bool:
    """Return whether it is the faster way on this machine; both sort alike.

    Tried once, on the values of a smooth image with noise, in about 10 ms.
    """
    y, x = np.mgrid[:64, :64] / 64
    noise = np.random.default_rng(0).standard_normal((16, 64 * 64))
    values = (np.sin(3 * x + 2 * y).ravel() + 0.1 * noise).astype(np.float32)

    def seconds(sort: Callable[[Rows], None]) -> float:
        rows, start = values.copy(), time.perf_counter()
        sort(rows)
        return time.perf_counter() - start

    def whole(rows: Rows) -> None:
        rows.sort(axis=-1)

    common, dealt = (min(seconds(sort) for _ in range(5)) for sort in (whole, deal_and_sort))
    return dealt < 0.8 * common


_WINDOW, _STRIDE = 32, 16
_DIRECTIONS = 256
_AT_ONCE = 64  # directions: those of an image of 64×64 are 1 MB, a core's cache
_NUMBERS = 1 << 16  # projections of a set, or their differences, at a time: ¼ MB


def directions(number: int, dimensions: int) -> Tensor:
    """Return random directions, each divided by its (unbiased) deviation: (number, dimensions).

    Standard normal, from ``numpy.random.default_rng(number)``, float32.
    """
    return torch.tensor(_drawn(number, dimensions))  # a copy: the drawn ones are kept


@functools.cache  # the array, since a tensor made in inference mode could not be trained with
def _drawn(number: int, dimensions: int) -> NDArray[np.float32]:
    return draw_directions(np.random.default_rng(number), number, dimensions)


def draw_directions(
    generator: np.random.Generator, number: int, dimensions: int
) -> NDArray[np.float32]:
    """Return such directions, of any generator."""
    drawn = generator.standard_normal((number, dimensions)).astype(np.float32)
    scaled: NDArray[np.float32] = drawn / drawn.std(axis=1, ddof=1, keepdims=True)
    return scaled


class SortedProjections(nn.Module):
    """Pixels -> the projections of their p×p×3 patches, sorted along each direction.

    ``forward`` takes (N, 3, H, W) in [0, 1] and returns (N, windows, directions, patches); without
    ``windowed`` the whole image is the one window.
    """

    is_random = True

    def __init__(self, patch: int, windowed: bool) -> None:
        super().__init__()
        drawn = directions(_DIRECTIONS, 3 * patch**2).view(_DIRECTIONS, 3, patch, patch)
        self.register_buffer("directions", drawn)
        self.windowed = windowed

    def redraw(self, generator: np.random.Generator) -> None:
        """Draw the directions anew, in place."""
        filters = self.get_buffer("directions")
        drawn = draw_directions(generator, len(filters), filters[0].numel())
        filters.copy_(torch.from_numpy(drawn).view(filters.shape))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the sorted projections."""
        filters = self.get_buffer("directions")
        images = torch.split(signed(pixels), 1)
        if not is_plain(pixels):
            # one image at a time, since its projections are 256 maps of its size
            return torch.stack(
                [self._projected(image, filters).sort(dim=-1).values for image in images]
            )
        projections = pixels.new_empty(len(images), *self._shape(*pixels.shape[2:]))
        parts = list(itertools.product(range(len(images)), range(0, _DIRECTIONS, _AT_ONCE)))

        def project(part: int) -> None:
            i, first = parts[part]
            some = slice(first, first + _AT_ONCE)
            group = projections[i, :, some]
            group.copy_(self._projected(images[i], filters[some]))
            sort_rows(group.numpy())

        spread(project, len(parts))
        return projections

    def _shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Return the numbers of windows, directions and patches of an image."""
        filters = self.get_buffer("directions")
        margin = filters.shape[-1] - 1
        if not self.windowed:
            return 1, len(filters), (height - margin) * (width - margin)
        down, across = ((side - _WINDOW) // _STRIDE + 1 for side in (height, width))
        return down * across, len(filters), (_WINDOW - margin) ** 2

    def _projected(self, image: Tensor, filters: Tensor) -> Tensor:
        """Return the projections of one image (1, 3, H, W): (windows, directions, patches)."""
        maps = F.conv2d(image, filters)[0]
        if not self.windowed:
            return maps.flatten(1).unsqueeze(0)
        # the patches that lie inside a window
        side = _WINDOW - filters.shape[-1] + 1
        windows = maps.unfold(1, side, _STRIDE).unfold(2, side, _STRIDE)
        return windows.permute(1, 2, 0, 3, 4).flatten(0, 1).flatten(2)


def mean_difference(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean of |a - b| over all dimensions but the first: (N,)."""
    if not (is_plain(a) and is_plain(b)):
        return (a - b).abs().flatten(1).mean(dim=1)
    means = a.new_empty(len(a))

    def average(i: int) -> None:
        # some at a time, so that the differences stay in a core's cache
        parts = zip(*(torch.split(values[i].flatten(), _NUMBERS) for values in (a, b)), strict=True)
        means[i] = torch.stack([(p - q).abs_().sum() for p, q in parts]).sum() / a[i].numel()

    spread(average, len(a))
    return means


def transport(a: Tensor, b: Tensor, along: Tensor) -> Tensor:
    """Return the sliced Wasserstein distances of sets of vectors, both (N, C, vectors): (N,).

    The mean over the directions ``along`` (D, C) and ranks of |difference of the projections|.
    """
    if not (is_plain(a) and is_plain(b)):
        # a pair at a time: all projections would be far larger than the sets
        pairs = zip(a, b, strict=True)
        ordered = (((along @ v).sort(dim=-1).values for v in pair) for pair in pairs)
        return torch.stack([(p - q).abs().mean() for p, q in ordered])
    groups = torch.split(along, max(1, _NUMBERS // a.shape[2]))
    sums = a.new_empty(len(a), len(groups))

    def project(part: int) -> None:
        i, group = divmod(part, len(groups))
        p, q = (groups[group] @ values[i] for values in (a, b))
        sort_rows(p.numpy())
        sort_rows(q.numpy())
        sums[i, group] = (p - q).abs_().sum()

    spread(project, sums.numel())
    return sums.sum(dim=1) / (len(along) * a.shape[2])


class SlicedWasserstein(nn.Module):
    """Mean over windows, directions and ranks of |difference of the sorted projections|."""

    def __init__(self, projections: SortedProjections) -> None:
        super().__init__()
        self.projections = projections

    def forward(self, x: Images, y: Images) -> Tensor:
        """Return the distances: (N,)."""
        return mean_difference(x.derive(self.projections), y.derive(self.projections))

    def embed(self, images: Images) -> Tensor:
        """Return the sorted projections, of which this is the L1 distance: (N, D)."""
        vectors: Tensor = images.derive(self.projections).flatten(1)
        return vectors / vectors.shape[1]


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
            pixels_at_once=2 * 64 * 64,
            space="l1",
        )
    )


for _patch in (3, 7):
    _register(_patch, windowed=False)
    _register(_patch, windowed=True)
