"""Patch distributions: Amir & Weiss 2021, "Understanding and Simplifying Perceptual Distances".

Two images are close if their patches, as sets, are: the maximum mean discrepancy (MMD) between the
patches of a window, under a Gaussian kernel, estimated with random Fourier features (Rahimi & Recht
2007). ``mmdpp`` ("MMD++") and ``mmdppp`` ("MMD+++") add a local term, the same kernel between
patches at the same place, and a little squared error. ``patch-rbf-…`` is the local term alone.

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

from pmbench.metrics import Metric, register
from pmbench.metrics.builtin.pixel import l2, l2_map
from pmbench.metrics.images import Images
from pmbench.metrics.threads import is_plain, spread
from pmbench.utils.color import signed


def patch_rbf(x: Images, y: Images, patch: int, s: float) -> Tensor:
    """Return the mean over positions of 1 - exp(-D / (2 sigma²)), sigma = s·p²: (N,), in [0, 1].

    D is the squared difference of the p×p×3 patches at a position, zero beyond the border, on
    values in [-1, 1].
    """
    return patch_rbf_map(x, y, patch, s).mean(dim=(1, 2))


def patch_rbf_map(x: Images, y: Images, patch: int, s: float) -> Tensor:
    """Return 1 - exp(-D / (2 sigma²)) at each position: (N, H, W)."""
    squared = (signed(x.pixels) - signed(y.pixels)).square().sum(dim=1, keepdim=True)
    d = F.avg_pool2d(squared, patch, stride=1, padding=patch // 2) * patch**2
    return (1 - torch.exp(-d / (2 * (s * patch**2) ** 2)))[:, 0]


class PatchRbf(nn.Module):
    """The Gaussian kernel of the patches at each position."""

    def __init__(self, patch: int, s: float) -> None:
        super().__init__()
        self.patch, self.s = patch, s

    def forward(self, x: Images, y: Images) -> Tensor:
        """Return the distances: (N,), in [0, 1]."""
        return patch_rbf(x, y, self.patch, self.s)

    def map(self, x: Images, y: Images) -> Tensor:
        """Return the kernel's distance at each position: (N, H, W), in [0, 1]."""
        return patch_rbf_map(x, y, self.patch, self.s)


def _register(patch: int, s: float) -> None:
    register(
        Metric(
            name=f"patch-rbf-{patch}",
            load=lambda device: PatchRbf(patch, s),
            title=f"Gaussian kernel of the {patch}×{patch} patches at each position",
            family="patches",
            paper="Amir, Weiss: Understanding and Simplifying Perceptual Distances, CVPR 2021",
            code="https://github.com/ariel415el/PerceptualLossExperiments",
            parameters={"patch": patch, "s": s},
            has_map=True,
        )
    )


_register(3, 0.1)
_register(11, 0.02)


_PAPER = "Amir, Weiss: Understanding and Simplifying Perceptual Distances, CVPR 2021"
_CODE = "https://github.com/ariel415el/PerceptualLossExperiments"
_WINDOW, _STRIDE = 32, 16
# cosines at a time: 2 MB, which stay in a processor's caches; fewer would be too little to do for
# threads that wait for one another between any two operations
_WAVES = 1 << 19
_BLOCKS = 16  # of 16×16 pixels, that a thread takes at a time: an image of 64×64


