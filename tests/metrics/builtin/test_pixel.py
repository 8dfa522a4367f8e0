"""Differences between edges, by hand and by the formulas written out in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from pmbench.metrics.builtin.pixel import grad, grad_rgb, lap1
from pmbench.metrics.images import Images

Array = NDArray[np.float64]


def changed(
    height: int, width: int, *changes: tuple[int, int, int, float]
) -> tuple[Images, Images]:
    """Return a grey image and the same with (channel, row, column) changed by some value."""
    x = torch.full((1, 3, height, width), 0.5)
    y = x.clone()
    for channel, row, column, value in changes:
        y[0, channel, row, column] += value
    return Images(x), Images(y)


def pictures(n: int, height: int, width: int, seed: int) -> Tensor:
    return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # 0.75 in one channel is 0.5 of grey on [-1, 1], and two edges of four times three, each way
        ([(0, 1, 1, 0.75)], 2 * 0.5 / 12),
        ([(0, 1, 1, 0.75), (2, 1, 1, -0.75)], 0.0),  # grey stays
        ([(1, 0, 0, 0.75)], 0.5 / 12),  # in the corner one edge each way
        ([(1, 0, 1, 0.75)], (2 * 0.5 / 12 + 0.5 / 12) / 2),  # at the top two across, one down
        ([(1, row, 0, 0.75) for row in range(4)], (4 * 0.5 / 12 + 0) / 2),  # a line: across only
        ([(1, row, column, 0.25) for row in range(4) for column in range(4)], 0.0),  # flat
    ],
)
def test_grey_gradients_by_hand(
    changes: list[tuple[int, int, int, float]], expected: float
) -> None:
    # grey is a mean of three, which rounds by 1e-7
    assert float(grad(*changed(4, 4, *changes))) == pytest.approx(expected, abs=1e-7)


def test_gradients_are_averaged_over_each_direction_apart() -> None:
    # of 2×5 pixels 8 edges are across and 5 down; a corner has one of each
    assert float(grad(*changed(2, 5, (0, 0, 0, 0.75)))) == pytest.approx(
        (0.5 / 8 + 0.5 / 5) / 2, rel=1e-6
    )


def test_colour_gradients_do_not_cancel() -> None:
    # red and blue by 0.5 on [-1, 1]: four edges of 3·12, each way
    x, y = changed(4, 4, (0, 1, 1, 0.25), (2, 1, 1, -0.25))
    assert float(grad_rgb(x, y)) == pytest.approx(4 * 0.5 / 36, rel=1e-6)


@pytest.mark.parametrize("size", [(2, 2), (5, 9)])
def test_gradients_are_their_formula(size: tuple[int, int]) -> None:
    x, y = pictures(2, *size, seed=0), pictures(2, *size, seed=1)
    for function, grey in ((grad, True), (grad_rgb, False)):
        expected = []
        for a, b in zip(x.double().numpy() * 2 - 1, y.double().numpy() * 2 - 1, strict=True):
            p, q = (v.mean(axis=0, keepdims=True) if grey else v for v in (a, b))
            across = np.abs((p[..., 1:] - p[..., :-1]) - (q[..., 1:] - q[..., :-1])).mean()
            down = np.abs((p[:, 1:] - p[:, :-1]) - (q[:, 1:] - q[:, :-1])).mean()
            expected.append((across + down) / 2)
        # means of some float32 differences
        np.testing.assert_allclose(function(Images(x), Images(y)), expected, rtol=2e-6)


# --- the Laplacian pyramid ------------------------------------------------------------------------


def kernel() -> Array:
    """Return k(i, j) = g(i) + g(j), of sum 1, written out: g = e^{-1}, e^{-1/4}, 1, …"""
    g = [np.exp(-1.0), np.exp(-0.25), 1.0, np.exp(-0.25), np.exp(-1.0)]
    table = np.array([[g[i] + g[j] for j in range(5)] for i in range(5)])
    return table / table.sum()


def blurred(channel: Array) -> Array:
    """Return the weighted mean of the 5×5 around each pixel, the border's value going on."""
    height, width = channel.shape
    k, found = kernel(), np.zeros_like(channel)
    for row in range(height):
        for column in range(width):
            for i in range(5):
                for j in range(5):
                    a = min(max(row + i - 2, 0), height - 1)
                    b = min(max(column + j - 2, 0), width - 1)
                    found[row, column] += k[i, j] * channel[a, b]
    return found


def halved(channel: Array) -> Array:
    height, width = (side // 2 for side in channel.shape)
    return np.array(
        [
            [channel[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean() for j in range(width)]
            for i in range(height)
        ]
    )


def pyramid(channel: Array) -> list[Array]:
    """Return two levels and the rest."""
    levels, rest = [], channel
    for _ in range(2):
        smooth = blurred(rest)
        levels.append(rest - smooth)
        rest = halved(smooth)
    return [*levels, rest]


@pytest.mark.parametrize("size", [(4, 4), (8, 12), (11, 7)])
def test_the_pyramid_is_its_formula(size: tuple[int, int]) -> None:
    """Of each image by itself, as it is defined; only then are the levels compared."""
    x, y = pictures(2, *size, seed=0), pictures(2, *size, seed=1)
    expected = []
    for a, b in zip(x.double().numpy() * 2 - 1, y.double().numpy() * 2 - 1, strict=True):
        by_channel = [
            [4**j * np.abs(p - q).mean() for j, (p, q) in enumerate(zip(*pyramids, strict=True))]
            for pyramids in ((pyramid(c), pyramid(d)) for c, d in zip(a, b, strict=True))
        ]
        expected.append(np.sum(by_channel, axis=1).mean())
    # float32 weighted means of 25 values each
    np.testing.assert_allclose(lap1(Images(x), Images(y)), expected, rtol=2e-6)


def test_a_flat_change_is_in_the_rest_alone() -> None:
    # the border goes on beyond the image, so a flat image stays flat: 4² · 0.5
    x = torch.full((1, 3, 13, 8), 0.5)
    assert float(lap1(Images(x), Images(x + 0.25))) == pytest.approx(16 * 0.5, rel=1e-6)


def test_one_pixel_in_the_middle_is_spread_by_the_kernel() -> None:
    # 20×20, changed by 1 on [-1, 1], 9 pixels from any border: at level 0 the change less its blur,
    # |1 - k| + (1 - k) = 2 - 2k with k the kernel's middle
    x, y = changed(20, 20, *[(channel, 9, 9, 0.5) for channel in range(3)])
    k = 2 / (10 * (1 + 2 * np.exp(-0.25) + 2 * np.exp(-1.0)))
    impulse = np.zeros((20, 20))
    impulse[9, 9] = 1
    level0, level1, rest = pyramid(impulse)
    assert np.abs(level0).sum() == pytest.approx(2 - 2 * k)
    expected = (2 - 2 * k) / 400 + 4 * np.abs(level1).mean() + 16 * np.abs(rest).mean()
    assert float(lap1(x, y)) == pytest.approx(expected, rel=2e-6)
    # what is blurred sums to 1 still, a quarter of that when halved, and then again
    assert rest.sum() == pytest.approx(1 / 16)
