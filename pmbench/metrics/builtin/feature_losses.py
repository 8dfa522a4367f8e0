"""Losses on features of VGG-16 and AlexNet, as Amir & Weiss 2021 compare them.

The images, in [-1, 1] and not normalised further, and outputs of convolutions *before* the ReLU.
VGG: conv1_2, 2_2, 3_3, 4_3, 5_3 and the images themselves; one distance for each of the six, and
their mean. The distance between two maps of features is an L1 (``vgg-loss``; feature loss as in
Johnson et al. 2016), a squared L2, or one between distributions: Gram matrices (Gatys et al. 2015),
their diagonals, sliced Wasserstein, or the contextual loss (Mechrez, Talmi, Zelnik-Manor 2018,
equations 2 to 5: how well every position of one map finds one of its kind in the other, wherever it
is). AlexNet: the convolutions among the first n modules of torchvision's ``features``; mean squared
difference for each, summed. ``…-random`` are networks that never learned; ``-nfc`` has first
filters without their spatial mean, blind to flat colour.

Differs from the authors' code (PerceptualLossExperiments): the contextual loss centres features by
the one image, not by all images of a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.functional import normalize

from pmbench.metrics import Metric, register
from pmbench.metrics.builtin.swd import directions, transport
from pmbench.metrics.chunking import MapDistance, blockwise
from pmbench.metrics.images import Images
from pmbench.metrics.maps import enlarge
from pmbench.networks.backbones import (
    ARCHITECTURES,
    SIGNED,
    TRAINED,
    Backbone,
    Initialization,
    backbone,
)
from pmbench.utils.color import precise, signed

_BANDWIDTH = 0.5
_EPSILON = 1e-5
_AT_ONCE = 1 << 18  # elements of the matrix of positions: 2 MB, which stay in the cache


def contextual(x: Tensor, y: Tensor) -> Tensor:
    """Return -log CX(x, y) of maps (N, C, h, w): (N,), float32; computed in float64.

    A pair and some rows at a time, since its matrix has (h·w)² elements. Centred by the mean of y
    over its positions, of the one image.
    """
    pairs = zip(x.flatten(2), y.flatten(2), strict=True)
    return torch.stack([_one(precise(a), precise(b)) for a, b in pairs]).to(torch.float32)


def _one(x: Tensor, y: Tensor) -> Tensor:
    """Return -log CX of two (C, positions)."""
    centre = y.mean(dim=1, keepdim=True)
    x, y = (normalize(values - centre, dim=0) for values in (x, y))
    rows = max(1, (_AT_ONCE if y.device.type == "cpu" else 64 * _AT_ONCE) // y.shape[1])
    best = [_affinity(some.t() @ y).amax(dim=0) for some in torch.split(x, rows, dim=1)]
    return -torch.log(torch.stack(best).amax(dim=0).mean() + _EPSILON)


def _affinity(cosine: Tensor) -> Tensor:
    """Return how much each position of x prefers each of y, of sum 1 over y: (some of x, all y)."""
    distance = 1 - cosine
    relative = distance / (distance.amin(dim=1, keepdim=True) + _EPSILON)
    # exp((1 - d̃) / h) over its sum: the 1 cancels, and the smallest d̃ is at most 1
    return torch.softmax(-relative / _BANDWIDTH, dim=1)


_TAPS = ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3")


class TapLoss(nn.Module):
    """The mean or sum over some taps, and perhaps the pixels, of a distance between maps."""

    def __init__(
        self,
        net: Backbone,
        distance: MapDistance,
        taps: tuple[int, ...],
        pixels: bool,
        reduce: Callable[..., Tensor] = torch.mean,
    ) -> None:
        super().__init__()
        self.net = net
        self.distance = distance
        self.taps, self.pixels = taps, pixels
        self.reduce = reduce

    def forward(self, x: Images, y: Images) -> Tensor:
        """Return the distances: (N,)."""
        return self.reduce(torch.stack([self.distance(*p) for p in self._pairs(x, y)]), dim=0)

    def map(self, x: Images, y: Images) -> Tensor:
        """Return the mean or sum over taps of the difference at each place: (N, H, W)."""
        difference = _DIFFERENCES[self.distance]
        maps = [difference(a, b, reduction="none").mean(dim=1) for a, b in self._pairs(x, y)]
        return self.reduce(torch.stack([enlarge(values, x) for values in maps]), dim=0)

    def _pairs(self, x: Images, y: Images) -> list[tuple[Tensor, Tensor]]:
        features = list(zip(x.derive(self.net), y.derive(self.net), strict=True))
        pairs = [features[tap] for tap in self.taps]
        if self.pixels:
            pairs.append((signed(x.pixels), signed(y.pixels)))
        return pairs


@blockwise
def l1(a: Tensor, b: Tensor) -> Tensor:
    """Return mean |a - b| of maps (N, C, h, w): (N,)."""
    return F.l1_loss(a, b, reduction="none").mean(dim=(1, 2, 3))


@blockwise
def l2(a: Tensor, b: Tensor) -> Tensor:
    """Return mean (a - b)² of maps (N, C, h, w): (N,)."""
    return F.mse_loss(a, b, reduction="none").mean(dim=(1, 2, 3))


# of the distances that are means over places: what they are the mean of
_DIFFERENCES: dict[MapDistance, Callable[..., Tensor]] = {l1: F.l1_loss, l2: F.mse_loss}


@blockwise
def gram(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean squared difference of the Gram matrices F·Fᵀ / (h·w): (N,)."""
    return (_gram_matrix(a) - _gram_matrix(b)).square().mean(dim=(1, 2))