class RandomFeatures(nn.Module):
    """Pixels -> random Fourier features of their patches, averaged over windows.

    ``forward`` takes (N, 3, H, W) in [0, 1] and returns (N, r, windows, windows): the mean over
    each 32×32 window (stride 16) of cos(w·patch + b), where w ~ N(0, 1)/sigma, sigma = s·p², and
    b ~ U(0, 2π). ``centred`` removes each filter's spatial mean per channel: blind to flat colour.
    """

    is_random = True

    def __init__(self, patch: int, s: float, r: int, centred: bool) -> None:
        super().__init__()
        self.s, self.centred = s, centred
        self.register_buffer("filters", torch.empty(r, 3, patch, patch))
        self.register_buffer("phases", torch.empty(r))
        self.redraw(np.random.default_rng(r))

    def redraw(self, generator: np.random.Generator) -> None:
        """Draw filters and phases anew, in place."""
        filters, phases = self.get_buffer("filters"), self.get_buffer("phases")
        w = generator.standard_normal(tuple(filters.shape)).astype(np.float32)
        b = (generator.random(len(phases)) * 2 * math.pi).astype(np.float32)
        drawn = torch.from_numpy(w) / (self.s * filters.shape[-1] ** 2)
        if self.centred:
            drawn = drawn - drawn.mean(dim=(2, 3), keepdim=True)
        filters.copy_(drawn)
        phases.copy_(torch.from_numpy(b))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the pooled features."""
        filters, phases = self.get_buffer("filters"), self.get_buffer("phases")
        r, _, patch, _ = filters.shape
        # the phase as one more filter, of a patch that is 1: a sum less
        waves = torch.cat([filters.flatten(1), phases.unsqueeze(1)], dim=1).t()
        n, height, width = len(pixels), pixels.shape[2] // _STRIDE, pixels.shape[3] // _STRIDE
        padded = F.pad(signed(pixels), (patch // 2,) * 4, mode="reflect")
        # bands: rows of 16×16 blocks, each with the margin that its patches reach into
        inner = padded[..., : height * _STRIDE + patch - 1, : width * _STRIDE + patch - 1]
        bands = inner.unfold(2, _STRIDE + patch - 1, _STRIDE).permute(0, 2, 1, 4, 3).flatten(0, 1)
        # a GPU has no such cache to stay in, and wants more to do
        some = max(1, _BLOCKS // width) if pixels.device.type == "cpu" else len(bands)
        parts = torch.split(bands, some)
        if is_plain(pixels):
            sums = pixels.new_empty(len(bands), width, r)
            places = torch.split(sums, some)
            spread(lambda i: places[i].copy_(_sums(parts[i], waves, patch)), len(parts))
        else:
            sums = torch.cat([_sums(part, waves, patch) for part in parts])
        sums = sums.view(n, height, width, r)
        # 32×32 windows of stride 16 are 2×2 blocks of 16×16
        by_row = sums[:, :-1] + sums[:, 1:]
        return ((by_row[:, :, :-1] + by_row[:, :, 1:]) / _WINDOW**2).permute(0, 3, 1, 2)


def _sums(bands: Tensor, waves: Tensor, patch: int) -> Tensor:
    """Return the features' sums over the blocks of bands: (n, blocks, r).

    The convolution is a matrix product over some blocks at a time, so that the r maps of an image's
    size never exist.
    """
    r = waves.shape[1]
    patches = torch.unflatten(bands.unfold(2, patch, 1).unfold(3, patch, 1), 3, (-1, _STRIDE))
    by_block = patches.permute(1, 5, 6, 0, 3, 2, 4)
    columns = bands.new_ones(len(waves), by_block[0, 0, 0].numel())
    columns[:-1].view(by_block.shape).copy_(by_block)
    at_once = _WAVES if bands.device.type == "cpu" else 128 * _WAVES
    size = max(1, at_once // (r * _STRIDE**2)) * _STRIDE**2
    sums = [
        cosine(torch.mm(part.t(), waves)).view(-1, _STRIDE**2, r).sum(dim=1)
        for part in torch.split(columns, size, dim=1)
    ]
    return torch.cat(sums).view(len(bands), -1, r)


def cosine(angles: Tensor) -> Tensor:
    """Return the cosines, in place of the angles (radians).

    NumPy's are six times as fast as torch's, and at most 2 units in the last place off.
    """
    if not is_plain(angles):
        return angles.cos_()
    there = angles.numpy()
    np.cos(there, out=there)
    return angles


class Mmd(nn.Module):
    """Mean over features and windows of the squared difference of pooled random features."""

    def __init__(self, features: RandomFeatures) -> None:
        super().__init__()
        self.features = features

    def forward(self, x: Images, y: Images) -> Tensor:
        """Return the distances: (N,), half of MMD² as r grows."""
        return self._squares(x, y).mean(dim=(1, 2, 3))

    def embed(self, images: Images) -> Tensor:
        """Return the features, of which this is the squared distance: (N, D)."""
        vectors: Tensor = images.derive(self.features).flatten(1)
        return vectors / math.sqrt(vectors.shape[1])

    def map(self, x: Images, y: Images) -> Tensor:
        """Return the mean distance of the windows around each place: (N, H, W).

        0 beyond the last window, where nothing is compared.
        """
        windows = self._squares(x, y).mean(dim=1, keepdim=True)
        # each 16×16 block is in up to four windows
        blocks = F.avg_pool2d(windows, 2, stride=1, padding=1, count_include_pad=False)
        side = [_STRIDE * count for count in blocks.shape[2:]]
        smooth = F.interpolate(blocks, side, mode="bilinear", align_corners=False)[:, 0]
        height, width = x.pixels.shape[2:]
        beyond = (0, width - smooth.shape[2], 0, height - smooth.shape[1])
        return F.pad(smooth, beyond)

    def _squares(self, x: Images, y: Images) -> Tensor:
        """Return the squared differences of features: (N, r, windows, windows)."""
        difference: Tensor = x.derive(self.features) - y.derive(self.features)
        return difference.square()


class MmdPlusPlus(nn.Module):
    """0.001·L2 + 0.05·PatchRBF + 1·MMD."""

    def __init__(self, features: RandomFeatures, rbf_patch: int, rbf_s: float) -> None:
        super().__init__()
        self.mmd = Mmd(features)
        self.rbf_patch, self.rbf_s = rbf_patch, rbf_s

    def forward(self, x: Images, y: Images) -> Tensor:
        """Return the distances: (N,)."""
        terms = self.terms(x, y)
        return terms["l2"] + terms["patch-rbf"] + terms["mmd"]

    def terms(self, x: Images, y: Images) -> dict[str, Tensor]:
        """Return the three terms with their factors: (N,) each."""
        return {
            "l2": 0.001 * l2(x, y),
            "patch-rbf": 0.05 * patch_rbf(x, y, self.rbf_patch, self.rbf_s),
            "mmd": self.mmd(x, y),
        }

    def map(self, x: Images, y: Images) -> Tensor:
        """Return the same sum at each place: (N, H, W)."""
        local = patch_rbf_map(x, y, self.rbf_patch, self.rbf_s)
        return 0.001 * l2_map(x, y) + 0.05 * local + self.mmd.map(x, y)


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
            has_map=True,
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
        has_map=True,
        space="l2",
    )
)
