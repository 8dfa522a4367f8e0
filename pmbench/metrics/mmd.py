"""Patch distributions: Amir & Weiss 2021, "Understanding and Simplifying Perceptual Distances".

Two images are close if their patches, as sets, are: the maximum mean discrepancy (MMD) between the
patches of a window, under a Gaussian kernel, estimated with random Fourier features (Rahimi & Recht
2007). ``mmdpp`` ("MMD++") adds a local term, the same kernel between patches at the same place, and
a little squared error.

Differs from the authors' code (PerceptualLossExperiments): the random filters are drawn once, by a
recipe that is part of the metric, where the authors draw them anew at each call, which adds 3–6 %
noise; features are computed once per image.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pmbench.color import signed
from pmbench.images import Images
from pmbench.metrics import Metric, register
from pmbench.metrics.pixel import l2

_PAPER = "Amir, Weiss: Understanding and Simplifying Perceptual Distances, CVPR 2021"
_CODE = "https://github.com/ariel415el/PerceptualLossExperiments"
_WINDOW, _STRIDE = 32, 16


class RandomFeatures(nn.Module):
    """Pixels -> random Fourier features of their patches, averaged over windows.

    ``forward`` takes (N, 3, H, W) in [0, 1] and returns (N, r, windows, windows): the mean over
    each 32×32 window (stride 16) of cos(w·patch + b), where w ~ N(0, 1)/sigma, sigma = s·p², and
    b ~ U(0, 2π). ``centred`` removes each filter's spatial mean per channel: blind to flat colour.
    """

    def __init__(self, patch: int, s: float, r: int, centred: bool) -> None:
        super().__init__()
        generator = np.random.default_rng(r)
        w = generator.standard_normal((r, 3, patch, patch)).astype(np.float32)
        b = (generator.random(r) * 2 * math.pi).astype(np.float32)
        filters = torch.from_numpy(w) / (s * patch**2)
        if centred:
            filters = filters - filters.mean(dim=(2, 3), keepdim=True)
        self.register_buffer("filters", filters)
        self.register_buffer("phases", torch.from_numpy(b))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the pooled features."""
        # one image at a time: r maps of its size are the largest intermediate, and stay in cache
        return torch.cat([self._pooled(image) for image in torch.split(pixels, 1)])

    def _pooled(self, image: Tensor) -> Tensor:
        filters, phases = self.get_buffer("filters"), self.get_buffer("phases")
        margin = filters.shape[-1] // 2
        padded = F.pad(signed(image), (margin, margin, margin, margin), mode="reflect")
        waves = F.conv2d(padded, filters, phases).cos()
        # 32×32 windows of stride 16 are 2×2 blocks of 16×16
        return F.avg_pool2d(F.avg_pool2d(waves, _STRIDE), _WINDOW // _STRIDE, stride=1)


class Mmd(nn.Module):
    """Mean over features and windows of the squared difference of pooled random features."""

    def __init__(self, features: RandomFeatures) -> None:
        super().__init__()
        self.features = features

    def forward(self, x: Images, y: Images) -> Tensor:
        """Return the distances: (N,), half of MMD² as r grows."""
        difference: Tensor = x.derive(self.features) - y.derive(self.features)
        return difference.square().mean(dim=(1, 2, 3))


def patch_rbf(x: Images, y: Images, patch: int, s: float) -> Tensor:
    """Return the mean over positions of 1 - exp(-D / (2 sigma²)), sigma = s·p²: (N,), in [0, 1].

    D is the squared difference of the p×p×3 patches at a position, zero beyond the border.
    """
    squared = (signed(x.pixels) - signed(y.pixels)).square().sum(dim=1, keepdim=True)
    d = F.avg_pool2d(squared, patch, stride=1, padding=patch // 2) * patch**2
    return (1 - torch.exp(-d / (2 * (s * patch**2) ** 2))).mean(dim=(1, 2, 3))


class MmdPlusPlus(nn.Module):
    """0.001·L2 + 0.05·PatchRBF + 1·MMD."""

    def __init__(self, features: RandomFeatures, rbf_patch: int, rbf_s: float) -> None:
        super().__init__()
        self.mmd = Mmd(features)
        self.rbf_patch, self.rbf_s = rbf_patch, rbf_s

    def forward(self, x: Images, y: Images) -> Tensor:
        """Return the distances: (N,)."""
        local = patch_rbf(x, y, self.rbf_patch, self.rbf_s)
        mmd: Tensor = self.mmd(x, y)
        return 0.001 * l2(x, y) + 0.05 * local + mmd


register(
    Metric(
        name="mmdpp",
        load=lambda device: MmdPlusPlus(RandomFeatures(3, 0.06, 512, True), 3, 0.1).to(device),
        title="MMD++: 512 random filters 3×3, 32×32 windows",
        family="patch distributions",
        paper=_PAPER,
        code=_CODE,
        min_size=_WINDOW,
        parameters={"patch": 3, "s": 0.06, "r": 512, "rbf_patch": 3, "rbf_s": 0.1},
    )
)