def _gram_matrix(maps: Tensor) -> Tensor:
    columns = maps.flatten(2)
    return columns @ columns.transpose(1, 2) / columns.shape[2]


@blockwise
def gram_trace(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean squared difference of the Gram matrices' diagonals: (N,)."""
    powers = (maps.square().mean(dim=(2, 3)) for maps in (a, b))
    return (next(powers) - next(powers)).square().mean(dim=1)


def sliced_wasserstein(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean |difference of sorted projections| of the positions' vectors: (N,).

    On 5·C random directions.
    """
    along = directions(5 * a.shape[1], a.shape[1]).to(a)
    return transport(a.flatten(2), b.flatten(2), along)


def _register(
    name: str,
    title: str,
    distance: MapDistance,
    taps: tuple[int, ...] = (0, 1, 2, 3, 4),
    pixels: bool = True,
    filters: Initialization = TRAINED,
    **card: Any,
) -> None:
    def load(device: torch.device) -> TapLoss:
        return TapLoss(backbone("vgg16", SIGNED, filters, "conv", device), distance, taps, pixels)

    trained = filters.kind == "trained"
    register(
        Metric(
            name=name,
            load=load,
            title=title,
            family="VGG losses",
            paper="Amir, Weiss: Understanding and Simplifying Perceptual Distances, CVPR 2021",
            code="https://github.com/ariel415el/PerceptualLossExperiments",
            min_size=ARCHITECTURES["vgg16"].min_size,
            weights=("vgg16",) if trained else (),
            licence="BSD-3-Clause" if trained else "",
            parameters={"trunk": "vgg16", "seed": -1 if trained else filters.seed},
            has_map=distance in _DIFFERENCES,
            **card,
        )
    )


_register("vgg-loss", "VGG-16 features and pixels, mean absolute difference", l1)
for _i, _tap in enumerate(_TAPS):
    _register(f"vgg-loss-{_tap}", f"VGG-16 {_tap}, mean absolute difference", l1, (_i,), False)
_register("vgg-loss-l2", "VGG-16 features and pixels, mean squared difference", l2)
_register("vgg-loss-gram", "VGG-16 features and pixels, Gram matrices", gram)
_register("vgg-loss-gram-trace", "VGG-16 features and pixels, Gram diagonals", gram_trace)
_register("vgg-loss-swd", "VGG-16 features and pixels, sliced Wasserstein", sliced_wasserstein)
_register(
    "vgg-loss-cx",
    "VGG-16 features, contextual loss",
    contextual,
    pixels=False,
    symmetric=False,
    seconds=0.15,
)
_register(
    "vgg-loss-random",
    "random VGG-16 features and pixels, mean absolute difference",
    l1,
    filters=Initialization("kaiming"),
)
_register(
    "vgg-loss-random-nfc",
    "random VGG-16 features, first filters without their mean, and pixels",
    l1,
    filters=Initialization("kaiming", centred=True),
)


def _register_alex(modules: int, filters: Initialization) -> None:
    convolutions = [tap - 1 for tap in ARCHITECTURES["alexnet"].taps]  # each before its ReLU
    taps = sum(index < modules for index in convolutions)
    trained = filters.kind == "trained"

    def load(device: torch.device) -> TapLoss:
        net = backbone("alexnet", SIGNED, filters, "conv", device)
        return TapLoss(net, l2, tuple(range(taps)), pixels=False, reduce=torch.sum)

    register(
        Metric(
            name=f"alex-loss-{modules}" + "-random" * (not trained),
            load=load,
            title=f"{'random ' * (not trained)}AlexNet, {taps} convolution{'s' * (taps > 1)}, "
            "mean squared difference",
            family="AlexNet losses",
            paper="Amir, Weiss: Understanding and Simplifying Perceptual Distances, CVPR 2021",
            code="https://github.com/ariel415el/PerceptualLossExperiments",
            min_size=ARCHITECTURES["alexnet"].min_size,
            weights=("alexnet",) if trained else (),
            licence="BSD-3-Clause" if trained else "",
            parameters={"trunk": "alexnet", "seed": -1 if trained else filters.seed},
            has_map=True,
        )
    )


for _modules in (1, 4, 12):
    _register_alex(_modules, TRAINED)
    _register_alex(_modules, Initialization("kaiming"))
