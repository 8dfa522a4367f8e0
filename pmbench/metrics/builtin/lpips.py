"""LPIPS: Zhang, Isola, Efros, Shechtman, Wang 2018, equation 1.

Unit-length features of a classification network, squared difference at every position, summed over
channels with learned non-negative weights (``lpips-…``), or with none (``net-…``, the "Net" rows of
Table 5); ``net-…-random`` is the same on a network that never learned. ``lpips-…-v0.0`` are the
first weights, trained on features of images that were not normalised; ``lpips-…-watson`` are those
that Czolbe et al. 2020 trained anew, on images in [0, 1]. Differs from the package ``lpips`` only
in speed and in asking for values in [0, 1] instead of [-1, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pmbench.metrics import Distance, Metric, register
from pmbench.metrics.chunking import by_blocks
from pmbench.metrics.images import Images
from pmbench.metrics.maps import enlarge
from pmbench.networks import weights
from pmbench.networks.backbones import (
    ARCHITECTURES,
    LPIPS,
    LPIPS_UNSIGNED,
    SIGNED,
    TRAINED,
    Backbone,
    Initialization,
    Preprocessing,
    Raw,
    as_unit,
    backbone,
)
from pmbench.networks.feature_extractor import FeatureExtractor

_PAPER = "Zhang et al.: The Unreasonable Effectiveness of Deep Features, CVPR 2018"
_CODE = "https://github.com/richzhang/PerceptualSimilarity"
_WATSON_PAPER = "Czolbe et al.: A Loss Function for Generative Neural Networks, NeurIPS 2020"
_WATSON_CODE = "https://github.com/SteffenCzolbe/PerceptualSimilarity"
NETS = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}
# raw features before the ReLU are what the losses on these networks need: one pass serves both
_RAW: dict[str, Raw] = {"alex": "conv", "vgg": "conv", "squeeze": "relu"}


class FeatureDistance(nn.Module):
    """Σ over taps of the mean over positions of Σ over channels w·(x̂ - ŷ)²."""

    def __init__(self, net: Backbone | FeatureExtractor, channel_weights: list[Tensor]) -> None:
        super().__init__()
        self.net = net
        for i, w in enumerate(channel_weights):
            self.register_buffer(f"channel_weights_{i}", w)

    def forward(self, x: Images, y: Images) -> Tensor:
        """Return the distances: (N,)."""
        total = torch.zeros((), device=x.pixels.device)
        for term in self.terms(x, y).values():
            total = total + term
        return total

    def terms(self, x: Images, y: Images) -> dict[str, Tensor]:
        """Return each tap's part of the distances, by the tap's number: (N,) each."""
        pairs = enumerate(zip(x.derive(self.net), y.derive(self.net), strict=True))
        return {
            f"tap{i}": by_blocks(self._mean_squares, a, b) @ self.get_buffer(f"channel_weights_{i}")
            for i, (a, b) in pairs
        }

    def embed(self, images: Images) -> Tensor:
        """Return √(w / positions)·x̂ of all taps, whose squared distance this is: (N, D)."""
        parts = []
        for i, tap in enumerate(images.derive(self.net)):
            w = self.get_buffer(f"channel_weights_{i}")[:, None, None]
            positions = tap[0, 0].numel()
            parts.append((as_unit(tap, self.net.form) * (w / positions).sqrt()).flatten(1))
        return torch.cat(parts, dim=1)

    def map(self, x: Images, y: Images) -> Tensor:
        """Return Σ over taps of Σ over channels w·(x̂ - ŷ)², each enlarged: (N, H, W)."""
        total = torch.zeros((), device=x.pixels.device)
        for i, (a, b) in enumerate(zip(x.derive(self.net), y.derive(self.net), strict=True)):
            squared = (as_unit(a, self.net.form) - as_unit(b, self.net.form)).square()
            weighted = torch.einsum("nchw,c->nhw", squared, self.get_buffer(f"channel_weights_{i}"))
            total = total + enlarge(weighted, x)
        return total

    def _mean_squares(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the mean over positions of (x̂ - ŷ)² of taps (N, C, h, w): (N, C)."""
        # lengths are computed for each pair anew: to write unit vectors of a batch into memory and
        # to read them back takes longer
        x, y = as_unit(a, self.net.form), as_unit(b, self.net.form)
        return F.mse_loss(x, y, reduction="none").mean(dim=(2, 3))


def linear_weights(file: str, channels: tuple[int, ...]) -> list[Tensor]:
    """Return the learned weights of each tap's channels, (C,), from a weight file.

    Raises PmbenchError where a tensor is missing or has another shape.
    """
    learned = weights.load(file)
    shapes = {f"lin{i}.model.1.weight": (1, c, 1, 1) for i, c in enumerate(channels)}
    return [weights.take(learned, key, shape, file).flatten() for key, shape in shapes.items()]


def _register(
    name: str,
    short: str,
    title: str,
    linear: str = "",
    preprocessing: Preprocessing = LPIPS,
    filters: Initialization = TRAINED,
    paper: str = _PAPER,
    code: str = _CODE,
) -> None:
    trunk_name = NETS[short]
    form: Raw = _RAW[short] if preprocessing is SIGNED else "relu"
    channels = ARCHITECTURES[trunk_name].channels

    def load(device: torch.device) -> Distance:
        net = backbone(trunk_name, preprocessing, filters, form, device)
        by_tap = linear_weights(linear, channels) if linear else [torch.ones(c) for c in channels]
        return FeatureDistance(net, by_tap).to(device)

    trained = filters == TRAINED
    register(
        Metric(
            name=name,
            load=load,
            title=title,
            family="LPIPS",
            paper=paper,
            code=code,
            min_size=ARCHITECTURES[trunk_name].min_size,
            weights=((trunk_name,) if trained else ()) + ((linear,) if linear else ()),
            licence=_licence(linear),
            parameters={"trunk": trunk_name, "seed": -1 if trained else filters.seed},
            has_map=True,
            space="l2",
        )
    )


def _licence(linear: str) -> str:
    if linear.startswith("watson"):
        return "none stated"
    return "BSD-2-Clause" if linear else "BSD-3-Clause"


for _short, _trunk in NETS.items():
    _register(f"lpips-{_short}", _short, f"LPIPS v0.1, {_trunk}", f"lpips-{_short}-linear")
    _register(
        f"lpips-{_short}-v0.0",
        _short,
        f"LPIPS v0.0, {_trunk}, images not normalised",
        f"lpips-{_short}-linear-v0.0",
        SIGNED,
    )
    _register(f"net-{_short}", _short, f"unweighted {_trunk} features")
    _register(
        f"net-{_short}-random",
        _short,
        f"unweighted random {_trunk} features",
        filters=Initialization("torchvision", 0),
    )

for _short in ("vgg", "squeeze"):
    _register(
        f"lpips-{_short}-watson",
        _short,
        f"LPIPS trained anew by Czolbe et al., {NETS[_short]}",
        f"watson-linear-{_short}",
        LPIPS_UNSIGNED,
        paper=_WATSON_PAPER,
        code=_WATSON_CODE,
    )
