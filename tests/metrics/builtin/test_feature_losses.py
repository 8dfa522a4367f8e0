"""Losses on raw features: distances between maps by hand and in NumPy, networks that never learned.

Comparisons with the authors' numbers are in ``test_golden.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance
from torch import Tensor, nn

from pmbench.metrics import map_distances, registered
from pmbench.metrics.images import Images
from pmbench.metrics.map_distances import (
    SlicedWassersteinOfMaps,
    contextual,
    gram,
    gram_trace,
    l1,
    l2,
)
from pmbench.networks.backbones import (
    SIGNED,
    TRAINED,
    Backbone,
    Initialization,
    backbone,
    features_of,
)

CPU = torch.device("cpu")
Array = NDArray[np.float64]
TAPS = ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3")


def maps(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pictures(n: int, side: int, seed: int = 0) -> Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(seed))


def measured(name: str, x: Tensor, y: Tensor) -> Tensor:
    with torch.inference_mode():
        return registered()[name].load(CPU)(Images(x), Images(y))


# --- distances between maps of features -----------------------------------------------------------


@pytest.mark.parametrize(
    ("distance", "expected"),
    [
        (l1, (1 + 2 + 0 + 2) / 4),
        (l2, (1 + 4 + 0 + 4) / 4),
        # F·Fᵀ/2 of rows (1, 2), (0, 2): ½ (5 4; 4 4); of (0, 0), (0, 0): zero
        (gram, (2.5**2 + 2**2 + 2**2 + 2**2) / 4),
        (gram_trace, (2.5**2 + 2**2) / 2),
    ],
)
def test_maps_of_two_channels_and_positions_as_by_hand(
    distance: Callable[[Tensor, Tensor], Tensor], expected: float
) -> None:
    a = torch.tensor([[[[1.0, 2.0]], [[0.0, 2.0]]]])
    assert distance(a, torch.zeros_like(a)).tolist() == [expected]


def gram_in_numpy(a: Array, b: Array) -> float:
    g = [np.einsum("chw,dhw->cd", m, m) / (m.shape[1] * m.shape[2]) for m in (a, b)]
    return float(((g[0] - g[1]) ** 2).mean())


def gram_trace_in_numpy(a: Array, b: Array) -> float:
    g = [np.einsum("chw,chw->c", m, m) / (m.shape[1] * m.shape[2]) for m in (a, b)]
    return float(((g[0] - g[1]) ** 2).mean())


def sliced_in_numpy(a: Array, b: Array) -> float:
    c = len(a)
    drawn = np.random.default_rng(5 * c).standard_normal((5 * c, c)).astype(np.float32)
    along = drawn.astype(np.float64)
    along /= along.std(axis=1, ddof=1)[:, None]
    p, q = a.reshape(c, -1), b.reshape(c, -1)
    return float(np.mean([wasserstein_distance(d @ p, d @ q) for d in along]))


def contextual_in_numpy(x: Array, y: Array) -> float:
    x, y = x.reshape(len(x), -1), y.reshape(len(y), -1)
    centre = y.mean(axis=1, keepdims=True)
    x, y = ((m - centre) / np.linalg.norm(m - centre, axis=0) for m in (x, y))
    d = 1 - x.T @ y  # of every position of x and every one of y
    relative = d / (d.min(axis=1, keepdims=True) + 1e-5)
    w = np.exp((1 - relative) / 0.5)
    affinity = w / w.sum(axis=1, keepdims=True)
    return float(-np.log(affinity.max(axis=0).mean() + 1e-5))


@pytest.mark.parametrize(
    ("distance", "formula"),
    [
        (gram, gram_in_numpy),
        (gram_trace, gram_trace_in_numpy),
        (SlicedWassersteinOfMaps(), sliced_in_numpy),
        (contextual, contextual_in_numpy),
    ],
)
def test_distances_between_maps_are_their_formulas(
    distance: Callable[[Tensor, Tensor], Tensor], formula: Callable[[Array, Array], float]
) -> None:
    a = maps(3, 6, 4, 5)
    b = a + 0.3 * maps(3, 6, 4, 5, seed=1)
    expected = [formula(p, q) for p, q in zip(a.double().numpy(), b.double().numpy(), strict=True)]
    assert len({round(value, 3) for value in expected}) == 3  # a mixed up order would be seen
    # float32 sums of up to 36 products, then differences of them
    np.testing.assert_allclose(distance(a, b).numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("at_once", [1, 20 * 7, 20 * 19 + 3, 20 * 20])
def test_the_contextual_loss_is_the_same_some_rows_at_a_time(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = maps(2, 6, 4, 5), maps(2, 6, 4, 5, seed=1)
    rows: list[int] = []
    affinity = map_distances._affinity

    def noted(cosine: Tensor) -> Tensor:
        rows.append(len(cosine))
        return affinity(cosine)

    monkeypatch.setattr(map_distances, "_AT_ONCE", at_once)
    monkeypatch.setattr(map_distances, "_affinity", noted)
    result = contextual(x, y).tolist()
    assert max(rows) == max(1, at_once // 20)
    assert sum(rows) == 2 * 20
    pairs = zip(x.double().numpy(), y.double().numpy(), strict=True)
    expected = [contextual_in_numpy(a, b) for a, b in pairs]
    assert result == pytest.approx(expected, rel=1e-6)  # computed in float64, told in float32


def test_the_contextual_loss_does_not_ask_where_a_feature_is() -> None:
    x = maps(1, 6, 4, 5)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    elsewhere = x.flatten(2)[:, :, order].view_as(x)
    # each position finds its own kind: d = 0, all others are infinitely farther; -log(1 + 1e-5)
    assert float(contextual(x, elsewhere)) == pytest.approx(-1e-5, abs=1e-6)
    assert float(contextual(x, maps(1, 6, 4, 5, seed=1))) > 0.5


def test_no_distance_between_maps_looks_at_other_pairs() -> None:
    a, b = maps(4, 6, 4, 5), maps(4, 6, 4, 5, seed=1)
    for distance in (l1, l2, gram, gram_trace, SlicedWassersteinOfMaps(), contextual):
        alone = torch.cat([distance(a[i : i + 1], b[i : i + 1]) for i in range(4)])
        # a matrix product of another batch may add in another order
        torch.testing.assert_close(distance(a, b), alone, rtol=1e-6, atol=0)


# --- taps -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("reference_weights")
def test_the_vgg_loss_is_the_mean_of_its_taps_and_the_pixels() -> None:
    x, y = pictures(2, 64), pictures(2, 64, seed=1)
    terms = [measured(f"vgg-loss-{tap}", x, y) for tap in TAPS]
    terms.append(measured("l1", x, y))
    assert len({round(float(term[0]), 4) for term in terms}) == 6  # one for each
    # the same six numbers, added in another order
    torch.testing.assert_close(
        measured("vgg-loss", x, y), sum(terms[1:], terms[0]) / 6, rtol=1e-6, atol=0
    )


def outputs_of_convolutions(features: nn.Sequential, pixels: Tensor) -> list[Tensor]:
    """Return what every convolution gives for pixels in [0, 1], in float64, layer by layer."""
    x, outputs = 2 * pixels.double() - 1, []
    for layer in features.double():
        # not in place
        x = x.clamp(min=0) if isinstance(layer, nn.ReLU) else layer(x)
        if isinstance(layer, nn.Conv2d):
            outputs.append(x)
    return outputs


@pytest.mark.usefixtures("reference_weights")
@pytest.mark.parametrize("filters", [TRAINED, Initialization("kaiming")])
@pytest.mark.parametrize(("modules", "convolutions"), [(1, 1), (4, 2), (12, 5)])
def test_alex_losses_add_the_convolutions_among_the_first_modules(
    modules: int, convolutions: int, filters: Initialization
) -> None:
    x, y = pictures(2, 64), pictures(2, 64, seed=1)
    with torch.no_grad():
        a, b = (outputs_of_convolutions(features_of("alexnet", filters), p) for p in (x, y))
    assert len(a) == 5
    of_each = [(p - q).square().mean(dim=(1, 2, 3)) for p, q in zip(a, b, strict=True)]
    name = f"alex-loss-{modules}" + "-random" * (filters is not TRAINED)
    result = measured(name, x, y).double()
    # five layers in float32, as in test_golden.py
    torch.testing.assert_close(result, sum(of_each[:convolutions]), rtol=2e-5, atol=0)


# --- networks that never learned ------------------------------------------------------------------


def convolutions_of(net: Backbone) -> list[nn.Conv2d]:
    return [layer for layer in net.features if isinstance(layer, nn.Conv2d)]


def net_of(name: str) -> Backbone:
    distance = registered()[name].load(CPU)
    assert isinstance(distance, nn.Module)
    (net,) = (module for module in distance.modules() if isinstance(module, Backbone))
    return net


@pytest.mark.parametrize(("name", "count"), [("vgg-loss-random", 13), ("alex-loss-12-random", 5)])
def test_random_filters_have_the_deviation_of_kaiming_and_no_bias(name: str, count: int) -> None:
    layers = convolutions_of(net_of(name))
    assert len(layers) == count
    for layer in layers:
        w = layer.weight.double()
        n, fan_in = w.numel(), w[0].numel()
        # n normal numbers: their deviation scatters by 1/√(2n), their mean by 1/√n, their fourth
        # moment, of 3, by √(96/n); 4 of each. (That of a uniform distribution is 1.8.)
        unit = w * math.sqrt(fan_in / 2)
        assert float(unit.std()) == pytest.approx(1, abs=4 / math.sqrt(2 * n))
        assert float(unit.mean()) == pytest.approx(0, abs=4 / math.sqrt(n))
        assert float((unit**4).mean()) == pytest.approx(3, abs=4 * math.sqrt(96 / n))
        assert layer.bias is not None
        assert not layer.bias.any()


@pytest.mark.parametrize("kind", ["kaiming", "torchvision"])
def test_random_filters_are_the_same_each_time_and_leave_the_global_state(kind: str) -> None:
    drawn = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        features = features_of("squeezenet1_1", Initialization(kind, 0))  # type: ignore[arg-type]
        assert torch.equal(torch.get_rng_state(), before)
        drawn.append(features.state_dict())
    other = features_of("squeezenet1_1", Initialization(kind, 1)).state_dict()  # type: ignore[arg-type]
    for name, values in drawn[0].items():
        assert torch.equal(values, drawn[1][name])
    assert not torch.equal(drawn[0]["0.weight"], other["0.weight"])


def test_first_filters_without_flat_colour_have_no_mean_and_the_others_are_the_same() -> None:
    plain, centred = (convolutions_of(net_of(f"vgg-loss-random{nfc}")) for nfc in ("", "-nfc"))
    first = centred[0].weight
    # a mean of nine numbers of size 0.3, rounded to 2e-8
    assert float(first.mean(dim=(2, 3)).abs().max()) < 5e-8
    assert float(plain[0].weight.mean(dim=(2, 3)).abs().max()) > 0.1
    difference = plain[0].weight - first  # a constant for each filter and channel
    assert float((difference - difference[:, :, :1, :1]).abs().max()) < 2e-7
    for a, b in zip(plain[1:], centred[1:], strict=True):
        assert torch.equal(a.weight, b.weight)


def margins(net: Backbone) -> list[int]:
    """Return how far from its border each tap may see the zeros beyond the image's."""
    margin, result = 0, []
    for index, layer in enumerate(net.features):
        if isinstance(layer, nn.Conv2d):
            margin += 1  # 3×3
        elif isinstance(layer, nn.MaxPool2d):
            margin = -(-margin // 2)
        if index in net.taps:
            result.append(margin)
    return result


def test_a_constant_added_to_an_image_changes_no_tap_but_at_its_border() -> None:
    # padding is zero before and after, so what sees the border sees the constant. The fifth tap of
    # 208 pixels is 13 wide and sees it up to six positions from it: one is left
    plain, centred = (net_of(f"vgg-loss-random{nfc}") for nfc in ("", "-nfc"))
    x = pictures(1, 208) * 0.5
    both = torch.cat([x, x + torch.tensor([0.4, 0.2, 0.3]).view(3, 1, 1)])
    assert margins(centred) == [2, 3, 5, 6, 6]
    with torch.inference_mode():
        for tap, m in zip(centred(both), margins(centred), strict=True):
            inside = tap[:, :, m:-m, m:-m]
            assert inside.numel() > 0
            scale = float(tap.abs().max())
            # rounding of the pixels by 6e-8 and of sums over up to 4608 products, as in a tap
            assert float((inside[0] - inside[1]).abs().max()) < 2e-5 * scale
            assert float((tap[0] - tap[1]).abs().max()) > 1e-2 * scale  # the border
        first = plain(both[:, :, :32, :32])[0][:, :, 2:-2, 2:-2]
        assert float((first[0] - first[1]).abs().max()) > 0.1 * float(first.abs().max())


@pytest.mark.usefixtures("reference_weights")
def test_all_vgg_losses_on_one_network_use_the_same_object() -> None:
    names = [f"vgg-loss-{tap}" for tap in TAPS]
    names += ["vgg-loss", "vgg-loss-l2", "vgg-loss-gram", "vgg-loss-cx", "lpips-vgg-v0.0"]
    assert {id(net_of(name)) for name in names} == {
        id(backbone("vgg16", SIGNED, TRAINED, "conv", CPU))
    }
