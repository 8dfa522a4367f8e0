"""DISTS: Ding, Ma, Wang, Simoncelli 2020, structure and texture similarity of VGG-16 features.

Each channel of the pixels and of five taps is compared twice: by its mean (is the texture the
same?) and by its covariance (is the structure?). Learned weights add the 2 × 1475 similarities to
one. Max pooling is replaced by L2 pooling, which does not alias.

Differs from the authors' code in how one minus a similarity is computed. The weights sum to 1, and

    1 - (2·mean x·mean y + c) / (mean² x + mean² y + c) = mean²(x - y) / (mean² x + mean² y + c)
    1 - (2·cov(x, y) + c) / (var x + var y + c)         = var(x - y) / (var x + var y + c)

so no two almost equal sums are subtracted. In float32 theirs is up to a per mille off on smooth
images of BAPPS, and wholly wrong at a hundredth of their contrast. Identical images are at zero.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pmbench.metrics import Distance, Metric, register
from pmbench.metrics.chunking import by_blocks
from pmbench.metrics.images import Images
from pmbench.networks import weights
from pmbench.networks.backbones import (
    ARCHITECTURES,
    IMAGENET,
    TRAINED,
    Backbone,
    Initialization,
    blur_pool,
    features_of,
    frozen,
)

_VGG = ARCHITECTURES["vgg16"]
_CHANNELS = 3 + sum(_VGG.channels)
_C = 1e-6  # keeps a flat channel's similarity defined


class L2Pool(nn.Module):
    """Root of the blurred squares, at half the size."""

    def forward(self, features: Tensor) -> Tensor:
        """Return (N, C, ⌈h/2⌉, ⌈w/2⌉)."""
        # squares of features are beyond float16
        features = features.to(torch.promote_types(features.dtype, torch.float32))
        with torch.autocast(features.device.type, enabled=False):
            # 1e-12 keeps the gradient finite where all is zero
            return (blur_pool(features.square(), padding=1) + 1e-12).sqrt()


@functools.cache
def l2_pooled_vgg(filters: Initialization, device: torch.device) -> Backbone:
    """Return the frozen VGG-16 with L2 pooling; the same object for the same choice."""
    with torch.inference_mode(False):
        layers = features_of("vgg16", filters)
        pooled = (L2Pool() if isinstance(layer, nn.MaxPool2d) else layer for layer in layers)
        net = Backbone(nn.Sequential(*pooled), _VGG.taps, IMAGENET, "relu", _VGG.pixels_per_pass)
        return frozen(net, device)


def dissimilarities(a: Tensor, b: Tensor) -> Tensor:
    """Return one minus the similarities of means, and of structure, (N, 2, C), of maps."""
    (mean_a, var_a), (mean_b, var_b), (mean, var) = (_moments(maps) for maps in (a, b, a - b))
    texture = mean.square() / (mean_a.square() + mean_b.square() + _C)
    return torch.stack((texture, var / (var_a + var_b + _C)), dim=1)


def _moments(maps: Tensor) -> tuple[Tensor, Tensor]:
    mean = maps.mean(dim=(2, 3), keepdim=True)
    squares = F.mse_loss(maps, mean.expand_as(maps), reduction="none")
    return mean[:, :, 0, 0], squares.mean(dim=(2, 3))


class Dists(nn.Module):
    """Σ over channels of alpha·(1 - similarity of means) + beta·(1 - similarity of structure).

    ``alpha`` and ``beta`` are (1475,): 3 of the pixels, the others of the network's taps. They are
    divided by the sum of all.
    """

    def __init__(self, net: Backbone, alpha: Tensor, beta: Tensor) -> None:
        super().__init__()
        self.net = net
        total = alpha.double().sum() + beta.double().sum()
        self.register_buffer("alpha", (alpha.double() / total).float())
        self.register_buffer("beta", (beta.double() / total).float())

    def forward(self, x: Images, y: Images) -> Tensor:
        """Return the distances: (N,), at least 0."""
        # planes, since to broadcast along three channels that lie together is slow
        maps_x, maps_y = (
            (images.pixels.contiguous(), *images.derive(self.net)) for images in (x, y)
        )
        by_map = [by_blocks(dissimilarities, a, b) for a, b in zip(maps_x, maps_y, strict=True)]
        texture, structure = torch.cat(by_map, dim=2).unbind(dim=1)
        return texture @ self.get_buffer("alpha") + structure @ self.get_buffer("beta")


def _load(device: torch.device) -> Distance:
    learned = weights.load("dists")
    alpha, beta = (
        weights.take(learned, name, (1, _CHANNELS, 1, 1), "dists").flatten()
        for name in ("alpha", "beta")
    )
    return Dists(l2_pooled_vgg(TRAINED, device), alpha, beta).to(device)


register(
    Metric(
        name="dists",
        load=_load,
        title="DISTS: structure and texture of VGG-16 features",
        family="DISTS",
        paper=(
            "Ding, Ma, Wang, Simoncelli: Image Quality Assessment: Unifying Structure and Texture "
            "Similarity, TPAMI 2020"
        ),
        code="https://github.com/dingkeyan93/DISTS",
        weights=("vgg16", "dists"),
        licence="MIT",
    )
)
