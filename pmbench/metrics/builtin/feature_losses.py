"""Losses on features of VGG-16 and AlexNet, as Amir & Weiss 2021 compare them.

The images, in [-1, 1] and not normalised further, and outputs of convolutions *before* the ReLU.
VGG: conv1_2, 2_2, 3_3, 4_3, 5_3 and the images themselves; one distance for each of the six, and
their mean. The distance between two maps of features is an L1 (``vgg-loss``; feature loss as in
Johnson et al. 2016), a squared L2, or one between distributions; see ``map_distances``. AlexNet:
the convolutions among the first n modules of torchvision's ``features``; mean squared difference
for each, summed. ``…-random`` are networks that never learned; ``-nfc`` has first filters without
their spatial mean, blind to flat colour. Other taps, distances and filters have addresses:
``net:vgg16@relu1_2+relu2_2?map=gram``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pmbench.metrics import Metric, register
from pmbench.metrics.images import Images
from pmbench.metrics.map_distances import COMPARISONS, MapComparison
from pmbench.metrics.maps import enlarge
from pmbench.networks.backbones import (
    ARCHITECTURES,
    SIGNED,
    TRAINED,
    Backbone,
    Initialization,
    backbone,
)
from pmbench.networks.feature_extractor import FeatureExtractor
from pmbench.utils.color import signed

PAPER = "Amir, Weiss: Understanding and Simplifying Perceptual Distances, CVPR 2021"
CODE = "https://github.com/ariel415el/PerceptualLossExperiments"
_TAPS = ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3")


class TapLoss(nn.Module):
    """The mean or sum over some taps, and perhaps the pixels, of a distance between maps.

    ``taps`` are numbers of the network's; of those in ``rectified`` what is below 0 is cut off.
    """

    def __init__(
        self,
        net: Backbone | FeatureExtractor,
        comparison: MapComparison,
        taps: tuple[int, ...],
        pixels: bool,
        reduce: Callable[..., Tensor] = torch.mean,
        rectified: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.net = net
        self.comparison = comparison
        self.distance = comparison.distance  # a module where it draws
        self.taps, self.pixels, self.rectified = taps, pixels, rectified
        self.reduce = reduce

    def forward(self, x: Images, y: Images) -> Tensor:
        """Return the distances: (N,)."""
        pairs = zip(self._maps(x), self._maps(y), strict=True)
        return self.reduce(torch.stack([self.distance(a, b) for a, b in pairs]), dim=0)

    def terms(self, x: Images, y: Images) -> dict[str, Tensor]:
        """Return each tap's part of the distances, and that of the pixels: (N,) each."""
        maps = self._maps(x), self._maps(y)
        names = [f"tap{tap}" for tap in self.taps] + ["pixels"] * self.pixels
        return {
            name: self._share * self.distance(a, b) for name, a, b in zip(names, *maps, strict=True)
        }

    def embed(self, images: Images) -> Tensor:
        """Return what the maps are compared by, of all taps and the pixels: (N, D)."""
        comparison = self.comparison
        assert comparison.describe is not None
        vectors = [comparison.describe(one).flatten(1) for one in self._maps(images)]
        power = 1 if comparison.space == "l1" else 0.5
        return torch.cat([v * (self._share / v.shape[1]) ** power for v in vectors], dim=1)

    def map(self, x: Images, y: Images) -> Tensor:
        """Return the mean or sum over taps of the difference at each place: (N, H, W)."""
        assert self.comparison.difference is not None
        maps = [
            self.comparison.difference(a, b, reduction="none").mean(dim=1)
            for a, b in zip(self._maps(x), self._maps(y), strict=True)
        ]
        return self.reduce(torch.stack([enlarge(values, x) for values in maps]), dim=0)

    @property
    def _share(self) -> float:
        """The factor of each distance in the whole."""
        return 1 / (len(self.taps) + self.pixels) if self.reduce is torch.mean else 1.0

    def _maps(self, images: Images) -> list[Tensor]:
        features = images.derive(self.net)
        maps = [
            features[tap].relu() if tap in self.rectified else features[tap] for tap in self.taps
        ]
        return [*maps, signed(images.pixels)] if self.pixels else maps


def _register(
    name: str,
    title: str,
    distance: str,
    taps: tuple[int, ...] = (0, 1, 2, 3, 4),
    pixels: bool = True,
    filters: Initialization = TRAINED,
    **card: Any,
) -> None:
    comparison = COMPARISONS[distance]

    def load(device: torch.device) -> TapLoss:
        net = backbone("vgg16", SIGNED, filters, "conv", device)
        return TapLoss(net, comparison, taps, pixels)

    trained = filters.kind == "trained"
    register(
        Metric(
            name=name,
            load=load,
            title=title,
            family="VGG losses",
            paper=PAPER,
            code=CODE,
            min_size=ARCHITECTURES["vgg16"].min_size,
            weights=("vgg16",) if trained else (),
            licence="BSD-3-Clause" if trained else "",
            parameters={"trunk": "vgg16", "seed": -1 if trained else filters.seed},
            symmetric=comparison.symmetric,
            has_map=comparison.difference is not None,
            space=comparison.space,
            **card,
        )
    )


_register("vgg-loss", "VGG-16 features and pixels, mean absolute difference", "l1")
for _i, _tap in enumerate(_TAPS):
    _register(f"vgg-loss-{_tap}", f"VGG-16 {_tap}, mean absolute difference", "l1", (_i,), False)
_register("vgg-loss-l2", "VGG-16 features and pixels, mean squared difference", "l2")
_register("vgg-loss-gram", "VGG-16 features and pixels, Gram matrices", "gram")
_register("vgg-loss-gram-trace", "VGG-16 features and pixels, Gram diagonals", "gram-trace")
_register("vgg-loss-swd", "VGG-16 features and pixels, sliced Wasserstein", "swd")
_register(
    "vgg-loss-cx",
    "VGG-16 features, contextual loss",
    "cx",
    pixels=False,
    seconds=0.15,
)
_register(
    "vgg-loss-random",
    "random VGG-16 features and pixels, mean absolute difference",
    "l1",
    filters=Initialization("kaiming"),
)
_register(
    "vgg-loss-random-nfc",
    "random VGG-16 features, first filters without their mean, and pixels",
    "l1",
    filters=Initialization("kaiming", centred=True),
)


def _register_alex(modules: int, filters: Initialization) -> None:
    convolutions = [tap - 1 for tap in ARCHITECTURES["alexnet"].taps]  # each before its ReLU
    taps = sum(index < modules for index in convolutions)
    trained = filters.kind == "trained"

    def load(device: torch.device) -> TapLoss:
        net = backbone("alexnet", SIGNED, filters, "conv", device)
        return TapLoss(net, COMPARISONS["l2"], tuple(range(taps)), pixels=False, reduce=torch.sum)

    register(
        Metric(
            name=f"alex-loss-{modules}" + "-random" * (not trained),
            load=load,
            title=f"{'random ' * (not trained)}AlexNet, {taps} convolution{'s' * (taps > 1)}, "
            "mean squared difference",
            family="AlexNet losses",
            paper=PAPER,
            code=CODE,
            min_size=ARCHITECTURES["alexnet"].min_size,
            weights=("alexnet",) if trained else (),
            licence="BSD-3-Clause" if trained else "",
            parameters={"trunk": "alexnet", "seed": -1 if trained else filters.seed},
            has_map=True,
            space="l2",
        )
    )


for _modules in (1, 4, 12):
    _register_alex(_modules, TRAINED)
    _register_alex(_modules, Initialization("kaiming"))
