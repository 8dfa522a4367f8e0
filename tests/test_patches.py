"""Distributions of patches against their definitions, evaluated in NumPy in float64."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pmbench.metrics import registered
from pmbench.metrics.builtin import swd as sorting
from pmbench.metrics.builtin.mmd import Mmd, RandomFeatures, patch_rbf
from pmbench.metrics.builtin.swd import (
    SortedProjections,
    deal_and_sort,
    directions,
    sort_rows,
    transport,
)
from pmbench.metrics.images import Images
from pmbench.metrics.threads import spread

CPU = torch.device("cpu")
Array = NDArray[np.float64]
SIZES = [(64, 64), (96, 80), (67, 53)]


def pictures(n: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Return smooth random pictures with some fine detail, in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 4, 4, generator=generator)
    fine = torch.rand(n, 3, height, width, generator=generator)
    return 0.8 * F.interpolate(coarse, (height, width), mode="bilinear") + 0.2 * fine


def as_signed(picture: Tensor) -> Array:
    """Return one picture (3, H, W), on [-1, 1], in float64."""
    return 2 * picture.double().numpy() - 1


def patches_of(picture: Array, p: int) -> Array:
    """Return the p×p×3 patches that lie inside (3, H, W): (H-p+1, W-p+1, 3·p·p)."""
    views = np.lib.stride_tricks.sliding_window_view(picture, (p, p), axis=(1, 2))
    return views.transpose(1, 2, 0, 3, 4).reshape(*views.shape[1:3], -1)


def windows_of(height: int, width: int) -> list[tuple[slice, slice]]:
    """Return the places of the 32×32 windows of stride 16."""
    return [
        (slice(top, top + 32), slice(left, left + 32))
        for top in range(0, height - 31, 16)
        for left in range(0, width - 31, 16)
    ]


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


# --- sliced Wasserstein ---------------------------------------------------------------------------


def drawn(number: int, dimensions: int) -> Array:
    """Return the directions by the recipe: normal, float32, each divided by its deviation."""
    normal = np.random.default_rng(number).standard_normal((number, dimensions))
    normal = normal.astype(np.float32).astype(np.float64)
    return normal / normal.std(axis=1, ddof=1)[:, None]


def swd(x: Array, y: Array, p: int) -> float:
    """Return the mean over directions of the optimal transport between the patches."""
    a, b = (patches_of(picture, p).reshape(-1, 3 * p * p) for picture in (x, y))
    return float(np.mean([wasserstein_distance(a @ d, b @ d) for d in drawn(256, 3 * p * p)]))


@pytest.mark.parametrize("p", [3, 7])
def test_patch_swd_is_the_transport_between_all_patches_on_each_direction(p: int) -> None:
    x, y = pictures(2, 37, 25), pictures(2, 37, 25, seed=1)
    expected = [swd(as_signed(a), as_signed(b), p) for a, b in zip(x, y, strict=True)]
    value = registered()[f"patch-swd-{p}"].load(CPU)(Images(x), Images(y))
    # float32 projections on up to 147 dimensions, rounded to about 1e-6 of their size
    np.testing.assert_allclose(value.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("p", [3, 7])
def test_window_swd_is_the_same_inside_each_window_averaged(p: int) -> None:
    x, y = pictures(2, 50, 64), pictures(2, 50, 64, seed=1)
    assert len(windows_of(50, 64)) == 2 * 3
    expected = [
        np.mean([swd(a[:, *place], b[:, *place], p) for place in windows_of(50, 64)])
        for a, b in zip(map(as_signed, x), map(as_signed, y), strict=True)
    ]
    value = registered()[f"window-swd-{p}"].load(CPU)(Images(x), Images(y))
    np.testing.assert_allclose(value.numpy(), expected, rtol=1e-5)  # as above


def test_the_place_of_a_patch_does_not_matter_but_its_window_does() -> None:
    x, y = torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)
    x[:, :, 8:12, 8:12] = 1
    y[:, :, 40:44, 50:54] = 1
    values = {
        name: float(registered()[name].load(CPU)(Images(x), Images(y)))
        for name in ("patch-swd-3", "window-swd-3")
    }
    assert values["patch-swd-3"] < 1e-6  # rounding: the same patches are projected twice
    assert values["window-swd-3"] > 0.01


@pytest.fixture(params=[1, 4], ids=["one thread", "four threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def noisy_images(rows: int, n: int) -> NDArray[np.float32]:
    """Return rows as an image's values are, row by row: smooth, and some noise."""
    noise = np.random.default_rng(0).standard_normal((rows, n))
    return (np.sin(np.arange(n) / 20) + 0.1 * noise).astype(np.float32)


