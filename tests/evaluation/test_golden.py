"""Every metric against its authors' own code, on real images with real weights.

The numbers in ``golden/bapps_sample.json`` were made by the authors' code; nothing here compares
pmbench with itself. Which metric must give which numbers, and how closely, stands in
``pmbench.evaluation.reference_values``. Images and weights are read from the reference material.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.golden import GOLDEN
from support.sample import sample_pixels
from torch import nn
from torch.nn import functional as F

from pmbench.evaluation import reference_values
from pmbench.metrics import registered
from pmbench.metrics.images import Images
from pmbench.utils.devices import use_exact_arithmetic

SLOW = {"vgg-loss-cx": 8}  # 0.35 s a pair: so many triplets in the default run

Triplets = tuple[Images, Images, Images]


@pytest.fixture(scope="module")
def triplets(shared: Path) -> Triplets:
    """Return the 63 triplets (ref, p0, p1), resized as the official evaluation does."""
    roles = [sample_pixels(shared, role, GOLDEN["triplets"]) for role in ("ref", "p0", "p1")]
    everything, n = Images(torch.cat(roles)), len(GOLDEN["triplets"])
    use_exact_arithmetic()
    return tuple(everything.pick(torch.arange(i * n, (i + 1) * n)) for i in range(3))  # type: ignore[return-value]


_asked: set[nn.Module] = set()


def distances(name: str, triplets: Triplets, count: int = 63) -> np.ndarray:
    """Return what the registered metric says of the first triplets: (count, 2)."""
    metric, (ref, p0, p1) = registered()[name], triplets
    with torch.inference_mode():
        distance = metric.load(torch.device("cpu"))
        # features of a network serve the metrics that follow one another in the table
        modules = set(distance.modules()) if isinstance(distance, nn.Module) else set()
        ref.release(_asked - modules)
        _asked.update(modules)
        if metric.pixels_at_once is None and count == 63:
            values = torch.stack([distance(ref, p0), distance(ref, p1)], dim=1)
        else:
            alone = [[Images(v.pixels[i : i + 1]) for v in triplets] for i in range(count)]
            pairs = [[distance(x, a), distance(x, b)] for x, a, b in alone]
            values = torch.stack([torch.cat(pair) for pair in pairs])
    return values.double().numpy()


def golden(key: str) -> np.ndarray:
    return np.array([GOLDEN["values"][key]["d0"], GOLDEN["values"][key]["d1"]]).T


def test_each_of_45_golden_keys_has_63_triplets_and_its_metric() -> None:
    assert len(GOLDEN["triplets"]) == 63
    assert all(len(v["d0"]) == len(v["d1"]) == 63 for v in GOLDEN["values"].values())
    assert len(GOLDEN["values"]) == 45
    assert set(reference_values.GOLDEN) == set(GOLDEN["values"])
    assert {entry.metric for entry in reference_values.GOLDEN.values()} <= set(registered())
    known = reference_values.golden_numbers()
    assert list(known.triplets) == GOLDEN["triplets"]
    assert all(np.array_equal(known.values[key], golden(key)) for key in GOLDEN["values"])


def test_the_numbers_are_those_of_the_reference_material(shared: Path) -> None:
    source = json.loads((shared / "golden" / "bapps_sample.json").read_text())
    assert source["triplets"] == GOLDEN["triplets"]
    for key, entry in GOLDEN["values"].items():
        assert entry["d0"] == source["values"][key]["d0"]
        assert entry["d1"] == source["values"][key]["d1"]


def every_key() -> list[Any]:
    """Return (key, number of triplets): all 63, of slow metrics a few, and all in slow tests.

    The metrics on one network, which share its features, follow one another.
    """
    cases = []
    on_signed_vgg = ("vgg-loss", "lpips-vgg-v0.0")
    for key, entry in sorted(
        reference_values.GOLDEN.items(), key=lambda pair: pair[1].metric.startswith(on_signed_vgg)
    ):
        if entry.metric in SLOW:
            cases.append(pytest.param(key, SLOW[entry.metric]))
            cases.append(pytest.param(key, 63, marks=pytest.mark.slow))
        else:
            cases.append(pytest.param(key, 63))
    return cases


@pytest.mark.parametrize(("key", "count"), every_key())
def test_distances_are_the_authors(
    key: str, count: int, triplets: Triplets, reference_weights: Path
) -> None:
    entry = reference_values.GOLDEN[key]
    ours = entry.expected(distances(entry.metric, triplets, count))
    differences = np.abs(ours / golden(key)[:count] - 1).ravel()
    assert entry.tolerance.holds(differences), (
        f"{entry.metric} is {differences.max():.1e} away from {key}, in the median "
        f"{np.median(differences):.1e}; expected {entry.tolerance}: {entry.tolerance.reason}"
    )


def test_ssim_is_the_formula_evaluated_in_float64(triplets: Triplets) -> None:
    ref, p0, _ = triplets
    x, y = ref.pixels[::16].double(), p0.pixels[::16].double()
    at = torch.arange(11, dtype=torch.float64) - 5
    g = torch.exp(-(at**2) / (2 * 1.5**2))
    window = (g[:, None] * g[None, :] / g.sum() ** 2).expand(3, 1, 11, 11)
    weigh = lambda v: F.conv2d(v, window, groups=3)  # noqa: E731
    mx, my = weigh(x), weigh(y)
    # the covariances by their definition, E[(x - E x)(y - E y)], written out per window
    patches = lambda v: v.unfold(2, 11, 1).unfold(3, 11, 1)  # noqa: E731
    dx, dy = patches(x) - mx[..., None, None], patches(y) - my[..., None, None]
    w2 = window[0, 0]
    vx, vy, cov = ((a * b * w2).sum(dim=(-2, -1)) for a, b in ((dx, dx), (dy, dy), (dx, dy)))
    c1, c2 = 0.01**2, 0.03**2
    ssim = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    expected = ssim.mean(dim=(1, 2, 3)).numpy()
    assert np.abs(distances("ssim", triplets)[::16, 0] / expected - 1).max() <= 1e-6


def test_the_recipe_draws_the_reference_filters(shared: Path) -> None:
    from pmbench.metrics.builtin.mmd import RandomFeatures

    frozen = np.load(shared / "golden" / "mmd_random_features.npz")
    features = RandomFeatures(3, 1 / 9, 512, centred=False)  # sigma = 1: the filters as drawn
    np.testing.assert_array_equal(features.get_buffer("filters").numpy(), frozen["w512"])
    np.testing.assert_array_equal(features.get_buffer("phases").numpy(), frozen["b512"])
