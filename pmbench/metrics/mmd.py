"""Patch distributions: Amir & Weiss 2021, "Understanding and Simplifying Perceptual Distances".

Two images are close if their patches, as sets, are: the maximum mean discrepancy (MMD) between the
patches of a window, under a Gaussian kernel, estimated with random Fourier features (Rahimi & Recht
2007). ``mmdpp`` ("MMD++") and ``mmdppp`` ("MMD+++") add a local term, the same kernel between
patches at the same place, and a little squared error.

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
from pmbench.metrics.patches import patch_rbf
from pmbench.metrics.pixel import l2

_PAPER = "Amir, Weiss: Understanding and Simplifying Perceptual Distances, CVPR 2021"
_CODE = "https://github.com/ariel415el/PerceptualLossExperiments"
_WINDOW, _STRIDE = 32, 16
_WAVES = 1 << 18  # cosines at a time: 1 MB, which stay in a core's cache


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
        maps = self.get_buffer("phases").numel() * pixels.shape[2] * pixels.shape[3]
        # what is held at a time; a GPU has no such cache to stay in, and wants more to do
        at_once = _WAVES if pixels.device.type == "cpu" else 256 * _WAVES
        some = torch.split(pixels, max(1, at_once // maps))
        blocks = torch.cat([self._blocks(images, at_once) for images in some])
        # 32×32 windows of stride 16 are 2×2 blocks of 16×16
        return F.avg_pool2d(blocks, _WINDOW // _STRIDE, stride=1)

    def _blocks(self, images: Tensor, at_once: int) -> Tensor:
        """Return the features' means over 16×16 blocks: (N, r, H // 16, W // 16).

        The convolution is a matrix product over some blocks at a time, so that the r maps of an
        image's size never exist.
        """
        filters, phases = self.get_buffer("filters"), self.get_buffer("phases")
        r, _, patch, _ = filters.shape
        n, height, width = len(images), images.shape[2] // _STRIDE, images.shape[3] // _STRIDE
        padded = F.pad(signed(images), (patch // 2,) * 4, mode="reflect")
        inner = padded[..., : height * _STRIDE + patch - 1, : width * _STRIDE + patch - 1]
        columns = F.unfold(inner, patch).view(n, -1, height, _STRIDE, width, _STRIDE)
        by_block = columns.permute(0, 2, 4, 3, 5, 1).reshape(n * height * width, _STRIDE**2, -1)
        means = [
            torch.addmm(phases, part.flatten(0, 1), filters.flatten(1).t())
            .cos_()
            .view(-1, _STRIDE**2, r)
            .mean(dim=1)
            for part in torch.split(by_block, max(1, at_once // (r * _STRIDE**2)))
        ]
        return torch.cat(means).view(n, height, width, r).permute(0, 3, 1, 2)


class Mmd(nn.Module):
    """Mean over features and windows of the squared difference of pooled random features."""

    def __init__(self, features: RandomFeatures) -> None:
        super().__init__()
        self.features = features

    def forward(self, x: Images, y: Images) -> Tensor:
        """Return the distances: (N,), half of MMD² as r grows."""
        difference: Tensor = x.derive(self.features) - y.derive(self.features)
        return difference.square().mean(dim=(1, 2, 3))


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


def _register_plus(name: str, title: str, s: float, rbf_patch: int, rbf_s: float) -> None:
    def load(device: torch.device) -> MmdPlusPlus:
        return MmdPlusPlus(RandomFeatures(3, s, 512, True), rbf_patch, rbf_s).to(device)

    register(
        Metric(
            name=name,
            load=load,
            title=f"{title}: 512 random filters 3×3, 32×32 windows",
            family="patches",
            paper=_PAPER,
            code=_CODE,
            min_size=_WINDOW,
            parameters={"patch": 3, "s": s, "r": 512, "rbf_patch": rbf_patch, "rbf_s": rbf_s},
        )
    )


_register_plus("mmdpp", "MMD++", 0.06, 3, 0.1)
_register_plus("mmdppp", "MMD+++", 0.03, 11, 0.02)
register(
    Metric(
        name="mmd-approx",
        load=lambda device: Mmd(RandomFeatures(3, 0.06, 1024, False)).to(device),
        title="MMD, 1,024 random filters 3×3, 32×32 windows",
        family="patches",
        paper=_PAPER,
        code=_CODE,
        min_size=_WINDOW,
        parameters={"patch": 3, "s": 0.06, "r": 1024},
    )
)
