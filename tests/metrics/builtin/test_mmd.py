"""Maximum mean discrepancies of patches against their definition, in NumPy in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from support.patches import CPU, Array, as_signed, patches_of, pictures, windows_of
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pmbench.metrics import registered
from pmbench.metrics.builtin.mmd import Mmd, RandomFeatures, patch_rbf
from pmbench.metrics.images import Images

SIZES = [(64, 64), (96, 80), (67, 53)]


# --- patches where they stand ---------------------------------------------------------------------


@pytest.mark.parametrize(("row", "column", "covers"), [(2, 2, 9), (0, 0, 4), (0, 2, 6)])
def test_one_changed_pixel_is_in_the_patches_around_it(row: int, column: int, covers: int) -> None:
    x = torch.full((1, 3, 5, 5), 0.5)
    y = x.clone()
    y[0, 1, row, column] += 0.25  # 0.5 on [-1, 1]; sigma = 0.1·3²
    expected = covers / 25 * (1 - math.exp(-(0.5**2) / (2 * 0.9**2)))
    value = float(patch_rbf(Images(x), Images(y), 3, 0.1))
    assert value == pytest.approx(expected, rel=2e-6)  # 1 - exp(-0.15) in float32


@pytest.mark.parametrize(("p", "s"), [(3, 0.1), (11, 0.02)])
def test_patch_rbf_is_its_formula(p: int, s: float) -> None:
    x, y = pictures(2, 15, 9), pictures(2, 15, 9, seed=1)
    around = ((0, 0), (p // 2, p // 2), (p // 2, p // 2))
    expected = []
    for a, b in zip(x, y, strict=True):
        difference = patches_of(np.pad(as_signed(a) - as_signed(b), around), p)
        squared = (difference**2).sum(axis=-1)
        expected.append((1 - np.exp(-squared / (2 * (s * p**2) ** 2))).mean())
    value = registered()[f"patch-rbf-{p}"].load(CPU)(Images(x), Images(y))
    # float32 sums of at most 3·121 squares
    np.testing.assert_allclose(value.numpy(), expected, rtol=1e-6)


# --- maximum mean discrepancy ---------------------------------------------------------------------


def by_window(picture: Array) -> list[Array]:
    """Return the 3×3 patches at each pixel of every window, beyond the border reflected."""
    patches = patches_of(np.pad(picture, ((0, 0), (1, 1), (1, 1)), mode="reflect"), 3)
    return [patches[place].reshape(-1, 27) for place in windows_of(*picture.shape[1:])]


def kernel_mean(a: Array, b: Array, sigma: float) -> float:
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return float(np.exp(-squared / (2 * sigma**2)).mean())


def half_mmd_squared(x: Array, y: Array, sigma: float) -> float:
    """Return ½·MMD² (with all pairs, a patch with itself too), averaged over the windows."""
    values = [
        kernel_mean(a, a, sigma) + kernel_mean(b, b, sigma) - 2 * kernel_mean(a, b, sigma)
        for a, b in zip(by_window(x), by_window(y), strict=True)
    ]
    return float(np.mean(values)) / 2


def deviation_of_one_feature(x: Array, y: Array, sigma: float, draws: int) -> float:
    """Return the standard deviation of the distance that a single random feature gives."""
    generator = np.random.default_rng(12345)
    w, b = generator.standard_normal((27, draws)) / sigma, generator.random(draws) * 2 * np.pi
    squared = [
        (np.cos(p @ w + b).mean(axis=0) - np.cos(q @ w + b).mean(axis=0)) ** 2
        for p, q in zip(by_window(x), by_window(y), strict=True)
    ]
    return float(np.mean(squared, axis=0).std())


DRAWS = 32  # for each number of features; the recipe draws anew for every r
NUMBERS = (8, 32, 128, 512, 2048)


def test_mmd_converges_to_the_exact_kernel_at_the_rate_of_theory() -> None:
    """Each random feature gives an unbiased estimate of ½·MMD², so r of them have sd₁/√r."""
    x, y = pictures(1, 48, 64), pictures(1, 48, 64, seed=1)
    y = (x + 0.35 * (y - x)).clamp(0, 1)
    s, sigma = 0.06, 0.06 * 3**2
    exact = half_mmd_squared(as_signed(x[0]), as_signed(y[0]), sigma)
    sd = deviation_of_one_feature(as_signed(x[0]), as_signed(y[0]), sigma, draws=4000)
    r = np.array([[number + i for i in range(DRAWS)] for number in NUMBERS])

    def estimate(number: int) -> float:
        return float(Mmd(RandomFeatures(3, s, number, centred=False))(Images(x), Images(y)))

    with torch.inference_mode():
        error = np.vectorize(estimate)(r) - exact
    units = error * np.sqrt(r) / sd
    n = units.size
    assert sd > exact / 2  # the random features do scatter: there is something to converge
    # unbiased: the mean over all features ever drawn, within 4 deviations, here and below
    resolution = 4 * sd / np.sqrt(r.sum())
    assert abs((error * r).sum() / r.sum()) < resolution < 0.012 * exact
    # the variance of n normal units scatters by √(2/n), that of an rms by half of it; those of few
    # features have heavier tails, and sd itself is known to 2 %
    assert abs(np.sqrt((units**2).mean()) - 1) < 4 * np.sqrt(1 / (2 * n)) + 0.02
    # slope: each log rms scatters by 1/√(2·DRAWS) = 0.125. A mean square over neighbouring r
    # stands for their harmonic mean
    log_rms = np.log((error**2).mean(axis=1)) / 2
    log_r = -np.log((1 / r).mean(axis=1))
    slope = np.polyfit(log_r, log_rms, 1)[0]
    scatter = 1 / np.sqrt(2 * DRAWS) / np.sqrt(((log_r - log_r.mean()) ** 2).sum())
    assert scatter < 0.035  # narrow enough to tell -1/2 from -1/3 and -2/3
    assert abs(slope + 0.5) < 4 * scatter


def plain(features: RandomFeatures, pixels: Tensor) -> Tensor:
    """Return the pooled features by a convolution of whole images."""
    filters, phases = features.get_buffer("filters"), features.get_buffer("phases")
    padded = F.pad(2 * pixels - 1, (filters.shape[-1] // 2,) * 4, mode="reflect")
    return F.avg_pool2d(F.conv2d(padded, filters, phases).cos(), 32, stride=16)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("patch", "r"), [(3, 512), (5, 100)])
def test_features_in_blocks_are_those_of_a_convolution_and_so_are_gradients(
    size: tuple[int, int], patch: int, r: int
) -> None:
    features = RandomFeatures(patch, 0.06, r, centred=True)
    found = []
    for compute in (features, lambda pixels: plain(features, pixels)):
        pixels = pictures(2, *size).requires_grad_()
        pooled = compute(pixels)
        weigh = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(3))
        (pooled * weigh).sum().backward()
        found.append((pooled.detach(), pixels.grad))
    (blocks, their_gradient), (whole, gradient) = found
    # cosines of angles up to 20, which float32 knows to 2e-6
    torch.testing.assert_close(blocks, whole, rtol=0, atol=2e-6)
    assert gradient is not None
    assert their_gradient is not None
    # sums of r features in 9 places and more, each known to 2e-6
    torch.testing.assert_close(
        their_gradient, gradient, rtol=0, atol=2e-5 * float(gradient.abs().max())
    )


class Largest(TorchDispatchMode):
    """Notes how many elements the largest tensor has that any operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(  # type: ignore[override]
        self,
        func: Callable[..., Any],
        types: object,
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        returned = func(*args, **(kwargs or {}))
        made = [leaf.numel() for leaf in tree_leaves(returned) if isinstance(leaf, Tensor)]
        self.elements = max(self.elements, *made, 0)
        return returned


@pytest.mark.parametrize("gradient", [False, True], ids=["measured", "trained with"])
def test_no_map_of_all_features_at_every_pixel_is_ever_made(gradient: bool) -> None:
    features = RandomFeatures(3, 0.06, 512, centred=False)

    def largest(compute: Callable[[Tensor], Tensor]) -> int:
        pixels = pictures(4, 64, 64).requires_grad_(gradient)
        with Largest() as noted, torch.inference_mode(not gradient):
            pooled = compute(pixels)
            if gradient:
                pooled.sum().backward()
        return noted.elements

    one_image = 512 * 64 * 64
    assert largest(lambda pixels: plain(features, pixels)) >= 4 * one_image  # it would be noted
    assert largest(features) <= one_image / 4


def test_only_centred_filters_are_blind_to_flat_colour() -> None:
    # beyond the border the image is reflected, so nothing but the colour changes
    x = 0.5 * pictures(1, 64, 64)
    y = x + torch.tensor([0.3, 0.1, 0.2]).view(3, 1, 1)
    centred, other = (
        float(Mmd(RandomFeatures(3, 0.06, 512, centred))(Images(x), Images(y)))
        for centred in (True, False)
    )
    assert centred < 1e-11  # squares of features' rounding, 1e-6
    assert other > 1e-2
