"""Every metric against its authors' own code, on real images with real weights.

The numbers in ``golden/bapps_sample.json`` were made by the authors' code; nothing here compares
pmbench with itself. Images and weights are read from the reference material.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pmbench.devices import be_exact
from pmbench.images import Images
from pmbench.metrics import registered
from pmbench.resize import Resize, decode

GOLDEN = json.loads((Path(__file__).parent / "golden" / "bapps_sample.json").read_text())

# Two float32 implementations of one formula differ by rounding: about 1e-6 in sums over pixels, and
# some times that after the layers of a network, where another memory order adds in another order.
PLAIN, DEEP = 5e-6, 2e-5

# golden key -> metric, relative tolerance
PAIRS = {
    "ariel/L1": ("l1", PLAIN),
    "ariel/L2": ("l2", PLAIN),
    "lpips/l2-rgb": ("l2", PLAIN),
    "lpips/l2-lab": ("l2-lab", PLAIN),
    "lpips/dssim-rgb": ("dssim", PLAIN),
    "ariel/MMD++-frozen512": ("mmdpp", PLAIN),
    "lpips/alex-lin-v0.1": ("lpips-alex", DEEP),
    "lpips/vgg-lin-v0.1": ("lpips-vgg", DEEP),
    "lpips/squeeze-lin-v0.1": ("lpips-squeeze", DEEP),
    "lpips/alex-baseline": ("net-alex", DEEP),
    "lpips/vgg-baseline": ("net-vgg", DEEP),
    "lpips/squeeze-baseline": ("net-squeeze", DEEP),
}


@pytest.fixture(scope="module")
def triplets(shared: Path) -> tuple[Images, Images, Images]:
    """Return the 63 triplets (ref, p0, p1), resized as the official evaluation does."""
    root = shared / "bapps_sample" / "2afc" / "val"
    pixels = []
    for role in ("ref", "p0", "p1"):
        for triplet in GOLDEN["triplets"]:
            sub, item = triplet.split("/")
            file = root / sub / role / f"{item}.png"
            pixels.append(decode(file.read_bytes(), Resize("legacy", 64), str(file)))
    batch = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
    everything, n = Images(batch), len(GOLDEN["triplets"])
    be_exact()
    return tuple(everything.pick(torch.arange(i * n, (i + 1) * n)) for i in range(3))  # type: ignore[return-value]


def distances(name: str, triplets: tuple[Images, Images, Images]) -> np.ndarray:
    """Return what the registered metric says: (63, 2)."""
    ref, p0, p1 = triplets
    with torch.inference_mode():
        distance = registered()[name].load(torch.device("cpu"))
        return torch.stack([distance(ref, p0), distance(ref, p1)], dim=1).double().numpy()


def golden(key: str) -> np.ndarray:
    return np.array([GOLDEN["values"][key]["d0"], GOLDEN["values"][key]["d1"]]).T


def test_there_are_63_triplets() -> None:
    assert len(GOLDEN["triplets"]) == 63
    assert all(len(v["d0"]) == len(v["d1"]) == 63 for v in GOLDEN["values"].values())


def test_the_numbers_are_those_of_the_reference_material(shared: Path) -> None:
    source = json.loads((shared / "golden" / "bapps_sample.json").read_text())
    assert source["triplets"] == GOLDEN["triplets"]
    for key, entry in GOLDEN["values"].items():
        assert entry["d0"] == source["values"][key]["d0"]
        assert entry["d1"] == source["values"][key]["d1"]


@pytest.mark.parametrize(("key", "name", "tolerance"), [(k, *v) for k, v in PAIRS.items()])
def test_distances_are_the_authors(
    key: str,
    name: str,
    tolerance: float,
    triplets: tuple[Images, Images, Images],
    reference_weights: Path,
) -> None:
    ours, theirs = distances(name, triplets), golden(key)
    worst = np.abs(ours / theirs - 1).max()
    assert worst <= tolerance, f"{name}: {worst:.1e} away from {key}"


def test_ssim_is_the_authors_as_far_as_their_float32_allows(
    triplets: tuple[Images, Images, Images],
) -> None:
    # theirs computes E[x²] - E[x]² in float32, which cancels up to 1.3 % of a distance
    ours = 0.5 - distances("ssim", triplets) / 2
    assert np.abs(ours / golden("ariel/SSIM-11") - 1).max() <= 2e-2


def test_ssim_is_the_formula_evaluated_in_float64(triplets: tuple[Images, Images, Images]) -> None:
    ref, p0, _ = triplets
    x, y = ref.pixels[::4].double(), p0.pixels[::4].double()
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
    assert np.abs(distances("ssim", triplets)[::4, 0] / expected - 1).max() <= 1e-6


def test_the_recipe_draws_the_reference_filters(shared: Path) -> None:
    from pmbench.metrics.mmd import RandomFeatures

    frozen = np.load(shared / "golden" / "mmd_random_features.npz")
    features = RandomFeatures(3, 1 / 9, 512, centred=False)  # sigma = 1: the filters as drawn
    np.testing.assert_array_equal(features.get_buffer("filters").numpy(), frozen["w512"])
    np.testing.assert_array_equal(features.get_buffer("phases").numpy(), frozen["b512"])
