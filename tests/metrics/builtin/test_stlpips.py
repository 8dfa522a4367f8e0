"""Shift-tolerant LPIPS against its authors' package, and by hand."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from support.refusals import message_of
from support.sample import sample_pixels
from torch import Tensor, nn

from pmbench.metrics import registered
from pmbench.metrics.builtin.lpips import FeatureDistance
from pmbench.metrics.builtin.stlpips import NETS, BlurPool, shift_tolerant
from pmbench.metrics.images import Images
from pmbench.networks import weights

CPU = torch.device("cpu")
SHORT = list(NETS)
Pairs = tuple[Tensor, Tensor]


@pytest.fixture(scope="module")
def package() -> Iterator[ModuleType]:
    """Import the authors' package, which imports two others that it neither names nor uses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "IPython", SimpleNamespace(embed=None))
        patch.setitem(sys.modules, "torchsummary", SimpleNamespace(summary=None))
        from stlpips_pytorch import stlpips

        yield stlpips


@pytest.fixture(params=SHORT)
def short(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def real(shared: Path) -> Pairs:
    """Return references and distorted images of BAPPS, of every sub-dataset: (6, 3, 64, 64)."""
    folders = sorted((shared / "bapps_sample" / "2afc" / "val").iterdir())
    items = [f"{one.name}/{min((one / 'ref').glob('*.png')).stem}" for one in folders]
    return sample_pixels(shared, "ref", items), sample_pixels(shared, "p0", items)


def noise(height: int, width: int) -> Pairs:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, height, width, generator=generator)
    return x, (x + 0.1 * torch.randn(x.shape, generator=generator)).clamp(0, 1)


def ours(name: str, pairs: Pairs) -> Tensor:
    with torch.inference_mode():
        distances: Tensor = registered()[name].load(CPU)(*map(Images, pairs))
    return distances


def test_distances_are_those_of_the_authors_package(
    short: str, package: ModuleType, real: Pairs
) -> None:
    theirs = package.LPIPS(net=short, variant="shift_tolerant", verbose=False)
    smallest = NETS[short].min_size
    for pairs in (real, noise(smallest, smallest + 1)):
        with torch.inference_mode():
            expected = theirs(*pairs, normalize=True).flatten()
        # the same formula in float32, in another memory order: about 1e-6 of each feature, and some
        # times that in a distance, as for other deep metrics
        torch.testing.assert_close(ours(f"st-lpips-{short}", pairs), expected, rtol=2e-5, atol=0)


def test_a_blur_reflects_two_pixels_at_the_border() -> None:
    row = torch.tensor([0.0, 4.0, 8.0, 20.0])
    # 8 4 | 0 4 8 20 | 8 4, by (1, 2, 1) / 4 at every second place: 4, 4 and (8 + 2·20 + 8) / 4 = 14
    features = row.expand(1, 2, 3, 4)
    assert BlurPool()(features).tolist() == [[[[4.0, 4.0, 14.0]] * 3] * 2]


def test_no_layer_has_a_stride_and_taps_follow_a_relu(short: str) -> None:
    net = shift_tolerant(short, CPU)
    for layer in net.features:
        assert getattr(layer, "stride", 1) in (1, (1, 1))
    for tap in net.taps:
        assert isinstance(net.features[tap], nn.ReLU)


def test_a_shift_by_a_pixel_counts_less_than_in_lpips(real: Pairs, reference_weights: Path) -> None:
    """What the networks are for: beside a distortion a shift is smaller."""
    x, y = real
    shift = (x[..., :-1, :-1], x[..., 1:, 1:])
    tolerant, usual = (
        ours(name, shift).mean() / ours(name, (x, y)).mean()
        for name in ("st-lpips-alex", "lpips-alex")
    )
    assert tolerant < usual


def test_the_network_is_made_once_and_left_as_it_is(short: str) -> None:
    first, second = (registered()[f"st-lpips-{short}"].load(CPU) for _ in range(2))
    assert isinstance(first, FeatureDistance)
    assert isinstance(second, FeatureDistance)
    assert first.net is second.net
    assert not first.net.training
    assert not any(parameter.requires_grad for parameter in first.net.parameters())


def test_another_networks_file_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(weights.load("stlpips-vgg"), tmp_path / "stlpips-alex.pth")
    monkeypatch.setenv("PMBENCH_WEIGHTS", str(tmp_path))
    assert message_of(shift_tolerant.__wrapped__, "alex", CPU) == (
        f"{tmp_path / 'stlpips-alex.pth'}: the weights 'stlpips-alex' need a tensor "
        "'net.slice1.0.weight' of shape (64, 3, 11, 11), got shape (64, 3, 3, 3); "
        "is it another network's file?"
    )


def test_it_needs_the_package_with_the_weights(monkeypatch: pytest.MonkeyPatch, short: str) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert registered()[f"st-lpips-{short}"].not_installed() == (
        "needs the package stlpips_pytorch, which is not installed; "
        "run: pip install 'pmbench[stlpips]'"
    )