@pytest.mark.parametrize("n", [513, 1024, 3364, 3844, 4096])
def test_dealt_rows_are_sorted_whatever_is_in_them(n: int) -> None:
    smooth = noisy_images(6, n)
    falling = np.arange(n, 0, -1, dtype=np.float32)
    one_hand = np.where(np.arange(n) % -(-n // 512) == 0, 1, 0).astype(np.float32)  # all it has
    ties, infinite = np.round(smooth[0]), np.where(smooth[1] > 1, np.inf, smooth[1])
    rows = np.stack([*smooth, falling, one_hand, ties, infinite], dtype=np.float32)
    expected = np.sort(rows, axis=-1)
    deal_and_sort(rows)
    np.testing.assert_array_equal(rows, expected)


def test_rows_that_dealing_leaves_out_of_order_are_found() -> None:
    rows = np.random.default_rng(0).permuted(noisy_images(1, 4096).repeat(2, axis=0), axis=1)
    rows[1] = np.arange(4096) % 8 * 1000 + np.arange(4096)  # each hand has numbers of its own
    once = rows.reshape(2, 512, 8).copy()
    once.sort(axis=1)
    assert np.abs(np.argsort(once.reshape(2, -1)[1]) - np.arange(4096)).max() > 256  # out of reach
    expected = np.sort(rows, axis=-1)
    deal_and_sort(rows)
    np.testing.assert_array_equal(rows, expected)


@pytest.mark.parametrize("pays", [False, True], ids=["NumPy's way", "by dealing"])
@pytest.mark.parametrize("n", [1, 600, 1500, 9000])
def test_both_ways_sort_alike(n: int, pays: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorting, "_dealing_pays", lambda: pays)
    monkeypatch.setattr(sorting, "_AT_ONCE", 4000)
    table = noisy_images(8, n + 3)[:, :n]  # with something between the rows
    tables = table.copy().reshape(2, 4, n)
    expected = np.sort(table, axis=-1)
    sort_rows(table)
    np.testing.assert_array_equal(table, expected)
    sort_rows(tables)
    np.testing.assert_array_equal(tables.reshape(8, n), expected)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("windowed", [False, True])
def test_projections_are_the_same_with_and_without_a_gradient(windowed: bool) -> None:
    pixels = pictures(3, 40, 64).mul(8).round() / 8  # ties too
    before = pixels.clone()
    projections = SortedProjections(3, windowed)
    without, with_gradient = projections(pixels), projections(pixels.clone().requires_grad_())
    assert torch.equal(pixels, before)
    assert (without.diff(dim=-1) >= 0).all()
    # float32 sums of 27 products, of other convolutions
    torch.testing.assert_close(without, with_gradient, rtol=0, atol=2e-6)


@pytest.mark.usefixtures("threads")
def test_transport_is_the_same_with_and_without_a_gradient_and_between_equal_sets_zero() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 3, 5, 700, generator=generator)
    along = directions(300, 5)
    without = transport(a, b, along)
    asked = a.clone().requires_grad_()
    with_gradient = transport(asked, b, along)
    torch.testing.assert_close(without, with_gradient, rtol=1e-6, atol=0)
    with_gradient.sum().backward()
    assert asked.grad is not None
    assert asked.grad.abs().max() > 0
    shuffled = a[..., torch.randperm(700, generator=generator)]
    assert transport(a, shuffled, along).max() < 1e-6
    expected = np.mean([wasserstein_distance(a[0].T @ d, b[0].T @ d) for d in along])
    assert float(without[0]) == pytest.approx(expected, rel=1e-5)


# --- threads --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2, 4])
def test_every_part_is_done_once_on_one_thread_each_and_without_autocast(number: int) -> None:
    def part(i: int) -> None:
        modes = (torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"))
        seen.append((i, torch.get_num_threads(), *modes))

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        for inference in (False, True):
            seen: list[tuple[int, int, bool, bool]] = []
            with torch.inference_mode(inference), torch.autocast("cpu"):
                spread(part, 9)
            assert sorted(seen) == [(i, 1, inference, False) for i in range(9)]
            assert torch.get_num_threads() == number
        assert not [
            t for t in threading.enumerate() if t.name.startswith("spread") and not t.daemon
        ]
        with ThreadPoolExecutor(1) as another:  # begins with as many as ever
            assert another.submit(torch.get_num_threads).result() == number
    finally:
        torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_an_error_in_a_part_is_raised() -> None:
    def part(i: int) -> None:
        if i == 5:
            raise ValueError("the sixth")

    with pytest.raises(ValueError, match="the sixth"):
        spread(part, 9)


@pytest.mark.usefixtures("threads")
def test_a_forked_process_has_threads_of_its_own() -> None:
    spread(lambda i: None, 4)
    child = os.fork()
    if not child:
        done: list[int] = []
        spread(done.append, 4)
        os._exit(len(done))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4


def test_directions_are_the_recipe_and_the_same_every_time() -> None:
    first = directions(256, 27)
    assert first.dtype == torch.float32
    np.testing.assert_allclose(first.numpy(), drawn(256, 27), rtol=1e-6)  # rounding of a quotient
    np.testing.assert_allclose(first.double().std(dim=1), 1, rtol=1e-6)
    assert torch.equal(first, directions(256, 27))
    assert not torch.equal(first[:128], directions(128, 27))  # the number is the seed


@pytest.mark.parametrize("windowed", [False, True])
def test_projections_can_be_trained_with_though_directions_were_first_drawn_to_measure(
    windowed: bool,
) -> None:
    with torch.inference_mode():
        directions(256, 27)
    pixels = pictures(1, 32, 40).requires_grad_()
    SortedProjections(3, windowed)(pixels).square().mean().backward()
    assert pixels.grad is not None
    assert pixels.grad.abs().max() > 0
