"""DISTS against its authors' package, against piq, and by hand."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace

import piq.perceptual
import pytest
import torch
from DISTS_pytorch import DISTS_pt
from support.sample import sample_pixels
from torch import Tensor, nn

from pmbench.metrics import registered
from pmbench.metrics.builtin.dists import Dists, L2Pool, dissimilarities, l2_pooled_vgg
from pmbench.metrics.images import Images
from pmbench.networks import weights
from pmbench.networks.backbones import TRAINED, Initialization, blur_pool, features_of

CPU = torch.device("cpu")
RANDOM = Initialization("kaiming", 0)
# a lively image, and three smooth ones, on which the similarities are hardest to compute
REAL = ["cnn/000563", "superres/009398", "traditional/004609", "deblur/008476"]
Pairs = tuple[Tensor, Tensor]


@pytest.fixture
def real(shared: Path) -> Pairs:
    """Return references and distorted images of BAPPS, (4, 3, 64, 64) each."""
    return sample_pixels(shared, "ref", REAL), sample_pixels(shared, "p0", REAL)


@pytest.fixture
def faint(real: Pairs) -> Pairs:
    """Return the real references with a hundredth of their distortion."""
    return real[0], real[0] + 0.01 * (real[1] - real[0])


@pytest.fixture
def noise() -> Pairs:
    """Return noise and noisier noise, of a size that pooling does not divide evenly."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, 45, 39, generator=generator)
    return x, (x + 0.2 * torch.randn(x.shape, generator=generator)).clamp(0, 1)


def referee(package: str, filters: Initialization, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """Return a package's DISTS on a VGG-16 with these filters, with nothing downloaded."""

    def vgg16(pretrained: bool, progress: bool = True) -> SimpleNamespace:
        return SimpleNamespace(features=features_of("vgg16", filters))

    learned = weights.load("dists")
    if package == "piq":
        monkeypatch.setattr(piq.perceptual, "vgg16", vgg16)
        monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: learned)
        theirs: nn.Module = piq.perceptual.DISTS(reduction="none")
        return theirs
    monkeypatch.setattr(DISTS_pt, "models", SimpleNamespace(vgg16=vgg16))
    # by itself it looks for its weights in a folder that its installation does not put them into
    authors = DISTS_pt.DISTS(load_weights=False)
    authors.alpha.data, authors.beta.data = learned["alpha"], learned["beta"]
    return authors


def ours(filters: Initialization, pairs: Pairs) -> Tensor:
    learned = weights.load("dists")
    alpha, beta = learned["alpha"].flatten(), learned["beta"].flatten()
    with torch.inference_mode():
        distances: Tensor = Dists(l2_pooled_vgg(filters, CPU), alpha, beta)(*map(Images, pairs))
    return distances


def worst(distances: Tensor, exact: Tensor) -> float:
    return float((distances.double() / exact - 1).abs().max())


# Ours computes in float32, the referee in float64: what remains is the rounding of thirteen
# convolutions, about 1e-6 of a feature, some times that in a distance, as for other deep metrics.
# piq does not divide by the sum of all weights, which is 1 - 1.7e-7: 1e-5 of a distance of 0.02.
DEEP = 2e-5


@pytest.mark.parametrize("package", ["DISTS_pytorch", "piq"])
def test_distances_are_those_of_both_packages_computed_in_float64_and_nearer_to_them_than_theirs(
    package: str,
    reference_weights: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    theirs = referee(package, TRAINED, monkeypatch)
    exact_one = copy.deepcopy(theirs).double()
    for name in ("real", "faint", "noise"):
        pairs: Pairs = request.getfixturevalue(name)
        with torch.inference_mode():
            exact, rounded = exact_one(*(batch.double() for batch in pairs)), theirs(*pairs)
        difference = worst(ours(TRAINED, pairs), exact)
        if name != "faint":
            assert difference <= DEEP, name
        if name != "noise":
            assert difference < worst(rounded, exact), name


@pytest.mark.parametrize("package", ["DISTS_pytorch", "piq"])
def test_distances_on_random_filters_are_those_of_both_packages(
    package: str, noise: Pairs, reference_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = referee(package, RANDOM, monkeypatch).double()
    with torch.inference_mode():
        exact = theirs(*(batch.double() for batch in noise))
    assert worst(ours(RANDOM, noise), exact) <= DEEP


def test_means_and_structures_are_compared_as_by_hand() -> None:
    # channel 0: the same shape on another level; channel 1: the opposite; channel 2: both flat
    x = torch.tensor([[0.0, 2.0], [0.0, 2.0], [3.0, 3.0]]).view(1, 3, 1, 2)
    y = torch.tensor([[1.0, 3.0], [2.0, 0.0], [3.0, 3.0]]).view(1, 3, 1, 2)
    texture, structure = dissimilarities(x, y).unbind(dim=1)
    # (1 - 2)² / (1² + 2²), and 1 - 2·(-1) / (1 + 1); 1e-6 in the denominators moves them by 1e-6
    torch.testing.assert_close(texture, torch.tensor([[0.2, 0.0, 0.0]]), rtol=2e-6, atol=0)
    torch.testing.assert_close(structure, torch.tensor([[0.0, 2.0, 0.0]]), rtol=2e-6, atol=0)


def test_blur_pool_weighs_one_two_one_in_both_directions() -> None:
    # down: (0 + 2·4 + 8) / 4 = 4; across: (0 + 2·4 + 8) / 4 = 4 and (8 + 2·20 + 4) / 4 = 13
    channel = torch.outer(torch.tensor([0.0, 4.0, 8.0]), torch.tensor([0.0, 4.0, 8.0, 20.0, 4.0]))
    features = torch.stack([channel, 3 * channel])[None]
    assert blur_pool(features, padding=0).tolist() == [[[[16.0, 52.0]], [[48.0, 156.0]]]]


def test_l2_pooling_is_the_root_of_blurred_squares_with_zeros_beyond_the_border() -> None:
    pooled = L2Pool()(torch.full((1, 1, 4, 4), -2.0))
    # beyond each of two borders a quarter of the window is zero
    expected = 2 * torch.tensor([[0.75**2, 0.75], [0.75, 1.0]]).sqrt()
    torch.testing.assert_close(pooled, expected.view(1, 1, 2, 2), rtol=1e-6, atol=0)


def test_weights_are_divided_by_their_sum() -> None:
    metric = Dists(l2_pooled_vgg(RANDOM, CPU), torch.full((1475,), 3.0), torch.full((1475,), 1.0))
    torch.testing.assert_close(metric.get_buffer("alpha").sum(), torch.tensor(0.75))
    torch.testing.assert_close(metric.get_buffer("beta").sum(), torch.tensor(0.25))


def test_the_network_is_made_once_and_sees_each_image_once(
    real: Pairs, reference_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (registered()["dists"].load(CPU) for _ in range(2))
    assert isinstance(first, Dists)
    assert isinstance(second, Dists)
    assert first.net is second.net
    seen: list[int] = []
    handle = first.net.register_forward_hook(lambda _, args, __: seen.append(len(args[0])))
    everything = Images(torch.cat([real[0][:1], real[1][:1]]))
    ref, p0 = (everything.pick(torch.tensor([i])) for i in range(2))
    for metric in (first, second):
        metric(ref, p0)
    handle.remove()
    assert seen == [2]
