"""Losses on the networks that pmbench has itself: ``net:vgg16@relu1_2+relu2_2?map=gram``.

They are those of Amir & Weiss 2021, as ``vgg-loss`` is: images in [-1, 1] and not normalised, and
the mean over taps. A tap is a convolution before its ReLU (``conv3_3`` of VGG, ``conv3`` of
AlexNet) or after it (``relu3_3``); without taps, all convolutions that ``vgg-loss`` has, or all
ReLUs of SqueezeNet. Options, which other networks take too:

``map``: l1, l2, gram, gram-trace, corr, swd or cx; see ``pmbench.metrics.map_distances``.
``pixels=yes``: the images count as one more map.

Of these networks alone:

``filters``: trained, kaiming (drawn, as ``vgg-loss-random``), nfc (the same, the first filters
without their mean), torchvision (drawn as torchvision does); ``seed`` is what they are drawn by.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from pmbench.metrics import Distance, Metric
from pmbench.metrics.builtin.feature_losses import CODE, PAPER, TapLoss
from pmbench.metrics.map_distances import COMPARISONS, MapComparison
from pmbench.networks.backbones import (
    ARCHITECTURES,
    SIGNED,
    Initialization,
    Raw,
    backbone,
)
from pmbench.utils.errors import PmbenchError, unknown

_FILTERS = {
    "trained": Initialization("trained"),
    "kaiming": Initialization("kaiming"),
    "nfc": Initialization("kaiming", centred=True),
    "torchvision": Initialization("torchvision"),
}


@dataclass(frozen=True)
class MapOptions:
    """How the maps of a network are compared, as an address says it; "" where it does not."""

    map: str = ""
    pixels: bool = False

    @property
    def comparison(self) -> MapComparison:
        """The distance between two maps."""
        return COMPARISONS[self.map]

    def __str__(self) -> str:
        return f"map={self.map}" + "&pixels=yes" * self.pixels


def parse_map_options(options: Mapping[str, str], usual: str = "") -> MapOptions:
    """Return the map and the pixels of an address. Raises PmbenchError for what they cannot be."""
    kind = options.get("map", usual)
    if kind not in COMPARISONS and kind != usual:
        raise unknown("map", kind, COMPARISONS)
    pixels = options.get("pixels", "no")
    if pixels not in ("yes", "no"):
        raise PmbenchError(f"pixels={pixels}: expected pixels=yes or pixels=no")
    if pixels == "yes" and not kind:
        raise PmbenchError("pixels=yes needs a map, such as map=l1: pixels have no unit length")
    return MapOptions(kind, pixels == "yes")


@dataclass(frozen=True)
class _Load:
    """Loads the metric; equal for equal addresses, so that one asked for twice is one metric."""

    trunk: str
    taps: tuple[int, ...]
    rectified: tuple[int, ...]
    form: Raw
    filters: Initialization
    maps: MapOptions

    def __call__(self, device: torch.device) -> Distance:
        net = backbone(self.trunk, SIGNED, self.filters, self.form, device)
        maps = self.maps
        return TapLoss(
            net, maps.comparison, self.taps, maps.pixels, rectified=self.rectified
        )  # fmt: skip


def resolve(name: str, trunk: str, asked: Sequence[str], options: Mapping[str, str]) -> Metric:
    """Return the loss on one of ARCHITECTURES.

    Raises PmbenchError for a tap or an option that does not exist.
    """
    known = ("map", "pixels", "filters", "seed")
    if strange := [key for key in options if key not in known]:
        raise unknown(f"option of net:{trunk}", strange[0], known)
    maps = parse_map_options(options, "l1")
    filters = _filters(options)
    offered = _offered(trunk)
    taps = list(asked) or [tap for tap in offered if tap.startswith(_first_kind(trunk))]
    for tap in taps:
        if tap not in offered:
            raise unknown(f"tap of {trunk}", tap, offered)
    numbers = [offered[tap] for tap in taps]
    if twice := [tap for i, tap in enumerate(taps) if numbers[i] in numbers[:i]]:
        raise PmbenchError(
            f"two taps of {trunk} are of the convolution of {twice[0]}; leave one out"
        )
    taps.sort(key=lambda tap: offered[tap])
    trained = filters.kind == "trained"
    drawn = "" if trained else f"&filters={options['filters']}&seed={filters.seed}"
    if name.startswith("net:"):
        name = f"net:{trunk}@{'+'.join(taps)}?{maps}{drawn}"
    form: Raw = "relu" if _first_kind(trunk) == "relu" else "conv"
    rectified = [offered[tap] for tap in taps if form == "conv" and tap.startswith("relu")]
    load = _Load(trunk, tuple(sorted(numbers)), tuple(rectified), form, filters, maps)
    comparison = maps.comparison
    return Metric(
        name=name,
        load=load,
        title=f"{'' if trained else 'random '}{trunk} features, {maps.map}"
        + ", and pixels" * maps.pixels,
        family="net: pmbench",
        paper=PAPER,
        code=CODE,
        min_size=ARCHITECTURES[trunk].min_size,
        weights=(trunk,) if trained else (),
        licence="BSD-3-Clause" if trained else "",
        symmetric=comparison.symmetric,
        has_map=comparison.difference is not None,
        space=comparison.space,
        parameters={
            "trunk": trunk,
            "taps": "+".join(taps),
            "map": maps.map,
            "pixels": "yes" if maps.pixels else "no",
            "filters": options.get("filters", "trained"),
            "seed": -1 if trained else filters.seed,
        },
    )


def _first_kind(trunk: str) -> str:
    """Return whether the taps of a trunk are read before their ReLU, "conv", or behind it."""
    return "relu" if trunk == "squeezenet1_1" else "conv"


def _offered(trunk: str) -> dict[str, int]:
    """Return the number of each tap's layer, by the tap's name."""
    kinds = ("relu",) if _first_kind(trunk) == "relu" else ("conv", "relu")
    names = ARCHITECTURES[trunk].names
    return {f"{kind}{name}": i for kind in kinds for i, name in enumerate(names)}


def _filters(options: Mapping[str, str]) -> Initialization:
    kind, seed = options.get("filters", "trained"), options.get("seed", "0")
    if kind not in _FILTERS:
        raise unknown("filters", kind, _FILTERS)
    if not re.fullmatch(r"[0-9]{1,18}", seed):
        raise PmbenchError(f"seed={seed}: expected a whole number of up to 18 digits")
    if kind == "trained" and "seed" in options:
        raise PmbenchError(
            f"seed={seed}: trained filters are not drawn; add filters=kaiming, or leave it out"
        )
    return replace(_FILTERS[kind], seed=int(seed))
