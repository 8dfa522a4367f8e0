"""Sliced Wasserstein distances of patches against their definition, in NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance
from support.patches import CPU, Array, as_signed, patches_of, pictures, windows_of

from pmbench.metrics import registered
from pmbench.metrics.builtin import swd as sorting
from pmbench.metrics.builtin.swd import (
    SortedProjections,
    deal_and_sort,
    directions,
    sort_rows,
    transport,
)
from pmbench.metrics.images import Images


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
    monkeypatch.setattr(sorting, "_SORTED_AT_ONCE", 4000)
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
